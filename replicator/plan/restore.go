package plan

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// How a restore reads: content in pieces of up to 4 MiB, before compression, that end where a pack does or what is read at once, and so
// have 3 MiB as measured; each with some more of the object than it wants; pages in blocks.
const (
	pieceBytes = 3 << 20
	aroundEach = 72 << 10
	pageBlock  = 1 << 20
)

// OfPoint says what a restore of a whole point would read once it has found it, by the point's needs list, which is plain: no key is
// needed.
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
		if r.Requests.Get += 2; strings.HasPrefix(n.Name, format.PrefixMeta) { // what it is, and its head
			r.Requests.Get += up(bytes, pageBlock)
		}
	}
	pieces := up(c.Bytes, pieceBytes)
	r.Requests.Get += pieces
	r.Bytes += pieces * aroundEach
	return r, nil
}
