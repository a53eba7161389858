package lockfile_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/lockfile"
)

// TestTake: one at a time, the next one when it is given back, and nobody waits for longer than he wants.
func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var n, most atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			release, err := lockfile.Take(t.Context(), path, 0o600)
			if err != nil {
				t.Error(err)
				return
			}
			if now := n.Add(1); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(time.Millisecond)
			n.Add(-1)
			release()
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at once", most.Load())
	}
	release, err := lockfile.Take(t.Context(), path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lockfile.Take(ctx, path, 0o600); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	release()
	if _, err := lockfile.Take(t.Context(), filepath.Join(path, "no", "folder"), 0o600); err == nil {
		t.Error("there is no such folder")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	if _, err := lockfile.Take(t.Context(), link, 0o600); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link is followed: %v", err)
	}
}
