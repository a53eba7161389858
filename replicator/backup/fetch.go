package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// fetchSmall reads objects that fit into memory, and completes entries that have no content to read.
func (e *engine) fetchSmall(ctx context.Context) error {
	for {
		t, ok, err := receive(ctx, e.pipe.small)
		if err != nil || !ok {
			return err
		}
		if t.action == complete {
			err = e.attempt(ctx, t, func() error { return e.view.Complete(ctx, t.entry) })
		} else {
			err = e.attempt(ctx, t, func() error { return e.readWhole(ctx, t) })
		}
		if err != nil {
			return err
		}
		close(t.fetched)
	}
}

// readWhole reads a small object's content into memory.
func (e *engine) readWhole(ctx context.Context, t *task) error {
	body, err := e.view.Open(ctx, t.entry, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	size := t.entry.Size
	if size > smallMax {
		return source.ErrChanged // it grew since it was listed
	}
	if int64(cap(t.data)) < size {
		t.data = make([]byte, size)
	}
	t.data = t.data[:size]
	n, err := io.ReadFull(body, t.data)
	e.count(n)
	if err != nil && size > 0 {
		return shortRead(err)
	}
	// The stream's last word is whether its checksum held.
	if n, err := body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		if n != 0 || err == nil {
			return source.ErrChanged
		}
		return err
	}
	t.entry.SHA256 = sha256.Sum256(t.data)
	return nil
}

// shortRead calls content that ends before its listed size what it is.
func shortRead(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return source.ErrChanged
	}
	return err
}

func (e *engine) count(n int) {
	e.stats.read.Add(int64(n))
	e.o.Progress.BytesRead.Add(int64(n))
}

// attempt runs read until the entry was read as it was listed, listing it again where it changed meanwhile. An entry that
// cannot be read is recorded with the reason; an error means that the source as a whole fails.
func (e *engine) attempt(ctx context.Context, t *task, read func() error) error {
	listed := *t.entry
	for try := 1; ; try++ {
		began := e.o.Now()
		err := read()
		if err == nil {
			e.keepListing(t, &listed, began)
			return nil
		}
		*t.entry = listed
		t.pieces, t.extents = nil, nil
		var u *source.Unreadable
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &u):
			e.unreadable(t, &listed, u.Reason, u.Accepted)
			return nil
		case errors.Is(err, source.ErrCorrupt):
			e.unreadable(t, &listed, "source delivered bytes that do not match its own checksum", false)
			return nil
		case errors.Is(err, source.ErrChanged) && try >= readTries:
			e.unreadable(t, &listed, "kept changing while it was read", false)
			return nil
		case errors.Is(err, source.ErrGone) && (try >= readTries || strings.Contains(listed.Key, unreadableRune)):
			// Still listed, or listed under a name that the listing itself could not express.
			e.unreadable(t, &listed, "listed, and not found when it was read", false)
			return nil
		case errors.Is(err, source.ErrChanged), errors.Is(err, source.ErrGone):
			t.unsure = true
			fresh, err := e.listAgain(ctx, &listed)
			if err != nil {
				return err
			}
			if fresh == nil {
				e.drop(t)
				return nil
			}
			listed = *fresh
			*t.entry = listed
			if err := pause(ctx, time.Duration(try)*200*time.Millisecond); err != nil {
				return err
			}
		default:
			return fmt.Errorf("read %q: %w", listed.Key, err)
		}
	}
}

// keepListing puts back what the listing said, which page digests are made of, and marks content that may have changed
// unnoticed while it was read.
func (e *engine) keepListing(t *task, listed *format.Entry, began time.Time) {
	n := t.entry
	n.Kind, n.Key, n.Version, n.Size = listed.Kind, listed.Key, listed.Version, listed.Size
	n.Modified, n.ETag, n.StorageClass, n.Missing = listed.Modified, listed.ETag, listed.StorageClass, ""
	n.Recheck = n.Kind == format.KindFile && began.Sub(changedAt(n)) < granularity(n)
	if n.Recheck {
		t.unsure = true
	}
}

// granularity is how close before the reading a file may have changed so that another change could carry the same time:
// two seconds where times are kept in whole seconds, a tenth where they are visibly finer.
func granularity(e *format.Entry) time.Duration {
	if e.File != nil && e.File.Changed.Nanosecond()%1_000_000 != 0 {
		return 100 * time.Millisecond
	}
	return racyFor
}

// unreadable records an entry without content. The page it stands on gets no digest, so it is looked at in every run.
func (e *engine) unreadable(t *task, listed *format.Entry, reason string, accepted bool) {
	*t.entry = *listed
	n := t.entry
	n.SHA256, n.Chunks, n.Extents, n.Missing = format.Hash{}, nil, nil, reason
	t.data, t.pieces, t.extents = nil, nil, nil
	t.unsure, t.accepted = !accepted, accepted
}

// unreadableRune stands in keys that a server could not put into its listing: it replaces what XML cannot hold.
const unreadableRune = "\uFFFD"

// drop leaves an entry out that was deleted after it was listed, and takes back what was counted for it.
func (e *engine) drop(t *task) {
	t.dropped = true
	if t.old == nil {
		e.stats.added.Add(-1)
		return
	}
	e.stats.changed.Add(-1)
	e.stats.deleted.Add(1)
}

// listAgain lists one entry anew; nil means that it is not there any more.
func (e *engine) listAgain(ctx context.Context, was *format.Entry) (*format.Entry, error) {
	for entry, err := range e.view.Entries(ctx, was.Key, was.Key+"\x00") {
		if err != nil {
			return nil, fmt.Errorf("list %q again: %w", was.Key, err)
		}
		if entry.Key == was.Key && entry.Version == was.Version {
			return entry, nil
		}
	}
	return nil, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// zeros is compared with chunks to find holes.
var zeros [64 << 10]byte

// allZero reports whether b is nothing but zero bytes.
func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
