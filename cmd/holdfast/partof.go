package main

import (
	"context"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/part"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// partHelp stands under the help of commands that take POINT:PREFIX.
const partHelp = `
POINT:PREFIX is the point as if PREFIX had been its root: a folder (keys that begin with
PREFIX/, never those that merely begin with the same letters), or one entry, which then has the
last part of its key as its name. Keys and globs count from there.`

// partOf resolves POINT or POINT:PREFIX. in opens names.
func partOf(ctx context.Context, r *reading, in *repo.Reader, spec string) (browse.Point, part.Part, error) {
	spec, prefix := browse.Split(spec)
	p, err := r.point(ctx, spec)
	if err != nil {
		return p, part.Part{}, err
	}
	of, err := browse.FindPart(ctx, in, p.Commit, prefix)
	return p, of, err
}
