package evidence

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Latest gives the records that arrived last in a vault, the newest first, to each, until that returns false or most of them were
// given; older says that there are some that were not. Whether the series are whole it does not look at: that is [Read]'s. What cannot
// be read is reported, and passed by.
//
// Of Options it needs Vault, Repository and Key, and takes Reporter and Report.
func Latest(ctx context.Context, o Options, most int, each func(Found) bool) (older bool, err error) {
	r := &reading{ctx: ctx, o: o}
	var last []lying // in order of arrival
	err = r.names(func(versions []store.Info) error {
		if len(last) == most && !arrived(versions).After(arrived(last[0].versions)) {
			older = true // or junk, of which no signature is checked
			return nil
		}
		id, ok := r.signed(versions)
		if !ok {
			return nil
		}
		at, _ := slices.BinarySearchFunc(last, versions, func(l lying, v []store.Info) int {
			if arrived(l.versions).After(arrived(v)) {
				return 1
			}
			return -1 // of one second, in order of the names
		})
		last = slices.Insert(last, at, lying{id, slices.Clone(versions)})
		if len(last) > most {
			last, older = last[1:], true
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	for batch := 1; len(last) > 0; batch = sideBySide { // often the newest says all
		from := max(len(last)-batch, 0)
		for _, l := range r.readAll(last[from:]) {
			if l.err != nil && passable(ctx, l.err) {
				r.find(Missing, l.versions[0].Name, "it cannot be read: %v", l.err)
				continue
			}
			if l.err != nil {
				return false, fmt.Errorf("read %s: %w", l.versions[0].Name, l.err)
			}
			if !each(found(l.id, l.versions, l.version, l.rec)) {
				return older, nil
			}
		}
		last = last[:from]
	}
	return older, nil
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
