package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// ReadSecretFile reads a file that holds a secret: a key, or credentials. max is the largest size taken, in bytes.
//
// The mode must not be wider than 0600 ([ErrFileMode]). Below $CREDENTIALS_DIRECTORY 0440 is taken too: systemd hands a
// credential to a service's user through an access control list, which stat shows as the group's bit, inside a directory
// that only this service can enter. Pipes and other things that are no plain file (as in `--identity <(age -d key.age)`)
// have no mode worth checking.
//
// Errors: [ErrFileMode], [ErrTooLarge], [ErrEmpty], or what the file system said. The content is never part of one.
func ReadSecretFile(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The opened file is asked, not the path again: the two may differ by then.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory; a file is needed", path)
	}
	if info.Mode().IsRegular() {
		if err := checkMode(path, info.Mode().Perm()); err != nil {
			return nil, err
		}
		if info.Size() > max {
			return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are taken", ErrTooLarge, path, info.Size(), max)
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, path, max)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrEmpty, path)
	}
	return b, nil
}

func checkMode(path string, perm fs.FileMode) error {
	if runtime.GOOS == "windows" {
		return nil // the mode bits are made up there and say nothing about who can read
	}
	allowed := fs.FileMode(0o600)
	if underCredentials(path, os.Getenv("CREDENTIALS_DIRECTORY")) {
		allowed = 0o640
	}
	if perm&^allowed != 0 {
		return fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrFileMode, path, perm, shellQuote(path))
	}
	return nil
}

func underCredentials(path, dir string) bool {
	if dir == "" || !filepath.IsAbs(dir) {
		return false
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(filepath.Clean(dir), abs)
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// shellQuote makes a path safe to paste after a command in a message.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,@%", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 && !strings.HasPrefix(s, "-") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// WriteSecretFile creates path with mode 0600 and the given content, synced to the disk. It never overwrites, and leaves nothing
// where it fails.
func WriteSecretFile(path string, content []byte) error { return writeSecretFile(path, content) }

// writeSecretFile creates path with mode 0600 and the given content. It never overwrites.
func writeSecretFile(path string, content []byte) error {
	return createSecretFile(path, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// createSecretFile creates path, lets fill write it, syncs file and directory; a file that did not come out whole is removed.
func createSecretFile(path string, fill func(*os.File) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already and a key file is never overwritten; choose another name or move it away: %w", path, err)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), removeQuietly(path))
		}
	}()
	if err := fill(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// removeQuietly removes what a failed write left; that there is nothing to remove is no error.
func removeQuietly(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the unfinished file: %w", err)
	}
	return nil
}

// syncDir makes a new name in a directory survive a crash.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		// A directory one may write in but not list (mode 0300): the file itself is synced.
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
