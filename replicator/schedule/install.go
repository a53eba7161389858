package schedule

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrForeign: a file stands in the way that [Install] did not write.
var ErrForeign = errors.New("not written by `holdfast schedule`")

// Change is what became of a file.
type Change struct {
	Path   string
	Action Action
}

// Action is what was done with a file.
type Action string

// What can become of a file.
const (
	Written   Action = "written"
	Unchanged Action = "unchanged"
	Removed   Action = "removed"
)

// Install writes files into a folder, each as a whole or not at all, and removes those that an earlier call wrote and that are
// not among them. Before anything is written it looks at all of them: one that is somebody else's, or a link, is [ErrForeign].
// It may be called again. ours tells names that it may remove: [IsUnit], [IsCrontab].
func Install(dir string, files []File, ours func(name string) bool) ([]Change, error) {
	have, err := Installed(dir, ours, Names(files)...)
	if err != nil {
		return nil, err
	}
	var out []Change
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, []byte(f.Text)) {
			out = append(out, Change{path, Unchanged})
			continue
		}
		if err := write(path, f.Text); err != nil {
			return out, fmt.Errorf("writing %s: %w", path, err)
		}
		out = append(out, Change{path, Written})
	}
	old := slices.DeleteFunc(have, func(name string) bool { return slices.Contains(Names(files), name) })
	removed, err := Remove(dir, old)
	return append(out, removed...), err
}

// Names are those of files.
func Names(files []File) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.Name
	}
	return out
}

// IsUnit reports whether a unit of that name could be one of ours.
func IsUnit(name string) bool {
	return (strings.HasPrefix(name, "holdfast.") || strings.HasPrefix(name, "holdfast-")) && (strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".timer"))
}

// IsCrontab reports whether a crontab of that name could be ours.
func IsCrontab(name string) bool { return name == CronFile }

// Installed lists the files of a folder that [Install] wrote and whose names are ours. Those of wanted that are there and are not its own are an error.
func Installed(dir string, ours func(name string) bool, wanted ...string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	var all []error
	for _, e := range entries {
		name := e.Name()
		if !ours(name) {
			continue
		}
		own := false
		if e.Type().IsRegular() {
			if own, err = marked(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
		if own {
			out = append(out, name)
		} else if slices.Contains(wanted, name) {
			all = append(all, fmt.Errorf("%s is there and was %w: move it away, or see whether it is still needed", filepath.Join(dir, name), ErrForeign))
		}
	}
	return out, errors.Join(all...)
}

// marked reports whether a file begins as those do that are installed.
func marked(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	begin := make([]byte, len(Mark))
	n, _ := f.Read(begin) // what cannot be read is not ours
	return string(begin[:n]) == Mark, nil
}

// Remove deletes files of a folder, which [Installed] has named.
func Remove(dir string, names []string) ([]Change, error) {
	var out []Change
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
		out = append(out, Change{path, Removed})
	}
	return out, nil
}

// write puts a file in its place as a whole, readable by all: systemd and cron read it, and it holds no secret.
func write(path, text string) (err error) {
	// Its name has a dot in front, and cron takes no name with one: a half-written file is never read.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that is told is the first one
		}
	}()
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
