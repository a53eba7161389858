package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/lockfile"
)

// When something is told again, and when it is not.
const (
	again     = 22 * time.Hour         // the same problem: once a day, for runs that do not begin to the minute
	week      = (7*24 - 2) * time.Hour // for the same reason
	forgotten = 31 * 24 * time.Hour    // a problem that no command has looked for since
	burst     = 6                      // messages an hour; what is told beyond is held back, unless it is of a severity that was not told in that hour
	burstSpan = time.Hour
)

// memory is what receivers were told. It is a file that is safe to delete: then they are told again.
type memory struct {
	Version     int                  `json:"version"`
	Receivers   map[string]*told     `json:"receivers"`   // by ID
	Invocations []string             `json:"invocations"` // of systemd, that told themselves what they came to; the newest last
	Units       map[string]time.Time `json:"units"`       // when a unit's failure was last told
}

// told is what one receiver was told.
type told struct {
	Name    string          `json:"name"`
	Open    map[string]open `json:"open"` // problems that are not over, as far as it knows
	Sent    []sent          `json:"sent"` // within burstSpan
	Held    int             `json:"held"` // messages held back since the last one
	Weekly  time.Time       `json:"weekly"`
	Failing time.Time       `json:"failing"` // since when nothing gets there; zero: it does
	Error   string          `json:"error,omitempty"`
	Last    time.Time       `json:"last"` // when it last got something
}

// open is a problem that was told.
type open struct {
	Command  string    `json:"command"`
	Scope    string    `json:"scope,omitempty"`
	About    string    `json:"about,omitempty"`
	Source   string    `json:"source,omitempty"`
	Vault    string    `json:"vault,omitempty"`
	Severity Severity  `json:"severity"`
	Code     string    `json:"code,omitempty"`
	Finding  string    `json:"finding,omitempty"`
	Text     string    `json:"text"`
	Extent   int64     `json:"extent,omitempty"` // that was told
	Event    bool      `json:"event,omitempty"`  // see Result, as of the next two
	Group    string    `json:"group,omitempty"`
	Whole    bool      `json:"whole,omitempty"`
	Repeats  int       `json:"repeats,omitempty"` // how often it was found since it was last told
	Since    time.Time `json:"since"`
	Told     time.Time `json:"told"`
	Seen     time.Time `json:"seen"`
}

type sent struct {
	At       time.Time `json:"at"`
	Severity Severity  `json:"severity"`
}

const (
	memoryVersion  = 1
	maxMemory      = 4 << 20 // bytes of the file
	maxInvocations = 50
	memoryFile     = "told.json"
	lockName       = "lock"
)

func newMemory() *memory {
	return &memory{Version: memoryVersion, Receivers: map[string]*told{}, Units: map[string]time.Time{}}
}

// of gives what a receiver was told.
func (m *memory) of(s Subscriber) *told {
	t := m.Receivers[s.ID]
	if t == nil {
		t = &told{}
		m.Receivers[s.ID] = t
	}
	if t.Open == nil {
		t.Open = map[string]open{}
	}
	t.Name = s.name
	return t
}

// withMemory reads the memory, lets do work with it, and writes it back, while no other command does. Without a folder
// nothing is remembered, and everything is told.
func withMemory(ctx context.Context, dir string, do func(*memory)) error {
	if dir == "" {
		do(newMemory())
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		do(newMemory())
		return fmt.Errorf("what was told cannot be remembered: %w", err)
	}
	release, err := lockfile.Take(ctx, filepath.Join(dir, lockName), 0o600)
	if err != nil {
		do(newMemory())
		return fmt.Errorf("what was told cannot be remembered: %w", err)
	}
	defer release()
	m, err := readMemory(dir)
	if err != nil {
		err = fmt.Errorf("what was told before is not known, so it is told again: %w", err)
	}
	do(m)
	if werr := m.write(dir); werr != nil {
		err = errors.Join(err, fmt.Errorf("what was told cannot be remembered: %w", werr))
	}
	return err
}

// readMemory reads the memory. One that cannot be read is as good as none: then things are told again.
func readMemory(dir string) (*memory, error) {
	path := filepath.Join(dir, memoryFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newMemory(), nil
	}
	if err == nil && info.Size() > maxMemory {
		err = fmt.Errorf("%s has %d bytes, at most %d are taken", path, info.Size(), maxMemory)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	m := newMemory()
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err != nil || m.Version != memoryVersion {
		return newMemory(), fmt.Errorf("%s: %w", path, cmp.Or(err, errors.New("written by another version")))
	}
	if m.Receivers == nil {
		m.Receivers = map[string]*told{}
	}
	if m.Units == nil {
		m.Units = map[string]time.Time{}
	}
	for id, t := range m.Receivers {
		if t == nil {
			delete(m.Receivers, id)
		}
	}
	return m, nil
}

// write puts the memory in the place of the one before.
func (m *memory) write(dir string) (err error) {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, memoryFile+".")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, memoryFile))
}

// forget drops what is of no use any more: receivers that are not configured, old problems, old times.
func (m *memory) forget(subscribers []Subscriber, now time.Time) {
	for id := range m.Receivers {
		if !slices.ContainsFunc(subscribers, func(s Subscriber) bool { return s.ID == id }) {
			delete(m.Receivers, id)
		}
	}
	for _, t := range m.Receivers {
		t.Sent = slices.DeleteFunc(t.Sent, func(s sent) bool { return now.Sub(s.At) >= burstSpan || s.At.After(now) })
		for key, p := range t.Open {
			if now.Sub(p.Seen) > forgotten {
				delete(t.Open, key)
			}
		}
	}
	for unit, when := range m.Units {
		if now.Sub(when) > forgotten {
			delete(m.Units, unit)
		}
	}
	if n := len(m.Invocations) - maxInvocations; n > 0 {
		m.Invocations = m.Invocations[n:]
	}
}
