package s3source

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source"
)

// TestListedEmpty: an object that is listed with no bytes is asked for all the same; one that has some is missing, and not stored
// empty.
func TestListedEmpty(t *testing.T) {
	for _, c := range []struct {
		name  string
		d     delivery
		body  string
		parts bool
		want  string
	}{
		{"it is", delivery{}, "", false, ""},
		{"it is, no length", delivery{chunked: true}, "", false, ""},
		{"it is, with an ETag that says nothing", delivery{}, "", true, ""},
		{"it is, with neither", delivery{chunked: true}, "", true, "without its length"},
		{"it has content", delivery{}, "made up when it is read", true, "another length than listed"},
		{"it has content, no length", delivery{chunked: true}, "made up when it is read", true, "without its length"},
		{"it has content, no length, and an MD5 of nothing", delivery{chunked: true}, "made up when it is read", false, "goes on after"},
	} {
		for _, versions := range []string{"current", "all"} {
			t.Run(fmt.Sprintf("%s/%s", c.name, versions), func(t *testing.T) {
				f, o := newFake(t)
				o.Versions = versions
				f.put("k", nil)
				f.parts = c.parts
				v := mustFreeze(t, o)
				e := entries(t, v)[0]
				f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
					if key != "k" || r.URL.Query().Has("tagging") {
						return false
					}
					c.d.deliver(w, r, e.ETag, nil, []byte(c.body))
					return true
				})
				var got []byte
				var err error
				for range wrongReads + 1 {
					if got, err = readAll(v, e); !errors.Is(err, source.ErrChanged) {
						break
					}
				}
				var u *source.Unreadable
				switch {
				case c.want == "" && (err != nil || len(got) > 0):
					t.Errorf("%q: %v", got, err)
				case c.want != "" && (!errors.As(err, &u) || !strings.Contains(u.Reason, c.want)):
					t.Errorf("%q: %v", got, err)
				}
			})
		}
	}
}

// TestDatedOddly: an answer that dates an object in a form that HTTP does not have is content all the same.
func TestDatedOddly(t *testing.T) {
	for _, said := range []string{"2026-01-02T03:04:05", "yesterday", ""} {
		for _, versions := range []string{"current", "all"} {
			f, o := newFake(t)
			o.Versions = versions
			f.put("k", []byte("content"))
			v := mustFreeze(t, o)
			e := entries(t, v)[0]
			f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
				if key != "k" || r.URL.Query().Has("tagging") {
					return false
				}
				w.Header()["Last-Modified"] = []string{said}
				delivery{}.deliver(w, r, e.ETag, []byte("content"), []byte("content"))
				return true
			})
			if got, err := readAll(v, e); err != nil || string(got) != "content" {
				t.Errorf("%q, %s: %q, %v", said, versions, got, err)
			}
			e.Recheck = true
			if err := v.Complete(t.Context(), e); err != nil {
				t.Errorf("%q, %s, looked at again: %v", said, versions, err)
			}
		}
	}
}
