package main

import (
	"context"
	"io"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/store"
)

// A trace of what a run does, for those who built the program with `-tags otel` and have a collector. Without the tag newTracer gives
// none, and no code of an exporter is in the program.

// tracer is where a trace goes.
type tracer interface {
	root(name string, about map[string]any) span
	export(ctx context.Context) error
}

// span is one thing that is done, with the things that are parts of it. What is said of it are numbers and names of the configuration:
// no keys, no names of stored objects, no texts of errors.
type span interface {
	child(name string, about map[string]any) span
	end(failed string, about map[string]any)
}

// traces is the trace of one command. Its methods may be called whether there is one or not.
type traces struct {
	to  tracer // nil: nowhere
	run span

	mu     sync.Mutex
	source span // the source that is copied: what is written belongs to it
	puts   int  // that are spans of it
}

// maxPuts is how many writes to vaults are spans of their own in a source; the others are in its numbers.
const maxPuts = 1000

// begin begins the trace of a command.
func (t *traces) begin(command string) {
	if t.to != nil && t.run == nil {
		t.run = t.to.root(command, nil)
	}
}

// copies begins a source.
func (t *traces) copies(source, kind string) (end func(err error, about map[string]any)) {
	if t.run == nil {
		return func(error, map[string]any) {}
	}
	s := t.run.child("source", map[string]any{"holdfast.source": source, "holdfast.source.kind": kind})
	t.mu.Lock()
	t.source, t.puts = s, 0
	t.mu.Unlock()
	return func(err error, about map[string]any) {
		t.mu.Lock()
		t.source = nil
		t.mu.Unlock()
		s.end(failure(err), about)
	}
}

// traced is what a trace says of a source's run.
func traced(r *backup.Result) map[string]any {
	if r == nil {
		return nil
	}
	about := map[string]any{
		"holdfast.status": r.Status, "holdfast.entries": r.Entries, "holdfast.bytes": r.Bytes, "holdfast.added": r.Added, "holdfast.changed": r.Changed, "holdfast.deleted": r.Deleted,
		"holdfast.missing": r.Missing, "holdfast.bytes_read": r.BytesRead, "holdfast.suspect": r.Suspect != nil, "holdfast.empty": r.Emptied != nil,
	}
	for _, v := range r.Vaults {
		at := "holdfast.vault." + v.Vault + "."
		about[at+"bytes_stored"], about[at+"objects_stored"], about[at+"locks_extended"] = v.Bytes, v.Objects, v.Extended
	}
	return about
}

// stage begins a stage of the source that is copied, or of the run.
func (t *traces) stage(name string) (end func(error)) {
	s := t.part(name, nil, false)
	return func(err error) {
		if s != nil {
			s.end(failure(err), nil)
		}
	}
}

// part begins a part of what is done now; nil where there is no trace, or there are enough writes in it.
func (t *traces) part(name string, about map[string]any, put bool) span {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.run == nil || put && (t.source == nil || t.puts == maxPuts):
		return nil
	case t.source == nil:
		return t.run.child(name, about)
	}
	if put {
		t.puts++
	}
	return t.source.child(name, about)
}

// failure is the name of an error, as its exit code has it.
func failure(err error) string {
	if err == nil {
		return ""
	}
	_, name := exitOf(context.Background(), err)
	return name
}

// finish ends the trace, and sends it beside what else is done at the end; wait waits for that.
func (t *traces) finish(ctx context.Context, u *ui, code int, name string) (wait func()) {
	if t.run == nil {
		return func() {}
	}
	t.run.end(name, map[string]any{"holdfast.exit_code": int64(code)})
	done := make(chan error, 1)
	go func() { done <- t.to.export(ctx) }()
	return func() {
		if err := <-done; err != nil {
			u.warn("%v", err)
		}
	}
}

// writer makes what is written to a vault parts of the trace.
func (t *traces) writer(vault string, w store.Writer) store.Writer {
	if t == nil || t.to == nil {
		return w
	}
	return tracedWriter{t, vault, w}
}

type tracedWriter struct {
	t     *traces
	vault string
	w     store.Writer
}

// Put implements store.Writer. Of the object's name only its first part is told, which is its kind.
func (w tracedWriter) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	kind, _, _ := strings.Cut(name, "/")
	s := w.t.part("write", map[string]any{"holdfast.vault": w.vault, "holdfast.object.kind": kind, "holdfast.bytes": size}, true)
	ref, err := w.w.Put(ctx, name, body, size, o)
	if s != nil {
		s.end(failure(err), nil)
	}
	return ref, err
}
