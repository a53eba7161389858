// Package wholefile gives a small file of this machine its content, all of it or none, for good: what state is kept in beside a
// vault must never be half of what it was to be, also after a power cut.
package wholefile

import (
	"errors"
	"fmt"
	"io/fs"
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
	if err = fill(f, content); err == nil {
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

// Replace is Write for a file that people read: of a mode, as far as the umask lets it, and also where two write it at once.
func Replace(path string, content []byte, mode fs.FileMode) error {
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		path = whole // a link stays one
	}
	next := fmt.Sprintf("%s.%d%s", path, os.Getpid(), Suffix)
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return under(err, path)
	}
	if err = fill(f, content); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(under(err, path), os.Remove(next))
	}
	return nil
}

// Create makes a file of mode 0600 that is not there yet, all of it or none; where one is there the error is fs.ErrExist. A file that was
// cut off keeps a name of its own, which ends in Suffix.
func Create(path string, content []byte) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+Suffix)
	if err != nil {
		return under(err, path)
	}
	defer func() {
		if rerr := os.Remove(f.Name()); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	if err = fill(f, content); err != nil {
		return under(err, path)
	}
	err = os.Link(f.Name(), path) // which puts nothing in the place of another
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(f.Name(), path) // there are no links here
	}
	return under(err, path)
}

// fill writes and closes a file that stands in for another, and returns once it is on the disk.
func fill(f *os.File, content []byte) error {
	_, err := f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// under has an error speak of the file that was to be made, not of the one that stood in for it.
func under(err error, path string) error {
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return &fs.PathError{Op: "create", Path: path, Err: e.Err}
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: e.Op, Path: path, Err: e.Err}
	}
	return err
}
