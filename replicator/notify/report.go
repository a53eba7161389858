package notify

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Severity is how bad something is, in the words of messages.
type Severity string

// The severities, one for each exit code.
const (
	Well          Severity = "well"          // 0
	Incomplete    Severity = "incomplete"    // 3
	Alarm         Severity = "alarm"         // 4
	Failed        Severity = "failed"        // 1
	Damage        Severity = "damage"        // 5
	Misconfigured Severity = "misconfigured" // 2
	Stopped       Severity = "stopped"       // 130, 143
)

// rising lists the severities from the least to the worst, in the order in which exit codes count.
func rising() []Severity {
	return []Severity{Well, Incomplete, Alarm, Failed, Damage, Misconfigured, Stopped}
}

// rank compares severities; one that is not known counts as failed.
func (s Severity) rank() int {
	if i := slices.Index(rising(), s); i >= 0 {
		return i
	}
	return slices.Index(rising(), Failed)
}

// OfExit is the severity of an exit code.
func OfExit(code int) Severity {
	switch code {
	case 0:
		return Well
	case 2:
		return Misconfigured
	case 3:
		return Incomplete
	case 4:
		return Alarm
	case 5:
		return Damage
	case 130, 143:
		return Stopped
	}
	return Failed
}

// Report is what a command came to.
type Report struct {
	Command string   // run, verify, ..
	Scope   []string // the sources or the vault that it was called with; none: all there are
	Began   time.Time
	Ended   time.Time
	Exit    int
	Code    string   // the name of the exit code, as in errors: unreachable, incomplete, ..
	Errors  []string // what it failed with, a line each
	Next    []string // what to do about that
	Results []Result
	Log     string // the end of what it wrote to standard error; goes to pings only
	// Invocation is systemd's ID of the unit's start that the command was part of, so that the unit's failure is not told
	// a second time; empty outside units.
	Invocation string
}

// Result is what came of one source in one vault, or of one vault.
type Result struct {
	Source      string           `json:"source,omitempty"`
	Vault       string           `json:"vault,omitempty"`
	Status      string           `json:"status"` // as the command prints it
	Severity    Severity         `json:"severity"`
	Code        string           `json:"code,omitempty"` // of the error
	About       string           `json:"-"`              // tells apart what is wrong with one source in one vault at once, so that each has its own beginning and end
	Point       string           `json:"point,omitempty"`
	RetainUntil string           `json:"retain_until,omitempty"` // RFC 3339
	LockedUntil string           `json:"locked_until,omitempty"`
	Seconds     float64          `json:"seconds"`
	Counts      map[string]int64 `json:"counts,omitempty"` // entries, bytes, missing, ..
	Alarms      []Finding        `json:"alarms,omitempty"` // their texts
	Error       string           `json:"error,omitempty"`
	Extent      int64            `json:"-"` // how many things Error is about: more of them than were told are told at once
	Event       bool             `json:"-"` // it happened and is no state: it has no end that anybody is told of
	Group       string           `json:"-"` // what this is one of; where Whole is set, it stands for all of them, which were told one by one before
	Whole       bool             `json:"-"`
}

// Finding is one thing that somebody has to look at: an alarm.
type Finding struct {
	Kind string // what was found: a rule of the guard, tampered, emptied, ..; empty: the text alone says it
	Name string // of the stored object that it is about, if it is about one: another one is another problem
	Text string
	// Vault is the one that it is about, where what is told of several comes together; empty: that of the result.
	Vault string
	// Fresh: this command found it in what changed just now. It is told at once, whatever was told of its like.
	Fresh bool
	// Standing is an alarm that goes on until somebody ends it, and that this one belongs to or is. What is fresh in it comes and goes,
	// it stays one problem.
	Standing string
	Since    time.Time // when it began, if that was before this command; it is no news then
}

// MarshalText gives the text alone, for JSON.
func (a Finding) MarshalText() ([]byte, error) { return []byte(a.Text), nil }

// key is what tells an alarm from others of the same source. Of too many of them names do not count: which of them are looked at is
// chance, and each would be another problem.
func (a Finding) key(few bool) string {
	switch {
	case a.Standing != "":
		return "alarm:" + a.Standing
	case a.Kind != "" && a.Name != "" && few:
		return "alarm:" + a.Kind + ":" + a.Name
	case a.Kind != "":
		return "alarm:" + a.Kind
	}
	return "alarm:" + Sameness(a.Text)
}

