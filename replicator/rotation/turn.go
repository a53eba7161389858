package rotation

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Object is a stored object that some point needs.
type Object struct {
	Name   string
	Sum    format.Hash // which gives its place
	Cost   int64       // of reading it: its bytes, or one request
	Stored time.Time   // when, by the vault's listing; zero: not known
	Of     any         // whatever the caller wants back
}

// Budget is what the turns of one day may come to, together. One of the two is set. Of a time, no batch is begun after it: those that are being
// read are read to their end.
type Budget struct {
	Cost int64
	Time time.Duration
}

// Errors of a turn.
var (
	// ErrNoBudget: neither bytes nor time, or both.
	ErrNoBudget = errors.New("a budget is either an amount or a time")
	// ErrOwed: more objects could not be read than are remembered.
	ErrOwed = errors.New("too many objects cannot be read")
)

// Turn is one turn of a rotation, and what it asks of its caller.
type Turn struct {
	Ledger *Ledger
	Budget Budget
	Now    func() time.Time
	// Walk gives every object that is needed, each once, in any order, one at a time. It is called again where more may be read than is picked
	// in one walk.
	Walk func(ctx context.Context, each func(Object)) error
	// Read reads objects, side by side if it likes. An error ends the turn: then none of them counts as read.
	Read func(ctx context.Context, batch []Object) (Outcome, error)
	// Save keeps the ledger, such that a power cut does not lose it.
	Save func() error
}

// Outcome is what became of a batch, by index. What is in neither list was read and is right.
type Outcome struct {
	Wrong  []int // gone, or not what they have to be: told, and tried again in later turns as far as that many are remembered
	Unread []int // that could not be read now: they are owed
}

// Result is what a turn came to. Amounts are costs: bytes, or requests.
type Result struct {
	Living  int64 // what all points need
	Objects int64 // the same, in number
	Largest int64 // object of them
	Read    int64 // in this turn
	Covered int64 // of what all points need, what was read since it was stored, in this turn or before
	// Oldest is when what was not read for longest was last read, or else stored. Zero: nothing is needed.
	Oldest time.Time
	// Days is within how many turns all is read, one each day, if nothing is stored or let go of meanwhile; 0: not known, since nothing was read
	// in any time yet.
	Days   int64
	PerDay int64 // what a day's turns read: the budget, or what one of time comes to at the rate so far
	Left   bool  // something is due that the day's budget leaves for the next
}

// Bounds of a turn's memory and steps.
const (
	maxPicked  = 1 << 16 // objects that are picked in one walk
	maxBatch   = 1024    // objects that are read between two notes,
	batchCost  = 1 << 30 // what they cost,
	batchParts = 16      // and no more than this part of the budget, but one object in any case
	batchTime  = 20      // seconds that a batch takes, at the rate so far, where the budget is one of time
	firstBatch = 16      // objects of a batch where there is no rate yet
)

// Run reads what is due. An error says that the turn ended early: the ledger and the result hold what it did all the same.
func (t *Turn) Run(ctx context.Context) (Result, error) {
	if (t.Budget.Cost <= 0) == (t.Budget.Time <= 0) {
		return Result{}, ErrNoBudget
	}
	r := &running{Turn: t, began: t.Now()}
	r.at = r.began.UTC().Truncate(time.Second)
	r.Ledger.on(r.began)
	r.fresh, r.before = r.Ledger.Spent == 0, r.Ledger.Used
	err := r.passes(ctx)
	if r.out.Read > 0 {
		took := r.elapsed()
		r.Ledger.Done, r.Ledger.Took = r.Ledger.Done/2+r.out.Read, r.Ledger.Took/2+took
		r.Ledger.Used = r.before + took
		err = errors.Join(err, t.Save())
	}
	r.foresee()
	return r.out, err
}

// running is a turn that runs.
type running struct {
	*Turn
	began  time.Time
	at     time.Time // what is read counts as read then
	before float64   // seconds that were used earlier that day
	fresh  bool      // nothing was read that day: one object is, whatever it costs
	heavy  int64     // spent on debts
	out    Result
}

func (r *running) elapsed() float64 { return r.Now().Sub(r.began).Seconds() }

// late reports whether a budget of time is used up.
func (r *running) late() bool {
	return r.Budget.Time > 0 && !r.fresh && r.before+r.elapsed() >= r.Budget.Time.Seconds()
}

// room is what is left of the day's budget, as a cost.
func (r *running) room() int64 {
	switch {
	case r.late():
		return 0
	case r.Budget.Time > 0:
		return math.MaxInt64
	}
	return max(r.Budget.Cost-r.Ledger.Spent, 0)
}

