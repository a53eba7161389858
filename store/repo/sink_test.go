package repo_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// TestPagesOfOneObject: however short pages are, an object has no more of them than a line of a needs list can name, whichever of them
// the point needs.
func TestPagesOfOneObject(t *testing.T) {
	b := newBench(t)
	s := b.session()
	defer s.Close()
	if err := s.Begin(b.clock.Add(35 * dayLong)); err != nil {
		t.Fatal(err)
	}
	sink := s.Writer.MetaSink()
	var slots []*tree.Slot
	for i := range 2*format.MaxStretches + 10 {
		slot, err := sink.Page(t.Context(), fmt.Appendf(nil, "page %d\n", i))
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, slot)
	}
	if err := sink.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	edges := map[string][]int64{}
	for i, slot := range slots {
		if i%2 == 1 {
			edges[slot.Object()] = append(edges[slot.Object()], slot.Frame.Offset, slot.Frame.Offset+slot.Frame.Length)
		}
	}
	if len(edges) != 2 {
		t.Errorf("%d objects", len(edges))
	}
	for name, e := range edges {
		if _, err := (format.Need{Name: name, Size: 1, Living: 1, Pages: format.PagesOf(e)}).AppendLine(nil); err != nil {
			t.Error(err)
		}
	}
}
