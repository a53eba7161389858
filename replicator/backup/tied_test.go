package backup_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
)

// Of two points of one second the later one has the list that counts: a vault that was lost in between is missed once, and not again.
func TestTheListOfTheLaterOfOneSecond(t *testing.T) {
	for n := range 8 { // the order of their names is one or the other by chance
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, 1)
			src := memsource.New(memsource.Options{Now: r.now})
			src.Put("a", []byte("content"))
			r.source = src
			first := r.run().Point
			second := r.run().Point // within the same second
			s, err := r.session(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Past.ForgetPoints("uploads"); err != nil {
				t.Fatal(err)
			}
			h, err := s.Past.Points(t.Context(), "uploads")
			if err != nil {
				t.Fatal(err)
			}
			if h.List.Entries != 1 {
				t.Errorf("the list has %d points, and that of %s, which came after %s, has one", h.List.Entries, second, first)
			}
		})
	}
}
