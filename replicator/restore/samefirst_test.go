package restore_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// TestPagesThatBeginWithOneKey: two inner pages that were found begin with the same key, and behind one of them a page is lost that leads
// on to other keys. The other one is walked all the same, whichever of them has the lower hash.
func TestPagesThatBeginWithOneKey(t *testing.T) {
	r := restoretest.New(t)
	for n := range 12 { // the hashes are others each time
		m := &made{r: r, stored: map[string][]format.Frame{}}
		leaf := func(key string, second int) format.PageRef {
			ref, page := leafPage(t, &format.Entry{
				Kind: format.KindMarker, Key: key, Version: fmt.Sprintf("%d.%d", n, second), Modified: format.At(time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC)),
			})
			m.place(t, []*format.PageRef{&ref}, [][]byte{page})
			return ref
		}
		full := m.above(t, m.above(t, m.above(t, leaf("a", 1), leaf("a", 2))))
		gone := m.above(t, m.above(t, leaf("a", 3), leaf("c", 4)))
		root := m.root(t, full, m.above(t, gone))
		c := m.commit(t, root)
		lose(t, r, root.Object)
		lose(t, r, gone.Object)
		var got []string
		in := r.Reader(nil)
		for ref, err := range in.Leaves(t.Context(), c, "", "", nil) {
			if err != nil {
				t.Errorf("%d: %v", n, err)
				continue
			}
			for e, err := range tree.LeafEntries(t.Context(), in.Page, ref) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.Key+" "+e.Version)
			}
		}
		if want := fmt.Sprintf("[a %d.1 a %d.2 a %d.3 c %d.4]", n, n, n, n); fmt.Sprint(got) != want {
			t.Errorf("%v; want %v", got, want)
		}
	}
}

type (
	leafOf  func(key, version string, second int) format.PageRef
	aboveOf func(...format.PageRef) format.PageRef
)

// TestNewestIsKnown: what is lost does not put the newest version in doubt where the pages that were read tell which it is.
func TestNewestIsKnown(t *testing.T) {
	for name, x := range map[string]struct {
		make  func(leaf leafOf, above aboveOf) (pages, gone []format.PageRef)
		root  bool // is lost, too
		doubt string
	}{
		// The first versions of k stand behind b on a page that was found, so those that say no time come behind them.
		"one run is the first, the other says no time": {func(leaf leafOf, above aboveOf) (pages, gone []format.PageRef) {
			last := above(leaf("k", "2", 0), leaf("m", "1", 1))
			return []format.PageRef{above(leaf("b", "1", 1), leaf("k", "1", 2)), last}, []format.PageRef{last}
		}, true, ""},
		"the root says that nothing comes behind": {func(leaf leafOf, above aboveOf) (pages, gone []format.PageRef) {
			first := leaf("a", "1", 1)
			lost := above(first)
			return []format.PageRef{lost, above(leaf("c", "1", 2), leaf("c", "2", 3))}, []format.PageRef{lost, first}
		}, false, ""},
		"nobody says what comes behind a page that was found": {func(leaf leafOf, above aboveOf) (pages, gone []format.PageRef) {
			last := leaf("c", "3", 4)
			lost := above(last)
			return []format.PageRef{above(leaf("c", "1", 2), leaf("c", "2", 3)), lost}, []format.PageRef{lost, last}
		}, true, "c"},
	} {
		t.Run(name, func(t *testing.T) {
			r := restoretest.New(t)
			m := &made{r: r, stored: map[string][]format.Frame{}}
			pages, gone := x.make(func(key, version string, second int) format.PageRef { // second 0: it says no time
				e := &format.Entry{Kind: format.KindMarker, Key: key, Version: version}
				if second > 0 {
					e.Modified = format.At(time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC))
				}
				ref, page := leafPage(t, e)
				m.place(t, []*format.PageRef{&ref}, [][]byte{page})
				return ref
			}, func(refs ...format.PageRef) format.PageRef { return m.above(t, refs...) })
			root := m.root(t, pages...)
			c := m.commit(t, root)
			if x.root {
				gone = append(gone, root)
			}
			for _, ref := range gone {
				lose(t, r, ref.Object)
			}
			doubt := ""
			for _, err := range r.Reader(nil).Leaves(t.Context(), c, "", "", nil) {
				if n, ok := errors.AsType[*tree.NotNewest](err); ok {
					doubt += n.Key
				}
			}
			if doubt != x.doubt {
				t.Errorf("%q in doubt, want %q", doubt, x.doubt)
			}
		})
	}
}
