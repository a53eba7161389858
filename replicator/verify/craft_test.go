package verify

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// crafted is a point made by hand: one entry whose chunks stand in an extent page, and whatever a test bends in it.
type crafted struct {
	bendChunks func([]format.Chunk)
	bendExtent func(*format.Extent)
	bendEntry  func(*format.Entry)
	bendNeeds  func([]format.Need) []format.Need
	more       string // a second entry, as a line
}

func (r *rig) craft(c crafted) format.Hash {
	r.t.Helper()
	ctx := context.Background()
	s := r.session()
	defer s.Close()
	until := r.clock.Add(35 * 24 * time.Hour).Truncate(time.Second)
	if err := s.Begin(until); err != nil {
		r.t.Fatal(err)
	}
	var needs []format.Need
	store := func(name string, sealed pack.Sealed) {
		if err := s.Writer.Store(ctx, name, sealed); err != nil {
			r.t.Fatal(err)
		}
	}
	// Two chunks with a hole between them, in one pack.
	one, two := body(1, 3000), body(2, 4000)
	b := must(pack.NewBuilder(s.Writer.Recipients(), nil))(r.t)
	var chunks []format.Chunk
	for i, plain := range [][]byte{one, two} {
		frame := s.Writer.Encoder().Frame(nil, plain)
		off := must(b.Add(frame))(r.t)
		chunks = append(chunks, format.Chunk{Frame: format.Frame{Offset: off, Length: int64(len(frame)), Plain: int64(len(plain))}, Size: int64(len(plain)), Sum: sha256.Sum256(plain)})
		if i == 0 {
			chunks = append(chunks, format.Chunk{Hole: true, Size: 100_000})
		}
	}
	sealed := must(b.Close())(r.t)
	name := format.PackName(sealed.Sum)
	store(name, sealed)
	needs = append(needs, format.Need{Name: name, Size: int64(len(sealed.Body)), Living: 1})
	for i := range chunks {
		if !chunks[i].Hole {
			chunks[i].Pack = sealed.Sum
		}
	}
	if c.bendChunks != nil {
		c.bendChunks(chunks)
	}
	whole := slices.Concat(one, make([]byte, 100_000), two)
	var page []byte
	for _, ch := range chunks {
		page = must(ch.AppendLine(page))(r.t)
	}
	sink := s.Writer.MetaSink()
	slot := must(sink.Page(ctx, page))(r.t)
	if err := sink.Seal(ctx); err != nil {
		r.t.Fatal(err)
	}
	x := format.Extent{Size: int64(len(whole)), Object: slot.Object(), Frame: slot.Frame, Sum: sha256.Sum256(page)}
	if c.bendExtent != nil {
		c.bendExtent(&x)
	}
	e := &format.Entry{Key: "disk", Size: x.Size, SHA256: sha256.Sum256(whole), Extents: []format.Extent{x}}
	if c.bendEntry != nil {
		c.bendEntry(e)
	}
	line := must(e.AppendLine(nil))(r.t)
	ref := format.PageRef{First: "disk", Entries: 1, Bytes: e.Size}
	if c.more != "" {
		second := must(format.ParseEntry([]byte(c.more)))(r.t)
		ref.Entries, ref.Bytes = 2, e.Size+second.Size
		if more := []byte(c.more + "\n"); second.Key < e.Key {
			ref.First, line = second.Key, append(more, line...)
		} else {
			line = append(line, more...)
		}
	}
	manifest := r.plant(sink, ref, line)
	for _, n := range []string{slot.Object(), manifest.Object} {
		size, _, err := s.Content.Size(n)
		if err != nil {
			r.t.Fatal(err)
		}
		need := format.Need{Name: n, Size: size, Living: 1}
		if n == manifest.Object { // its one leaf, and its root behind it
			need.Pages = format.Pages{0, manifest.Frame.Offset + manifest.Frame.Length}
			need.Living = need.Pages.Bytes()
		}
		needs = append(needs, need)
	}
	needs = append(needs, s.Repository().Standing()...)
	sortNeeds(needs)
	if c.bendNeeds != nil {
		needs = c.bendNeeds(needs)
	}
	var lines []byte
	var total int64
	for _, n := range needs {
		lines = must(n.AppendLine(lines))(r.t)
		total += n.Size
	}
	list := r.plant(s.Writer.NeedsSink(), format.PageRef{First: needs[0].Name, Entries: int64(len(needs)), Bytes: total}, lines)
	id := must(s.Commit(ctx, &format.Commit{
		Source: "disks", SourceKind: "dir", TakenAt: format.At(r.clock), RetainUntil: format.At(until), Mode: "compliance",
		Status: format.StatusComplete, Entries: ref.Entries, Bytes: ref.Bytes, Manifest: manifest, Needs: list,
	}))(r.t)
	r.clock = r.clock.Add(time.Hour)
	return id
}

