package cache

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The points that this machine made are kept as doubts are: in plain files beside the database, one a vault, so that a
// verification can hold them against a vault's listing while a run goes on.

const (
	madeDir = "points"
	lostDir = "lost"
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
	if err := appendMade(path, m); err != nil {
		return fmt.Errorf("noting a point: %w", err)
	}
	return nil
}

// appendMade notes points at the end of a file.
func appendMade(path string, made ...Made) error {
	if len(made) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, m := range made {
		text.WriteString(m.Name + " " + m.Until.UTC().Format(time.RFC3339) + "\n")
	}
	_, err = f.WriteString(text.String())
	return errors.Join(err, f.Sync(), f.Close())
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
	out, err := readMade(path, from)
	if err != nil {
		return nil, fmt.Errorf("reading which points were made: %w", err)
	}
	return out, nil
}

// readMade reads a file of points from a byte on.
func readMade(path string, from int64) ([]Made, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, err
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

// LosePoints remembers that a vault lost the points that are noted and not over: it is begun anew. From then on they are none that it has
// to list. It gives how many they are, and when the last of them is over.
func LosePoints(dir, vault string, now time.Time) (n int, until time.Time, err error) {
	made, err := PointsMade(dir, vault)
	if err != nil {
		return 0, until, err
	}
	path, err := madeFile(dir, vault)
	if err != nil {
		return 0, until, err
	}
	made = slices.DeleteFunc(made, func(m Made) bool { return !m.Until.After(now) })
	for _, m := range made {
		if m.Until.After(until) {
			until = m.Until
		}
	}
	if err := appendMade(lostFile(path), made...); err != nil { // before they are forgotten: told twice is better than never
		return 0, until, fmt.Errorf("noting which points are lost: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, until, fmt.Errorf("forgetting which points were made: %w", err)
	}
	return len(made), until, nil
}

// lostFile is where the points are noted that a vault lost, by the file of those that were made there.
func lostFile(made string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(made)), lostDir, filepath.Base(made))
}

// PointsLost gives the points that a vault had when it was lost, each once, as the cache folder dir remembers.
func PointsLost(dir, vault string) ([]Made, error) {
	path, err := madeFile(dir, vault)
	if err != nil {
		return nil, fmt.Errorf("reading which points are lost: %w", err)
	}
	all, err := readMade(lostFile(path), 0)
	if err != nil {
		return nil, fmt.Errorf("reading which points are lost: %w", err)
	}
	seen := make(map[string]bool, len(all))
	return slices.DeleteFunc(all, func(m Made) bool {
		before := seen[m.Name]
		seen[m.Name] = true
		return before
	}), nil
}

// Lost gives the points that a vault had when it was lost.
func (c *Points) Lost(vault string) ([]Made, error) { return PointsLost(c.dir, vault) }

// ForgetLost forgets the points that a vault lost, and gives how many they were: somebody knows of them.
func ForgetLost(dir, vault string, now time.Time) (n int, err error) {
	lost, err := PointsLost(dir, vault)
	if err != nil {
		return 0, err
	}
	path, err := madeFile(dir, vault)
	if err == nil {
		err = os.Remove(lostFile(path))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("forgetting which points are lost: %w", err)
	}
	return len(slices.DeleteFunc(lost, func(m Made) bool { return !m.Until.After(now) })), nil
}
