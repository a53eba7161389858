package restore

import (
	"context"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// chain is one key on its way, however many versions it has: they are restored one after the other, in order.
type chain struct {
	recv    Receiver
	verdict Verdict
	err     error
	looked  chan struct{} // closed when the target was asked about the turn before; nil: there was none
	before  *item         // the version that was set on its way last
}

// turn is some versions of one key that lie behind each other, and what is to become of each.
type turn struct {
	*chain
	entries []*format.Entry
	answers []answer // of a Looker, one for each entry
	looked  chan struct{}
	cost    int64
}

type answer struct {
	verdict Verdict
	err     error
}

// turn asks the target about the versions that were collected, and settles them as soon as those before them are settled.
// Many keys are asked about at once; of one key, one version after the other.
func (w *walker) turn(ctx context.Context, last bool) error {
	t := &turn{entries: w.group, chain: w.chain}
	w.group = nil
	if t.chain == nil {
		t.chain = &chain{}
		t.recv, t.verdict, t.err = w.o.Target.Accept(ctx, t.entries)
		w.chain = t.chain
	}
	if last {
		w.chain = nil
	}
	if looker, ok := t.recv.(Looker); ok && t.err == nil && t.verdict == Look {
		w.look(ctx, t, looker, last)
	}
	for _, e := range t.entries {
		t.cost += (&item{e: e, empty: true}).weigh()
	}
	w.turns, w.waiting = append(w.turns, t), w.waiting+t.cost
	for len(w.turns) > 0 && (w.turns[0].answers == nil || len(w.turns) > w.limits.maxLooks || w.waiting > w.limits.looks) {
		if err := w.settleFirst(ctx); err != nil {
			return err
		}
	}
	return nil
}

// look asks about every version of a turn, on a goroutine of its own, after those before it.
func (w *walker) look(ctx context.Context, t *turn, looker Looker, last bool) {
	t.answers, t.looked = make([]answer, len(t.entries)), make(chan struct{})
	before := t.chain.looked
	t.chain.looked = t.looked
	w.work.Go(func() error {
		defer close(t.looked)
		if before != nil {
			select {
			case <-before:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for i, e := range t.entries {
			a := &t.answers[i]
			a.verdict, a.err = looker.Look(ctx, e, last && i == len(t.entries)-1)
			if a.err != nil && stops(ctx, a.err) {
				return a.err
			}
		}
		return nil
	})
}

// settleFirst waits for the answers to the turn that is first and sets its versions on their way.
func (w *walker) settleFirst(ctx context.Context) error {
	t := w.turns[0]
	w.turns, w.waiting = w.turns[1:], w.waiting-t.cost
	if t.looked != nil {
		select {
		case <-t.looked:
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil {
			return err // not every answer may be there
		}
	}
	for i, e := range t.entries {
		a := answer{t.verdict, t.err}
		if t.answers != nil {
			a = t.answers[i]
		}
		if err := w.settle(ctx, t.chain, e, a); err != nil {
			return err
		}
	}
	return nil
}

// settle does with one version what was decided.
func (w *walker) settle(ctx context.Context, c *chain, e *format.Entry, a answer) error {
	switch {
	case a.err != nil && stops(ctx, a.err):
		return a.err
	case a.err != nil:
		return w.tally.ended(e, a.err, false)
	case a.verdict == Skip:
		w.tally.skipped(e)
	case a.verdict == Ignore:
		w.tally.ignored(e)
	case a.verdict == Done || w.o.DryRun:
		w.tally.restored(e, false)
	default:
		it := &item{e: e, recv: c.recv, empty: a.verdict == TakeEmpty || e.Size == 0}
		it.follow(c.before)
		c.before = it
		return w.start(ctx, it)
	}
	return nil
}
