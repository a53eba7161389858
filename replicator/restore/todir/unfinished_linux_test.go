package todir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
)

// TestAKillAloneCostsNoReading: the machine goes on, so what has its name is whole and is believed. Only where what differs
// is to be put right everything is read.
func TestAKillAloneCostsNoReading(t *testing.T) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	must(t, err)
	h := newHalf(t)
	run(t, h.options(restore.Never))
	h.leaveMark(strings.TrimSpace(string(boot)), "")
	h.spoil("d0/00", zeroed)
	if res := run(t, h.options(restore.Never)); res.Entries != 0 || res.Skipped != 40 {
		t.Errorf("a file that looks right was read again: %+v", res)
	}
	if h.marked() {
		t.Error("the mark is still there")
	}
	if res := run(t, h.options(restore.Changed)); res.Entries != 1 || res.Skipped != 39 || len(h.wrong()) > 0 {
		t.Errorf("a file with other content and the right time was not put right: %+v", res)
	}
	h.spoil("d0/00", zeroed)
	// An empty mark says nothing: the worst is assumed.
	must(t, os.WriteFile(filepath.Join(h.to, mark), nil, 0o600))
	if res := run(t, h.options(restore.Never)); res.Entries != 1 {
		t.Errorf("%+v", res)
	}
}
