package backup

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// However many leaves lie below an inner page, it is still known when the walk has passed them: else it would be written
// again by every run.
func TestLeavesDoNotPushOutInnerPages(t *testing.T) {
	k := (&engine{}).share().lists.newKnownPages(t.Context())
	inner := format.PageRef{Level: 2, First: "a", Object: "there", Sum: format.Hash{2}}
	k.add(inner)
	for i := range 3 * maxKnown {
		k.add(format.PageRef{First: fmt.Sprintf("leaf-%06d", i), Object: "there", Sum: format.Hash{1}})
	}
	if ref, ok := k.find(2, "a"); !ok || ref.Object != "there" || ref.Sum != inner.Sum {
		t.Error("the inner page is forgotten")
	}
	if len(k.at) > maxKnown+1 {
		t.Errorf("%d pages are remembered", len(k.at))
	}
}
