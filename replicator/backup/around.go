package backup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/replicator/source"
)

// around looks at the account beside what is protected in it, while the run goes on: what runs in all of its regions.
type around struct {
	passing source.Passing // nil: nothing comes and goes by itself
	answer  chan lookedAround
	stop    context.CancelFunc
}

type lookedAround struct {
	fleet source.Fleet
	err   error
}

// fleetWait bounds the look, from the beginning of the run on: a region that hangs delays a run that takes longer by nothing.
const fleetWait = 15 * time.Second

// lookAround begins to look, where there is a guard to be told. It comes after the source is frozen, and endAround after it.
func (w *watching) lookAround(ctx context.Context) {
	w.around = &around{}
	if !w.active() {
		return
	}
	w.around.passing, _ = w.view.(source.Passing)
	v, ok := w.view.(source.Fleets)
	if !ok {
		return
	}
	ctx, w.around.stop = context.WithTimeout(ctx, fleetWait)
	answer := make(chan lookedAround, 1)
	w.around.answer = answer
	go func() {
		var a lookedAround
		defer func() {
			if r := recover(); r != nil {
				a.err = fmt.Errorf("it failed: %v", r)
			}
			answer <- a
			close(answer)
		}()
		a.fleet, a.err = v.Fleet(ctx)
	}()
}

// endAround leaves nothing behind, whatever came of the run.
func (w *watching) endAround() {
	if w.around != nil && w.around.stop != nil {
		w.around.stop()
		for range w.around.answer { //nolint:revive // until it has ended
		}
	}
}

func (a *around) passes(key string) bool {
	return a != nil && a.passing != nil && a.passing.Passes(key)
}

// askAround tells the guard what was found, and people what could not be looked at.
func (w *watching) askAround() {
	if w.around == nil || w.around.answer == nil {
		return
	}
	a := <-w.around.answer
	if a.err != nil {
		w.say("%v; other regions are not looked at in this run", a.err)
	}
	f := guard.Fleet{Denied: a.fleet.Denied, Whole: a.fleet.Whole}
	silent := map[string][]string{}
	for _, r := range a.fleet.Regions {
		is := guard.Region{Name: r.Name, More: r.More, Keys: r.Keys, Unkeyed: r.Unkeyed, Failed: r.Failed, Types: r.Types, Limits: r.Limits}
		for _, m := range r.Machines {
			is.Machines = append(is.Machines, guard.Machine(m))
		}
		f.Regions = append(f.Regions, is)
		if r.Failed != "" && r.Failed != "access denied" {
			silent[r.Failed] = append(silent[r.Failed], r.Name)
		}
	}
	for _, why := range sortedKeys(silent) {
		w.say("machines in %s are not looked at in this run: %s", strings.Join(silent[why], ", "), why)
	}
	w.safe(func() {
		denied, learns := w.w.Fleet(f)
		for _, right := range denied {
			w.sayLacks(right)
		}
		if learns && len(f.Regions) > 0 {
			w.say("it learns which machines and key pairs there are in %d regions: what differs later is an alarm", len(f.Regions))
		}
	})
}

func sortedKeys[V any](m map[string]V) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
