package backup_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

const day = 24 * time.Hour

// commit reads a point's commit object in a vault.
func (r *rig) commit(vault int, id format.Hash) (repo.Point, *format.Commit) {
	r.t.Helper()
	in := r.stores[vault]
	rp, err := repo.Find(r.t.Context(), in, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	points, err := rp.Points(r.t.Context(), in, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(points, func(p repo.Point) bool { return p.ID == id })
	if i < 0 {
		r.t.Fatalf("vault %d has no point %s", vault, id)
	}
	c, err := rp.Commit(r.t.Context(), in, points[i], nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return points[i], c
}

// lockedUntil is the earliest end of a lock among a point's commit object and all that its needs list names.
func lockedUntil(r *rig, vault int, id format.Hash) time.Time {
	r.t.Helper()
	p, c := r.commit(vault, id)
	names := []string{p.Name, c.Needs.Object, c.Manifest.Object}
	rp, err := repo.Find(r.t.Context(), r.stores[vault], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	reader, err := repo.NewReader(rp, r.stores[vault], []keys.Identity{r.restore}, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for n, err := range tree.Needs(r.t.Context(), reader.Page, c.Needs, nil) {
		if err != nil {
			r.t.Fatal(err)
		}
		names = append(names, n.Name)
	}
	var first time.Time
	for _, name := range names {
		_, lock, err := r.stores[vault].Stat(r.t.Context(), store.Ref{Name: name})
		if err != nil {
			r.t.Fatal(err)
		}
		if first.IsZero() || lock.Until.Before(first) {
			first = lock.Until
		}
	}
	return first
}

// expectEmpty runs and wants a marked, complete point that names last as the one before.
func expectEmpty(r *rig, last format.Hash) *backup.Result {
	r.t.Helper()
	res := r.run()
	if res.Emptied == nil || res.Emptied.Last == nil || res.Emptied.Last.ID != last {
		r.t.Fatalf("emptied: %+v, want one whose last point is %.12s", res.Emptied, last)
	}
	if _, c := r.commit(0, res.Point); !slices.Equal(c.Marks, []string{format.MarkEmpty}) || c.Slots != nil {
		r.t.Fatalf("marks %q, slots %q", c.Marks, c.Slots)
	} else {
		checkList(r.t, plain(r, 0), c)
	}
	return res
}

// expectFilled runs and wants a point without a mark.
func expectFilled(r *rig) *backup.Result {
	r.t.Helper()
	res := r.run()
	if res.Emptied != nil {
		r.t.Fatalf("emptied: %+v", res.Emptied)
	}
	if _, c := r.commit(0, res.Point); c.Marks != nil {
		r.t.Fatalf("marks %q", c.Marks)
	} else {
		checkList(r.t, plain(r, 0), c)
	}
	return res
}

func filled(n int) *memsource.Source {
	src := memsource.New(memsource.Options{})
	for i := range n {
		src.Put(fmt.Sprintf("f%02d", i), []byte(strings.Repeat(fmt.Sprint(i), 50)))
	}
	return src
}

func clearOut(src *memsource.Source, n int) {
	for i := range n {
		src.Delete(fmt.Sprintf("f%02d", i))
	}
}

// TestEmptied: a source that goes from something to nothing is marked at every run until it is acknowledged, in every vault; the
// last point with something in it is held as long as if it had been made now; what comes back is a point like any other.
func TestEmptied(t *testing.T) {
	r := newRig(t, 2)
	src := filled(5)
	r.source = src
	good := expectFilled(r)
	until := lockedUntil(r, 0, good.Point)
	clearOut(src, 5)
	r.clock = r.clock.Add(day)
	expectEmpty(r, good.Point)
	for range 3 {
		r.clock = r.clock.Add(20 * day)
		expectEmpty(r, good.Point)
		for vault := range r.vaults {
			if got := lockedUntil(r, vault, good.Point); got.Before(r.clock.Add(35*day)) || got.Before(until) {
				t.Errorf("vault %d: the last point with something in it is locked until %s; it is %s", vault, got, r.clock)
			}
		}
	}
	if got := r.contents(1, good.Point); len(got) != 5 {
		t.Errorf("%d entries left of 5", len(got))
	}
	r.allow = true
	if _, c := r.commit(0, expectFilled(r).Point); c.Slots == nil {
		t.Error("an acknowledged empty point fills no slot")
	}
	r.allow = false
	r.clock = r.clock.Add(day)
	expectFilled(r) // acknowledged once is enough
	src.Put("again", []byte("x"))
	again := expectFilled(r)
	src.Delete("again")
	expectEmpty(r, again.Point)
	src.Put("again", []byte("x"))
	expectFilled(r)
}

// TestEmptiedSlots: a marked point fills no slot, so that the next good one of the day does, and is kept for the shortest span.
func TestEmptiedSlots(t *testing.T) {
	r := newRig(t, 1)
	r.policy = retain.Policy{Daily: retain.Span{Duration: 7 * day}, Weekly: retain.Span{Duration: 84 * day}}
	src := filled(2)
	r.source = src
	good := expectFilled(r)
	clearOut(src, 2)
	r.clock = r.clock.Add(7 * day) // another week
	empty := expectEmpty(r, good.Point)
	if want := r.clock.Add(7 * day); !empty.RetainUntil.Equal(want) {
		t.Errorf("an empty point is kept until %s, want %s", empty.RetainUntil, want)
	}
	if got := lockedUntil(r, 0, good.Point); got.Before(r.clock.Add(84 * day)) {
		t.Errorf("the last good point is locked until %s, and one made now would be for a week's slot", got)
	}
	src.Put("f00", []byte("back"))
	if _, c := r.commit(0, expectFilled(r).Point); !slices.Equal(c.Slots, []string{"daily-2026-11-30", "weekly-2026-w49"}) {
		t.Errorf("the good point after it fills %q", c.Slots)
	}
}

// TestFirstEmpty: a source that never had anything is no alarm.
func TestFirstEmpty(t *testing.T) {
	r := newRig(t, 1)
	r.source = memsource.New(memsource.Options{})
	if res := expectFilled(r); !res.FirstEmpty {
		t.Error("not told of")
	}
	if res := expectFilled(r); res.FirstEmpty {
		t.Error("told twice")
	}
}

// TestEmptiedKinds: what is nothing, and what is something.
func TestEmptiedKinds(t *testing.T) {
	folder := func(key string) format.Entry {
		return format.Entry{Key: key, Kind: format.KindDir, File: &format.File{Mode: 0o755}}
	}
	for _, c := range []struct {
		name    string
		options memsource.Options
		fill    func(*memsource.Source)
		leave   func(*memsource.Source)
		empty   bool
	}{
		{"only folders are left", memsource.Options{},
			func(s *memsource.Source) {
				s.PutEntry(folder("./"), nil)
				s.PutEntry(folder("a/"), nil)
				s.Put("a/b", []byte("b"))
			},
			func(s *memsource.Source) { s.Delete("a/b") }, true},
		{"an empty file is left", memsource.Options{},
			func(s *memsource.Source) { s.Put("a", nil); s.Put("b", []byte("b")) },
			func(s *memsource.Source) { s.Delete("b") }, false},
		{"there were only empty files", memsource.Options{},
			func(s *memsource.Source) { s.Put("a", nil) },
			func(s *memsource.Source) { s.Delete("a") }, true},
		{"all versions, and all are deleted but kept", memsource.Options{AllVersions: true},
			func(s *memsource.Source) { s.Put("a", []byte("a")) },
			func(s *memsource.Source) { s.Delete("a") }, false},
		{"there were only folders", memsource.Options{},
			func(s *memsource.Source) { s.PutEntry(folder("a/"), nil); s.PutEntry(folder("b/"), nil) },
			func(s *memsource.Source) { s.Delete("a/") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1)
			src := memsource.New(c.options)
			r.source = src
			c.fill(src)
			good := expectFilled(r)
			c.leave(src)
			if c.empty {
				expectEmpty(r, good.Point)
				expectEmpty(r, good.Point)
			} else {
				expectFilled(r)
			}
		})
	}
}

// TestEmptiedUnseen: neither an unlisted folder, a lost cache nor a point that came to nothing in between hides that everything is gone.
func TestEmptiedUnseen(t *testing.T) {
	r := newRig(t, 1)
	src := filled(3)
	r.source = src
	good := expectFilled(r)
	clearOut(src, 3)
	src.PutEntry(format.Entry{Key: "closed/", Kind: format.KindDir, File: &format.File{}}, nil)
	src.Fail("closed/", memsource.Fault{Failure: memsource.Missing})
	res := expectEmpty(r, good.Point)
	if res.Status != format.StatusIncomplete {
		t.Errorf("with a folder that cannot be listed the point is %s", res.Status)
	}
	r.cache = t.TempDir()
	src.Delete("closed/")
	expectEmpty(r, good.Point)
	r.cache = t.TempDir()
	expectEmpty(r, good.Point)
}

// TestUnlistedIsNotEmpty: where nothing is known to be gone, what cannot be listed makes a point incomplete and no alarm; what is
// gone after that is one.
func TestUnlistedIsNotEmpty(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{})
	src.Put("closed/a", []byte("a"))
	r.source = src
	good := expectFilled(r)
	src.Delete("closed/a")
	src.PutEntry(format.Entry{Key: "closed/", Kind: format.KindDir, File: &format.File{}}, nil)
	src.Fail("closed/", memsource.Fault{Failure: memsource.Missing})
	if res := expectFilled(r); res.Status != format.StatusIncomplete {
		t.Errorf("the point is %s", res.Status)
	}
	src.Delete("closed/")
	expectEmpty(r, good.Point)
}

// TestEmptiedMeanwhile: everything is listed and gone when it is read.
func TestEmptiedMeanwhile(t *testing.T) {
	r := newRig(t, 1)
	src := filled(3)
	r.source = src
	good := expectFilled(r)
	for i := range 3 {
		src.Put(fmt.Sprintf("f%02d", i), []byte("changed"))
	}
	src.OnOpen(func(string, int64) { clearOut(src, 3) })
	expectEmpty(r, good.Point)
}

// TestEmptiedDryRun: a dry run says so too, and stores and lengthens nothing.
func TestEmptiedDryRun(t *testing.T) {
	r := newRig(t, 1)
	src := filled(3)
	r.source = src
	good := expectFilled(r)
	clearOut(src, 3)
	r.clock = r.clock.Add(20 * day)
	before := lockedUntil(r, 0, good.Point)
	r.dry = true
	res := r.run()
	if res.Emptied == nil || res.Emptied.Last.ID != good.Point {
		t.Errorf("%+v", res.Emptied)
	}
	if !res.Point.IsZero() || !lockedUntil(r, 0, good.Point).Equal(before) {
		t.Error("a dry run did something")
	}
}

// TestEmptiedBrokenVault: a vault that lost something of the last good point does not keep the run from saying what there is.
func TestEmptiedBrokenVault(t *testing.T) {
	r := newRig(t, 1)
	src := filled(3)
	r.source = src
	good := expectFilled(r)
	clearOut(src, 3)
	expectEmpty(r, good.Point)
	packs := r.names(0, format.PrefixPacks)
	loseVault(r, 0, packs...)
	expectEmpty(r, good.Point)
}
