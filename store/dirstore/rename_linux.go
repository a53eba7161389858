package dirstore

import (
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// renameFree renames a file within the root and refuses to replace what is there.
func renameFree(root *os.Root, from, to string) (err error) {
	a, err := root.Open(path.Dir(from))
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := root.Open(path.Dir(to))
	if err != nil {
		return err
	}
	defer b.Close()
	for {
		err = unix.Renameat2(int(a.Fd()), path.Base(from), int(b.Fd()), path.Base(to), unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
