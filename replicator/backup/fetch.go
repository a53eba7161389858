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
func (e *fetching) fetchSmall(ctx context.Context) error {
	for {
		t, ok, err := receive(ctx, e.pipe.small)
		if err != nil || !ok {
			return err
		}
		if err := e.attempt(ctx, t, func() error { return e.readWhole(ctx, t) }); err != nil {
			return err
		}
		if len(t.data) > 0 {
			e.watch.pass(t, t.data)
		}
		close(t.fetched)
	}
}

// open opens an entry as it was listed or, after that came to nothing, as it is.
func (e *fetching) open(ctx context.Context, t *task) (io.ReadCloser, error) {
	if live, ok := e.view.(source.Live); ok && t.live {
		return live.OpenLive(ctx, t.entry)
	}
	return e.view.Open(ctx, t.entry, 0, -1)
}

// readWhole reads a small object's content into memory: as much as was set aside for it. What turns out to be larger streams.
func (e *fetching) readWhole(ctx context.Context, t *task) error {
	body, err := e.open(ctx, t)
	if err != nil {
		return err
	}
	defer body.Close()
	room := max(t.held, leastHeld)
	if t.entry.Size > room {
		return e.large.readSpare(ctx, t, nil, body)
	}
	want := t.entry.Size
	if t.live {
		want = room + 1 // the size is what comes
	}
	if int64(cap(t.data)) < want {
		t.data = make([]byte, want)
	}
	t.data = t.data[:want]
	n, err := io.ReadFull(body, t.data)
	e.count(n)
	switch {
	case t.live && err == nil:
		e.count(-n) // it is counted with the rest
		return e.large.readSpare(ctx, t, t.data, body)
	case t.live && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		t.data = t.data[:n]
		t.entry.SHA256 = sha256.Sum256(t.data)
		return e.settle(t, body)
	case err != nil && want > 0:
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

// settle gives an entry that was read as it is what the end of its stream tells.
func (e *fetching) settle(t *task, body io.Reader) error {
	s, ok := body.(source.LiveStream)
	if !ok {
		return nil
	}
	t.entry.Size, t.entry.Unsettled, t.unlike = s.Settle()
	if t.entry.Unsettled && e.o.Unsettled == MissUnsettled {
		return source.ErrChanged
	}
	return nil
}

// shortRead calls content that ends before its listed size what it is.
func shortRead(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return source.ErrChanged
	}
	return err
}

func (e *fetching) count(n int) {
	e.stats.read.Add(int64(n))
	e.o.Progress.Done.Add(int64(n))
}

// fetching reads entries from the source.
type fetching struct{ *engine }

// attempt runs read until the entry was read as it was listed, listing it again where it changed meanwhile. An entry that
// cannot be read is recorded with the reason; an error means that the source as a whole fails.
func (e *fetching) attempt(ctx context.Context, t *task, read func() error) error {
	listed := *t.entry
	for try := 1; ; try++ {
		began := e.view.Clock()
		err := e.once(ctx, t, read)
		if err == nil {
			e.keepListing(t, &listed, began)
			if why, _ := e.refusal(t.entry, nil); why != "" {
				return e.unreadable(ctx, t, reduced(&listed, listed.Key, why), why, false)
			}
			e.countChange(t)
			e.countHollow(t)
			return nil
		}
		*t.entry = listed
		t.pieces, t.extents, t.uses = nil, nil, nil
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
		case errors.Is(err, source.ErrLength) && !t.live:
			t.live, t.unsure = true, true
		case errors.Is(err, source.ErrChanged) && e.maySettle(t, try):
			t.live, t.unsure = true, true // once more, taking what there is
		case errors.Is(err, source.ErrChanged) && try >= readTries && e.lives(t):
			return e.unreadable(ctx, t, &listed, fmt.Sprintf("was written to while it was read, each of %d times", try), false)
		case errors.Is(err, source.ErrChanged) && try >= readTries:
			return e.unreadable(ctx, t, &listed, "kept changing while it was read", false)
		case errors.Is(err, source.ErrGone) && (try >= readTries || strings.Contains(listed.Key, unreadableRune)):
			// Still listed, or listed under a name that the listing itself could not express.
			return e.unreadable(ctx, t, &listed, "listed, and not found when it was read", false)
		case errors.Is(err, source.ErrChanged), errors.Is(err, source.ErrGone):
			t.unsure, t.live = true, false
			fresh, err := e.listAgain(ctx, &listed)
			if err != nil {
				return err
			}
			if fresh == nil {
				e.drop(t)
				return e.letGo(ctx, t)
			}
			if fresh.Missing != "" { // the listing itself says why
				return e.unreadable(ctx, t, fresh, fresh.Missing, false)
			}
			listed = *fresh
			*t.entry = listed
			if !t.kept {
				t.action = actionFor(fresh) // it may be a link by now, or a file where there was one
			}
			if err := e.rest(ctx, try); err != nil {
				return err
			}
		default:
			return fmt.Errorf("read %q: %w", listed.Key, err)
		}
	}
}

