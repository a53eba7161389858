package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Receiver is somewhere messages go.
type Receiver interface {
	// Name is what people and other receivers see of it: its kind and its host, nothing that could be a secret.
	Name() string
	// Send delivers a message. Its errors repeat no part of a URL but the host.
	Send(ctx context.Context, m *Message) error
}

// Pinger is a dead man's switch: it is told of every start and end.
type Pinger interface {
	Name() string
	// Ping tells of one event. run is the same for the start and the end of one command. Its errors are as those of Send.
	Ping(ctx context.Context, e Event, run, text string) error
}

// Event is what a Pinger is told of.
type Event string

// The events.
const (
	Started   Event = "start"
	Succeeded Event = "success"
	Failing   Event = "fail"
	Logged    Event = "log" // neither: a test
)

// Subscriber is a receiver or a switch, with what it is told of.
type Subscriber struct {
	Receiver Receiver
	Pinger   Pinger
	ID       string   // under which is remembered what it was told; it changes with its address
	On       []string // the commands that it is told of
	Weekly   bool     // it is told once a week that all is well

	name string // what it is called, other than its neighbours
}

// name calls each by its kind and host, and counts those of one host.
func name(in []Subscriber) []Subscriber {
	out := slices.Clone(in)
	count := map[string]int{}
	for i, s := range out {
		if s.Pinger != nil {
			s.name = s.Pinger.Name()
		} else {
			s.name = s.Receiver.Name()
		}
		count[s.name]++
		if n := count[s.name]; n > 1 {
			s.name = fmt.Sprintf("%s (%d)", s.name, n)
		}
		out[i] = s
	}
	return out
}

// Options are what a Notifier works with.
type Options struct {
	Subscribers []Subscriber
	Memory      string              // the folder of what was told; empty: nothing is remembered
	Host        string              // what this machine is called
	Program     string              // holdfast/VERSION
	Hide        func(string) string // takes out secrets that the caller knows; may be nil
	Now         func() time.Time
	Patience    time.Duration // for all receivers together, behind the end of a command; 0: DefaultPatience
}

// DefaultPatience is how long all receivers together are waited for. With what locking and writing take, a command ends at
// most 5 s later than without receivers.
const DefaultPatience = 4 * time.Second

// Failure is a message that did not get there.
type Failure struct {
	Receiver string
	Err      error
	Since    time.Time // of the first one in a row; zero: not known
}

// Notifier tells of the commands of one configuration.
type Notifier struct {
	o       Options
	hide    func(string) string
	run     string             // names one start and its end to the switches: each start is another
	cancel  context.CancelFunc // of the pings of the start
	started sync.WaitGroup
}

// New makes a Notifier. Nothing is sent yet.
func New(o Options) *Notifier {
	o.Subscribers = name(o.Subscribers)
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	hide := func(s string) string {
		if o.Hide != nil {
			s = o.Hide(s)
		}
		return Scrub(s)
	}
	return &Notifier{o: o, hide: hide, run: newRun()}
}

// startPatience is how long a ping of a start is waited for while the command works.
const startPatience = 15 * time.Second

// Begin tells the switches that a command starts. It does not wait for them: End does, and must be called.
func (n *Notifier) Begin(ctx context.Context, command string) {
	n.run = newRun()
	ctx, n.cancel = context.WithTimeout(context.WithoutCancel(ctx), startPatience)
	for _, s := range n.o.Subscribers {
		if s.Pinger == nil || !slices.Contains(s.On, command) {
			continue
		}
		// Whether it got there is of no account: the end, which comes in any case, says whether the switch can be reached.
		n.started.Go(func() { _ = s.Pinger.Ping(ctx, Started, n.run, "") })
	}
}

