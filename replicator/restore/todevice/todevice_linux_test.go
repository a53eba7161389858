package todevice

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const mib = 1 << 20

// onFile gives a target that writes to a file of size bytes full of old content, as if it were a device.
func onFile(t *testing.T, size int64) (*Target, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xee}, int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Target{path: path, open: openDevice}, path
}

func image(size int64) *format.Entry {
	return &format.Entry{Kind: format.KindImage, Key: "vol-1", Size: size}
}

func TestDevice(t *testing.T) {
	d, path := onFile(t, 5*mib)
	if err := d.begin(restore.Job{Overwrite: restore.Always}); err != nil {
		t.Fatal(err)
	}
	recv, verdict, err := d.Accept(t.Context(), []*format.Entry{image(4 * mib)})
	if err != nil || verdict != restore.Take {
		t.Fatal(verdict, err)
	}
	data := bytes.Repeat([]byte("new!"), mib/4)
	if recv != restore.Receiver(d) {
		t.Error("another receiver")
	}
	pieces := func(yield func(restore.Piece, error) bool) {
		_ = yield(restore.Piece{Data: data}, nil) && yield(restore.Piece{Hole: 2*mib + 100}, nil) && yield(restore.Piece{Data: data[100:]}, nil)
	}
	if err := d.write(pieces); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Finish(t.Context()), d.Close()); err != nil {
		t.Fatal(err)
	}
	want := append(append(append(bytes.Clone(data), make([]byte, 2*mib+100)...), data[100:]...), bytes.Repeat([]byte{0xee}, mib)...)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the device holds something else (%v)", err)
	}
}

func TestDeviceRefuses(t *testing.T) {
	d, path := onFile(t, mib)
	for _, p := range []string{path, filepath.Dir(path), "/dev/null"} {
		target, err := New(Options{Path: p})
		if err != nil {
			t.Fatal(err)
		}
		if err := target.Begin(t.Context(), restore.Job{Overwrite: restore.Always}); !errors.Is(err, ErrNoDevice) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if err := d.begin(restore.Job{Overwrite: restore.Never}); err == nil || !strings.Contains(err.Error(), "--overwrite always") {
		t.Errorf("without being told to overwrite: %v", err)
	}
	if err := d.begin(restore.Job{Overwrite: restore.Always}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Finish(context.Background()); err == nil {
		t.Error("nothing was written, and nothing said")
	}
	if _, v, err := d.Accept(t.Context(), []*format.Entry{{Key: "file", Size: 5}}); v != restore.Ignore || err != nil {
		t.Errorf("an object: %v %v", v, err)
	}
	if _, _, err := d.Accept(t.Context(), []*format.Entry{image(mib + 1)}); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("a larger image: %v", err)
	}
	if _, _, err := d.Accept(t.Context(), []*format.Entry{image(mib)}); err != nil {
		t.Errorf("one that fits: %v", err)
	}
	if _, _, err := d.Accept(t.Context(), []*format.Entry{image(mib)}); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("a second one: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{0xee}, mib)) {
		t.Errorf("something was written (%v)", err)
	}
}