// once reads or completes an entry.
func (e *fetching) once(ctx context.Context, t *task, read func() error) error {
	t.data, t.pieces, t.seen = t.data[:0], nil, nil
	switch t.action {
	case complete:
		if live, ok := e.view.(source.Live); ok && t.live {
			return live.CompleteLive(ctx, t.entry)
		}
		return e.view.Complete(ctx, t.entry)
	case carry:
		return nil
	}
	return read()
}

// settleOver is from what size on a file that is written to is not read once more in the hope that it is left alone.
const settleOver = 64 << 20

// lives reports whether others may write to an entry while it is read.
func (e *fetching) lives(t *task) bool {
	_, ok := e.view.(source.Live)
	return ok && t.entry.Kind == format.KindFile
}

// maySettle reports whether what is there of a file that changed is taken as it is: the third time, or at once where reading
// it again would take long. What has no content (a folder in which files come and go) is at any time what it is.
func (e *fetching) maySettle(t *task, try int) bool {
	_, ok := e.view.(source.Live)
	switch {
	case !ok || t.live:
		return false
	case t.action == complete:
		return !t.kept
	}
	return e.lives(t) && e.o.Unsettled == StoreUnsettled && (try > 2 || t.entry.Size > settleOver)
}

// maxPauses is how often a run waits for something to be left alone: where everything changes all the time, waiting for each
// would take for ever.
const maxPauses = 256

// rest waits a little before an entry that changed is tried again. The first time it is not waited for: it may have been
// listed long ago.
func (e *fetching) rest(ctx context.Context, try int) error {
	if try < 2 || e.pauses.Add(1) > maxPauses {
		return ctx.Err()
	}
	t := time.NewTimer(time.Duration(try-1) * 200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keepListing puts back what the listing said, which page digests are made of, and marks content that may have changed
// unnoticed while it was read. An entry that was read as it is has its own listing fields, and stands on a page without digest.
func (e *fetching) keepListing(t *task, listed *format.Entry, began time.Time) {
	n := t.entry
	if t.live {
		n.Recheck = t.unlike || !n.Unsettled && rewritable(n) && began.Sub(changedAt(n)) < granularity(n)
		return
	}
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
func (e *fetching) countChange(t *task) {
	if !t.maybe {
		return
	}
	was, is := *t.old, *t.entry
	is.TagsRead, is.Recheck, is.Unsettled = was.TagsRead, was.Recheck, was.Unsettled
	is.Chunks, is.Extents = was.Chunks, was.Extents // not known yet; the hash says it for them
	is.Ext = was.Ext
	if is.File != nil && was.File != nil {
		f := *is.File
		f.Ext, is.File = was.File.Ext, &f
	}
	a, errA := was.AppendLine(nil)
	b, errB := is.AppendLine(nil)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		e.stats.changed.Add(1)
		return
	}
	t.entry.Ext, t.entry.File = is.Ext, is.File // the line is the same one
	if e.o.TagsMaxAge == 0 {
		// Tags that are read again in every run need no date, which would make every page of the manifest another one.
		t.entry.TagsRead = t.old.TagsRead
	}
}

// countHollow takes what a program wrote for nothing found where it wrote nothing.
func (e *fetching) countHollow(t *task) {
	if _, ok := e.view.(source.Output); !ok || t.entry.Size > 0 {
		return
	}
	e.stats.found.Add(-1)
	if t.old != nil && t.old.Missing == "" && t.old.Size > 0 {
		e.stats.gone.Add(1)
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
func (e *fetching) unreadable(ctx context.Context, t *task, listed *format.Entry, reason string, accepted bool) error {
	if t.maybe {
		e.stats.changed.Add(1)
	}
	if t.kept {
		if err := e.needs.dropsEntry(ctx, t.old, e.s.Content); err != nil {
			return err
		}
	}
	if err := e.letGo(ctx, t); err != nil {
		return err
	}
	*t.entry = *listed
	n := t.entry
	n.SHA256, n.Chunks, n.Extents, n.Missing, n.Unread, n.Sparse = format.Hash{}, nil, nil, reason, nil, false
	n.Recheck, n.Unsettled = false, false
	t.data, t.pieces, t.extents, t.uses = nil, nil, nil, nil
	t.unsure, t.accepted = !accepted, accepted
	return nil
}

// corruptReason is why an entry is missing whose bytes the source's own checksum does not vouch for.
const corruptReason = "source delivered bytes that do not match its own checksum"

// unreadableRune stands in keys that a server could not put into its listing: it replaces what XML cannot hold.
const unreadableRune = "\uFFFD"

// drop leaves an entry out that was deleted after it was listed, and takes back what was counted for it.
func (e *fetching) drop(t *task) {
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
func (e *fetching) listAgain(ctx context.Context, was *format.Entry) (*format.Entry, error) {
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
