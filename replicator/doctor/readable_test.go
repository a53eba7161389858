package doctor_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/doctor"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/probe"
)

// TestOneThingThatCannotBeRead: one entry that cannot be read, the first of all included, says nothing of the rest of a source; and
// rights are named as the reason only where they are.
func TestOneThingThatCannotBeRead(t *testing.T) {
	listed, opened := memsource.Fault{Failure: memsource.Missing}, memsource.Fault{Failure: memsource.Unreadable}
	broken := memsource.Fault{Failure: memsource.Unreadable, Reason: "spoilt"}
	for _, c := range []struct {
		name   string
		faults map[string]memsource.Fault
		want   probe.Severity
		says   string
		mend   string
	}{
		{"all is well", nil, probe.OK, "", ""},
		{"the first is listed as missing", map[string]memsource.Fault{"a": listed}, probe.Warning, `"a"`, "exclude it"},
		{"the first cannot be opened", map[string]memsource.Fault{"a": opened}, probe.Warning, `"a"`, "exclude it"},
		{"three cannot", map[string]memsource.Fault{"a": opened, "b": listed, "c": opened}, probe.Warning, `"b"`, "exclude it"},
		{"none can be opened", map[string]memsource.Fault{"a": opened, "b": opened, "c": opened, "d": opened}, probe.Critical, `"a"`, "--role source-reader"},
		{"all are listed as missing", map[string]memsource.Fault{"a": listed, "b": listed, "c": listed, "d": listed}, probe.Critical, `"a"`, "--role source-reader"},
		{"none, and not for want of a right", map[string]memsource.Fault{"a": broken, "b": broken, "c": broken, "d": broken}, probe.Critical, "spoilt", "the error names"},
		{"the last cannot", map[string]memsource.Fault{"d": opened}, probe.OK, "", ""},
	} {
		src := memsource.New(memsource.Options{})
		for _, k := range []string{"a", "b", "c", "d"} {
			src.Put(k, []byte("content"))
			if f, ok := c.faults[k]; ok {
				src.Fail(k, f)
			}
		}
		s := doctor.Source{Name: "uploads", Source: src, Place: doctor.Place{Directory: true}}
		var found *doctor.Finding
		emit := func(f doctor.Finding) {
			if f.Check == "source-read" {
				found = &f
			}
		}
		if _, err := doctor.Run(t.Context(), doctor.Options{Sources: []doctor.Source{s}, Machine: machine(t), Emit: emit}); err != nil {
			t.Error(err)
		}
		if found == nil || found.Severity != c.want || !strings.Contains(found.Seen, c.says) || !strings.Contains(found.Mend, c.mend) {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}
