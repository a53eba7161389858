// Package faults makes stores fail on purpose: a Plan of rules says which calls fail and how, and wrappers around the
// interfaces of package store carry it out. A Plan without rules records the calls that were made, so that a test can
// make each of them fail in turn.
//
// It is for tests: no production code may import it. A wrapper must never fail in a way that the contract of package
// store does not allow a driver, and a rule that never struck must never pass unnoticed: see Plan.Check.
package faults

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Way is how a call fails.
type Way string

// The ways there are. Those without a note fail the call before anything is done.
const (
	Transient Way = "transient error" // 500 InternalError
	TimeOut   Way = "time-out"        // nothing happens until the context ends or Plan.Patience is over
	Reset     Way = "reset"           // the connection breaks: of a stream or a listing in the middle
	Throttled Way = "throttled"       // 503 SlowDown
	Denied    Way = "access denied"   // 403 AccessDenied
	Slow      Way = "slow body"       // a few bytes at a time, with pauses: nothing is wrong with them
	Truncated Way = "truncated body"  // the stream ends early, as if the object were shorter
	Flipped   Way = "flipped byte"    // one byte of the body is another; of a Put, on its way to the vault
	Lost      Way = "lost response"   // done, and the answer does not come back
	Stale     Way = "stale listing"   // as the vault was before it got what is newest in it
)

// Ways gives the ways in which a call of the operation can fail; op is as in store.Error.
func Ways(op string) []Way {
	all := []Way{Transient, TimeOut, Reset, Throttled, Denied}
	switch op {
	case "open":
		return append(all, Slow, Truncated, Flipped)
	case "put":
		return append(all, Flipped, Lost)
	case "extend", "remove":
		return append(all, Lost)
	case "versions":
		return append(all, Stale)
	}
	return all
}

// Retryable reports whether a caller who tries again, once the fault is over, must come through.
func (w Way) Retryable() bool {
	switch w {
	case Transient, TimeOut, Reset, Throttled, Lost, Slow:
		return true
	}
	return false
}

// Rule makes some calls fail. The zero value matches every call.
type Rule struct {
	Op    string  // "put", "open", "stat", "versions", "extend", "remove", "inspect"; "": any
	Name  string  // of the object, or a listing's prefix; one that ends in "*" is a prefix of names; "": any
	Nth   int     // the first matching call that fails, from 1; 0 is 1
	Times int     // how many fail; 0: all from then on
	Share float64 // of the calls that would fail, only so many do, by Seed; 0: all
	Seed  uint64
	Way   Way
}

// String tells what fails, and how.
func (r Rule) String() string {
	s := r.Op + " " + r.Name + " #" + strconv.Itoa(max(r.Nth, 1))
	if r.Times == 1 {
		return s + ": " + string(r.Way) + ", once"
	}
	return s + ": " + string(r.Way)
}

func (r Rule) matches(op, name string) bool {
	if r.Op != "" && r.Op != op {
		return false
	}
	if p, ok := strings.CutSuffix(r.Name, "*"); ok {
		return strings.HasPrefix(name, p)
	}
	return r.Name == "" || r.Name == name
}

// Call is one call that was made. Of calls with the same operation and name Nth tells which it was, from 1.
type Call struct {
	Op, Name string
	Nth      int
}

// Plan decides which calls fail, and keeps count. It is safe for concurrent use.
type Plan struct {
	// Class gives the name by which rules and records know an object; nil: its own. Names that differ from run to run
	// can so be told by what they are and which of their kind.
	Class func(name string) string
	// Patience is how long a call that times out takes if its context does not end before; default 2 ms.
	Patience time.Duration
	// Pause is what a slow body waits between pieces; default 50 µs.
	Pause time.Duration

	mu    sync.Mutex
	rules []*state
	seen  map[Call]int // Nth is 0
	calls []Call
}

type state struct {
	Rule
	met    int // matching calls so far
	struck int
	rand   *rand.Rand
}

// New makes a plan of rules; where several match a call, the first counts.
func New(rules ...Rule) *Plan {
	p := &Plan{seen: map[Call]int{}}
	for _, r := range rules {
		p.rules = append(p.rules, &state{Rule: r, rand: rand.New(rand.NewPCG(r.Seed, seedOf(r)))})
	}
	return p
}

// seedOf lets rules of one seed choose differently.
func seedOf(r Rule) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, r.String()) // a hash takes everything
	return h.Sum64()
}

// Next records a call and tells how it is to fail; ok is false for one that is not.
func (p *Plan) Next(op, name string) (w Way, ok bool) {
	if p.Class != nil {
		name = p.Class(name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := Call{Op: op, Name: name}
	p.seen[c]++
	c.Nth = p.seen[c]
	p.calls = append(p.calls, c)
	for _, s := range p.rules {
		if s.matches(op, name) && s.strikes() {
			return s.Way, true
		}
	}
	return "", false
}

// strikes counts a matching call and reports whether it fails.
func (s *state) strikes() bool {
	s.met++
	if s.met < max(s.Nth, 1) || s.Times > 0 && s.struck >= s.Times || s.Share > 0 && s.rand.Float64() >= s.Share {
		return false
	}
	s.struck++
	return true
}

// Calls gives the calls made so far, in the order in which they came.
func (p *Plan) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// Struck is how many calls failed.
func (p *Plan) Struck() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, s := range p.rules {
		n += s.struck
	}
	return n
}

// Left gives the rules that are not exhausted: that never struck, or not as often as they should have.
func (p *Plan) Left() []Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Rule
	for _, s := range p.rules {
		if s.struck < max(s.Times, 1) {
			out = append(out, s.Rule)
		}
	}
	return out
}

// Check fails the test for every rule that is not exhausted: what it was to show was not shown.
func (p *Plan) Check(t testing.TB) {
	t.Helper()
	for _, r := range p.Left() {
		t.Errorf("faults: never came to it: %s", r)
	}
}

func (p *Plan) patience() time.Duration { return orDefault(p.Patience, 2*time.Millisecond) }
func (p *Plan) pause() time.Duration    { return orDefault(p.Pause, 50*time.Microsecond) }

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
