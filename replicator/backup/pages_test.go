package backup_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// without is a vault that has lost an object.
type without struct {
	store.Reader
	name string
}

func (w without) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if ref.Name == w.name {
		return nil, store.ErrNotFound
	}
	return w.Reader.Open(ctx, ref, off, n)
}

func (w without) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	if ref.Name == w.name {
		return store.Info{}, store.Retention{}, store.ErrNotFound
	}
	return w.Reader.Stat(ctx, ref)
}

func (w without) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range w.Reader.Versions(ctx, prefix, after) {
			if info.Name != w.name && !yield(info, err) {
				return
			}
		}
	}
}

// readerWithout reads the first vault without one object; "": with all.
func readerWithout(r *rig, name string) *repo.Reader {
	r.t.Helper()
	in := without{r.stores[0], name}
	rp, err := repo.Find(r.t.Context(), in, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	reader, err := repo.NewReader(rp, in, []keys.Identity{r.restore}, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return reader
}

// walked gives what a walk comes by, in order, and how many entries are lost.
func walked(t *testing.T, in *repo.Reader, c *format.Commit, from, to string) (entries []string, lost int64) {
	t.Helper()
	for leaf, err := range in.Leaves(t.Context(), c, from, to, nil) {
		if gap, ok := errors.AsType[*tree.Lost](err); ok {
			lost += gap.Entries
			continue
		}
		if errors.As(err, new(*tree.NotNewest)) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range tree.LeafEntries(t.Context(), in.Page, leaf) {
			if errors.Is(err, repo.ErrMissing) {
				lost += leaf.Entries
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, fmt.Sprintf("%s %s %d %s", e.Key, e.Version, e.Size, e.SHA256))
		}
	}
	return entries, lost
}

// behindLost loses each object with pages of a point in turn: all entries on other pages come, in order, as they are in the point, and
// the others are counted.
func behindLost(r *rig, c *format.Commit) {
	t := r.t
	t.Helper()
	ctx := t.Context()
	in := r.reader()
	intact := map[string][]string{} // by the object of their page
	var all []string                // of the objects, as they come
	leaves := map[string]int64{}    // entries by object
	objects := map[string]bool{}
	for leaf, err := range tree.Leaves(ctx, in.Page, c.Manifest, "", func(ref format.PageRef) { objects[ref.Object] = true }) {
		if err != nil {
			t.Fatal(err)
		}
		objects[leaf.Object] = true
		leaves[leaf.Object] += leaf.Entries
		for e, err := range tree.LeafEntries(ctx, in.Page, leaf) {
			if err != nil {
				t.Fatal(err)
			}
			line := fmt.Sprintf("%s %s %d %s", e.Key, e.Version, e.Size, e.SHA256)
			all = append(all, line)
			intact[leaf.Object] = append(intact[leaf.Object], line)
		}
	}
	for _, object := range slices.Sorted(maps.Keys(objects)) {
		gone := intact[object]
		var want []string
		for _, line := range all {
			if len(gone) > 0 && gone[0] == line {
				gone = gone[1:]
			} else {
				want = append(want, line)
			}
		}
		got, lost := walked(t, readerWithout(r, object), c, "", "")
		if !slices.Equal(got, want) || lost != leaves[object] {
			t.Fatalf("without %s: %d entries and %d lost, want %d and %d\n got %q\nwant %q", object, len(got), lost, len(want), leaves[object], got, want)
		}
	}
}

// TestPagesOfAnyHistory: whatever happens to a source and to its runs, the needs list of each point names the pages of its manifest
// and no other; contents compares them. So whatever object is lost, everything on intact pages is found.
func TestPagesOfAnyHistory(t *testing.T) {
	for n := range 60 / every(5) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			g := rand.New(rand.NewPCG(seed, 1))
			r := newRigWith(t, 1, tiny())
			src, want := varied(r)
			r.run()
			for range 6 {
				r.clock = r.clock.Add(time.Duration(1+g.IntN(40*24)) * time.Hour)
				r.edit(g, src, want)
				switch g.IntN(6) {
				case 0:
					r.cache = t.TempDir()
				case 1: // a run that is broken off, and another edit
					var puts atomic.Int64
					most := 1 + g.Int64N(6)
					r.wrap(0, func(op, _ string) bool {
						if op == "put" {
							puts.Add(1)
						}
						return puts.Load() > most
					})
					_, err := r.try(t.Context())
					r.wrap(0, nil)
					if err == nil && puts.Load() > most {
						t.Fatal("the run was not broken off")
					}
					r.edit(g, src, want)
				case 2: // a run that finds something lost
					all := slices.Concat(r.names(0, format.PrefixPacks), r.names(0, format.PrefixMeta), r.names(0, format.PrefixNeeds))
					loseVault(r, 0, all[g.IntN(len(all))])
				}
				c := commitOf(r, r.run().Point)
				equal(t, readPoint(t, r.reader(), c), want)
				r.checkNeeds(r.reader(), c, r.stores[0])
				if countedAnew(r) {
					t.Errorf("the last point's list was not believed: %q", r.remarks)
				}
				if t.Failed() {
					return
				}
				behindLost(r, c)
			}
		})
	}
}

// countedAnew reports whether a run found its parent's needs list untrue.
func countedAnew(r *rig) bool {
	return slices.ContainsFunc(r.remarks, func(text string) bool { return strings.Contains(text, "counted anew") })
}

