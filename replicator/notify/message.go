package notify

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind is why a message is sent.
type Kind string

// The kinds of messages.
const (
	KindProblem    Kind = "problem"     // something is not well that was not told before
	KindStill      Kind = "still"       // what was told is still so, a day later
	KindRecovered  Kind = "recovered"   // what was told is over
	KindWell       Kind = "well"        // all is well, once a week
	KindUnitFailed Kind = "unit_failed" // systemd says that a unit failed, which could not tell so itself
	KindTest       Kind = "test"        // somebody asked for it
)

// version is that of the form of messages; docs/notify.schema.json is its schema. Members may be added to a version.
const version = 1

// Message is what a receiver gets; a webhook as JSON.
type Message struct {
	Version     int           `json:"version"`
	ID          string        `json:"id"` // the same in all receivers and in each try
	Kind        Kind          `json:"kind"`
	Severity    Severity      `json:"severity"`
	Time        string        `json:"time"` // RFC 3339, UTC
	Host        string        `json:"host"`
	Program     string        `json:"program"` // holdfast/VERSION
	Title       string        `json:"title"`   // one line for people
	Text        string        `json:"text"`    // the whole for people
	Command     string        `json:"command,omitempty"`
	Scope       []string      `json:"scope,omitempty"`
	Unit        *Unit         `json:"unit,omitempty"`
	ExitCode    *int          `json:"exit_code,omitempty"`
	Code        string        `json:"code,omitempty"` // its name
	Began       string        `json:"began,omitempty"`
	Ended       string        `json:"ended,omitempty"`
	Seconds     float64       `json:"seconds,omitempty"`
	Problems    []Problem     `json:"problems"`
	Recovered   []Problem     `json:"recovered"`
	Results     []Result      `json:"results"`
	Errors      []string      `json:"errors,omitempty"`
	Next        []string      `json:"next,omitempty"`
	Folded      int           `json:"folded"` // messages that were held back since the last one
	Undelivered []Undelivered `json:"undelivered"`
}

// Unit is a systemd unit that failed, as systemd tells it.
type Unit struct {
	Name       string `json:"name"`
	Result     string `json:"result,omitempty"`      // exit-code, signal, timeout, oom-kill, ..
	ExitCode   string `json:"exit_code,omitempty"`   // exited, killed, dumped
	ExitStatus string `json:"exit_status,omitempty"` // a number, or the name of a signal
}

// Undelivered says that a receiver does not get its messages.
type Undelivered struct {
	Receiver string `json:"receiver"`
	Since    string `json:"since"`
	Error    string `json:"error"`
}

// newID names a message.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// maxResults bounds the results of a message, maxText each of its texts and maxTexts all of them together, in bytes.
const (
	maxResults = 200
	maxText    = 2000
	maxTexts   = 128 << 10
	maxName    = 100
)

// clean writes out what could steer a terminal or a mail program, and cuts what is too long.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
	return cut(s, maxText)
}

// cut keeps the beginning of a text.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + " .."
}

// hiding takes secrets out of a text that may be very long: what is not sent need not be looked at. What stands where it is
// cut goes too: half a secret is not known for one.
func hiding(s string, hide func(string) string) string {
	const most, margin = 3 * maxText, maxText
	if len(s) <= most {
		return hide(s)
	}
	s = hide(s[:most])
	return s[:max(0, len(s)-margin)] + " .."
}

