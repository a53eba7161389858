package restore_test

import (
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
