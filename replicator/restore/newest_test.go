package restore_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// TestAnOlderVersionDoesNotStandForTheNewest: where pages are lost that lead to others, versions of one key come in the order of their
// times; and where newer ones may be lost none is restored as the current one.
func TestAnOlderVersionDoesNotStandForTheNewest(t *testing.T) {
	r := restoretest.New(t)
	entry := func(line string) *format.Entry { // KEY, or KEY VERSION SECOND, or KEY VERSION SECOND marker
		w := strings.Fields(line)
		if len(w) == 1 {
			return restoretest.Object(w[0], []byte(w[0]), r.Pack([]byte(w[0]))...)
		}
		e := restoretest.Object(w[0], []byte(w[1]), r.Pack([]byte(w[1]))...)
		if len(w) == 4 {
			e = &format.Entry{Kind: format.KindMarker, Key: w[0]}
		}
		var second int
		if _, err := fmt.Sscan(w[2], &second); err != nil {
			t.Fatal(err)
		}
		e.Version, e.Modified = w[1], format.At(time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC))
		return e
	}
	for name, x := range map[string]struct {
		leaves   []string // entries behind commas, leaves behind |, pages of level 1 behind ||; with ! before it a leaf is lost
		restored string   // bodies, in order of keys
		failed   int64
		doubt    bool // a key of which the newest version cannot be told
	}{
		"times tell":                         {leaves: []string{"k c 1|k a 2|k b 3", "l|m"}, restored: "b l m"},
		"times tell, the other way round":    {leaves: []string{"k a 1|k b 2|k c 3", "l|m"}, restored: "c l m"},
		"over two pages":                     {leaves: []string{"k c 1|k b 2", "k z 3|k a 4,l"}, restored: "a l"},
		"times do not tell, other keys do":   {leaves: []string{"k c 1|k b 1", "k z 1|k a 1,l"}, restored: "a l"},
		"times do not tell":                  {leaves: []string{"k c 1|k b 1|k a 1", "l|m"}, restored: "l m", failed: 1, doubt: true},
		"they tell of the newest alone":      {leaves: []string{"k c 1|k b 1|k a 2", "l|m"}, restored: "a l m"},
		"they do not tell of the newest":     {leaves: []string{"k c 1|k b 2,k d 3|k a 3", "l|m"}, restored: "l m", failed: 1, doubt: true},
		"a marker is the newest":             {leaves: []string{"k c 1|k a 2|k b 3 marker", "l|m"}, restored: "l m"},
		"the newest is lost":                 {leaves: []string{"a,k c 1|!k b 2,k a 3", "l|m"}, restored: "a l m", failed: 3, doubt: true},
		"its marker is lost":                 {leaves: []string{"a,k c 1|!k b 2 marker", "l|m"}, restored: "a l m", failed: 2, doubt: true},
		"one is lost":                        {leaves: []string{"a,k c 1|!k b 2|k a 3", "l|m"}, restored: "a l m", failed: 2, doubt: true}, // nothing tells that it is older
		"the newest may be lost":             {leaves: []string{"a,k c 1|!m", "n|o"}, restored: "a n o", failed: 2, doubt: true},
		"a key with one version has no more": {leaves: []string{"a,k|!m", "n|o"}, restored: "a k n o", failed: 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := &made{r: r, stored: map[string][]format.Frame{}}
			var above []format.PageRef
			var gone []string
			for _, some := range x.leaves {
				var refs []format.PageRef
				for text := range strings.SplitSeq(some, "|") {
					text, lost := strings.CutPrefix(text, "!")
					var all []*format.Entry
					for line := range strings.SplitSeq(text, ",") {
						all = append(all, entry(line))
					}
					ref, page := leafPage(t, all...)
					m.place(t, []*format.PageRef{&ref}, [][]byte{page})
					if refs = append(refs, ref); lost {
						gone = append(gone, ref.Object)
					}
				}
				above = append(above, m.above(t, refs...))
			}
			root := m.root(t, above...)
			c := m.commit(t, root)
			for _, ref := range append(above, root) {
				gone = append(gone, ref.Object)
			}
			for _, object := range gone {
				lose(t, r, object)
			}
			for _, versions := range []bool{false, true} {
				got, res, doubt := inDoubt(t, r, c, versions)
				if versions {
					if doubt != x.doubt {
						t.Errorf("with versions: %v", res.Failures)
					}
					continue
				}
				var bodies []string
				for _, k := range slices.Sorted(maps.Keys(got.got)) {
					bodies = append(bodies, string(got.got[k]))
				}
				if all := strings.Join(bodies, " "); all != x.restored || res.Failed != x.failed || doubt != x.doubt {
					t.Errorf("restored %q, %d failed: %v; want %q, %d", all, res.Failed, res.Failures, x.restored, x.failed)
				}
			}
			doubt := false
			for _, err := range browse.List(t.Context(), r.Reader(nil), c, "") {
				switch lost, isLost := errors.AsType[*tree.Lost](err); {
				case errors.As(err, new(*tree.NotNewest)), isLost && lost.From == "k":
					doubt = true
				case err != nil && !isLost:
					t.Fatal(err)
				}
			}
			if x.doubt && !doubt {
				t.Error("a list passes an older version off as the newest")
			}
		})
	}
}

// inDoubt restores, with all versions or without, and reports whether the result names a key whose newest version is not known.
func inDoubt(t *testing.T, r *restoretest.Repo, c *format.Commit, versions bool) (got *memory, res restore.Result, doubt bool) {
	t.Helper()
	got = &memory{versions: versions, ordered: true}
	res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: got, Memory: restore.MinMemory})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.Failures {
		doubt = doubt || errors.As(f.Err, new(*tree.NotNewest))
	}
	return got, res, doubt
}
