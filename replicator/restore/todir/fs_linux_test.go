package todir

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestInMemory: no room is reserved on a tmpfs, and is on what is none.
func TestInMemory(t *testing.T) {
	for _, c := range []struct {
		dir  string
		want bool
	}{{"/dev/shm", true}, {"/proc", false}} {
		fd, err := unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(c.dir, err)
		}
		if got := inMemory(fd); got != c.want {
			t.Errorf("%s: %v", c.dir, got)
		}
		_ = unix.Close(fd)
	}
}
