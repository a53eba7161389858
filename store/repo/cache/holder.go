package cache

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Busy is [ErrBusy] with who has the folder, as far as that can be told: what is not known is zero.
type Busy struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

// Is makes it an [ErrBusy].
func (b *Busy) Is(target error) bool { return target == ErrBusy }

// Error says who has the folder, and since when.
func (b *Busy) Error() string { return ErrBusy.Error() + ": " + b.Who() }

// Who is the other process, for people.
func (b *Busy) Who() string {
	who := "another process"
	if b.PID > 0 {
		who = fmt.Sprintf("process %d", b.PID)
	}
	if b.Host != "" {
		who += fmt.Sprintf(" on %q", b.Host)
	}
	if !b.Since.IsZero() {
		who += ", since " + b.Since.UTC().Format(time.RFC3339)
	}
	return who
}

// holderFile says who took a folder last. It is believed only while the folder is locked: a lock ends with its process, however
// that ends, and this file stays.
const holderFile = "HOLDER"

// noteHolder writes down who has just taken a folder. Where that fails the next one is told less.
func noteHolder(dir string) {
	host, _ := os.Hostname() // without it there is none
	text, err := json.Marshal(Busy{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second)})
	path := filepath.Join(dir, holderFile)
	if err == nil && os.WriteFile(path+newSuffix, text, 0o600) == nil {
		_ = os.Rename(path+newSuffix, path)
	}
}

// holder says who has a folder that could not be taken.
func holder(dir string, own bool) *Busy {
	var b Busy
	// The file may be of an earlier process, where this one has not written its own yet. What is in it is only told.
	if text, err := os.ReadFile(filepath.Join(dir, holderFile)); err != nil || len(text) > 4096 || json.Unmarshal(text, &b) != nil {
		b = Busy{}
	}
	pid := os.Getpid()
	if !own {
		// Never where the lock is this process's own: closing any file of it would end the lock.
		pid = lockedBy(filepath.Join(dir, lockFile))
	}
	if pid > 0 && pid != b.PID {
		b = Busy{PID: pid}
	}
	return &b
}
