package s3source

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestOneAsksForTags: of objects that are read at once from a server whose answers tell who has tags, one is asked for them, and the
// others wait for what that shows: that they may be read, or nothing.
func TestOneAsksForTags(t *testing.T) {
	const objects = 12
	for _, denied := range []bool{false, true} {
		t.Run(fmt.Sprint(denied), func(t *testing.T) {
			f, o := newFake(t)
			for i := range objects {
				f.put(fmt.Sprintf("%02d", i), []byte("x"))
			}
			var asked atomic.Int64
			var all sync.WaitGroup
			all.Add(objects)
			f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
				w.Header().Set("Server", "MinIO")
				if !r.URL.Query().Has("tagging") {
					if key != "" {
						all.Done()
						all.Wait() // all answers come before anybody has learned anything
					}
					return false
				}
				asked.Add(1)
				if denied {
					refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
				} else {
					_, _ = w.Write([]byte("<Tagging><TagSet></TagSet></Tagging>"))
				}
				return true
			})
			o.Connections = objects
			v := mustFreeze(t, o)
			var refused atomic.Int64
			var g errgroup.Group
			for _, e := range entries(t, v) {
				g.Go(func() error {
					_, err := readAll(v, e)
					if err != nil && strings.Contains(err.Error(), "s3:GetObjectTagging") {
						refused.Add(1)
						return nil
					}
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			want := [2]int64{1, 0}
			if denied {
				want = [2]int64{objects, objects}
			}
			if got := [2]int64{asked.Load(), refused.Load()}; got != want {
				t.Errorf("%d requests and %d refused instead of %v", got[0], got[1], want)
			}
		})
	}
}
