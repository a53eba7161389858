package evidence

import (
	"context"
	"sync"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Latest gives the records that arrived last in a vault, the newest first, to each, until that returns false or most of them were
// given; older says that there are some that were not. See [Listing.Latest].
func Latest(ctx context.Context, o Options, most int, each func(Found) bool) (older bool, err error) {
	l, err := List(ctx, o, most)
	if err != nil {
		return false, err
	}
	return l.Latest(each)
}

// sideBySide is how many records are read at once.
const sideBySide = 16

// readAll reads records, and gives them in the opposite order.
func (r *reading) readAll(some []lying) []readRecord {
	out := make([]readRecord, len(some))
	var g sync.WaitGroup
	for i, l := range some {
		g.Go(func() {
			got := readRecord{lying: l}
			got.rec, got.version, _, got.err = r.record(l.id, l.versions)
			out[len(some)-1-i] = got
		})
	}
	g.Wait()
	return out
}

// readRecord is a record that was read, or why it was not.
type readRecord struct {
	lying
	rec     *format.Record
	version string
	err     error
}

// lying is a record as it lies in a vault, unread.
type lying struct {
	id       format.RecordID
	versions []store.Info
}
