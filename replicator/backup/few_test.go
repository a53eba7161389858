package backup_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// kinds counts the versions in a vault by the first part of their names.
func (r *rig) kinds(vault int) map[string]int {
	r.t.Helper()
	out := map[string]int{}
	for _, info := range r.names(vault, "") {
		kind, _, _ := strings.Cut(info.Name, "/")
		out[kind]++
	}
	return out
}

// TestSmallRunsStoreFiveObjects: a run that changed one entry of 200 stores a pack, one object of pages and index, one of the
// needs list, one of placements and the commit object, also where it folds what many runs before it wrote. What such points
// need is what they refer to, and each restores whole.
func TestSmallRunsStoreFiveObjects(t *testing.T) {
	r := newRig(t, 2)
	src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
	r.source = src
	for i := range 200 {
		change(r, src, want, fmt.Sprintf("k/%04d", i), body(uint64(i), 100))
	}
	r.run()
	runs := 140
	if testing.Short() { // under the race detector; whole without
		runs = 40
	}
	for n := range runs {
		before := r.kinds(0)
		change(r, src, want, fmt.Sprintf("k/%04d", n*7%200), body(uint64(1000+n), 120))
		res := r.run()
		after := r.kinds(0)
		for kind := range after {
			if after[kind]-before[kind] > 1 || kind == "descriptors" && after[kind] != before[kind] {
				t.Errorf("run %d stored %d objects under %s/", n, after[kind]-before[kind], kind)
			}
		}
		for _, v := range res.Vaults {
			if v.Objects > 5 || v.Err != nil {
				t.Errorf("run %d stored %d objects in %s: %v", n, v.Objects, v.Vault, v.Err)
			}
		}
		if n%20 == 0 {
			equal(t, r.contents(n/20%2, res.Point), want)
		}
	}
	if r.saw(repo.Missing, "") || r.saw(repo.Damaged, "") || r.saw(repo.Tampered, "") {
		t.Error("something is wrong in the vault")
	}
}

// TestPointsList: a run lists every earlier point of its source that counts, and reads none of their commit objects but that
// of the newest. What one point lists, the next one keeps, page for page.
func TestPointsList(t *testing.T) {
	r := newRig(t, 1)
	src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
	r.source = src
	change(r, src, want, "k", body(1, 100))
	first := r.run()
	many := 2500
	if testing.Short() {
		many = 1200 // more than a leaf has lines
	}
	made := r.repeat(first.Point, many)
	change(r, src, want, "k", body(2, 100))
	full := r.run() // that of the points before says nothing
	var reads, lists atomic.Int64
	r.wrap(0, func(op, name string) bool {
		if op == "open" && strings.HasPrefix(name, "points/") {
			reads.Add(1)
		}
		if op == "open" && strings.HasPrefix(name, "needs/") {
			lists.Add(1)
		}
		return false
	})
	for n := range 3 {
		change(r, src, want, "k", body(uint64(3+n), 100))
		next := r.run()
		if got := listOf(r, next.Point); len(got) != many+2+n || !got[first.Point] || !got[full.Point] || !got[made[many/2]] {
			t.Fatalf("%d points are listed instead of %d", len(got), many+2+n)
		}
		equal(t, r.contents(0, next.Point), want)
	}
	res := r.run() // with nothing changed
	if got := listOf(r, res.Point); len(got) != many+5 {
		t.Errorf("%d points are listed by a run that changed nothing", len(got))
	}
	equal(t, r.contents(0, res.Point), want)
	t.Logf("%d reads of commit objects, %d of lists", reads.Load(), lists.Load())
	if r.saw(repo.Missing, "") || r.saw(repo.Damaged, "") || r.saw(repo.Tampered, "") {
		t.Error("something is wrong in the vault")
	}
	// One that goes now is missed by the next run, which has no memory of its own.
	gone := r.names(0, "points/uploads/")[7]
	loseVault(r, 0, gone)
	r.cache = t.TempDir()
	r.run()
	if !r.saw(repo.Missing, gone.Name[:len("points/uploads/20261123T120000Z-")+64]) {
		t.Errorf("%s is withheld, and nobody said so", gone.Name)
	}
}

// repeat commits a point again and again, an hour apart, without lists.
func (r *rig) repeat(id format.Hash, n int) (out []format.Hash) {
	r.t.Helper()
	s, err := r.session(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer s.Close()
	c := commitOf(r, id)
	if err := s.Begin(c.RetainUntil.Time); err != nil {
		r.t.Fatal(err)
	}
	for range n {
		r.clock = r.clock.Add(time.Minute)
		c := *c
		c.TakenAt, c.Slots, c.Points = format.At(r.clock), nil, format.PageRef{}
		id, err := s.Commit(r.t.Context(), &c)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, id)
	}
	return out
}

func commitOf(r *rig, id format.Hash) *format.Commit {
	r.t.Helper()
	rp, err := repo.Find(r.t.Context(), r.stores[0], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	points, err := rp.Points(r.t.Context(), r.stores[0], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range points {
		if p.ID == id {
			c, err := rp.Commit(r.t.Context(), r.stores[0], p, nil)
			if err != nil {
				r.t.Fatal(err)
			}
			return c
		}
	}
	r.t.Fatalf("no point %s", id)
	return nil
}

// listOf gives the points that a point lists.
func listOf(r *rig, id format.Hash) map[format.Hash]bool {
	r.t.Helper()
	rp, err := repo.Find(r.t.Context(), r.stores[0], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	reader, err := repo.NewReader(rp, r.stores[0], nil, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[format.Hash]bool{}
	for p, err := range tree.Points(r.t.Context(), reader.Page, commitOf(r, id).Points, nil) {
		if err != nil {
			r.t.Fatal(err)
		}
		if len(p.Vaults) != 1 || p.Vaults[0] != "vault0" {
			r.t.Fatalf("%s is said to be in %v", p.ID, p.Vaults)
		}
		out[p.ID] = true
	}
	return out
}
