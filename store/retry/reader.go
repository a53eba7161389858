package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/holdfast-backup/holdfast/store"
)

// Reader wraps r. A stream of a named version that breaks is opened again where it broke. A stream of a Ref without a
// version is not: what is newest may be another object by then, so its error, which store.Retryable knows, is the caller's.
func (p *Policy) Reader(r store.Reader) store.Reader { return reader{p.Around.Reader(r), p, r} }

type reader struct {
	store.Reader // tries again
	p            *Policy
	once         store.Reader
}

func (r reader) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	rc, err := r.Reader.Open(ctx, ref, off, n)
	if err != nil || ref.Version == "" {
		return rc, err
	}
	return &body{ctx: ctx, r: r, ref: ref, rc: rc, off: off, left: n}, nil
}

// progress is how much a reopened stream must deliver before its failures count from one again: one that gives a few
// bytes and breaks, again and again, must come to an end.
const progress = 256 << 10

type body struct {
	ctx  context.Context // of the Open call: the stream ends with it
	r    reader
	ref  store.Ref
	rc   io.ReadCloser
	off  int64 // of the next byte
	left int64 // -1: to the end

	s     *series // of the failures since the last progress
	since int64   // bytes since the last failure
}

func (b *body) Read(p []byte) (int, error) {
	for {
		n, err := b.rc.Read(p)
		b.off += int64(n)
		b.since += int64(n)
		if b.left > 0 {
			b.left -= int64(n)
		}
		if err == nil || errors.Is(err, io.EOF) && !store.Retryable(err) {
			return n, err
		}
		if n > 0 {
			// These bytes first; if the failure lasts, the next Read meets it again.
			return n, b.reopen(err)
		}
		if err := b.reopen(err); err != nil {
			return 0, err
		}
	}
}

// reopen goes on after err, or returns the error that ends the stream.
func (b *body) reopen(err error) error {
	if b.s == nil || b.since >= progress {
		b.s = b.r.p.series("open", b.ref)
	}
	b.since = 0
	for {
		if err := b.s.again(b.ctx, err); err != nil {
			return err
		}
		if b.left == 0 {
			return io.EOF // everything had come; only the end was lost
		}
		rc, oerr := b.r.once.Open(b.ctx, b.ref, b.off, b.left)
		if oerr == nil {
			cerr := b.rc.Close() // of a broken stream: whatever it says
			_ = cerr
			b.rc = rc
			return nil
		}
		err = oerr
	}
}

func (b *body) Close() error { return b.rc.Close() }

// Versions goes on after a failure behind the last entry given: it lists again from the name before that, as the versions of
// one name cannot be told apart by what they come behind. Nothing is buffered.
func (r reader) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		l := listing{r: r, prefix: prefix, before: after}
		s := r.p.series("versions", store.Ref{Name: prefix})
		for {
			given := l.given
			err := l.run(ctx, yield)
			if err == nil {
				return
			}
			if l.given > given {
				s = r.p.series("versions", store.Ref{Name: prefix})
			}
			if err := s.again(ctx, err); err != nil {
				yield(store.Info{}, err)
				return
			}
		}
	}
}

type listing struct {
	r      reader
	prefix string
	given  int64
	last   store.Ref // given last
	before string    // the name given before last.Name, or what the listing begins behind: from there all versions of last.Name come again
}

func (l *listing) run(ctx context.Context, yield func(store.Info, error) bool) error {
	skipping := l.given > 0
	for info, err := range l.r.once.Versions(ctx, l.prefix, l.before) {
		if err != nil {
			return err
		}
		if store.Garbled(info.Name) || info.Name < l.last.Name && !skipping { // it stands out of order, and is no place to go on from
			if !skipping && !yield(info, nil) {
				return nil
			}
			continue
		}
		if skipping {
			switch {
			case info.Name < l.last.Name:
				continue
			case info.Name == l.last.Name:
				skipping = info.Version != l.last.Version
				continue
			}
			// Its older versions, if it had any, may have come and gone past: better no listing than one with a hole.
			return fmt.Errorf("%w: %s (version %s) vanished while it was listed", store.ErrListing, l.last.Name, l.last.Version)
		}
		if l.given > 0 && info.Name != l.last.Name {
			l.before = l.last.Name
		}
		l.last = info.Ref
		l.given++
		if !yield(info, nil) {
			return nil
		}
	}
	return nil
}