// passes walks and reads until the budget is used up or nothing is due.
func (r *running) passes(ctx context.Context) error {
	for first := true; ; first = false {
		p := newPass(r)
		if err := r.Walk(ctx, p.take); err != nil {
			return err // what was seen is not all there is
		}
		var err error
		if first {
			r.out.Living, r.out.Objects, r.out.Largest = p.living, p.objects, p.largest
			err = r.debts(ctx, p)
		}
		n := 0
		if err == nil {
			n, err = r.batches(ctx, p, p.picked())
		}
		r.out.Covered, r.out.Oldest, r.out.Left = p.stands()
		if err != nil || n == 0 || !r.out.Left || r.room() == 0 {
			return err
		}
	}
}

// debts reads once more what is owed, with half of the day's budget at most.
func (r *running) debts(ctx context.Context, p *pass) error {
	owed := slices.Clone(r.Ledger.Owed)
	for _, d := range owed {
		if _, needed := p.owed[d.Name]; !needed {
			r.Ledger.paid(d.Name) // no point needs it any more, or it is gone, which is found without reading it
		}
	}
	for i := range owed { // another first each day, so that each comes to its turn
		d := owed[(i+r.began.UTC().YearDay())%len(owed)]
		o, needed := p.owed[d.Name]
		if !needed || !r.small(o) || r.heavy+o.Cost > r.half() || o.Cost > r.room() {
			continue
		}
		if err := r.reserve([]Object{o}); err != nil {
			return err
		}
		out, err := r.Read(ctx, []Object{o})
		if err != nil {
			return err
		}
		r.heavy += o.Cost
		r.out.Read += o.Cost
		if len(out.Wrong)+len(out.Unread) == 0 {
			r.Ledger.paid(d.Name)
		}
	}
	return nil
}

// half is what debts may come to in a day.
func (r *running) half() int64 {
	if r.Budget.Cost > 0 {
		return r.Budget.Cost / 2
	}
	if r.before+r.elapsed() >= r.Budget.Time.Seconds()/2 {
		return 0
	}
	return math.MaxInt64
}

// small reports whether an object is read among the debts; a larger one waits until the ring comes round to it.
func (r *running) small(o Object) bool { return r.Budget.Time > 0 || o.Cost <= r.Budget.Cost/2 }

// batches reads what was picked, and gives how many were.
func (r *running) batches(ctx context.Context, p *pass, due []picked) (n int, err error) {
	defer func() { p.leave(due[n:]) }()
	if len(due) == 0 {
		p.mark(p.end(due, 0)) // nothing stands there
	}
	for n < len(due) && !r.late() {
		end := r.batch(due, n)
		batch := make([]Object, end-n)
		for i := range batch {
			batch[i] = due[n+i].Object
		}
		if err := r.reserve(batch); err != nil {
			return n, err
		}
		out, err := r.Read(ctx, batch)
		if err != nil {
			return n, err
		}
		if err := p.took(batch, out); err != nil {
			return n, err
		}
		p.mark(p.end(due, end))
		n = end
	}
	return n, r.Save()
}

// reserve notes what is about to be read as spent.
func (r *running) reserve(batch []Object) error {
	var cost int64
	for _, o := range batch {
		cost += o.Cost
	}
	r.fresh = false
	r.Ledger.Spent += cost
	r.Ledger.Used = r.before + r.elapsed()
	if rate := r.Ledger.rate(); rate > 0 {
		r.Ledger.Used += float64(cost) / rate
	}
	return r.Save()
}

// batch gives where the batch that begins at n ends. What stands at one place is never parted.
func (r *running) batch(due []picked, n int) int {
	most, count := int64(batchCost), maxBatch
	switch rate := r.Ledger.rate(); {
	case r.Budget.Cost > 0:
		most = min(most, r.Budget.Cost/batchParts)
	case rate > 0:
		most = int64(min(rate*min(batchTime, r.Budget.Time.Seconds()/batchParts), batchCost))
	default:
		count = firstBatch
	}
	var sum int64
	end := n
	for ; end < len(due); end++ {
		if end > n && due[end].key != due[end-1].key && (sum+due[end].Cost > most || end-n >= count) {
			break
		}
		sum += due[end].Cost
	}
	return end
}

// foresee works out within how many turns all is read again.
func (r *running) foresee() {
	r.out.PerDay = r.Budget.Cost
	if r.Budget.Time > 0 {
		r.out.PerDay = int64(min(r.Ledger.rate()*r.Budget.Time.Seconds(), 1<<60))
	}
	if r.out.PerDay > 0 {
		r.out.Days = Days(r.out.Living, r.out.Objects, r.out.Largest, r.out.PerDay-min(r.heavy, r.out.PerDay/2))
	}
}

// Days is within how many turns of a budget all is read, of objects that come to living, the largest of them to largest. A turn ends before the
// first object that does not fit any more: so it reads more than the budget less the largest, and two in a row more than one budget.
func Days(living, objects, largest, budget int64) int64 {
	if living <= budget || objects <= 1 {
		return 1
	}
	if budget <= 0 {
		return objects
	}
	n := min(objects, 2*(living/budget)+2)
	if least := budget - largest + 1; least > 0 {
		n = min(n, (living+least-1)/least)
	}
	return n
}
