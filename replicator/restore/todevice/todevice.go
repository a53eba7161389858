// Package todevice restores one disk image onto a block device, from its first byte on. What the device held is lost
// where the image lies, holes included: they are made to read as zeros.
//
// It writes to block devices only, to none that is mounted or otherwise in use (the device is opened exclusively), and to
// none that is smaller than the image. All of this is known before the first byte is written.
package todevice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// device is what is written to.
type device interface {
	WriteAt(b []byte, off int64) (int, error)
	// Zero makes a stretch read as zeros.
	Zero(off, n int64) error
	Size() (int64, error)
	Sync() error
	Close() error
}

// Options say where to.
type Options struct{ Path string }

// Target is a restore.Target. It serves one restore.
type Target struct {
	path  string
	open  func(path string) (device, error)
	dev   device
	size  int64
	taken string
}

var _ restore.Target = (*Target)(nil)

// New checks the path. Nothing is touched until Begin.
func New(o Options) (*Target, error) {
	if o.Path == "" {
		return nil, errors.New("restore to a device: no device given")
	}
	return &Target{path: o.Path, open: openDevice}, nil
}

// Begin opens the device, unless nothing is to be changed.
func (t *Target) Begin(_ context.Context, job restore.Job) error {
	info, err := os.Stat(t.path)
	if err != nil {
		return fmt.Errorf("restore to %s: %w", t.path, err)
	}
	if info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return fmt.Errorf("restore to %s: %w", t.path, ErrNoDevice)
	}
	return t.begin(job)
}

// ErrNoDevice: the path names something else.
var ErrNoDevice = errors.New("this is no block device; to restore into a file name its directory (--to DIRECTORY)")

func (t *Target) begin(job restore.Job) (err error) {
	switch job.Overwrite {
	case restore.Always:
	default:
		return fmt.Errorf("restore to %s: what is on the device will be lost; say --overwrite always if that is meant", t.path)
	}
	if t.dev, err = t.open(t.path); err != nil {
		return fmt.Errorf("restore to %s: %w", t.path, err)
	}
	if t.size, err = t.dev.Size(); err != nil {
		return fmt.Errorf("restore to %s: find its size: %w", t.path, err)
	}
	return nil
}

// KeepsVersions implements restore.Target.
func (t *Target) KeepsVersions() bool { return false }

// InOrder implements restore.Target.
func (t *Target) InOrder() bool { return true }

// Accept implements restore.Target: one disk image that fits.
func (t *Target) Accept(_ context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	e := versions[len(versions)-1]
	switch {
	case e.Kind != format.KindImage:
		return nil, restore.Ignore, nil
	case t.taken != "":
		return nil, 0, fmt.Errorf("%w: %q goes to the device already; name one image with --include", restore.ErrRefused, t.taken)
	case e.Size > t.size:
		return nil, 0, fmt.Errorf("%w: the image has %d bytes, the device %d", restore.ErrRefused, e.Size, t.size)
	}
	t.taken = e.Key
	return t, restore.Take, nil
}

// Restore implements restore.Receiver.
func (t *Target) Restore(ctx context.Context, _ *format.Entry, c restore.Content) error {
	return t.write(c.Pieces(ctx))
}

func (t *Target) write(pieces iter.Seq2[restore.Piece, error]) error {
	var at int64
	for p, err := range pieces {
		if err != nil {
			return err
		}
		if p.Hole > 0 {
			err = t.dev.Zero(at, p.Hole)
		} else {
			_, err = t.dev.WriteAt(p.Data, at)
		}
		if err != nil {
			return fmt.Errorf("%w: write to %s: %w", restore.ErrStop, t.path, err)
		}
		at += p.Len()
	}
	if err := t.dev.Sync(); err != nil {
		return fmt.Errorf("%w: write %s out: %w", restore.ErrStop, t.path, err)
	}
	return nil
}

// Finish implements restore.Target.
func (t *Target) Finish(context.Context) error {
	if t.taken == "" {
		return fmt.Errorf("restore to %s: there is no disk image to write: name one with --include", t.path)
	}
	return nil
}

// Close implements restore.Target.
func (t *Target) Close() error {
	if t.dev == nil {
		return nil
	}
	err := t.dev.Close()
	t.dev = nil
	if err != nil {
		return fmt.Errorf("restore to %s: %w", t.path, err)
	}
	return nil
}

// Notes implements restore.Target.
func (t *Target) Notes() []string { return nil }