// edit changes a source somehow.
func (r *rig) edit(g *rand.Rand, src *memsource.Source, want map[string][]byte) {
	put := func(key string, b []byte) {
		src.Put(key, b)
		want[key] = b
	}
	switch g.IntN(6) {
	case 0: // nothing
	case 1: // one entry
		put(fmt.Sprintf("k/%04d", g.IntN(60)), body(g.Uint64(), g.IntN(3000)))
	case 2: // some, and some go
		for range g.IntN(30) {
			key := fmt.Sprintf("k/%04d", g.IntN(90))
			if g.IntN(3) == 0 {
				src.Delete(key)
				delete(want, key)
			} else {
				put(key, body(g.Uint64(), g.IntN(3000)))
			}
		}
	case 3: // another directory grows
		for i := range g.IntN(60) {
			put(fmt.Sprintf("%c/%s/%d", 'a'+g.IntN(20), strings.Repeat("d", g.IntN(50)), i), body(g.Uint64(), g.IntN(200)))
		}
	case 4: // within a large one, whose extents are pages in the same objects
		b := slices.Clone(want["large"])
		b[g.IntN(len(b))]++
		if g.IntN(3) == 0 {
			b = append(b, body(g.Uint64(), 3<<20)...)
		}
		put("large", b)
	case 5: // all of a directory goes
		prefix := fmt.Sprintf("k/00%d", g.IntN(6))
		for key := range want {
			if strings.HasPrefix(key, prefix) {
				src.Delete(key)
				delete(want, key)
			}
		}
	}
}

// TestPagesOfImages: the same where ranges are taken over between images, and pages of extents are referred to by several.
func TestPagesOfImages(t *testing.T) {
	for n := range 20 / every(5) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			g := rand.New(rand.NewPCG(rand.Uint64(), 1))
			r := newRigWith(t, 1, tiny())
			d := newDisks()
			d.versions = g.IntN(2) == 0
			r.source = d
			for i := range 5 {
				for range g.IntN(4) {
					key := fmt.Sprintf("vol-%d", g.IntN(12))
					snap := disk(fmt.Sprintf("snap-%d-%d", i, g.IntN(1<<30)), 3, 5, g.Uint64())
					if ids := d.keys[key]; len(ids) > 0 {
						snap = d.snaps[ids[len(ids)-1]].clone(snap.id)
						snap.blocks[g.Int64N(snap.size/format.ImageBlock)] = block(g.Uint64())
					}
					d.set(key, snap)
				}
				if g.IntN(3) == 0 {
					delete(d.keys, fmt.Sprintf("vol-%d", g.IntN(12)))
				}
				r.clock = r.clock.Add(time.Hour)
				c := commitOf(r, r.run().Point)
				r.checkNeeds(r.reader(), c, r.stores[0])
				if countedAnew(r) {
					t.Fatalf("the last point's list was not believed: %q", r.remarks)
				}
				if c.Entries > 0 {
					behindLost(r, c)
				}
			}
		})
	}
}

// TestAListThatIsNotTrue: where the last point's needs list does not say which pages of its manifest are where, a run counts anew, and
// its own list says it.
func TestAListThatIsNotTrue(t *testing.T) {
	for name, bend := range map[string]func(format.Pages) format.Pages{
		"a page is left out": func(p format.Pages) format.Pages { return append(format.Pages{p[0] + 100, p[1] - 100}, p[2:]...) },
		"all are":            func(format.Pages) format.Pages { return nil },
		"all but one byte":   func(format.Pages) format.Pages { return format.Pages{0, 1} },
		"more than there are": func(p format.Pages) format.Pages {
			return format.Pages{0, p.Edges()[len(p)-1] + 100_000}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, 1, tiny())
			src, want := varied(r)
			last := r.run()
			bendNeeds(r, last.Point, bend)
			for key := range maps.Clone(want) {
				change(r, src, want, key, body(17, len(want[key])+1))
			}
			res := r.run()
			equal(t, r.contents(0, res.Point), want)
			if !countedAnew(r) {
				t.Error("nobody was told")
			}
			if res.Deleted != 0 || res.Missing != 0 {
				t.Errorf("%+v", res)
			}
		})
	}
}

// bendNeeds makes a point that follows a point and has its manifest, with another needs list.
func bendNeeds(r *rig, id format.Hash, bend func(format.Pages) format.Pages) {
	t := r.t
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := *commitOf(r, id)
	r.clock = r.clock.Add(time.Hour)
	s, err := r.session(ctx)
	check(err)
	defer func() { check(s.Close()) }()
	check(s.Begin(c.RetainUntil.Time))
	var lines []byte
	root := format.PageRef{}
	for n, err := range tree.Needs(ctx, r.reader().Page, c.Needs, nil) {
		check(err)
		if len(n.Pages) > 0 {
			n.Pages = bend(n.Pages)
		}
		if root.Entries++; root.Entries == 1 {
			root.First = n.Name
		}
		root.Bytes += n.Size
		lines, err = n.AppendLine(lines)
		check(err)
	}
	sink := s.Writer.NeedsSink()
	slot, err := sink.Page(ctx, lines)
	check(err)
	check(sink.Seal(ctx))
	root.Object, root.Frame, root.Sum = slot.Object(), slot.Frame, sha256.Sum256(lines)
	c.Needs, c.Predecessors = root, []format.Predecessor{{ID: id, SignedAt: c.SignedAt, RetainUntil: c.RetainUntil}}
	c.TakenAt = format.At(r.clock)
	_, err = s.Commit(ctx, &c)
	check(err)
}
