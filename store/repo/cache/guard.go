package cache

import (
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS stands between the database and the disk. The database ends the process when it cannot write; a full disk under a
// cache is not worth that. So the first failed write is remembered as the cache's failure, and from then on nothing is
// written any more while the database is told that all went well: the disk stays as a crash at that moment would leave it,
// which the database recovers from, and every operation of the cache gives the failure.
type guardFS struct {
	vfs.FS
	health *health
}

// held reports err, if any, and tells whether the disk is not to be touched.
func (g guardFS) held(err error) bool {
	if err != nil {
		g.health.fail(err)
	}
	return g.health.failure() != nil
}

func (g guardFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		g.health.fail(err)
		return void{}, nil
	}
	return guardFile{f, g}, nil
}

// Create implements vfs.FS.
func (g guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.held(nil) {
		return void{}, nil
	}
	return g.file(g.FS.Create(name, c))
}

// ReuseForWrite implements vfs.FS.
func (g guardFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.held(nil) {
		return void{}, nil
	}
	return g.file(g.FS.ReuseForWrite(from, to, c))
}

// OpenReadWrite implements vfs.FS.
func (g guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if g.held(nil) {
		return void{}, nil
	}
	return g.file(g.FS.OpenReadWrite(name, c, o...))
}

// OpenDir implements vfs.FS.
func (g guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return guardFile{f, g}, nil
}

// Link implements vfs.FS.
func (g guardFS) Link(from, to string) error {
	if !g.held(nil) {
		g.held(g.FS.Link(from, to))
	}
	return nil
}

// Rename implements vfs.FS.
func (g guardFS) Rename(from, to string) error {
	if !g.held(nil) {
		g.held(g.FS.Rename(from, to))
	}
	return nil
}

// Remove implements vfs.FS. That a file cannot be removed breaks nothing.
func (g guardFS) Remove(name string) error {
	if g.held(nil) {
		return nil
	}
	return g.FS.Remove(name)
}

// Unwrap implements vfs.FS.
func (g guardFS) Unwrap() vfs.FS { return g.FS }

type guardFile struct {
	vfs.File
	fs guardFS
}

// Write implements vfs.File.
func (f guardFile) Write(p []byte) (int, error) {
	if !f.fs.held(nil) {
		_, err := f.File.Write(p)
		f.fs.held(err)
	}
	return len(p), nil
}

// WriteAt implements vfs.File.
func (f guardFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.fs.held(nil) {
		_, err := f.File.WriteAt(p, off)
		f.fs.held(err)
	}
	return len(p), nil
}

// Preallocate implements vfs.File. It only saves time.
func (f guardFile) Preallocate(off, n int64) error {
	if f.fs.held(nil) {
		return nil
	}
	return f.File.Preallocate(off, n)
}

// Sync implements vfs.File.
func (f guardFile) Sync() error {
	if !f.fs.held(nil) {
		f.fs.held(f.File.Sync())
	}
	return nil
}

// SyncData implements vfs.File.
func (f guardFile) SyncData() error {
	if !f.fs.held(nil) {
		f.fs.held(f.File.SyncData())
	}
	return nil
}

// SyncTo implements vfs.File.
func (f guardFile) SyncTo(n int64) (bool, error) {
	if f.fs.held(nil) {
		return true, nil
	}
	full, err := f.File.SyncTo(n)
	f.fs.held(err)
	return full, nil
}

// Close implements vfs.File. Some disks say only here that a write failed.
func (f guardFile) Close() error {
	f.fs.held(f.File.Close())
	return nil
}

// void is a file that takes everything and holds nothing.
type void struct{}

func (void) Write(p []byte) (int, error)            { return len(p), nil }
func (void) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (void) Read([]byte) (int, error)               { return 0, io.EOF }
func (void) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (void) Preallocate(int64, int64) error         { return nil }
func (void) Stat() (vfs.FileInfo, error)            { return nil, os.ErrInvalid }
func (void) Sync() error                            { return nil }
func (void) SyncData() error                        { return nil }
func (void) SyncTo(int64) (bool, error)             { return true, nil }
func (void) Prefetch(int64, int64) error            { return nil }
func (void) Fd() uintptr                            { return vfs.InvalidFd }
func (void) Close() error                           { return nil }
