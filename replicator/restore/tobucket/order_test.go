package tobucket_test

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// What is at a target that lists in an order of its own is left as it is by never, however many pages of it there are, and what
// is not there is put.
func TestTargetsThatListInAnotherOrder(t *testing.T) {
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("a/%02d", i), fmt.Sprintf("a-%02d", i), fmt.Sprintf("B%02d", i))
	}
	keys = append(keys, "a0", "b", "\uE000", "\U0001F600")
	sum := func(s string) uint64 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(s))
		return h.Sum64()
	}
	for name, order := range map[string]func(a, b string) int{
		"bytes":        strings.Compare,
		"path by path": func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) },
		"without case": func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) },
		"UTF-16":       func(a, b string) int { return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b))) },
		"backwards":    func(a, b string) int { return strings.Compare(b, a) },
		"by hash":      func(a, b string) int { return cmp.Compare(sum(a), sum(b)) },
	} {
		for _, page := range []int{0, 7, 1} {
			s := &habits{order: order, page: page}
			r := restoretest.New(t)
			src := memsource.New(memsource.Options{})
			for _, k := range keys {
				src.Put(k, []byte("of the point"))
			}
			p := r.Backup(src)
			target := s.target(t, "")
			s.objects, s.uploads, s.calls = map[string]*stored{}, map[string]*uploading{}, map[string]int{}
			mine := map[string]bool{}
			for i, k := range keys {
				if i%3 != 1 {
					s.put(k, []byte("the owner's own"), nil, "own")
					mine[k] = true
				}
			}
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: p, Target: target})
			if res.Differs != int64(len(mine)) || res.Entries != int64(len(keys)-len(mine)) || res.Failed > 0 {
				t.Errorf("%s, %d a page: %+v", name, page, res)
			}
			for _, k := range keys {
				if was := string(s.objects[k].body); mine[k] && was != "the owner's own" || !mine[k] && was != "of the point" {
					t.Errorf("%s, %d a page: %q holds %q", name, page, k, was)
				}
			}
		}
	}
}

// Real servers, with more at the target than a page of a listing holds.
func TestManyAtTheTarget(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) {
		r := restoretest.New(t)
		src := memsource.New(memsource.Options{})
		for i := range 1001 {
			src.Put(fmt.Sprintf("a/%04d", i), nil)
		}
		for _, k := range []string{"a-b", "a.b", "a0", "A", "b/c", "b-c", "\uE000", "\U0001F600"} {
			src.Put(k, []byte("of the point"))
		}
		c := r.Backup(src)
		name := bucket(t, s, false)
		do := func() restore.Result {
			return run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name)})
		}
		if res := do(); res.Failed > 0 || res.Entries != 1009 {
			t.Fatalf("%+v", res)
		}
		for _, k := range []string{"a-b", "b/c", "\U0001F600"} {
			_, err := s.Admin().PutObject(t.Context(), name, k, strings.NewReader("the owner's own"), 15, minio.PutObjectOptions{})
			must(t, err)
		}
		if res := do(); res.Entries+res.Failed != 0 || res.Differs != 3 || res.Skipped != 1009 {
			t.Errorf("%+v", res)
		}
	})
}
