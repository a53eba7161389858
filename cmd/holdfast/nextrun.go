package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxDoubted bounds the names that are noted at once; the next verification finds the rest.
const maxDoubted = 100_000

// losses is what a verification found that a run can do something about, or cannot.
type losses struct {
	names            []string // objects that are damaged and that runs lean on
	missing, damaged int      // objects of content
	points           int      // whose own objects are either
	keys             int      // sealed copies of the host key that are either
	unlocked         int
}

func (l *losses) add(f verify.Finding) {
	bad := f.Kind == repo.Missing || f.Kind == repo.Damaged
	content := slices.ContainsFunc([]string{format.PrefixPacks, format.PrefixMeta, format.PrefixNeeds}, func(p string) bool { return strings.HasPrefix(f.Name, p) })
	switch {
	case f.Kind == repo.Unlocked:
		l.unlocked++
	case bad && strings.HasPrefix(f.Name, format.PrefixPoints):
		l.points++
	case bad && strings.HasPrefix(f.Name, format.PrefixKeys):
		l.keys++
	case f.Kind == repo.Missing && content:
		l.missing++
	case f.Kind == repo.Damaged && content:
		l.damaged++
	default:
		return
	}
	if f.Kind == repo.Damaged && len(l.names) < maxDoubted {
		l.names = append(l.names, f.Name)
	}
}

// note leaves them in the cache of the configuration that was used, for the next run, which would not look at bytes that
// have the right name and size. It reports whether that was possible.
func (r *nextRuns) note(l *losses) bool {
	if len(l.names) == 0 || !r.isConfigured() || !r.repo.Vouched() {
		return false
	}
	slices.Sort(l.names)
	dir, err := r.cacheDir(r.config, r.repo.CacheID())
	if err == nil {
		err = cache.Doubt(dir, r.vault.name, slices.Compact(l.names))
	}
	if err != nil {
		r.ui.warn("the next run is not told of what is damaged: %v", err)
	}
	return err == nil
}

// isConfigured reports whether the vault that is read is one of the configuration's, by name.
func (r *nextRuns) isConfigured() bool {
	return r.config != nil && len(r.vaultsBut("")) > len(r.vaultsBut(r.vault.name))
}

// vaultsBut gives the names of the configuration's vaults other than one.
func (r *nextRuns) vaultsBut(name string) []string {
	var out []string
	for _, v := range r.config.Vaults {
		if v.Name != name {
			out = append(out, v.Name)
		}
	}
	return out
}

// nextRun says, a line for each kind of finding, what the next run does about it.
func (r *nextRuns) nextRun(l *losses, noted bool) []string {
	mends := "what is missing there is read from the source again for the new point"
	if r.isConfigured() {
		if others := r.vaultsBut(r.vault.name); len(others) > 0 {
			mends = fmt.Sprintf("it takes them from %s where that has them, as they are, and reads the rest from the source again for the new point", strings.Join(others, " or "))
		}
	}
	var out []string
	if l.missing > 0 {
		out = append(out, fmt.Sprintf("missing: the next run sees in the listing of vault %s that they are gone; %s", safe(r.vault.name), mends))
	}
	switch {
	case l.damaged > 0 && noted:
		out = append(out, fmt.Sprintf("damaged: noted for the next run, which looks at them again; %s", mends))
	case l.damaged > 0:
		out = append(out, "damaged: a run looks at names and sizes, not at bytes, and is told only by a verification with the job's configuration, on its machine, of the vault by its name there")
	}
	if l.keys > 0 {
		out = append(out, "the sealed copy of the host key is gone or damaged: the next run takes it from another vault, and fails where none has it")
	}
	if l.points > 0 {
		out = append(out, "a point whose own object is gone or damaged is not made again: restore it from another vault (--vault NAME) or take a later point")
	}
	if l.missing+l.damaged > 0 {
		out = append(out, "points that are there keep what they lost in this vault: restore those from another vault (--vault NAME) or take a later point")
	}
	if l.unlocked > 0 {
		out = append(out, "not locked long enough: the next run locks what its own point needs; for older points copy the vault away")
	}
	return out
}
