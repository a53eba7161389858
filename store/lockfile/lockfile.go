// Package lockfile takes a file for one process at a time, where several commands of one machine change the same small state.
//
// The kernel gives a lock back when its holder dies, so none has to be cleaned up. The file stays and is empty. It is no lock
// of a vault or of a run: those have their own.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Take waits until no other process has path, which is made with mode if it is not there, as long as ctx lasts.
// release gives it back.
func Take(ctx context.Context, path string, mode os.FileMode) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, mode)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for %s, which another process has: %w", path, ctx.Err()), f.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