// Problem is one thing that is not well.
type Problem struct {
	Command  string   `json:"command"`
	Source   string   `json:"source,omitempty"`
	Vault    string   `json:"vault,omitempty"`
	Severity Severity `json:"severity"`
	Code     string   `json:"code,omitempty"`
	Finding  string   `json:"finding,omitempty"` // of an alarm: what was found, in one word
	Text     string   `json:"text"`
	Since    string   `json:"since"`             // RFC 3339: when it was first told, or found
	New      bool     `json:"new"`               // not told before
	Repeats  int      `json:"repeats,omitempty"` // how often it was found since it was last told, now included; 0: once, as far as is known

	scope  string // of a problem of the command as a whole
	about  string // Result.About
	fresh  bool   // see Finding
	old    bool   // it began before this command
	extent int64  // see Result
	event  bool
	group  string
	whole  bool
}

// maxProblems bounds the problems of a message, maxFound those of a report, which are held against what was told, and maxAlarms the alarms
// that are taken from one result: an attacker may plant any number. maxFound is below maxOpen, so that what is found is remembered.
const (
	maxProblems = 100
	maxFound    = 900
	maxAlarms   = 20
)

// problems gives what is not well, by a key under which the same problem is found again. The worst come first.
func (r *Report) problems() []keyed {
	var out []keyed
	seen := map[string]bool{}
	add := func(p Problem, sort string) {
		p.Command, p.Since = r.Command, cmp.Or(p.Since, at(r.Ended))
		k := strings.Join([]string{p.Command, p.scope, p.Source, p.Vault, sort}, "|")
		if p.about != "" {
			k += "|" + p.about
		}
		each := k
		if p.fresh {
			each += "|" + p.Text // several may be found of one problem
		}
		if !seen[each] {
			out = append(out, keyed{k, p})
		}
		seen[each] = true
	}
	worst := Well
	for _, x := range r.Results {
		p := Problem{Source: x.Source, Vault: x.Vault, Severity: x.Severity, Code: x.Code, about: x.About, extent: x.Extent, event: x.Event, group: x.Group, whole: x.Whole}
		if x.Severity != Well && (x.Severity != Alarm || len(x.Alarms) == 0) { // else the alarms say it
			p.Text = cmp.Or(x.Error, x.Status)
			add(p, x.Status+":"+x.Code)
			worst = worse(worst, x.Severity)
		}
		for i, a := range x.Alarms {
			if i == maxAlarms {
				break
			}
			// Of a source, not of each vault: the run says the same alarm for all of them.
			p := Problem{Source: x.Source, Severity: Alarm, Code: "alarm", Finding: a.Kind, Text: a.Text, fresh: a.Fresh}
			if x.Source == "" {
				p.Vault = x.Vault
			}
			if !a.Since.IsZero() {
				p.Since, p.old = at(a.Since), true
			}
			add(p, a.key(len(x.Alarms) <= maxAlarms))
			worst = worse(worst, Alarm)
		}
	}
	// What no result says, such as a configuration that cannot be read.
	if s := OfExit(r.Exit); s.rank() > worst.rank() {
		add(Problem{Severity: s, Code: r.Code, Text: cmp.Or(strings.Join(r.Errors, "\n"), r.Code), scope: r.scope()}, r.Code)
	}
	slices.SortStableFunc(out, func(a, b keyed) int { return b.Severity.rank() - a.Severity.rank() })
	return out[:min(len(out), maxFound)]
}

type keyed struct {
	key string
	Problem
}

func worse(a, b Severity) Severity {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

func (r *Report) scope() string { return strings.Join(r.Scope, " ") }

// looked reports whether this report is of a command that looked where an event was found. Nothing more has to be there of one.
func (r *Report) looked(p open) bool {
	return p.Command == r.Command && (p.Vault == "" || slices.ContainsFunc(r.Results, func(x Result) bool { return x.Vault == p.Vault }))
}

// covers reports whether this report would tell of a problem if it were still there.
func (r *Report) covers(p open) bool {
	switch {
	case p.Command != r.Command:
		return false
	case p.Source == "" && p.Vault == "":
		return p.Scope == r.scope()
	}
	return slices.ContainsFunc(r.Results, func(x Result) bool {
		return x.Source == p.Source && (p.Vault == "" || x.Vault == p.Vault)
	})
}

// Sameness is what stays the same in a text when the same thing is found again: no numbers, times, IDs and hashes.
func Sameness(text string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(text) {
		hex := len(word) >= 6 && strings.Trim(word, "0123456789abcdefABCDEF.,;:()") == ""
		switch {
		case hex || strings.ContainsAny(word, "0123456789"):
			b.WriteString("# ")
		default:
			b.WriteString(word + " ")
		}
		if b.Len() > 200 {
			break
		}
	}
	return b.String()
}

// at writes a time for messages.
func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }
