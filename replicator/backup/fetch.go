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
		return shortRead(err)
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
		began := e.view.Clock()
		err := read()
		if err == nil {
			e.keepListing(t, &listed, began)
			e.countChange(t)
			return nil
		}
		*t.entry = listed
		t.pieces, t.extents = nil, nil
		var u *source.Unreadable
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case t.again:
			return e.keepOld(ctx, t)
		case errors.As(err, &u):
			return e.unreadable(ctx, t, &listed, u.Reason, u.Accepted)
		case t.action == complete && listed.SHA256 != (format.Hash{}) && (errors.Is(err, source.ErrChanged) || errors.Is(err, source.ErrGone)):
			// It changed after it was listed, and what was listed is known. The next listing shows the change.
			*t.entry, t.unsure = listed, true
			t.entry.Recheck = true
			return nil
		case errors.Is(err, source.ErrCorrupt):
			return e.unreadable(ctx, t, &listed, corruptReason, false)
		case errors.Is(err, source.ErrChanged) && try >= readTries:
			return e.unreadable(ctx, t, &listed, "kept changing while it was read", false)
		case errors.Is(err, source.ErrGone) && (try >= readTries || strings.Contains(listed.Key, unreadableRune)):
			// Still listed, or listed under a name that the listing itself could not express.
			return e.unreadable(ctx, t, &listed, "listed, and not found when it was read", false)
		case errors.Is(err, source.ErrChanged), errors.Is(err, source.ErrGone):
			t.unsure = true
			fresh, err := e.listAgain(ctx, &listed)
			if err != nil {
				return err
			}
			if fresh == nil {
				e.drop(t)
				return e.letGo(ctx, t)
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
	n.Recheck = rewritable(n) && began.Sub(changedAt(n)) < granularity(n)
	if n.Recheck {
		t.unsure = true
	}
}

// rewritable reports whether the entry can be written again under the name it was listed by: a version cannot.
func rewritable(e *format.Entry) bool {
	return e.Kind == format.KindFile || e.Kind == format.KindObject && (e.Version == "" || e.Version == "null")
}

// countChange counts an entry that was looked at again, though listed as before, and was found to be another.
func (e *engine) countChange(t *task) {
	if !t.maybe {
		return
	}
	was, is := *t.old, *t.entry
	is.TagsRead, is.Recheck = was.TagsRead, was.Recheck
	is.Chunks, is.Extents = was.Chunks, was.Extents // not known yet; the hash says it for them
	a, errA := was.AppendLine(nil)
	b, errB := is.AppendLine(nil)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		e.stats.changed.Add(1)
		return
	}
	if e.o.TagsMaxAge == 0 {
		// Tags that are read again in every run need no date, which would make every page of the manifest another one.
		t.entry.TagsRead = t.old.TagsRead
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
func (e *engine) unreadable(ctx context.Context, t *task, listed *format.Entry, reason string, accepted bool) error {
	if t.maybe {
		e.stats.changed.Add(1)
	}
	if t.action == complete && t.old != nil {
		if err := e.needs.dropsEntry(ctx, t.old, e.s); err != nil {
			return err
		}
	}
	if err := e.letGo(ctx, t); err != nil {
		return err
	}
	*t.entry = *listed
	n := t.entry
	n.SHA256, n.Chunks, n.Extents, n.Missing, n.Unread = format.Hash{}, nil, nil, reason, nil
	t.data, t.pieces, t.extents = nil, nil, nil
	t.unsure, t.accepted = !accepted, accepted
	return nil
}

// corruptReason is why an entry is missing whose bytes the source's own checksum does not vouch for.
const corruptReason = "source delivered bytes that do not match its own checksum"

// unreadableRune stands in keys that a server could not put into its listing: it replaces what XML cannot hold.
const unreadableRune = "\uFFFD"

// drop leaves an entry out that was deleted after it was listed, and takes back what was counted for it.
func (e *engine) drop(t *task) {
	t.dropped = true
	if t.old == nil {
		e.stats.added.Add(-1)
		return
	}
	if !t.maybe {
		e.stats.changed.Add(-1)
	}
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