// End tells everybody what the command came to, and waits for all of them, at most Options.Patience. The context's own end, by
// a signal say, is no reason not to tell. It gives what did not get there, and what is wrong with the memory.
func (n *Notifier) End(ctx context.Context, r Report) ([]Failure, error) {
	if !slices.ContainsFunc(n.o.Subscribers, func(s Subscriber) bool { return slices.Contains(s.On, r.Command) }) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.o.Patience)
	defer cancel()
	n.joinStart(ctx)
	said := r.said(n.hide)
	found := said.problems()
	plans := make([]plan, len(n.o.Subscribers))
	messages := make([]*Message, len(n.o.Subscribers))
	err := n.remember(ctx, func(m *memory, now time.Time) {
		for i, s := range n.o.Subscribers {
			if s.Receiver == nil || !slices.Contains(s.On, r.Command) {
				continue
			}
			t := m.of(s)
			p := t.plan(said, found, s.Weekly, now)
			if plans[i] = p; p.kind == "" || p.held {
				continue
			}
			x := n.message(p.kind, p.severity, now).about(said)
			x.Problems, x.Recovered = append(x.Problems, p.problems...), append(x.Recovered, p.recovered...)
			x.Folded, x.Undelivered = t.Held, append(x.Undelivered, n.undelivered(m)...)
			messages[i] = x.written()
		}
	})
	errs := n.each(func(i int, s Subscriber) error {
		switch {
		case s.Pinger != nil && slices.Contains(s.On, r.Command):
			return n.pingEnd(ctx, s, said)
		case messages[i] != nil:
			return s.Receiver.Send(ctx, messages[i])
		}
		return nil
	})
	// A unit fails because of a command that failed, and not because of one before it that did not.
	failed := ""
	if r.Exit != 0 {
		failed = r.Invocation
	}
	return n.finish(ctx, err, errs, func(m *memory, i int, s Subscriber, now time.Time) (told bool) {
		if !slices.Contains(s.On, r.Command) {
			return false
		}
		if s.Pinger != nil {
			m.of(s).delivery(errs[i], now)
			return true
		}
		m.of(s).note(plans[i], said, found, errs[i], now)
		return true
	}, failed)
}

// joinStart waits for the pings of the start: those that still hang get little of the time there is.
func (n *Notifier) joinStart(ctx context.Context) {
	if n.cancel == nil {
		return
	}
	stop := context.AfterFunc(ctx, n.cancel)
	timer := time.AfterFunc(n.o.Patience/4, n.cancel)
	n.started.Wait()
	timer.Stop()
	stop()
	n.cancel()
}

// pingEnd tells a switch of the end.
func (n *Notifier) pingEnd(ctx context.Context, s Subscriber, r *Report) error {
	e := Succeeded
	if r.Exit != 0 {
		e = Failing
	}
	text := fmt.Sprintf("holdfast %s: exit code %d%s\n\n%s", r.Command, r.Exit, named(r.Code), tail(r.Log, maxLog))
	return s.Pinger.Ping(ctx, e, n.run, text)
}

// maxLog is how much of a log a ping carries, in bytes: what healthchecks.io keeps, with room for the first line.
const maxLog = 10_000

// tail gives the last bytes of a text, from the beginning of a line if there is one.
func tail(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[len(s)-most:]
	for i := range len(s) - 1 {
		if s[i] == '\n' {
			return s[i+1:]
		}
	}
	return s
}

// Delivery is what came of telling one receiver.
type Delivery struct {
	Receiver string
	Seconds  float64
	Err      error
}

// Test sends everybody a test message, whatever they are told of. A switch gets an entry of its log, which changes nothing.
func (n *Notifier) Test(ctx context.Context) ([]Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, n.o.Patience)
	defer cancel()
	m := n.message(KindTest, Well, n.o.Now()).written()
	took := make([]time.Duration, len(n.o.Subscribers))
	errs := n.each(func(i int, s Subscriber) error {
		began := time.Now()
		defer func() { took[i] = time.Since(began) }()
		if s.Pinger != nil {
			return s.Pinger.Ping(ctx, Logged, newRun(), m.Title)
		}
		return s.Receiver.Send(ctx, m)
	})
	var out []Delivery
	for i, s := range n.o.Subscribers {
		out = append(out, Delivery{s.name, took[i].Round(time.Millisecond).Seconds(), errs[i]})
	}
	err := n.remember(context.WithoutCancel(ctx), func(m *memory, now time.Time) {
		for i, s := range n.o.Subscribers {
			m.of(s).delivery(errs[i], now)
		}
	})
	return out, err
}

