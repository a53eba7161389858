package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

// maxDoubted bounds the names that are noted at once; the next verification finds the rest.
const maxDoubted = 100_000

// doubted are the objects that a verification found damaged.
type doubted struct{ names []string }

func (d *doubted) add(f verify.Finding) {
	if f.Kind == repo.Damaged && f.Name != "" && len(d.names) < maxDoubted {
		d.names = append(d.names, f.Name)
	}
}

// note leaves them in the cache of the configuration that was used, for the next run, which would not look at bytes that
// have the right name and size. It reports whether that was possible.
func (r *reading) note(d *doubted) bool {
	if len(d.names) == 0 || !r.isConfigured() || !r.repo.Vouched() {
		return false
	}
	slices.Sort(d.names)
	dir, err := r.cacheDir(r.config, r.repo.CacheID())
	if err == nil {
		err = cache.Doubt(dir, r.vault.name, slices.Compact(d.names))
	}
	if err != nil {
		r.ui.warn("the next run is not told of what is damaged: %v", err)
	}
	return err == nil
}

// isConfigured reports whether the vault that is read is one of the configuration's, by name.
func (r *reading) isConfigured() bool {
	return r.config != nil && len(r.vaultsBut("")) > len(r.vaultsBut(r.vault.name))
}

// vaultsBut gives the names of the configuration's vaults other than one.
func (r *reading) vaultsBut(name string) []string {
	var out []string
	for _, v := range r.config.Vaults {
		if v.Name != name {
			out = append(out, v.Name)
		}
	}
	return out
}

// nextRun says, a line for each kind of finding, what the next run does about it.
func (r *reading) nextRun(s verify.Summary, noted bool) []string {
	mends := "what is missing there is read from the source again for the new point"
	if r.isConfigured() {
		if others := r.vaultsBut(r.vault.name); len(others) > 0 {
			mends = fmt.Sprintf("it takes them from %s where that has them, as they are, and reads the rest from the source again for the new point", strings.Join(others, " or "))
		}
	}
	var out []string
	if s.Missing > 0 {
		out = append(out, fmt.Sprintf("missing: the next run sees in the listing of vault %s that they are gone; %s", safe(r.vault.name), mends))
	}
	switch {
	case s.Damaged > 0 && noted:
		out = append(out, fmt.Sprintf("damaged: noted for the next run, which looks at them again; %s", mends))
	case s.Damaged > 0:
		out = append(out, "damaged: a run looks at names and sizes, not at bytes, and is told only by a verification with the job's configuration, on its machine, of the vault by its name there")
	}
	if s.Missing+s.Damaged > 0 {
		out = append(out, "points that are there keep what they lost in this vault: restore those from another vault (--vault NAME) or take a later point")
	}
	if s.Unlocked > 0 {
		out = append(out, "not locked long enough: the next run locks what its own point needs; for older points copy the vault away")
	}
	return out
}
