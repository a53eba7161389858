package main

import (
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// tellEmpty says of a source in which nothing was found what that means. The first point of a source may be empty: that is a
// warning. The error is the alarm of one that had something before.
func (j *telling) tellEmpty(s config.Source, r *backup.Result) error {
	if r.FirstEmpty {
		j.ui.warn("source %s: there is nothing in it; check its URL, its exclude patterns, and whether its disk is mounted", s.Name)
	}
	if r.Emptied == nil {
		return nil
	}
	before := "there was something before"
	if last := r.Emptied.Last; last != nil {
		before = fmt.Sprintf("the last point that is not empty is %.12s, signed %s, with %s, %s, and is kept on", last.ID,
			last.SignedAt.UTC().Format(time.RFC3339), entries(last.Line.Entries), size(last.Line.Bytes))
	}
	return &marked{errEmptied, fmt.Errorf("source %s: it is empty now; %s; until `holdfast run --allow-empty %s` every run says so",
		s.Name, before, s.Name)}
}

// passedOver says that points were not taken because they are marked.
func (r *reading) passedOver(n int, newest browse.Point) {
	why := "marked " + fmt.Sprint(newest.Commit.Marks)
	if newest.Commit.Marked(format.MarkSuspect) {
		why = "suspect, as the guard gave an alarm, and nobody acknowledged that"
	}
	if newest.Commit.Marked(format.MarkEmpty) {
		why = "empty, where there had been something, and nobody acknowledged that"
	}
	r.ui.warn("%s of %s passed over: %s; the newest is %.12s, signed %s; give its ID to take it", plural(n, "newer point", "newer points"),
		newest.Source, why, newest.ID, newest.SignedAt.UTC().Format(time.RFC3339))
}
