package backup

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Guarding is what the guard of a run goes by: package guard says what it looks for.
type Guarding struct {
	Hold      time.Duration // how long the last clean point is held once an alarm stands; 0: not longer than it is kept
	KMSKeys   []string      // keys of the vendor's key management that are the owner's; none: those that were seen before
	Tripwires map[string]format.Hash
	// Acknowledged reads which points of the source somebody acknowledged. It is asked where the last point carries a mark.
	Acknowledged func(context.Context) (Acknowledged, error)
}

// Acknowledged says which marked points of a source somebody looked at and found right.
type Acknowledged struct {
	Points map[format.Hash]bool // each by itself
	Until  time.Time            // no alarm stands from points signed before then, when the newest of those was
}

// covers reports whether no alarm stands from a point. Of points of one second only those that were named are acknowledged: another
// of them may have come later.
func (a Acknowledged) covers(id format.Hash, signed time.Time) bool {
	return a.Points[id] || signed.Before(a.Until)
}

// Suspect says of a run that the guard gave an alarm, or that one stands.
type Suspect struct {
	Findings []guard.Finding
	Since    *repo.Head // the point whose alarm stands and was not acknowledged; nil: it is of this run
	Clean    *repo.Head // the last point without a mark; nil where there is none
	Held     time.Time  // until when that one is held, if it is held longer; zero: no vault keeps locks, or the guard holds nothing
}

// watching brings the guard what the stages see. Whatever goes wrong in it is said, and costs the run nothing.
type watching struct {
	*engine
	w      *guard.Watch // nil: there is none, or it broke
	broken atomic.Bool
	acks   Acknowledged
	open   bool // an earlier alarm stands
	fresh  atomic.Int64
	around *around
}

// stateOf is where the cache keeps what the guard knows of a source.
func stateOf(source string) string { return "guard/" + source }

// newWatching begins to watch. It comes after the parent is known.
func newWatching(ctx context.Context, e *engine) *watching {
	w := &watching{engine: e}
	if e.o.Guard == nil {
		return w
	}
	w.acks = w.acknowledged(ctx)
	if e.o.DryRun {
		return w
	}
	w.safe(func() {
		state, err := e.s.Cache().Notes.Get("", stateOf(e.o.Name))
		if err != nil {
			w.say("what it knew cannot be read, and it learns anew: %v", err)
		}
		o := guard.Options{
			Now: e.takenAt, First: e.parent == nil, State: state, Tripwires: e.o.Guard.Tripwires, KMSKeys: e.o.Guard.KMSKeys,
			Forgiven: e.parent != nil && e.parent.Marked(format.MarkSuspect) && !w.open,
		}
		if state == nil {
			o.Earlier = w.earlier(ctx)
		}
		w.w = guard.New(o)
	})
	return w
}

// acknowledged asks who looked at the alarm that the last point carries, and finds out whether it stands.
func (w *watching) acknowledged(ctx context.Context) (acks Acknowledged) {
	if w.parent == nil || len(w.parent.Marks) == 0 {
		return acks
	}
	if ask := w.o.Guard.Acknowledged; ask != nil {
		w.safe(func() {
			var err error
			if acks, err = ask(ctx); err != nil {
				w.say("what was acknowledged cannot be read, so that the alarm stands: %v", err)
			}
		})
	}
	w.open = w.parent.Marked(format.MarkSuspect) && !acks.covers(w.parentID, w.parent.SignedAt.Time)
	return acks
}

// earlierRead is how many commit objects are read where the guard's state was lost.
const earlierRead = 40

// earlier reads what the last points came to, where nothing is known of them.
func (w *watching) earlier(ctx context.Context) (out []guard.Amounts) {
	last := w.counting[max(0, len(w.counting)-earlierRead):]
	if len(last) < 14 {
		return nil
	}
	for i := range last {
		h := last[i]
		if err := w.s.Past.Read(ctx, &h); err != nil {
			continue
		}
		c := h.Commit
		if c.Added == c.Entries { // the first
			continue
		}
		out = append(out, guard.Amounts{At: c.TakenAt.Time, Added: c.Added, Changed: c.Changed, Deleted: c.Deleted, Bytes: -1, Alarm: len(c.Marks) > 0})
	}
	return out
}

// safe calls the guard. A fault of its own ends it, and not the run.
func (w *watching) safe(do func()) {
	defer func() {
		if r := recover(); r != nil && !w.broken.Swap(true) {
			w.say("it failed and looks at nothing more in this run: %v", r)
		}
	}()
	do()
}

func (w *watching) say(text string, args ...any) {
	if w.o.Remark != nil {
		w.o.Remark("", "the guard: "+fmt.Sprintf(text, args...))
	}
}

func (w *watching) active() bool { return w != nil && w.w != nil && !w.broken.Load() }

