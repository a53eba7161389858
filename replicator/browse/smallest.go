package browse

import (
	"context"
	"errors"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// fewEntries is how many entries Smallest looks at.
const fewEntries = 1000

// Smallest gives the smallest entry of a point that has stored content, among the first thousand: what is cheapest to read, for
// whoever only wants to see whether content opens. It is nil where none of them has any.
func Smallest(ctx context.Context, r *repo.Reader, c *format.Commit) (*format.Entry, error) {
	var least *format.Entry
	n := 0
	for e, err := range List(ctx, r, c, "") {
		if errors.As(err, new(*tree.Lost)) || errors.As(err, new(*tree.NotNewest)) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n++; n > fewEntries {
			break
		}
		if stored(e) && (least == nil || e.Size < least.Size) {
			least = e
		}
	}
	return least, nil
}

// stored reports whether a vault holds content of the entry.
func stored(e *format.Entry) bool {
	if e.Missing != "" || e.Unusable != nil || !e.Kind.HasContent() {
		return false
	}
	for _, c := range e.Chunks {
		if !c.Hole {
			return true
		}
	}
	return len(e.Extents) > 0
}
