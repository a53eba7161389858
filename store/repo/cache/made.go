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
	"time"
)

// The points that this machine made are kept as doubts are: in plain files beside the database, one a vault, so that a
// verification can hold them against a vault's listing while a run goes on.

const (
	madeDir = "points"
	maxMade = 64 << 20 // bytes of a file that are looked at
)

// Made is a point that this machine stored in a vault and read back.
type Made struct {
	Name  string    // of its commit object
	Until time.Time // it is kept until then
}

func madeFile(dir, vault string) (string, error) {
	path, err := doubtsFile(dir, vault)
	return filepath.Join(dir, madeDir, filepath.Base(path)), err
}

// Points are those that this machine made in each vault.
type Points struct{ *core }

// Put remembers a point in a vault, for good.
func (c *Points) Put(vault string, m Made) error {
	path, err := madeFile(c.dir, vault)
	if err != nil {
		return fmt.Errorf("noting a point: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("noting a point: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("noting a point: %w", err)
	}
	_, err = f.WriteString(m.Name + " " + m.Until.UTC().Format(time.RFC3339) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("noting a point: %w", err)
	}
	return nil
}

// All gives the points that are noted.
func (c *Points) All(vault string) ([]Made, error) { return PointsMade(c.dir, vault) }

// Size is how many bytes the notes of a vault's points take.
func (c *Points) Size(vault string) (int64, error) {
	path, err := madeFile(c.dir, vault)
	if err != nil {
		return 0, fmt.Errorf("reading which points were made: %w", err)
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading which points were made: %w", err)
	}
	return info.Size(), nil
}

// From gives the points that were noted when the notes took so many bytes already.
func (c *Points) From(vault string, size int64) ([]Made, error) {
	return pointsMade(c.dir, vault, size)
}

// PointsMade gives the points of a vault that are noted in the cache folder dir. What is no such line is passed over.
func PointsMade(dir, vault string) ([]Made, error) { return pointsMade(dir, vault, 0) }

func pointsMade(dir, vault string, from int64) ([]Made, error) {
	path, err := madeFile(dir, vault)
	if err != nil {
		return nil, fmt.Errorf("reading which points were made: %w", err)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which points were made: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading which points were made: %w", err)
	}
	var out []Made
	lines := bufio.NewScanner(io.LimitReader(f, maxMade))
	for lines.Scan() {
		name, until, _ := strings.Cut(lines.Text(), " ")
		if t, err := time.Parse(time.RFC3339, until); err == nil {
			out = append(out, Made{name, t})
		}
	}
	return out, nil
}

// ForgetPoints forgets which points are in a vault: it is begun anew.
func ForgetPoints(dir, vault string) error {
	path, err := madeFile(dir, vault)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting which points were made: %w", err)
	}
	return nil
}
