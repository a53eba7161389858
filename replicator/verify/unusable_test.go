package verify

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestUnusableEntries: an entry of an unknown kind is passed by and counted; one that no reader may use is a finding by its
// name. What else is in the point is compared.
func TestUnusableEntries(t *testing.T) {
	for _, c := range []struct {
		name, line, want string
		unknown          int64
	}{
		{"an unknown kind", `{"kind":"volume","key":"e","size":7,"colour":"red"}`, "", 1},
		{"an unknown kind behind", `{"kind":"volume","key":"f"}`, "", 1},
		{"a way out", `{"kind":"dir","key":"e/../","size":0,"file":{"mode":"0755"}}`, `"e/../" cannot be restored: a path with a segment ".."`, 0},
		{"from the root", `{"kind":"dir","key":"/e/","size":0,"file":{"mode":"0755"}}`, `"/e/" cannot be restored: a path that begins with a slash`, 0},
		{"a path twice", `{"kind":"dir","key":"disk/","size":0,"file":{"mode":"0755"}}`, `"disk/" cannot be restored: a second entry`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			id := r.craft(crafted{bendEntry: func(e *format.Entry) {
				if c.name == "a path twice" {
					e.Kind, e.File = format.KindFile, &format.File{Mode: 0o644}
				}
			}, more: c.line})
			got, s := r.verify(r.options(Content))
			if s.Entries != 2 || s.EntriesRead != 1 || s.UnknownKind != c.unknown {
				t.Errorf("%+v", s)
			}
			if c.want == "" {
				if len(got) != 0 || s.Status != OK {
					t.Errorf("%+v%s", s, show(got))
				}
				return
			}
			if len(got) != 1 || got[0].Kind != repo.Damaged || got[0].Point != id || !strings.Contains(got[0].Detail, c.want) {
				t.Errorf("want %q, got%s", c.want, show(got))
			}
		})
	}
}
