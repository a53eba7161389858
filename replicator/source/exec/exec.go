// Package execsource reads what a program writes to its standard output, as one entry: a dump of a database, say.
//
// How long the output is shows when it has come, and what is in it is another thing each time: so the entry is listed without a
// size, is never opened as it was listed (source.ErrLength), and is always read as it is (source.Live). The program is started
// then and at no other time; a listing starts nothing. Nothing is stored of it beyond a pipe. The entry counts if the program
// ended with exit status 0, and is missing otherwise, also where all bytes of it came.
package execsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/process"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options say which program, and how it is run.
type Options struct {
	Command []string      // the program and its arguments
	Entry   string        // the key of its output
	Dir     string        // where it is run
	Env     []string      // its whole environment
	Timeout time.Duration // how long it may take, the storing of what it writes included
	Line    func(string)  // is given what it writes to standard error
	Failed  func()        // is called when it came to nothing, once it has written its last; may be nil
}

// Source is the output of a program.
type Source struct{ o Options }

// New gives the source; nothing is run yet.
func New(o Options) (*Source, error) {
	if len(o.Command) == 0 || o.Entry == "" || o.Timeout <= 0 {
		return nil, errors.New("a program, the name of its output and a time are needed")
	}
	return &Source{o}, nil
}

// Kind implements source.Source.
func (s *Source) Kind() string { return "exec" }

// Freeze implements source.Source. What is frozen is the time alone.
func (s *Source) Freeze(ctx context.Context) (source.View, error) {
	return &view{o: s.o, at: time.Now()}, ctx.Err()
}

type view struct {
	o  Options
	at time.Time // which makes each listing another one, so that no run takes the output for the last one's
}

// Output implements source.Output.
func (v *view) Output() {}

func (v *view) entry(at time.Time) *format.Entry {
	return &format.Entry{
		Kind: format.KindFile, Key: v.o.Entry, Modified: format.At(at),
		File: &format.File{Mode: 0o600, UID: id(os.Geteuid()), GID: id(os.Getegid())}, // as a file that the program made
	}
}

// id is a user or group as entries have it.
func id(n int) uint32 { return uint32(max(n, 0)) } //nolint:gosec // -1 where there are none

// Entries implements source.View.
func (v *view) Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(nil, err)
			return
		}
		if v.o.Entry >= from && (to == "" || v.o.Entry < to) {
			yield(v.entry(v.at), nil)
		}
	}
}

// Open implements source.View: its length is not known.
func (v *view) Open(ctx context.Context, e *format.Entry, _, _ int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("open %q: %w", e.Key, source.ErrLength)
}

// OpenLive implements source.Live: it runs the program.
func (v *view) OpenLive(ctx context.Context, e *format.Entry) (source.LiveStream, error) {
	out, err := process.Start(ctx, process.Options{Argv: v.o.Command, Dir: v.o.Dir, Env: v.o.Env, Timeout: v.o.Timeout, Line: v.o.Line})
	if err != nil {
		return nil, v.missing(err)
	}
	*e = *v.entry(time.Now())
	return &stream{v: v, out: out}, nil
}

// missing makes what the program came to the reason why the entry is missing.
func (v *view) missing(err error) error {
	if f, ok := errors.AsType[*process.Failure](err); ok {
		if v.o.Failed != nil {
			v.o.Failed()
		}
		return &source.Unreadable{Key: v.o.Entry, Reason: "its program " + f.Reason, Err: f.Err}
	}
	return err
}

// CompleteLive implements source.Live.
func (v *view) CompleteLive(ctx context.Context, e *format.Entry) error { return v.Complete(ctx, e) }

// Complete implements source.View. There is nothing that a listing does not say.
func (v *view) Complete(ctx context.Context, _ *format.Entry) error { return ctx.Err() }

// Clock implements source.View.
func (v *view) Clock() time.Time { return time.Now() }

// Close implements source.View.
func (v *view) Close() error { return nil }

// stream is what a running program writes.
type stream struct {
	v    *view
	out  *process.Output
	size atomic.Int64
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	s.size.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.v.missing(err)
	}
	return n, err
}

// Close implements io.Closer. It ends a program that still runs.
func (s *stream) Close() error { return s.out.Close() }

// Settle implements source.LiveStream: nobody else writes to it, and no listing says how long it is.
func (s *stream) Settle() (size int64, unsettled, other bool) { return s.size.Load(), false, true }
