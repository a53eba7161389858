package backup_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// kinds counts the versions in a vault by the first part of their names.
func (r *rig) kinds(vault int) map[string]int {
	r.t.Helper()
	out := map[string]int{}
	for _, info := range r.names(vault, "") {
		kind, _, _ := strings.Cut(info.Name, "/")
		out[kind]++
	}
	return out
}

// TestSmallRunsStoreFiveObjects: a run that changed one entry of 200 stores a pack, one object of pages and index, one of the
// needs list, one of placements and the commit object, also where it folds what many runs before it wrote. What such points
// need is what they refer to, and each restores whole.
func TestSmallRunsStoreFiveObjects(t *testing.T) {
	r := newRig(t, 2)
	src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
	r.source = src
	for i := range 200 {
		change(r, src, want, fmt.Sprintf("k/%04d", i), body(uint64(i), 100))
	}
	r.run()
	for n := range 140 {
		before := r.kinds(0)
		change(r, src, want, fmt.Sprintf("k/%04d", n*7%200), body(uint64(1000+n), 120))
		res := r.run()
		after := r.kinds(0)
		for kind := range after {
			if after[kind]-before[kind] > 1 || kind == "descriptors" && after[kind] != before[kind] {
				t.Errorf("run %d stored %d objects under %s/", n, after[kind]-before[kind], kind)
			}
		}
		for _, v := range res.Vaults {
			if v.Objects > 5 || v.Err != nil {
				t.Errorf("run %d stored %d objects in %s: %v", n, v.Objects, v.Vault, v.Err)
			}
		}
		if n%20 == 0 {
			equal(t, r.contents(n/20%2, res.Point), want)
		}
	}
	if r.saw(repo.Missing, "") || r.saw(repo.Damaged, "") || r.saw(repo.Tampered, "") {
		t.Error("something is wrong in the vault")
	}
}
