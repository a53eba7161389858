// Package drill is the attack as an exercise: it attacks a vault with the job's own key, on canaries made for it, and keeps
// what was asked and what was answered as evidence, in the vault itself under a lock of its own.
//
// The attack is package probe's, which is held to canaries by what it is handed. What a drill adds is the report: JSON for
// machines and a page for people, stored as reports/TIME-ID.json and .html, locked like the rest and read back. The package
// must never touch anything but its report and its canaries, and never call what was not tested a success.
package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Prefix is where reports lie in a vault.
const Prefix = format.PrefixReports

// Options of Run, for one vault.
type Options struct {
	Vault   string // its name
	URL     string // without credentials
	Program string // name and version, for the report
	Probe   probe.Options
	Write   store.Writer
	Mode    store.Mode    // of the report's lock
	Keep    time.Duration // how long the report is locked
	Ceiling time.Duration // no lock reaches further; 0: none
}

// Status is what a drill came to.
type Status string

// The outcomes. Not tested is no success: what could not be asked is not known to be refused.
const (
	Held       Status = "held"       // every attack was refused or had no effect
	Incomplete Status = "incomplete" // nothing got through, and something could not be tested
	Weak       Status = "weak"       // what is stored is protected; a right too many, or a protection too few
	Broken     Status = "broken"     // an attack got through
)

// Report is the evidence of one drill.
type Report struct {
	Kind     string    `json:"kind"` // "drill"
	ID       string    `json:"id"`
	Vault    string    `json:"vault"`
	URL      string    `json:"url"`
	Vendor   string    `json:"vendor,omitempty"`
	Program  string    `json:"program"`
	Began    time.Time `json:"began"` // by the vault's clock
	Ended    time.Time `json:"ended"`
	Status   Status    `json:"status"`
	Canaries string    `json:"canaries"` // the prefix of what was attacked
	Attacks  []Attack  `json:"attacks"`
}

// Attack is one check of the drill with everything that was asked and answered.
type Attack struct {
	Check    string     `json:"check"`
	Severity string     `json:"severity"` // ok, info, not tested, warning, critical
	Seen     string     `json:"seen"`
	Mend     string     `json:"mend,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"`
}

// Evidence is one request and its answer.
type Evidence struct {
	Request   string `json:"request"`
	Status    int    `json:"status,omitempty"`
	Code      string `json:"code,omitempty"`
	Message   string `json:"message,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Server    string `json:"server,omitempty"`
	Time      string `json:"time,omitempty"` // the vault's, RFC 3339
	Error     string `json:"error,omitempty"`
}

// Stored is a report as it lies in the vault.
type Stored struct {
	JSON, HTML string    // names
	Until      time.Time // both are locked, as read back
}

// Run attacks one vault and stores the report. The report is there even where storing it failed, or where the attack broke
// off: then the error says so.
func Run(ctx context.Context, o Options) (Report, Stored, error) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	r := Report{Kind: "drill", ID: hex.EncodeToString(id[:]), Vault: o.Vault, URL: o.URL, Program: o.Program}
	facts, err := o.Probe.Vault.Inspect(ctx)
	if err != nil {
		return r, Stored{}, fmt.Errorf("vault %s: %w", o.Vault, err)
	}
	began := time.Now()
	clock := func() time.Time { return facts.Clock.Add(time.Since(began)).UTC().Truncate(time.Second) }
	r.Began = clock()
	got, attacked := probe.Run(ctx, o.Probe)
	r.Vendor, r.Canaries, r.Ended = got.Vendor.Name, got.Canaries, clock()
	for _, f := range got.Findings {
		r.Attacks = append(r.Attacks, evidence(f))
	}
	r.Status = judge(got.Findings, attacked)
	if attacked != nil {
		return r, Stored{}, fmt.Errorf("vault %s: %w", o.Vault, attacked)
	}
	s, err := o.store(ctx, &r, clock())
	if err != nil {
		err = fmt.Errorf("vault %s: store the report: %w", o.Vault, err)
	}
	return r, s, err
}

func judge(list []probe.Finding, broke error) Status {
	status := Held
	for _, f := range list {
		switch f.Severity {
		case probe.Critical:
			return Broken
		case probe.Warning:
			status = Weak
		case probe.NotTested:
			if status == Held {
				status = Incomplete
			}
		}
	}
	if broke != nil && status == Held {
		status = Incomplete
	}
	return status
}

func evidence(f probe.Finding) Attack {
	a := Attack{Check: f.Check, Severity: string(f.Severity), Seen: f.Seen, Mend: f.Mend}
	for _, e := range f.Evidence {
		a.Evidence = append(a.Evidence, answered(e))
	}
	return a
}

func answered(e attack.Answer) Evidence {
	out := Evidence{Request: e.Request, Status: e.Status, Code: e.Code, Message: e.Message, RequestID: e.RequestID, Server: e.Server}
	if !e.Time.IsZero() {
		out.Time = e.Time.UTC().Format(time.RFC3339)
	}
	if e.Err != nil {
		out.Error = e.Err.Error()
	}
	return out
}

// store puts both forms of the report into the vault, locked, and reads the locks back.
func (o Options) store(ctx context.Context, r *Report, now time.Time) (Stored, error) {
	if o.Ceiling > 0 && o.Keep > o.Ceiling {
		o.Keep = o.Ceiling
	}
	want := store.Retention{Mode: o.Mode, Until: now.Add(o.Keep).UTC().Truncate(time.Second)}
	if o.Mode == store.ModeNone {
		want = store.Retention{}
	}
	base := r.base()
	s := Stored{JSON: Prefix + base + ".json", HTML: Prefix + base + ".html", Until: want.Until}
	for name, body := range r.Files() {
		name = Prefix + name
		ref, err := o.Write.Put(ctx, name, bytes.NewReader(body), int64(len(body)), store.PutOptions{Retention: want, SHA256: sha256.Sum256(body)})
		if err != nil {
			return s, err
		}
		_, got, err := o.Probe.Vault.Stat(ctx, ref)
		if err == nil && !got.Covers(want) {
			err = fmt.Errorf("%s: asked for a lock until %s, read back %q until %s: %w", name, want.Until.Format(time.RFC3339), got.Mode, got.Until.Format(time.RFC3339), errLock)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func (r *Report) base() string { return r.Began.Format("20060102T150405Z") + "-" + r.ID }

// Files gives both forms of the report by the last part of their names.
func (r *Report) Files() map[string][]byte {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		text = []byte(err.Error()) // text and times only: cannot fail
	}
	return map[string][]byte{r.base() + ".json": append(text, '\n'), r.base() + ".html": page(r)}
}

// errLock: the vault did not keep the report's lock.
var errLock = errors.New("the vault did not keep the lock")
