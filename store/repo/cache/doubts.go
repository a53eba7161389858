package cache

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A verification that finds bytes wrong tells the next run of it: no run reads what is stored already, and a listing shows
// names and sizes only. What it found is kept in plain files beside the database, one a vault and one name a line, so that
// the database need not be opened. They are hints as all here is: whoever reads one looks for himself.

const (
	doubtsDir = "doubts"
	maxDoubts = 64 << 20 // bytes of a file that are looked at
)

func doubtsFile(dir, vault string) (string, error) {
	if vault == "" || strings.ContainsAny(vault, "/\\\x00") || vault == "." || vault == ".." {
		return "", fmt.Errorf("the vault's name %q cannot be that of a file", vault)
	}
	return filepath.Join(dir, doubtsDir, vault), nil
}

// Doubt notes objects of a vault whose bytes were found wrong, for the run that next opens the cache in dir. A run may be
// going on.
func Doubt(dir, vault string, names []string) error {
	path, err := doubtsFile(dir, vault)
	if err != nil {
		return fmt.Errorf("noting what is damaged: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("noting what is damaged: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("noting what is damaged: %w", err)
	}
	_, err = f.WriteString(strings.Join(names, "\n") + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("noting what is damaged: %w", err)
	}
	return nil
}

// Doubts gives the names of a vault's objects that are in doubt, each once, and settled, which is called when all of them
// were looked at. Lines that are no names of objects are passed over.
func (c *Notes) Doubts(vault string) (names []string, settled func() error, err error) {
	path, err := doubtsFile(c.dir, vault)
	if err != nil {
		return nil, nil, fmt.Errorf("reading what is in doubt: %w", err)
	}
	// What comes in from now on goes to a file of its own; what a killed run did not settle is looked at as well.
	taken := path + ".taken"
	if _, err := os.Lstat(taken); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(path, taken); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("reading what is in doubt: %w", err)
		}
	}
	f, err := os.Open(taken)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, func() error { return nil }, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading what is in doubt: %w", err)
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(io.LimitReader(f, maxDoubts))
	for lines.Scan() {
		if _, err := format.ParseName(lines.Text()); err == nil && !seen[lines.Text()] {
			seen[lines.Text()] = true
			names = append(names, lines.Text())
		}
	}
	_ = f.Close() // only read from; a line that cannot be read is one that is not known
	return names, func() error { return os.Remove(taken) }, nil
}
