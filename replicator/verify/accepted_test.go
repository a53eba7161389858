package verify

import (
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// TestAcceptedEntriesAreNoDamage: entries that could not be read and were accepted (archived objects) make no point
// incomplete, are not among the manifest's missing ones, and are no damage of its content, alone and
// beside others that are missing.
func TestAcceptedEntriesAreNoDamage(t *testing.T) {
	archived := memsource.Fault{Failure: memsource.Accepted, Reason: "archived (GLACIER)"}
	denied := memsource.Fault{Failure: memsource.Unreadable}
	for name, c := range map[string]struct {
		faults  map[string]memsource.Fault
		missing int64
	}{
		"one archived":         {map[string]memsource.Fault{"small/0003": archived}, 0},
		"a large one archived": {map[string]memsource.Fault{"large": archived, "small/0149": archived}, 0},
		"one denied":           {map[string]memsource.Fault{"small/0003": denied}, 1},
		"both":                 {map[string]memsource.Fault{"small/0003": denied, "small/0004": archived, "large": archived}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, src := newRig(t), filled()
			for key, f := range c.faults {
				src.Fail(key, f)
			}
			r.run("uploads", src)
			got, sum := r.verify(r.options(Content))
			for _, f := range got {
				if f.Kind == repo.Damaged {
					t.Errorf("%s", f)
				}
			}
			if sum.Points != 1 {
				t.Errorf("%+v", sum)
			}
			s := r.session()
			defer s.Close()
			for _, p := range must(s.Repository().Points(t.Context(), r.vault, "", nil))(t) {
				if m := must(s.Repository().Commit(t.Context(), r.vault, p, nil))(t).Manifest; m.Missing != c.missing {
					t.Errorf("%d missing in the manifest, not %d", m.Missing, c.missing)
				}
			}
		})
	}
}
