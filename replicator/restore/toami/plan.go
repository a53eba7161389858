package toami

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/image"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Needed gives the keys that a restore of AMIs takes: those of the definitions that include and exclude choose, and of the
// snapshots that these are made of. AMIs are chosen by the keys of their definitions; what else the globs match does not
// matter here. A definition that the point does not have, or that cannot be read, is among the keys: the restore says so.
func Needed(ctx context.Context, r *repo.Reader, c *format.Commit, include, exclude []string) ([]string, error) {
	in, err := glob.ParseSet(include)
	if err != nil {
		return nil, fmt.Errorf("include: %w", err)
	}
	out, err := glob.ParseSet(exclude)
	if err != nil {
		return nil, fmt.Errorf("exclude: %w", err)
	}
	var keys []string
	for e, err := range browse.List(ctx, r, c, imagePrefix) {
		if err != nil {
			return nil, err
		}
		if !in.Empty() && !in.Match(e.Key) || out.Match(e.Key) {
			continue
		}
		keys = append(keys, e.Key)
		if e.Kind != format.KindObject || e.Missing != "" || !strings.HasSuffix(e.Key, suffix) || e.Size > maxDocument {
			continue
		}
		if d, err := read(ctx, r, e); err == nil {
			for _, id := range d.Snapshots() {
				keys = append(keys, snapshotPrefix+id)
			}
		} else if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

func read(ctx context.Context, r *repo.Reader, e *format.Entry) (*Definition, error) {
	m, err := image.New(r, e, image.Options{})
	if err != nil {
		return nil, err
	}
	doc := make([]byte, e.Size)
	if err := m.ReadAt(ctx, doc, 0); err != nil {
		return nil, err
	}
	return ParseDefinition(doc)
}