func sortNeeds(ns []format.Need) {
	slices.SortFunc(ns, func(a, b format.Need) int { return compare(a.Name, b.Name) })
}

// plant stores a tree of one leaf.
func (r *rig) plant(sink *repo.Sink, ref format.PageRef, page []byte) format.PageRef {
	r.t.Helper()
	b := tree.NewBuilder(sink, tree.Cut{Leaf: 64, Fanout: 64}, nil, nil)
	if !strings.HasPrefix(string(page), `{"name":`) { // no needs list
		b = b.Salted("")
	}
	if err := b.Leaf(context.Background(), ref, page); err != nil {
		r.t.Fatal(err)
	}
	return must(b.Root(context.Background()))(r.t)
}

func TestCrafted(t *testing.T) {
	drop := func(prefix string) func([]format.Need) []format.Need {
		return func(ns []format.Need) []format.Need {
			i := slices.IndexFunc(ns, func(n format.Need) bool { return strings.HasPrefix(n.Name, prefix) })
			return slices.Delete(ns, i, i+1)
		}
	}
	pages := func(bend func(format.Pages) format.Pages) func([]format.Need) []format.Need {
		return func(ns []format.Need) []format.Need {
			i := slices.IndexFunc(ns, func(n format.Need) bool { return len(n.Pages) > 0 })
			ns[i].Pages = bend(ns[i].Pages)
			return ns
		}
	}
	other := "the needs list names other pages in it than the manifest refers to"
	for _, c := range []struct {
		name string
		bend crafted
		want string // in the detail of the one finding of the content level; "": none
	}{
		{"a page of the manifest that is not named", crafted{bendNeeds: pages(func(p format.Pages) format.Pages { return format.Pages{0, p[1] / 2} })}, other},
		{"the first one", crafted{bendNeeds: pages(func(p format.Pages) format.Pages { return format.Pages{10, p[1] - 10} })}, other},
		{"none that is named", crafted{bendNeeds: pages(func(format.Pages) format.Pages { return nil })}, other},
		{"more pages than there are", crafted{bendNeeds: pages(func(p format.Pages) format.Pages { return append(p, 5, 100) })}, other},
		{"as many bytes elsewhere", crafted{bendNeeds: pages(func(p format.Pages) format.Pages { return format.Pages{1, p[1]} })}, other},
		{"pages in an object that has none", crafted{bendNeeds: func(ns []format.Need) []format.Need {
			i := slices.IndexFunc(ns, func(n format.Need) bool { return strings.HasPrefix(n.Name, "meta/") && len(n.Pages) == 0 })
			ns[i].Pages = format.Pages{0, 10}
			return ns
		}}, other},
		{"as it should be", crafted{}, ""},
		{"a chunk with another hash", crafted{bendChunks: func(c []format.Chunk) { c[2].Sum[0]++ }}, `"disk" cannot be restored`},
		{"chunks swapped", crafted{bendChunks: func(c []format.Chunk) { c[0], c[2] = c[2], c[0] }}, "its chunks are intact, and their sum is not the entry's"},
		{"a frame that is not there", crafted{bendChunks: func(c []format.Chunk) { c[0].Frame.Offset += 1 << 20 }}, `"disk" cannot be restored`},
		{"an extent page of another size", crafted{
			bendChunks: func(c []format.Chunk) { c[1].Size++ },
		}, "more than its 107000 bytes"},
		{"an extent page that is another", crafted{bendExtent: func(x *format.Extent) { x.Sum[0]++ }}, `"disk"`},
		{"the pack is not on the list", crafted{bendNeeds: drop("packs/")}, "needs list leaves it out"},
		{"a host key copy that is not on the list", crafted{bendNeeds: drop("keys/")}, ""}, // looked at all the same
		{"a wrong size on the list", crafted{bendNeeds: func(ns []format.Need) []format.Need {
			ns[len(ns)-1].Size++
			return ns
		}}, "instead of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			id := r.craft(c.bend)
			got, s := r.verify(r.options(Content))
			if c.want == "" {
				if len(got) != 0 || s.EntriesRead != 1 {
					t.Errorf("%+v%s", s, show(got))
				}
				return
			}
			if len(got) != 1 || got[0].Kind != repo.Damaged || got[0].Point != id || !strings.Contains(got[0].Detail, c.want) {
				t.Errorf("want %q, got%s", c.want, show(got))
			}
		})
	}
}

// A host key copy that a list leaves out still has to be there.
func TestStandingObjects(t *testing.T) {
	r := newRig(t)
	r.craft(crafted{bendNeeds: func(ns []format.Need) []format.Need {
		return slices.DeleteFunc(ns, func(n format.Need) bool { return isStanding(n.Name) })
	}})
	name := lose("keys/")(t, r)
	if got, s := r.verify(r.options(Locks)); len(got) != 1 || got[0].Name != name || got[0].Kind != repo.Missing {
		t.Errorf("%+v%s", s, show(got))
	}
}
