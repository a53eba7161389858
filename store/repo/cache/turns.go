package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-backup/holdfast/store/wholefile"
)

// What verifications in turns have read of a vault is kept as doubts are: in a file beside the database, one a vault, so that the database need not
// be opened. It is written anew, as a whole, many times in a turn; a power cut leaves the one before or the new one.

const (
	turnsDir = "rotation"
	turnsIn  = "state"
	maxTurns = 1 << 20 // bytes of a file that are looked at
)

// Turns is what was read of one vault, taken for this process.
type Turns struct {
	dir  string
	lock io.Closer
}

// OpenTurns takes what was read of a vault, beside the cache folder dir, for this process; [Busy] where another has it. The caller closes it.
func OpenTurns(dir, vault string) (*Turns, error) {
	path, err := doubtsFile(dir, vault)
	if err != nil {
		return nil, fmt.Errorf("opening what was read: %w", err)
	}
	t := &Turns{dir: filepath.Join(dir, turnsDir, filepath.Base(path))}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening what was read: %w", err)
	}
	if t.dir, err = prepare(t.dir); err == nil {
		t.lock, err = Lock(t.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening what was read: %w", err)
	}
	return t, nil
}

// Load gives what Save kept last; nil: nothing.
func (t *Turns) Load() ([]byte, error) {
	f, err := os.Open(filepath.Join(t.dir, turnsIn))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTurns+1))
	if err == nil && len(b) > maxTurns {
		err = ErrCorrupt
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was read: %w", err)
	}
	return b, nil
}

// Save keeps b, on the disk.
func (t *Turns) Save(b []byte) error {
	if err := wholefile.Write(filepath.Join(t.dir, turnsIn), b); err != nil {
		return fmt.Errorf("noting what was read: %w", err)
	}
	return nil
}

// Close lets another process have it.
func (t *Turns) Close() error { return t.lock.Close() }