// oneLine is clean, on one line.
func oneLine(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

// said is what a report says, with nothing in it that must not be sent.
func (r *Report) said(hide func(string) string) *Report {
	out := *r
	left := maxTexts
	text := func(s string) string {
		if left <= 0 && s != "" {
			return ".."
		}
		s = clean(hiding(s, hide))
		left -= len(s)
		return s
	}
	name := func(s string) string { return cut(oneLine(hide(cut(s, maxName))), maxName) }
	all := func(in []string) (out []string) {
		for i, s := range in {
			if i == maxAlarms {
				return append(out, fmt.Sprintf("and %d more", len(in)-i))
			}
			out = append(out, text(s))
		}
		return out
	}
	out.Errors, out.Next, out.Log = all(r.Errors), all(r.Next), hide(r.Log)
	out.Scope, out.Code = nil, name(r.Code)
	for _, s := range r.Scope {
		out.Scope = append(out.Scope, name(s))
	}
	out.Results = nil
	for _, x := range r.Results {
		x.Error = text(x.Error)
		var alarms []Finding
		for i, a := range x.Alarms {
			if i == maxAlarms {
				alarms = append(alarms, Finding{Text: fmt.Sprintf("and %d more", len(x.Alarms)-i)})
				break
			}
			a.Text, a.Kind, a.Name = text(a.Text), name(a.Kind), hide(cut(a.Name, maxText))
			alarms = append(alarms, a)
		}
		x.Alarms = alarms
		x.Source, x.Vault, x.Code = name(x.Source), name(x.Vault), name(x.Code)
		out.Results = append(out.Results, x)
	}
	return &out
}

// title says in one line what a message is about.
func (m *Message) title() string {
	what := map[Severity]string{
		Incomplete: "finished, but incomplete", Alarm: "finished with an alarm", Failed: "failed", Damage: "found damage, or a copy that is not protected",
		Misconfigured: "failed: usage, configuration or key", Stopped: "was stopped",
	}[m.Severity]
	command := strings.Join(append([]string{m.Command}, m.Scope...), " ")
	switch m.Kind {
	case KindProblem:
	case KindStill:
		what = "still: " + what
	case KindRecovered:
		what = "is well again"
		if len(m.Problems) > 0 || m.Severity != Well {
			what = "is better; not all is well"
		}
	case KindWell:
		return "Holdfast on " + m.Host + ": all is well"
	case KindTest:
		return "Holdfast on " + m.Host + ": a test message"
	case KindUnitFailed:
		return oneLine(fmt.Sprintf("Holdfast on %s: unit %s failed (%s)", m.Host, m.Unit.Name, m.Unit.why()))
	}
	return oneLine(fmt.Sprintf("Holdfast on %s: %s %s", m.Host, command, what))
}

func (u *Unit) why() string {
	var out []string
	for _, s := range []string{u.Result, strings.TrimSpace(u.ExitCode + " " + u.ExitStatus)} {
		if s != "" {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return "systemd does not say why"
	}
	return strings.Join(out, ", ")
}

// body writes a message for people.
func (m *Message) body() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	switch m.Kind {
	case KindTest:
		line("This is a test, sent by `holdfast notify test`. Nothing is wrong.")
	case KindUnitFailed:
		line("systemd reports that unit %s failed: %s.", m.Unit.Name, m.Unit.why())
		line("The command could not say so itself: it was killed, or could not start.")
		line("What to do: journalctl -u %s", m.Unit.Name)
	default:
		line("holdfast %s on %s ended %s with exit code %d%s, after %.0f s.", strings.Join(append([]string{m.Command}, m.Scope...), " "), m.Host, m.Ended, *m.ExitCode, named(m.Code), m.Seconds)
	}
	list := func(head string, all []Problem, which func(Problem) bool) {
		first := true
		for _, p := range all {
			if !which(p) {
				continue
			}
			if first {
				line("\n%s", head)
			}
			first = false
			line("- %s", p.line())
		}
	}
	list("New:", m.Problems, func(p Problem) bool { return p.New })
	list("Still:", m.Problems, func(p Problem) bool { return !p.New })
	list("Over:", m.Recovered, func(Problem) bool { return true })
	if len(m.Results) > 0 {
		line("\nResults:")
	}
	for _, x := range m.Results {
		line("- %s", x.line())
	}
	for _, n := range m.Next {
		line("\nWhat to do: %s.", strings.TrimSuffix(n, "."))
	}
	if m.Folded > 0 {
		line("\nMessages that were held back, because there were many: %d.", m.Folded)
	}
	for _, u := range m.Undelivered {
		line("\nNot delivered: %s gets no messages since %s: %s", u.Receiver, u.Since, u.Error)
	}
	return b.String()
}

func named(code string) string {
	if code == "" {
		return ""
	}
	return " (" + code + ")"
}

func (p Problem) line() string {
	var where []string
	if p.Source != "" {
		where = append(where, "source "+p.Source)
	}
	if p.Vault != "" {
		where = append(where, "vault "+p.Vault)
	}
	text := fmt.Sprintf("%s%s: %s", p.Severity, named(p.Code), p.Text)
	if len(where) > 0 {
		text = strings.Join(where, ", ") + ": " + text
	}
	var when []string
	if !p.New {
		when = append(when, "since "+p.Since)
	}
	switch {
	case p.Repeats > 1 && p.New:
		when = append(when, fmt.Sprintf("found %d times", p.Repeats))
	case p.Repeats > 1:
		when = append(when, fmt.Sprintf("found %d times since it was last told", p.Repeats))
	}
	if len(when) > 0 {
		text += " (" + strings.Join(when, ", ") + ")"
	}
	return text
}

func (x Result) line() string {
	where := strings.Trim(x.Source+" -> "+x.Vault, "-> ")
	if where == "" {
		where = "all"
	}
	out := where + ": " + x.Status
	if x.Point != "" {
		out += fmt.Sprintf(", point %.12s", x.Point)
	}
	for _, name := range slices.Sorted(maps.Keys(x.Counts)) {
		if x.Counts[name] == 0 {
			continue
		}
		out += fmt.Sprintf(", %s %d", strings.ReplaceAll(name, "_", " "), x.Counts[name])
	}
	if x.RetainUntil != "" {
		out += ", kept until " + x.RetainUntil
	}
	return out
}

// message begins a message about a report.
func (n *Notifier) message(kind Kind, s Severity, now time.Time) *Message {
	return &Message{
		Version: version, ID: newID(), Kind: kind, Severity: s, Time: at(now), Host: oneLine(n.o.Host), Program: n.o.Program,
		Problems: []Problem{}, Recovered: []Problem{}, Results: []Result{}, Undelivered: []Undelivered{},
	}
}

// about puts a report into a message. r is a said one.
func (m *Message) about(r *Report) *Message {
	exit := r.Exit
	m.Command, m.Scope, m.ExitCode, m.Code = r.Command, r.Scope, &exit, r.Code
	m.Began, m.Ended, m.Seconds = at(r.Began), at(r.Ended), r.Ended.Sub(r.Began).Round(time.Millisecond).Seconds()
	m.Errors, m.Next = r.Errors, r.Next
	m.Results = append(m.Results, r.Results...)
	if len(m.Results) > maxResults { // the worst are what it is about
		slices.SortStableFunc(m.Results, func(a, b Result) int { return b.Severity.rank() - a.Severity.rank() })
		m.Results = m.Results[:maxResults]
	}
	return m
}

// written fills in what is for people.
func (m *Message) written() *Message {
	m.Title, m.Text = m.title(), m.body()
	return m
}
