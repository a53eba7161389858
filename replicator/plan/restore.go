package plan

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// readBytes is what one request of a restore gives, about.
const readBytes = 4 << 20

// OfPoint says what a restore of a whole point would read, by its needs list, which is plain: no key is needed.
func OfPoint(ctx context.Context, in *repo.Reader, c *format.Commit) (Restore, error) {
	r := Restore{Content: c.Bytes}
	for n, err := range tree.Needs(ctx, in.Page, c.Needs, nil) {
		if err != nil {
			return r, fmt.Errorf("read what the point needs: %w", err)
		}
		if !strings.HasPrefix(n.Name, format.PrefixPacks) && !strings.HasPrefix(n.Name, format.PrefixMeta) {
			continue
		}
		bytes := min(n.Living, n.Size) // content that repeats is read once for each frame, as neighbours are
		r.Objects++
		r.Bytes += bytes
		r.Requests.Get += 1 + up(bytes, readBytes)
	}
	return r, nil
}
