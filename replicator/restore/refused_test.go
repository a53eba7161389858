package restore_test

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestBehindARefusedPage: an inner page that has its hash and is not as it must be ends the walk. What the walk ends with may have newer
// versions behind that page, so the last one before it is not restored as the current one.
func TestBehindARefusedPage(t *testing.T) {
	r := restoretest.New(t)
	version := func(key, v string) *format.Entry {
		e := restoretest.Object(key, []byte(v), r.Pack([]byte(v))...)
		e.Version, e.Modified = v, format.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		return e
	}
	m := &made{r: r, stored: map[string][]format.Frame{}}
	above := func(entries ...*format.Entry) format.PageRef {
		ref, page := leafPage(t, entries...)
		m.place(t, []*format.PageRef{&ref}, [][]byte{page})
		return m.above(t, ref)
	}
	first, second := above(version("a", "one"), version("k", "older")), above(version("k", "newer"), version("l", "other"))
	second.Entries++
	c := m.commit(t, m.root(t, first, second))
	for _, versions := range []bool{false, true} {
		got, res, doubt := inDoubt(t, r, c, versions)
		if _, given := got.got["k"]; !doubt || !versions && (given || string(got.got["a"]) != "one") {
			t.Errorf("versions %t: restored %q, failed %v", versions, got.got, res.Failures)
		}
	}
}
