package verify

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo"
)

// TestReports: a report that was overwritten or hidden is named, an honest one and a repeated one are not.
func TestReports(t *testing.T) {
	const name = "reports/20261123T120000Z-0123456789abcdef.json"
	for _, c := range []struct {
		what  string
		spoil func(r *rig)
		want  string // "": nothing is found
	}{
		{"honest reports", func(r *rig) {
			put(t, r, "reports/20261124T120000Z-1111111111111111.json", []byte("another"))
			put(t, r, "reports/20261124T120000Z-1111111111111111.html", []byte("<p>another"))
		}, ""},
		{"the same put twice", func(r *rig) { put(t, r, name, []byte("the report")) }, ""},
		{"other bytes of the same length", func(r *rig) { r.vault.Attacker().Overwrite(name, []byte("THE REPORT")) }, "1 versions with other bytes"},
		{"other bytes of another length", func(r *rig) { r.vault.Attacker().Overwrite(name, []byte("nothing got through")) }, "1 versions with other bytes"},
		{"nothing at all", func(r *rig) { r.vault.Attacker().Overwrite(name, nil) }, "1 versions with other bytes"},
		{"hidden", func(r *rig) { r.vault.Attacker().Hide(name) }, "1 delete markers"},
		{"overwritten, and the right bytes on top again", func(r *rig) {
			r.vault.Attacker().Overwrite(name, []byte("THE REPORT"))
			put(t, r, name, []byte("the report"))
		}, "1 versions with other bytes"},
		{"very often", func(r *rig) {
			for range 3 * maxVersions {
				r.vault.Attacker().Overwrite(name, []byte("THE REPORT"))
			}
		}, "192 versions with other bytes"},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := newRig(t)
			r.run("uploads", filled())
			put(t, r, name, []byte("the report"))
			c.spoil(r)
			for _, level := range []Level{Locks, Content} {
				got, s := r.verify(r.options(level))
				if c.want == "" {
					if len(got) != 0 || s.Status != OK {
						t.Errorf("%s: %+v%s", level, s, show(got))
					}
					continue
				}
				if len(got) != 1 || got[0].Kind != repo.Tampered || got[0].Name != name || !strings.Contains(got[0].Detail, c.want) || s.Status != Tampered {
					t.Errorf("%s: %+v%s", level, s, show(got))
				}
			}
		})
	}
}
