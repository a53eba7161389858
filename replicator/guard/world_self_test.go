package guard_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"
)

// One seed is one history, and an attack touches what it says.
func TestHistoriesAreWhatTheySay(t *testing.T) {
	seed := seeds(t)
	for _, h := range slices.Concat(benign(), attacks(), more(), untold()) {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			var first map[string]*file
			for range 2 {
				w := newWorld(t, seed)
				w.settle(200)
				most := 0.0
				for after := -3; after < 2; after++ {
					w.day()
					h.step(w, after)
					most = max(most, float64(len(w.touched))/float64(w.entries))
				}
				if first == nil {
					first = w.files
				} else if !maps.EqualFunc(first, w.files, func(a, b *file) bool { return bytes.Equal(a.body, b.body) && a.modified.Equal(b.modified) }) {
					t.Error("one seed gave two histories")
				}
				bad := slices.ContainsFunc(attacks(), func(a history) bool { return a.name == h.name })
				if touches := most >= 0.05; touches && !bad && slices.ContainsFunc(benign(), func(b history) bool { return b.name == h.name }) {
					t.Errorf("a history without harm touches %.1f %%", 100*most)
				} else if bad && !touches && !h.slow && h.name != "emptied listing" {
					t.Errorf("it touches %.1f %%", 100*most)
				}
			}
		})
	}
}
