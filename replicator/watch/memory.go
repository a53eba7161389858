package watch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Memory is what earlier looks saw in one vault. It is made of what is public anyway: names, times and locks.
type Memory struct {
	Version    int                `json:"version"`
	Repository format.Hash        `json:"repository"` // the fingerprint
	Looked     time.Time          `json:"looked"`     // when the vault was last looked at, by this machine's clock; zero: never
	Clock      time.Time          `json:"clock"`      // what the vault's clock was then; zero: not known
	Chain      []format.Hash      `json:"chain"`      // the descriptors
	Points     map[string]Point   `json:"points"`     // that are not over, by name
	Full       bool               `json:"full"`       // there were more points than are remembered
	Records    map[string]int     `json:"records"`    // the last number of each series of records
	Guarantee  Guarantee          `json:"guarantee"`  // what the bucket is set to
	Sentinels  []Sentinel         `json:"sentinels"`  // stored objects that are looked at: their locks, or in a directory their sizes
	Next       int                `json:"next"`       // which folder gives the next sentinel
	Strangers  []string           `json:"strangers"`  // what was told of that no key signed
	Open       map[string]Finding `json:"open"`       // what was so at the last look, by ID
	Events     []Finding          `json:"events"`     // what happened lately
}

// Point is a recovery point that was seen.
type Point struct {
	Source string     `json:"source"`
	ID     string     `json:"id"`
	Signed time.Time  `json:"signed"`
	Until  time.Time  `json:"until"`          // it is to be kept so long
	Mode   store.Mode `json:"mode,omitempty"` // of its own object's lock, as it was read at its longest
	Locked time.Time  `json:"locked,omitzero"`
	Read   time.Time  `json:"read,omitzero"`   // when the lock was last looked at
	Wrong  string     `json:"wrong,omitempty"` // what was wrong with the lock then
	Gone   time.Time  `json:"gone,omitzero"`   // since when it is not listed; zero: it is
}

// held is until when a point has to be there, whatever anybody does.
func (p Point) held() time.Time {
	if p.Locked.After(p.Until) {
		return p.Locked
	}
	return p.Until
}

// Guarantee is what protects whatever is stored in a bucket, as far as the credential may ask.
type Guarantee struct {
	Known      bool       `json:"known"`
	Versioning bool       `json:"versioning"`
	Locking    bool       `json:"locking"`
	Mode       store.Mode `json:"mode,omitempty"` // of the default retention
	Days       int        `json:"days"`           // of the default retention
}

// Sentinel is a stored object that was picked by chance, which nobody else knows.
type Sentinel struct {
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Size    int64      `json:"size,omitempty"` // in a directory
	Mode    store.Mode `json:"mode"`
	Until   time.Time  `json:"until"` // of its lock; in a directory of a point that needs it
	Read    time.Time  `json:"read"`
	Wrong   string     `json:"wrong,omitempty"`  // what was wrong with it then
	Gone    bool       `json:"gone,omitempty"`   // it was not there then
	Closed  bool       `json:"closed,omitempty"` // its lock could not be read then
}

const (
	memoryVersion = 1
	maxMemory     = 32 << 20 // bytes of the file
	maxPoints     = 20_000
	maxSeries     = 2000
	maxStrangers  = 4096
	statesOfKind  = 100
	eventsOfKind  = 50
)

// NewMemory is that of somebody who never looked.
func NewMemory() *Memory {
	return &Memory{Version: memoryVersion, Points: map[string]Point{}, Records: map[string]int{}, Open: map[string]Finding{}}
}

// forget forgets the vault, but not what was told of it.
func (m *Memory) forget() {
	now := NewMemory()
	now.Open, now.Events = m.Open, m.Events
	*m = *now
}

// sources are those that have points which are not over.
func (m *Memory) sources(now time.Time) []string {
	var out []string
	for _, p := range m.Points {
		if p.held().After(now) && !slices.Contains(out, p.Source) {
			out = append(out, p.Source)
		}
	}
	slices.Sort(out)
	return out
}

// ErrMemory: what was remembered cannot be read.
var ErrMemory = errors.New("what earlier looks saw cannot be read")

// ReadMemory reads a memory. Where there is none it is NewMemory's; one that cannot be read is that and an ErrMemory.
func ReadMemory(path string) (*Memory, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NewMemory(), nil
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%s is no file", path)
	case err == nil && info.Size() > maxMemory:
		err = fmt.Errorf("%s has %d bytes, at most %d are taken", path, info.Size(), maxMemory)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	m := NewMemory()
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err == nil && m.Version != memoryVersion {
		err = fmt.Errorf("%s was written by another version of the program", path)
	}
	if err != nil {
		return NewMemory(), fmt.Errorf("%w: %w", ErrMemory, err)
	}
	m.Points, m.Records, m.Open = some(m.Points), some(m.Records), some(m.Open)
	return m, nil
}

// some gives a map to write into where a file has null.
func some[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// Write puts a memory into the place of the one before, all of it or none, for its owner alone. One that a
// power cut spoils is as good as lost, which the next look says.
func (m *Memory) Write(path string) (err error) {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("remember what was seen: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".") // of mode 0600
	if err != nil {
		return fmt.Errorf("remember what was seen: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("remember what was seen: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// bound keeps the newest points.
func (m *Memory) bound() {
	m.Full = len(m.Points) > maxPoints
	if !m.Full {
		return
	}
	names := make([]string, 0, len(m.Points))
	for name := range m.Points {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(m.Points[b].Signed.Compare(m.Points[a].Signed), cmp.Compare(a, b))
	})
	for _, name := range names[maxPoints:] {
		delete(m.Points, name)
	}
}
