package s3source

import (
	"strings"
	"testing"
)

// TestVersionsPassedOver: a server that passes over ?versions and lists what is current is not taken for one whose objects have one
// version each.
func TestVersionsPassedOver(t *testing.T) {
	for _, page := range []int{1000, 1} {
		f, o := newFake(t)
		f.put("a", []byte("one"))
		f.put("b", []byte("two"))
		f.put("b", []byte("three"))
		f.page, f.unversioned, o.Versions = page, true, "all"
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		view, err := s.Freeze(t.Context())
		if err == nil {
			for range view.Entries(t.Context(), "", "") {
				t.Errorf("pages of %d: something is listed", page)
			}
		}
		if err == nil || !strings.Contains(err.Error(), "`versions: current` does without") {
			t.Errorf("pages of %d: %v", page, err)
		}
		o.Versions = "current"
		if got := entries(t, mustFreeze(t, o)); len(got) != 2 {
			t.Errorf("%d current entries", len(got))
		}
	}
}
