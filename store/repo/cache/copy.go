package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// copyName begins the folders of copies, beside the caches they are of.
const copyName = "copy-"

// Copy copies the cache in dir into a folder of its own, to be opened there: whoever only wants to know what a run would do works with
// what runs know, and changes nothing of it. The copy shares its tables with the cache, where the file system lets two names have one
// file, so it costs little whatever its size. Where there is no cache it is an empty folder, and none is made. drop removes the copy.
//
// Errors: [ErrBusy] if a run has the cache open; else what the file system says.
func Copy(dir string) (own string, drop func() error, err error) {
	if own, err = copyFolder(filepath.Dir(dir)); err != nil {
		return "", nil, fmt.Errorf("copying the local cache: %w", err)
	}
	drop = func() error { return os.RemoveAll(own) }
	if _, err := os.Lstat(dir); err != nil {
		return own, drop, nil
	}
	if err := copyCache(dir, own); err != nil {
		return "", nil, fmt.Errorf("copying the local cache: %w", errors.Join(err, drop()))
	}
	return own, drop, nil
}

// copyFolder makes a folder for a copy: beside the cache, else where the system keeps such things.
func copyFolder(beside string) (string, error) {
	if own, err := os.MkdirTemp(beside, copyName); err == nil {
		return own, nil
	}
	return os.MkdirTemp("", "holdfast-"+copyName)
}

// copyCache copies a cache that no run has open, and removes what copies have left that were killed.
func copyCache(dir, to string) (err error) {
	dir, err = prepare(dir)
	if err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	removeLeft(filepath.Dir(dir), to)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch at := filepath.Join(to, rel); {
		case d.IsDir():
			return os.MkdirAll(at, 0o700)
		case d.Name() == lockFile || !d.Type().IsRegular():
			return nil
		case strings.HasSuffix(d.Name(), ".sst") && os.Link(path, at) == nil: // which are written once
			return nil
		default:
			return copyFile(path, at)
		}
	})
}

// leftAfter is how old a copy without a lock is when nobody can be working with it.
const leftAfter = 7 * 24 * time.Hour

// removeLeft removes copies that nobody has open any more.
func removeLeft(in, own string) {
	entries, err := os.ReadDir(in)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(in, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), copyName) || filepath.Base(own) == e.Name() {
			continue
		}
		if _, err := os.Lstat(filepath.Join(path, lockFile)); err != nil {
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > leftAfter {
				_ = os.RemoveAll(path)
			}
			continue // one of Kept, or it is being made
		}
		if lock, err := lockDir(path); err == nil {
			_ = os.RemoveAll(path) // what is left is tried again by the next copy
			_ = lock.Close()
		}
	}
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// Copy gives a Kept that begins with what this one has. This one stays as it is; drop removes the copy.
func (k *Kept) Copy() (_ *Kept, drop func() error, err error) {
	if k == nil {
		return nil, func() error { return nil }, nil
	}
	own, err := copyFolder(filepath.Dir(k.dir))
	if err != nil {
		return nil, nil, fmt.Errorf("copying what is kept of the vaults: %w", err)
	}
	removeLeft(filepath.Dir(k.dir), own)
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		entries = nil // nothing is kept yet, or can be read: it is read from the vaults
	}
	for _, e := range entries {
		if from, to := filepath.Join(k.dir, e.Name()), filepath.Join(own, e.Name()); os.Link(from, to) != nil {
			_ = copyFile(from, to) // what is not there is read from the vault
		}
	}
	return NewKept(own), func() error { return os.RemoveAll(own) }, nil
}
