package backup

import "github.com/holdfast-backup/holdfast/store/repo/format"

// Fate is what would become of an entry.
type Fate string

// What may become of an entry.
const (
	Added     Fate = "added"
	Changed   Fate = "changed"
	Deleted   Fate = "deleted" // it is there no more: no part of the new point
	Unchanged Fate = "unchanged"
	Reading   Fate = "read again" // the listing cannot tell whether it has changed, or its stored content is lost or given up
	Unread    Fate = "missing"    // the listing could not see it
)

// fate tells what would become of an entry, in a dry run.
func (p *planner) fate(f Fate, e *format.Entry) {
	if !p.o.DryRun || p.o.Fate == nil {
		return
	}
	if e.Missing != "" && f != Deleted {
		f = Unread
	}
	p.o.Fate(f, e)
}

// fateOf says what a comparison came to; changed is whether it was counted as a change.
func fateOf(t *task, changed bool) Fate {
	switch {
	case changed:
		return Changed
	case t.action == read:
		return Reading
	}
	return Unchanged
}
