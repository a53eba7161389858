// Package wholefile gives a small file of this machine its content, all of it or none, for good: what state is kept in beside a
// vault must never be half of what it was to be, also after a power cut.
package wholefile

import (
	"errors"
	"os"
	"path/filepath"
)

// Suffix is what is added to the name of a file while it is written. One that is there was cut off, and counts for nothing.
const Suffix = ".new"

// Write writes a file of mode 0600 in place of the one that is there, if any, and returns once it is on the disk. Two that write one
// file at once spoil it: the caller sees to that.
func Write(path string, content []byte) error {
	f, err := os.OpenFile(path+Suffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+Suffix, path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
