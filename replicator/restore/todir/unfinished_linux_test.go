package todir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
)

// TestAKillAloneCostsNoReading: the machine goes on, so what has its name is whole and is believed.
func TestAKillAloneCostsNoReading(t *testing.T) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	must(t, err)
	h := newHalf(t)
	run(t, h.options(restore.Never))
	h.leaveMark(strings.TrimSpace(string(boot)), "")
	h.spoil("d0/00", zeroed)
	if res := run(t, h.options(restore.Changed)); res.Entries != 0 || res.Skipped != 40 {
		t.Errorf("a file that looks right was read again: %+v", res)
	}
	if h.marked() {
		t.Error("the mark is still there")
	}
	// An empty mark says nothing: the worst is assumed.
	must(t, os.WriteFile(filepath.Join(h.to, mark), nil, 0o600))
	if res := run(t, h.options(restore.Changed)); res.Entries != 1 {
		t.Errorf("%+v", res)
	}
}
