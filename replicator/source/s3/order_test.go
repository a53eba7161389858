package s3source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// orders are those of servers that keep their keys in something else than a sorted list of bytes.
func orders() map[string]func(a, b string) int {
	sum := func(s string) uint64 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(s))
		return h.Sum64()
	}
	return map[string]func(a, b string) int{
		"UTF-16": func(a, b string) int { return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b))) },
		"letters without case": func(a, b string) int {
			return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
		},
		"path by path":          func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) },
		"backwards":             func(a, b string) int { return strings.Compare(b, a) },
		"by hash, as if sealed": func(a, b string) int { return cmp.Or(cmp.Compare(sum(a), sum(b)), strings.Compare(a, b)) },
		"the last one out of turn": func(a, b string) int {
			return cmp.Or(boolInt(a == "0 late")-boolInt(b == "0 late"), strings.Compare(a, b))
		},
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestOrders: whatever the order of a listing, a view is in the order of key bytes, its versions oldest first, with little
// memory; where that is seen only when part was handed on, the reader is told to begin again.
func TestOrders(t *testing.T) {
	keys := []string{"0 late", "A", "B/c", "a", "a-b", "a.b", "a/b", "a/c", "b", "Zz", "ü", "\uE000", "\U0001F600", "日本"}
	for i := range 60 {
		keys = append(keys, fmt.Sprintf("k/%02d", i), fmt.Sprintf("K-%02d", i))
	}
	slices.Sort(keys)
	for name, order := range orders() {
		for _, page := range []int{1000, 7, 1} {
			for _, versions := range []string{"current", "all"} {
				t.Run(fmt.Sprintf("%s/%d/%s", name, page, versions), func(t *testing.T) {
					f, o := newFake(t)
					f.order, f.page, o.Versions, o.SortMemory, o.TempDir = order, page, versions, 4<<10, t.TempDir()
					per := 1
					for _, k := range keys {
						f.put(k, []byte("old"))
						if versions == "all" {
							f.put(k, []byte("new "+k))
							per = 2
						}
					}
					v := mustFreeze(t, o)
					es, err := whole(v)
					if errors.Is(err, source.ErrOrder) && errors.Is(err, store.ErrListing) {
						es, err = whole(v)
					}
					if err != nil || len(es) != per*len(keys) {
						t.Fatalf("%d of %d entries: %v", len(es), per*len(keys), err)
					}
					for i, e := range es {
						if e.Key != keys[i/per] || i%per > 0 && es[i-1].Version >= e.Version {
							t.Fatalf("%d is %q %s instead of %q", i, e.Key, e.Version, keys[i/per])
						}
					}
					for _, k := range keys[:20] { // one key, as it is looked up again
						if es := ranged(t, v, k, k+"\x00"); len(es) != per || es[0].Key != k {
							t.Errorf("%q alone: %d entries", k, len(es))
						}
					}
					if es := ranged(t, v, "a", "b"); len(es) != 5*per {
						t.Errorf("a range: %d entries", len(es))
					}
					if met := habitNames(v); !strings.Contains(met, "list-order") {
						t.Errorf("met %q", met)
					}
				})
			}
		}
	}
}

func whole(v source.View) (out []*format.Entry, err error) {
	for e, err := range v.Entries(context.Background(), "", "") {
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
	return out, nil
}

// TestSorter: as many runs as it takes, merged some at a time, in order and without loss.
func TestSorter(t *testing.T) {
	s := &sorter{dir: t.TempDir(), memory: 1 << 10}
	defer s.close()
	const n = 3000
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for i := range n {
		it := listItem{key: fmt.Sprintf("k%05d", (i*7919)%n), version: fmt.Sprint(i), etag: "e", class: "c", size: int64(i), modified: at, marker: i%3 == 0, bad: "b"}
		if i%5 == 0 {
			it.modified = time.Time{}
		}
		if err := s.add(t.Context(), &it, true); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.runs) == 0 || len(s.runs) > maxRuns {
		t.Errorf("%d runs", len(s.runs))
	}
	got := 0
	if err := s.each(t.Context(), func(it *listItem) error {
		var i int
		if _, err := fmt.Sscan(it.version, &i); err != nil {
			return err
		}
		want := listItem{key: fmt.Sprintf("k%05d", got), version: fmt.Sprint(i), etag: "e", class: "c", size: int64(i), modified: at, marker: i%3 == 0, bad: "b"}
		if i%5 == 0 {
			want.modified = time.Time{}
		}
		if *it != want {
			t.Fatalf("%+v instead of %+v", *it, want)
		}
		got++
		return nil
	}); err != nil || got != n {
		t.Errorf("%d of %d: %v", got, n, err)
	}
}
