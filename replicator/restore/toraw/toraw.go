// Package toraw restores one thing as its bare content into a stream: a disk image to standard output, a file without a
// tar archive around it. Zeros are written where the content has holes. Every piece is verified before it is written, the
// whole only at its end: whoever reads the stream must wait for the exit code. It must never write a second thing behind
// the first.
package toraw

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Target is a restore.Target. It serves one restore.
type Target struct {
	w       io.Writer
	version string // "": the current one
	taken   string
}

var (
	_ restore.Target = (*Target)(nil)
	_ restore.Looker = (*Target)(nil)
)

// New writes to w: of the one thing its version of that ID, or the current one where that is empty.
func New(w io.Writer, version string) *Target { return &Target{w: w, version: version} }

// Begin implements restore.Target.
func (t *Target) Begin(context.Context, restore.Job) error { return nil }

// KeepsVersions implements restore.Target.
func (t *Target) KeepsVersions() bool { return t.version != "" }

// InOrder implements restore.Target.
func (t *Target) InOrder() bool { return true }

// Finish implements restore.Target.
func (t *Target) Finish(context.Context) error {
	if t.taken == "" {
		return errors.New("there is no content to write: name a file or disk image")
	}
	return nil
}

// Close implements restore.Target.
func (t *Target) Close() error { return nil }

// Notes implements restore.Target.
func (t *Target) Notes() []string { return nil }

// Accept implements restore.Target: the first thing with content, and no other.
func (t *Target) Accept(_ context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	e := versions[len(versions)-1]
	switch {
	case t.version == "" && !e.Kind.HasContent():
		return nil, restore.Ignore, nil
	case t.taken != "":
		return nil, 0, fmt.Errorf("%w: the stream holds the content of %q already; name one with --include", restore.ErrRefused, t.taken)
	}
	if t.version != "" {
		return t, restore.Look, nil
	}
	t.taken = e.Key
	return t, restore.Take, nil
}

// Look implements restore.Looker: of all versions the one that is asked for.
func (t *Target) Look(_ context.Context, e *format.Entry, _ bool) (restore.Verdict, error) {
	if e.Version != t.version || !e.Kind.HasContent() {
		return restore.Ignore, nil
	}
	t.taken = e.Key
	return restore.Take, nil
}

// Restore implements restore.Receiver.
func (t *Target) Restore(ctx context.Context, _ *format.Entry, c restore.Content) error {
	for p, err := range c.Pieces(ctx) {
		if err != nil {
			return err
		}
		if err := restore.WriteTo(t.w, p); err != nil {
			return fmt.Errorf("%w: write the content: %w", restore.ErrStop, err)
		}
	}
	return nil
}
