package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The folder holds a lock file, a version file, and the database in a folder of its own.
const (
	dbDir       = "db"
	versionFile = "version"
	version     = "holdfast cache 4\n"
	badSuffix   = ".bad-"
	newSuffix   = ".new"
	lockFile    = "LOCK" // what pebble.LockDirectory makes
)

// ErrLink: the folder or something in it is a link. Nothing here makes one, and what is written would go elsewhere.
var ErrLink = errors.New("a cache follows no links: name the folder itself, or remove the link")

// prepare makes the folder, readable by its owner only, and gives the one path by which it is locked.
func prepare(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for _, name := range []string{"", dbDir, versionFile, versionFile + newSuffix, lockFile, holderFile, holderFile + newSuffix} {
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return "", fmt.Errorf("%w: %s", ErrLink, path)
		}
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// Lock takes a folder beside the database for this process; [Busy] where another has it. The caller closes it.
func Lock(dir string) (io.Closer, error) { return lockDir(dir) }

// lockDir takes the folder for this process.
func lockDir(dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	var path *fs.PathError
	var errno syscall.Errno
	switch {
	case err == nil:
		noteHolder(dir)
		return lock, nil
	case errors.As(err, &path):
		return nil, err
	case errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES:
		return nil, fmt.Errorf("locking the folder: %w", err)
	default:
		return nil, fmt.Errorf("%w; it uses this cache: wait for it to end", holder(dir, errno == 0))
	}
}

// versionFits tells whether the database may be used: it is of this version, or there is none.
func versionFits(dir string) bool {
	if _, err := os.Lstat(filepath.Join(dir, dbDir)); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	f, err := os.Open(filepath.Join(dir, versionFile))
	if err != nil {
		return false
	}
	b := make([]byte, len(version)+1)
	n, _ := f.Read(b) // what was not read does not fit either
	_ = f.Close()     // only read from
	return bytes.Equal(b[:n], []byte(version))
}

func writeVersion(dir string) error {
	path := filepath.Join(dir, versionFile)
	if err := os.WriteFile(path+newSuffix, []byte(version), 0o600); err != nil {
		return err
	}
	return os.Rename(path+newSuffix, path)
}

// setAside moves the database out of the way, beside the folder, where one of them at most is kept for whoever wants to
// know what happened.
func setAside(dir string) error {
	db := filepath.Join(dir, dbDir)
	if _, err := os.Lstat(db); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	siblings, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return err
	}
	last := 0
	for _, s := range siblings {
		digits, ours := strings.CutPrefix(s.Name(), filepath.Base(dir)+badSuffix)
		n, err := strconv.Atoi(digits)
		if !ours || err != nil || n < 1 || strconv.Itoa(n) != digits {
			continue
		}
		last = max(last, n)
		if err := os.RemoveAll(dir + badSuffix + digits); err != nil {
			return err
		}
	}
	if err := os.Rename(db, dir+badSuffix+strconv.Itoa(last+1)); err != nil {
		return fmt.Errorf("setting a cache aside that cannot be used (delete %s by hand): %w", db, err)
	}
	return nil
}

// environmental tells a machine's trouble from a bad database: a full disk is no reason to start over.
func environmental(err error) bool {
	for _, e := range []error{
		fs.ErrPermission, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
