package probe

import (
	"slices"

	"github.com/holdfast-backup/holdfast/store/attack"
)

// Severity says what a finding means for the copy.
type Severity string

// The severities, from nothing to worst.
const (
	OK        Severity = "ok"         // seen to be as it must be
	Info      Severity = "info"       // worth knowing; nothing to mend
	NotTested Severity = "not tested" // it could not be known; Seen says why
	Warning   Severity = "warning"    // a right too many, or a protection too few; what is stored now is still protected
	Critical  Severity = "critical"   // the copy, or what is stored from now on, is not protected
)

// rank orders severities; what is unknown counts as worst.
func (s Severity) rank() int {
	if i := slices.Index([]Severity{OK, Info, NotTested, Warning, Critical}, s); i >= 0 {
		return i
	}
	return int(^uint(0) >> 1)
}

// Worse reports whether s is worse than o.
func (s Severity) Worse(o Severity) bool { return s.rank() > o.rank() }

// Finding is the outcome of one check.
type Finding struct {
	Check    string          // its stable name, such as "delete-locked"
	Severity Severity        // OK only for what was seen
	Seen     string          // what was seen, in a sentence
	Mend     string          // exactly what to change; empty where there is nothing to
	Evidence []attack.Answer // the requests it rests on, in order
}
