package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// shelf keeps pages in memory, each in an object of its own.
type shelf map[format.Hash][]byte

func (s shelf) Page(_ context.Context, plain []byte) (*tree.Slot, error) {
	sum := format.Hash(sha256.Sum256(plain))
	s[sum] = bytes.Clone(plain)
	slot := &tree.Slot{Frame: format.Frame{Length: 1, Plain: int64(len(plain))}}
	slot.Name(format.NeedsName(sum))
	return slot, nil
}

func (s shelf) Refs(ctx context.Context, encode func() ([]byte, error)) (*tree.Slot, error) {
	plain, err := encode()
	if err != nil {
		return nil, err
	}
	return s.Page(ctx, plain)
}

func (shelf) Seal(context.Context) error { return nil }

func (s shelf) load(_ context.Context, ref format.PageRef) ([]byte, error) {
	if p, ok := s[ref.Sum]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("no page at %q: %w", ref.First, format.ErrMalformed)
}

func anyNeeds() *rapid.Generator[[]format.Need] {
	return rapid.Custom(func(t *rapid.T) []format.Need {
		var out []format.Need
		for i := range rapid.IntRange(1, 80).Draw(t, "first") {
			if rapid.IntRange(0, 9).Draw(t, "in") > 0 {
				out = append(out, format.Need{Name: format.PackName(sha256.Sum256([]byte{byte(i)})), Size: int64(i + 1), Living: 1})
			}
		}
		if len(out) == 0 {
			out = append(out, format.Need{Name: format.PackName(format.Hash{1}), Size: 1, Living: 1})
		}
		sortNeeds(out)
		return out
	})
}

// growNeeds builds a needs list.
func growNeeds(t rapid.TB, s tree.Sink, cut tree.Cut, needs []format.Need) format.PageRef {
	t.Helper()
	b := tree.NewBuilder(s, cut, nil, nil)
	var ref format.PageRef
	var page []byte
	end := func() {
		if err := b.Leaf(context.Background(), ref, page); err != nil {
			t.Fatal(err)
		}
		ref, page = format.PageRef{}, nil
	}
	for _, n := range needs {
		if cut.LeafBefore(n.Name, false, int(ref.Entries), len(page)) {
			end()
		}
		if ref.Entries == 0 {
			ref.First = n.Name
		}
		ref.Entries, ref.Bytes = ref.Entries+1, ref.Bytes+n.Size
		var err error
		if page, err = n.AppendLine(page); err != nil {
			t.Fatal(err)
		}
	}
	end()
	root, err := b.Root(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// Every need of any list comes once, in order, with the longest lock any list asks for; a page that is lost costs its own
// lines at most, and is told.
func TestMerged(t *testing.T) {
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		s := shelf{}
		var all []*list
		want := map[string]locks{}
		for i := range rapid.IntRange(1, 6).Draw(t, "lists") {
			needs := anyNeeds().Draw(t, "needs")
			r := store.Retention{Mode: store.Governance, Until: start.Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "until")) * time.Hour)}
			if rapid.Bool().Draw(t, "compliance") {
				r.Mode = store.Compliance
			}
			all = append(all, &list{root: growNeeds(t, s, tree.Cut{Leaf: 4, Fanout: 3}, needs), locks: lockOf(r), point: format.Hash{byte(i)}})
			for _, n := range needs {
				l := want[n.Name]
				l.join(lockOf(r))
				want[n.Name] = l
			}
		}
		lossy := rapid.IntRange(0, 2).Draw(t, "lossy") == 0
		if lossy {
			for sum := range s {
				delete(s, sum)
				break
			}
		}
		told, pages := 0, map[*list]int{}
		m := merger{load: s.load, pages: func(l *list, _ format.PageRef) { pages[l]++ }, broken: func(_ format.PageRef, _ format.Hash, err error) error {
			told++
			if !errors.Is(err, format.ErrMalformed) {
				t.Fatal(err)
			}
			return nil
		}}
		var got []string
		for o, err := range m.merged(context.Background(), all) {
			if err != nil {
				t.Fatal(err)
			}
			if o.locks != want[o.name] && !lossy {
				t.Fatalf("%s: locks %v, want %v", o.name, o.locks, want[o.name])
			}
			got = append(got, o.name)
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("not sorted, or not once: %v", got)
		}
		if lossy != (told > 0) || !lossy && len(got) != len(want) || len(got) > len(want) {
			t.Fatalf("%d of %d names, lossy %t, told %d", len(got), len(want), lossy, told)
		}
		for _, l := range all {
			if pages[l] == 0 {
				t.Fatal("a list's pages were not told of")
			}
		}
	})
}

// A list whose pages overlap must not lead the walk back: the vault's listing has passed those names.
func TestMergedOverlap(t *testing.T) {
	s := shelf{}
	name := func(i byte) format.Need {
		return format.Need{Name: format.PackName(format.Hash{i}), Size: 1, Living: 1}
	}
	b := tree.NewBuilder(s, tree.Cut{Leaf: 4, Fanout: 4}, nil, nil)
	for _, ns := range [][]format.Need{{name(1), name(9)}, {name(5), name(7)}} {
		var page []byte
		for _, n := range ns {
			page = must(n.AppendLine(page))(t)
		}
		if err := b.Leaf(t.Context(), format.PageRef{First: ns[0].Name, Entries: 2, Bytes: 2}, page); err != nil {
			t.Fatal(err)
		}
	}
	root := must(b.Root(t.Context()))(t)
	m := merger{load: s.load, pages: func(*list, format.PageRef) {}, broken: func(_ format.PageRef, _ format.Hash, err error) error { return err }}
	var got []byte
	for o, err := range m.merged(t.Context(), []*list{{root: root}}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.sum[0])
	}
	if !bytes.Equal(got, []byte{1, 5, 7, 9}) {
		t.Errorf("got %v", got)
	}
}
