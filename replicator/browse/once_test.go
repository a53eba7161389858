package browse

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// openings counts how often each object is opened.
type openings struct {
	store.Reader
	mu sync.Mutex
	of map[string]int
}

func (o *openings) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	o.mu.Lock()
	o.of[ref.Name]++
	o.mu.Unlock()
	return o.Reader.Open(ctx, ref, off, n)
}

// TestCommitsAreReadOnce: a list of points reads no commit object twice, the one whose list of earlier points it goes by
// included, for one source, for all, and where there are none.
func TestCommitsAreReadOnce(t *testing.T) {
	h := newHistory(t)
	for source, points := range map[string]int{"uploads": 3, "site": 1, "": 4, "other": 0} {
		v := h.view()
		in := &openings{Reader: v.In, of: map[string]int{}}
		v.In = in
		n := 0
		for p, err := range Points(t.Context(), v, source) {
			if err != nil || p.Err != nil || p.Commit == nil {
				t.Fatal(err, p.Err)
			}
			n++
		}
		commits := 0
		for name, times := range in.of {
			if !strings.HasPrefix(name, format.PrefixPoints) {
				continue
			}
			if commits++; times > 1 {
				t.Errorf("%q: %s was read %d times", source, name, times)
			}
		}
		if n != points || commits != points {
			t.Errorf("%q: %d points of %d commit objects, %d expected", source, n, commits, points)
		}
	}
}
