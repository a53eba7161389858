package lifetest_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// thin gives a world whose first pack, of 8 MiB, is mostly dead: of a large object the last quarter is left, of the small
// ones two. The next run has to hold everything for a year.
func thin(t *testing.T) *lifetest.World {
	t.Helper()
	w := ran(t, lifetest.Options{Objects: 20, Size: 64 << 10, Change: 0.0001}, 0)
	noise := rand.NewChaCha8([32]byte{9})
	big := make([]byte, 8<<20)
	_, _ = noise.Read(big) // never fails
	put := func() {
		w.Source.PutEntry(format.Entry{Key: "large", Modified: format.At(w.Clock.Add(-time.Hour))}, append([]byte(nil), big...))
	}
	put()
	run(t, w)
	w.Pass(day)
	_, _ = noise.Read(big[:6<<20])
	put()
	run(t, w)
	w.Clock = time.Date(2027, 3, 1, 2, 0, 0, 0, time.UTC)
	return w
}

// needs gives what the newest point needs.
func needs(t *testing.T, w *lifetest.World) map[string]int64 {
	t.Helper()
	ctx := t.Context()
	r, err := w.Repository(ctx)
	if err != nil {
		t.Fatal(err)
	}
	points, err := r.Points(ctx, w.Store, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Commit(ctx, w.Store, points[len(points)-1], nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Status != format.StatusComplete {
		t.Errorf("the point is %s", c.Status)
	}
	in, err := repo.NewReader(r, w.Store, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for n, err := range tree.Needs(ctx, in.Page, c.Needs, nil) {
		if err != nil {
			t.Fatal(err)
		}
		out[n.Name] = n.Living
	}
	return out
}

// verified decodes every point and looks at every lock.
func verified(t *testing.T, w *lifetest.World) {
	t.Helper()
	decoded(t, w, false)
}

func decoded(t *testing.T, w *lifetest.World, noLocks bool) {
	t.Helper()
	r, err := w.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := verify.Run(t.Context(), verify.Options{
		Now:        w.Now,
		Repository: r, In: w.Store, Identities: []keys.Identity{w.Key}, Level: verify.Content, NoLocks: noLocks,
		Emit: func(f verify.Finding) { t.Error(f) },
	})
	if err != nil || s.Status != verify.OK || s.EntriesRead == 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestThinPacks: what is left of a mostly dead pack is read again, of a large object by range, and stored anew; the old pack is
// needed by old points only, and its lock is not lengthened.
func TestThinPacks(t *testing.T) {
	w := thin(t)
	before := needs(t, w)
	w.Source.ResetStats()
	run(t, w)
	after := needs(t, w)
	left := 0
	for name := range before {
		if kind(name) == "packs" && after[name] == 0 {
			left++
		}
	}
	if left != 1 {
		t.Errorf("%d packs were let go: %v, then %v", left, before, after)
	}
	if read := w.Source.Stats().Bytes; read < 1<<20 || read > 5<<20 {
		t.Errorf("%d bytes were read from the source", read)
	}
	verified(t, w)
	w.Pass(day)
	w.Source.ResetStats()
	run(t, w)
	if read := w.Source.Stats().Bytes; read > 1<<20 {
		t.Errorf("the next run read %d bytes", read)
	}
	verified(t, w)
}

func kind(name string) string {
	for i := range name {
		if name[i] == '/' {
			return name[:i]
		}
	}
	return name
}

// TestThinPacksStay: where the source does not give what is left, the old pack is kept and its lock lengthened, and the point
// is complete all the same.
func TestThinPacksStay(t *testing.T) {
	w := thin(t)
	before := needs(t, w)
	w.Source.OnOpen(func(key string, _ int64) { w.Source.Fail(key, memsource.Fault{Failure: memsource.Unreadable}) })
	run(t, w)
	after := needs(t, w)
	for name, n := range before {
		if kind(name) == "packs" && after[name] != n {
			t.Errorf("%s: %d bytes were needed, and %d are", name, n, after[name])
		}
	}
	verified(t, w)
}

// TestForecast: a dry run says how many locks the run lengthens.
func TestForecast(t *testing.T) {
	w := ran(t, lifetest.Options{Objects: 40, Change: 0.0001}, 2)
	w.Clock = time.Date(2027, 1, 1, 2, 0, 0, 0, time.UTC)
	dry, err := w.DryRun(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	w.Extended()
	run(t, w)
	var made int64
	for _, n := range w.Extended() {
		made += n
	}
	said := dry.Vaults[0].Extended
	if said == 0 || made < said-1 || made > said+4 { // what holds the needs list itself is not on it
		t.Errorf("%d locks were lengthened, %d forecast", made, said)
	}
}

// TestFolding: the number of placements objects and index segments that are kept up does not grow with the runs, and a
// machine without a cache finds all content.
func TestFolding(t *testing.T) {
	w := ran(t, lifetest.Options{Objects: 30, Size: 512, Change: 0.1}, 0)
	for range 80 {
		if _, err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Pass(day / 2)
	}
	s, err := w.Session(t.Context(), w.Vault)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[bool]int{}
	for p, err := range s.Cache().Places.All(w.Vault.Name) {
		if err != nil {
			t.Fatal(err)
		}
		if index := len(p.Index) > 0; index || kind(p.Name) == "placements" {
			kept[index]++
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if kept[true] > 64 || kept[false] > 64+2 || kept[true] == 0 || kept[false] == 0 {
		t.Errorf("%d index segments and %d placements objects are kept up", kept[true], kept[false])
	}
	w.LoseCache(t.TempDir())
	for i := range 5 { // the same content under other names
		w.Copy(i)
	}
	packs := func() int64 {
		_, kinds, err := w.Sizes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return kinds["packs"].Bytes
	}
	before := packs()
	res, err := w.Run(t.Context())
	if stored := packs() - before; err != nil || res.Added != 5 || stored > (res.Changed+2)*512 {
		t.Errorf("%d bytes of packs were stored: %+v, %v", stored, res, err)
	}
	verified(t, w)
}