// UnitFailed tells of a systemd unit that failed, but not of one whose command told so itself: invocation is that of the unit's
// start, empty where it is not known. The same unit is told of once a day. It reports whether anything was to be told.
func (n *Notifier) UnitFailed(ctx context.Context, u Unit, invocation string) (telling bool, failures []Failure, err error) {
	ctx, cancel := context.WithTimeout(ctx, n.o.Patience)
	defer cancel()
	key := u.Name + "|" + u.Result
	var x *Message
	err = n.remember(ctx, func(m *memory, now time.Time) {
		when, known := m.Units[key]
		if known && now.Sub(when) < again && !when.After(now) || invocation != "" && slices.Contains(m.Invocations, invocation) {
			return
		}
		x = n.message(KindUnitFailed, Failed, now)
		x.Unit, x.Undelivered = &u, append(x.Undelivered, n.undelivered(m)...)
		x.written()
	})
	if x == nil {
		return false, nil, err
	}
	errs := n.each(func(_ int, s Subscriber) error {
		if s.Receiver == nil {
			return nil // it notices by itself that no end came
		}
		return s.Receiver.Send(ctx, x)
	})
	failures, err = n.finish(ctx, err, errs, func(m *memory, i int, s Subscriber, now time.Time) bool {
		if s.Receiver == nil {
			return false
		}
		if m.of(s).delivery(errs[i], now); errs[i] == nil {
			m.Units[key] = now
		}
		return true
	}, "")
	return true, failures, err
}

// each asks all subscribers side by side.
func (n *Notifier) each(do func(i int, s Subscriber) error) []error {
	errs := make([]error, len(n.o.Subscribers))
	var wg sync.WaitGroup
	for i, s := range n.o.Subscribers {
		wg.Go(func() { errs[i] = do(i, s) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			errs[i] = errors.New(oneLine(n.hide(err.Error())))
		}
	}
	return errs
}

// finish remembers what came of it, and gives the failures. invocation is noted where all that was to be told was told.
func (n *Notifier) finish(ctx context.Context, before error, errs []error, note func(m *memory, i int, s Subscriber, now time.Time) bool, invocation string) ([]Failure, error) {
	// What was told is to be remembered even where telling took all the time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.o.Patience/8)
	defer cancel()
	var out []Failure
	err := n.remember(ctx, func(m *memory, now time.Time) {
		all := true
		for i, s := range n.o.Subscribers {
			if note(m, i, s, now) && errs[i] != nil {
				out = append(out, Failure{s.name, errs[i], m.of(s).Failing})
				all = false
			}
		}
		if all && invocation != "" {
			m.Invocations = append(m.Invocations, invocation)
		}
	})
	if before != nil {
		err = before // said once
	}
	return out, err
}

// remember works with the memory.
func (n *Notifier) remember(ctx context.Context, do func(m *memory, now time.Time)) error {
	return withMemory(ctx, n.o.Memory, func(m *memory) {
		now := n.o.Now()
		m.forget(n.o.Subscribers, now)
		do(m, now)
	})
}

// undelivered lists the receivers that got nothing lately.
func (n *Notifier) undelivered(m *memory) (out []Undelivered) {
	for _, s := range n.o.Subscribers {
		if t := m.Receivers[s.ID]; t != nil && !t.Failing.IsZero() {
			out = append(out, Undelivered{s.name, at(t.Failing), t.Error})
		}
	}
	return out
}

// Standing is how a receiver fares.
type Standing struct {
	Receiver string
	Last     time.Time // when it last got something; zero: never, as far as is remembered
	Failing  time.Time // since when nothing gets there; zero: it does
	Error    string
	Held     int       // messages that were held back since, because there were many within an hour
	Open     []Pending // what is not well, as far as is remembered; what it was not told of first
}

// Pending is a problem that is not over, as far as is remembered.
type Pending struct {
	Problem
	Told time.Time // when the receiver was last told of it; zero: never
}

// Line is the problem for people, on one line.
func (p Pending) Line() string { return oneLine(p.line()) }

// Standings says how all receivers fare, as far as is remembered. Nothing is changed.
func (n *Notifier) Standings() (out []Standing) {
	m, err := readMemory(n.o.Memory)
	if err != nil {
		return nil // whoever tells next says so
	}
	for _, s := range n.o.Subscribers {
		t := m.Receivers[s.ID]
		if t == nil {
			t = &told{}
		}
		out = append(out, Standing{s.name, t.Last, t.Failing, t.Error, t.Held, t.pending()})
	}
	return out
}
