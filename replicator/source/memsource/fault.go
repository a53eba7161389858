package memsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/replicator/source"
)

// Failure is how a Fault shows.
type Failure int

// The failures. Those of the first group show when an entry is opened or completed, those of the second in the stream,
// those of the third in listings.
const (
	Unreadable Failure = iota // Open: *source.Unreadable
	Accepted                  // Open: *source.Unreadable with Accepted set
	Changed                   // Open: source.ErrChanged
	Gone                      // Open: source.ErrGone
	Broken                    // Open: a failure of the whole source

	ChangedLate // the stream ends in source.ErrChanged after After bytes
	Short       // the stream ends in io.ErrUnexpectedEOF after After bytes
	Corrupt     // a byte of the stream is wrong, and it ends in source.ErrCorrupt
	BrokenLate  // the stream ends in a failure of the whole source after After bytes
	Stuck       // the stream gives After bytes and then waits until the context ends

	Missing // the entry is listed with Missing set
	Listing // the listing ends with an error instead of this key
)

// ErrBroken is the failure of the whole source that Broken, BrokenLate and Listing show.
var ErrBroken = errors.New("source is broken (injected)")

// Fault is an injected failure. With the key "" it makes Freeze fail.
type Fault struct {
	Failure Failure
	Times   int    // how many Opens it hits before it is gone; 0: all
	After   int64  // bytes that come before a failure in the stream
	Reason  string // of Unreadable and Missing; default "access denied"
}

// Fail injects f for key, replacing any earlier fault of it.
func (s *Source) Fail(key string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[key] = &f
}

// Heal removes the fault of key.
func (s *Source) Heal(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.faults, key)
}

// fault gives a copy of the fault of key without using it up.
func (s *Source) fault(key string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.faults[key]
	if !ok {
		return nil
	}
	c := *f
	return &c
}

// faultOf gives the fault of key if it is a listing fault of that kind.
func (s *Source) faultOf(key string, kind Failure) *Fault {
	if f := s.fault(key); f != nil && f.Failure == kind {
		return f
	}
	return nil
}

// take gives the fault of key and uses it up by one.
func (s *Source) take(key string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.faults[key]
	if !ok || f.Failure >= Missing {
		return nil
	}
	c := *f
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			delete(s.faults, key)
		}
	}
	return &c
}

func (f *Fault) atOpen() bool { return f.Failure <= Broken }

func (f *Fault) reason() string {
	if f.Reason == "" {
		return "access denied"
	}
	return f.Reason
}

// err is what the fault shows as an error.
func (f *Fault) err(key string) error {
	switch f.Failure {
	case Unreadable, Accepted:
		return &source.Unreadable{Key: key, Reason: f.reason(), Accepted: f.Failure == Accepted}
	case Changed, ChangedLate:
		return fmt.Errorf("read %q: %w", key, source.ErrChanged)
	case Gone:
		return fmt.Errorf("read %q: %w", key, source.ErrGone)
	case Corrupt:
		return fmt.Errorf("read %q: %w", key, source.ErrCorrupt)
	case Short:
		return io.ErrUnexpectedEOF
	default:
		return fmt.Errorf("read %q: %w", key, ErrBroken)
	}
}

// stream is the content of one item, with its fault.
type stream struct {
	ctx   context.Context //nolint:containedctx // a stream ends with the call that opened it
	s     *Source
	key   string
	fault *Fault
	r     io.Reader
	given int64
	size  int64
}

// Read implements io.Reader.
func (t *stream) Read(p []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	f := t.fault
	late := f != nil && f.Failure != Corrupt
	if late && len(p) > 0 {
		left := f.After - t.given
		if left <= 0 {
			if f.Failure == Stuck {
				<-t.ctx.Done()
				return 0, t.ctx.Err()
			}
			return 0, f.err(t.key)
		}
		p = p[:min(int64(len(p)), left)]
	}
	n, err := t.r.Read(p)
	if f != nil && f.Failure == Corrupt {
		if at := f.After - t.given; at >= 0 && at < int64(n) {
			p[at] ^= 0xff
		}
	}
	if f != nil && n > 0 && t.given+int64(n) == t.size || err == io.EOF && f != nil {
		return 0, f.err(t.key) // the end is withheld, as the contract asks
	}
	t.given += int64(n)
	t.s.mu.Lock()
	t.s.stats.Bytes += int64(n)
	t.s.mu.Unlock()
	return n, err
}

// Close implements io.Closer.
func (t *stream) Close() error { return nil }

// Zeros is content of nothing but zero bytes, of any size, for PutReaderAt.
type Zeros struct{}

// ReadAt implements io.ReaderAt.
func (Zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// Repeat is content that repeats pattern for ever, for PutReaderAt. The pattern must not be empty.
func Repeat(pattern []byte) io.ReaderAt { return repeat(bytes.Clone(pattern)) }

type repeat []byte

func (r repeat) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], r[(off+int64(n))%int64(len(r)):])
	}
	return len(p), nil
}
