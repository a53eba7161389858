package main

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/store/meter"
)

// pulse tells systemd how a run is doing, where it is a unit of Type=notify: that it has begun, how far it is, that it ends,
// and with a watchdog that it lives. What shows life is what moved: bytes and requests at the vaults, bytes read from the
// source, or processor time, which listings and local work take. A timer alone would show that timers work.
type pulse struct {
	every time.Duration // how long systemd waits for a sign of life; 0: it does not
	meter *meter.Meter  // of all vaults
	cpu   func() time.Duration
	send  func(state string)

	mu      sync.Mutex
	text    string          // what is being done
	read    *progress.Count // of the source that is copied; nil: none is
	waiting bool            // for another run to end: nothing moves, and that is right
	seen    life            // at the last sign
}

// life is what moves while a run does something.
type life struct {
	moved int64 // bytes, requests, names
	cpu   time.Duration
}

// idleCPU is more than a program takes that only waits, from one sign of life to the next.
const idleCPU = 100 * time.Millisecond

// newPulse gives the pulse of a run; nil where no systemd asks for it.
func newPulse(m *meter.Meter) *pulse {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		every = 0 // the variables are not for this process
	}
	return &pulse{every: every, meter: m, cpu: processorTime, send: func(state string) {
		_, _ = daemon.SdNotify(false, state) // whether anybody listens changes nothing
	}}
}

// begin tells that the run has begun, and goes on telling until end is called.
func (p *pulse) begin(ctx context.Context) (end func()) {
	if p == nil {
		return func() {}
	}
	p.send(daemon.SdNotifyReady)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		step := 10 * time.Second
		if p.every > 0 {
			step = min(step, p.every/4)
		}
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.beat()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
		p.send(daemon.SdNotifyStopping)
	}
}

// beat says how far it is, and that the run lives if something moved since it was last said.
func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, now := p.text, life{cpu: p.cpu()}
	if p.read != nil {
		now.moved = p.read.Done.Load()
		text += ": " + size(now.moved) + " read"
		if total := p.read.Total.Load(); total > 0 {
			text += " of " + size(total)
		}
	}
	at := p.meter.Snapshot()
	now.moved += at.BytesIn + at.BytesOut + at.Entries + at.Calls().Calls
	state := "STATUS=" + text
	if p.every > 0 && (p.waiting || now.moved != p.seen.moved || now.cpu-p.seen.cpu > idleCPU) {
		p.seen = now
		state += "\n" + daemon.SdNotifyWatchdog
	}
	p.send(state)
}

// copies says which source is copied from now on.
func (p *pulse) copies(source string, read *progress.Count) {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.text, p.read, p.waiting = "copying "+source, read, false
	p.mu.Unlock()
	p.beat()
}

// rests says what is being done, and whether nothing has to move meanwhile.
func (p *pulse) rests(text string, waiting bool) {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.text, p.read, p.waiting = text, nil, waiting
	p.mu.Unlock()
	p.beat()
}

// waits says that another run is waited for.
func (p *pulse) waits(who string) { p.rests("waiting for "+who, true) }
