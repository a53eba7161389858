package guard

import (
	"encoding/json"
	"time"
)

// state is what one run leaves for the next. It lies in the job's cache: whoever deletes that has the guard learn anew.
type state struct {
	Version int              `json:"v"`
	Runs    []Amounts        `json:"runs,omitempty"` // the oldest first
	Kinds   map[string]*kind `json:"kinds,omitempty"`
	Bucket  *Settings        `json:"bucket,omitempty"` // as it was when nothing was wrong with it
	Lately  *Settings        `json:"lately,omitempty"` // as the last run saw it
	Keys    []string         `json:"keys,omitempty"`   // of the vendor's key management, that objects were seen encrypted with
	Fleet   *fleetState      `json:"fleet,omitempty"`
	Passing []uint64         `json:"passing,omitempty"` // keys that come and go by themselves, as numbers, sorted
}

const (
	stateVersion = 1
	maxRuns      = 400
	maxKeys      = 64
)

// Amounts are what one run came to.
type Amounts struct {
	At      time.Time `json:"at"`
	Added   int64     `json:"a"`
	Changed int64     `json:"c"`
	Deleted int64     `json:"d"`
	Bytes   int64     `json:"b"`           // that were stored for the first time; below 0: not known
	Spoilt  int64     `json:"s,omitempty"` // entries that turned into noise or were renamed
	Alarm   bool      `json:"x,omitempty"` // it is no example of what is usual
}

func readState(b []byte) state {
	var s state
	if json.Unmarshal(b, &s) != nil || s.Version != stateVersion {
		s = state{}
	}
	if s.Kinds == nil {
		s.Kinds = map[string]*kind{}
	}
	return s
}

func (s *state) bytes() []byte {
	s.Version = stateVersion
	s.Runs = s.Runs[max(0, len(s.Runs)-maxRuns):]
	b, err := json.Marshal(s)
	if err != nil {
		return nil // nothing is learnt
	}
	return b
}

// forgive takes what was seen up to now for right.
func (s *state) forgive() {
	for i := range s.Runs {
		s.Runs[i].Spoilt = 0
	}
}

// learn adds what a run showed of each extension. Long ago counts for less.
func (s *state) learn(seen map[string]*kind) {
	for ext, k := range seen {
		was := s.Kinds[ext]
		if was == nil {
			if len(s.Kinds) >= maxKinds {
				continue
			}
			was = &kind{}
			s.Kinds[ext] = was
		}
		was.Entries, was.Noisy, was.Broken = was.Entries+k.Entries, was.Noisy+k.Noisy, was.Broken+k.Broken
		for was.Entries > 10_000 {
			was.Entries, was.Noisy, was.Broken = was.Entries/2, was.Noisy/2, was.Broken/2
		}
	}
}

// spoilt is how many entries were spoilt in the runs of the last days.
func (s *state) spoilt(now time.Time, days int) (n int64) {
	for _, r := range s.Runs {
		if now.Sub(r.At) <= time.Duration(days)*24*time.Hour {
			n += r.Spoilt
		}
	}
	return n
}