func (w *watching) listed(entry *format.Entry) {
	switch {
	case !w.active():
	case w.around.passes(entry.Key):
		w.safe(func() { w.w.Passing(entry) })
	default:
		w.safe(func() { w.w.Listed(entry) })
	}
}

func (w *watching) added(entry *format.Entry, before *format.Entry) {
	if !w.active() || w.around.passes(entry.Key) {
		return
	}
	var hides time.Time
	if before != nil && before.Key == entry.Key && (before.Kind != format.KindMarker || entry.Kind == format.KindMarker) {
		hides = before.Modified.Time
	}
	w.safe(func() { w.w.Added(entry, hides) })
}

func (w *watching) gone(old *format.Entry) {
	if w.active() {
		w.safe(func() { w.w.Gone(old) })
	}
}

func (w *watching) moved(entry *format.Entry) {
	if w.active() {
		w.safe(func() { w.w.Moved(entry) })
	}
}

// pass looks at plain bytes of a task, as they pass.
func (w *watching) pass(t *task, plain []byte) {
	if w.active() {
		w.safe(func() {
			if t.seen == nil {
				t.seen = new(guard.Bytes)
			}
			t.seen.Pass(plain)
		})
	}
}

// read is told of each entry with what became of it, in order.
func (w *watching) read(t *task) {
	if w.active() && (t.action != carry || t.entry.Missing != "") && !t.again && !w.around.passes(t.entry.Key) {
		w.safe(func() { w.w.Read(t.old, t.entry, t.seen) })
	}
	t.seen = nil
}

// stores counts bytes of a chunk that no vault had.
func (w *watching) stores(t *task, n int64) {
	w.fresh.Add(n)
	t.seen.Fresh(n)
}

// judge gives what the guard made of the run; nil where nothing is to be looked at.
func (w *watching) judge(ctx context.Context) *Suspect {
	if w.o.Guard == nil {
		return nil
	}
	var v guard.Verdict
	if w.active() && w.stats.found.Load() > 0 { // that nothing is there is an alarm of its own: see emptied
		w.ask(ctx)
		w.askAround()
		w.safe(func() {
			v = w.w.Judge(guard.Totals{
				Entries: w.stats.entries.Load(), Bytes: w.stats.bytes.Load(), Added: w.stats.added.Load(), Changed: w.stats.changed.Load(),
				Deleted: w.stats.deleted.Load(), Fresh: w.fresh.Load(),
			}, w.open)
		})
	}
	if !v.Alarm && !w.open {
		return nil
	}
	s := &Suspect{Clean: w.lastClean()}
	if v.Alarm {
		s.Findings = v.Findings
	}
	if w.open {
		s.Since = w.since()
	}
	return s
}

// ask has the source say with which keys it is encrypted, and how its bucket is set: what it may not say is told once.
func (w *watching) ask(ctx context.Context) {
	v, ok := w.view.(source.Lasting)
	if !ok {
		return
	}
	s, err := v.Settings(ctx)
	w.safe(func() { w.w.Keys(s.Keys) })
	if err != nil {
		if ctx.Err() == nil {
			w.say("how the bucket is set cannot be asked: %v", err)
		}
		return
	}
	w.safe(func() {
		for _, right := range w.w.Bucket(guard.Settings{Versioning: s.Versioning, Expires: s.Expires, Denied: s.Denied}) {
			w.sayLacks(right)
		}
	})
}

func (w *watching) sayLacks(right string) {
	w.say("the source's key lacks %s, so that it does not see everything that threatens what is there; `holdfast policy` prints what it needs", right)
}

// since gives the oldest point of those that carry the alarm that stands.
func (w *watching) since() (first *repo.Head) {
	for i := len(w.counting) - 1; i >= 0; i-- {
		h := &w.counting[i]
		if !h.Line.Marked(format.MarkSuspect) || w.acks.covers(h.Line.ID, h.Line.SignedAt.Time) {
			break
		}
		first = h
	}
	return first
}

// lastClean gives the newest complete point that carries no mark, or whose mark was acknowledged.
func (w *watching) lastClean() (last *repo.Head) {
	for i := range w.counting {
		h := &w.counting[i]
		if h.Line.Status == format.StatusComplete && (len(h.Line.Marks) == 0 || w.acks.Points[h.Line.ID]) {
			last = h
		}
	}
	return last
}

// keep leaves what the guard learnt for the next run, once the point stands.
func (w *watching) keep() {
	if !w.active() {
		return
	}
	w.safe(func() {
		if state := w.w.State(); state != nil {
			if err := w.s.Cache().Notes.Put("", stateOf(w.o.Name), state); err != nil {
				w.say("what it learnt cannot be kept: %v", err)
			}
		}
	})
}
