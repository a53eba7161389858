// Package backup makes recovery points: it lists a source, compares the listing with the last point's manifest, reads
// what changed, cuts, deduplicates, compresses and seals it into packs, and commits a point when everything it needs is
// stored and locked.
//
// The stages run side by side with bounded queues between them:
//
//	plan -> fetch (many) -> assemble -> compress (per core) -> pack -> upload (few)
//	                            \-> manifest (in key order, waits for packs to have names)
//
// Memory is set by Options.Memory, not by the number or size of objects. Nothing here can delete or rewrite anything in
// a vault; a crash at any moment leaves either the whole point or none, and what was stored is found by the next run.
package backup

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Options say what to back up, where to, and with how much.
type Options struct {
	Source     source.Source
	Name       string // the source's name in the repository
	Place      string // the source's URL as configured, without secrets: it stands in the manifest's root
	Session    *repo.Session
	Retention  retain.Policy
	Before     retain.Policy // how the retention was read by earlier builds; zero: the same
	TagsMaxAge time.Duration // how old read tags may be: 0 always read again, negative never read
	Memory     int64         // bytes, default 256 MiB
	Fetchers   int           // small objects read at once, default 32
	DryRun     bool          // list and compare only
	// Stage is told when a stage begins, and what it gives when that ends: list, read, store, commit. It must be safe for concurrent use. May be nil.
	Stage func(name string) (end func(error))
	// Beside is given what a dry run asks the vaults and a run would not, and does it: so that nobody counts it. Nil: it is just done.
	Beside     func(func() error) error
	Most       int64           // bytes that the run may store in a vault: beyond that it stops, and makes no point; 0: any number
	AllowEmpty bool            // that nothing is in the source is right
	Guard      *Guarding       // what the guard goes by; nil: nothing is looked for
	Unsettled  Unsettled       // what becomes of files that others write to while they are read
	Progress   *progress.Count // bytes read from the source, of those planned so far; may be nil
	Missing    func(key, reason string)
	Unsettling func(key string)          // told of each entry that is unsettled; may be nil
	Remark     func(key, text string)    // what else there is to say of an entry; may be nil
	Fate       func(Fate, *format.Entry) // of a dry run: what would become of each entry, in order; may be nil
	Now        func() time.Time          // the local clock, default time.Now
}

// Unsettled says what becomes of a file that others write to while it is read, and do not leave alone when it is read again.
type Unsettled int

// What becomes of it.
const (
	StoreUnsettled Unsettled = iota // what was read is kept, marked, and read again by the next run; the point is complete
	MissUnsettled                   // it is missing, and the point incomplete
)

// Result is what a run made of one source.
type Result struct {
	Point       format.Hash // zero for a dry run, or where no vault took it
	SignedAt    time.Time   // of the point; zero as it is
	Status      string      // format.StatusComplete or StatusIncomplete
	Entries     int64
	Bytes       int64
	Added       int64
	Changed     int64
	Deleted     int64
	Missing     int64
	Unsettled   int64 // files that were written to while they were read
	BytesRead   int64 // for a dry run: that would be read
	TakenAt     time.Time
	RetainUntil time.Time
	Emptied     *Emptied           // not nil: nothing was found where there had been something, and the point is marked
	Suspect     *Suspect           // not nil: the guard gave an alarm, or one stands, and the point is marked
	Reread      *Reread            // not nil: the retention is read otherwise than for the last points, which was not told yet
	FirstEmpty  bool               // the first point of its source, with nothing in it
	Nothing     bool               // nothing was found, whatever was there before, and whether or not that is acknowledged
	Vaults      []repo.VaultResult // what this run did in each vault, and its error
	Work        *Work              // of a dry run: what a run would do
}

const (
	smallMax     = 1 << 20  // objects up to this size are read whole, in listing order
	frameTarget  = 1 << 20  // plain bytes of a frame that small neighbours share
	packTarget   = 32 << 20 // a pack closes before it would grow beyond this
	packChunks   = 32_768   // or at so many chunks
	waitingMax   = 8 << 20  // or when so many bytes of manifest entries wait for its name
	extentChunks = 1024     // about so many chunks an extent page refers to
	readTries    = 4        // of an entry that keeps changing
)

// Run makes one recovery point. A source that could not be read whole gives an incomplete point and no error; a source
// that could not be listed, or vaults that all failed, give an error and no point. What no vault can give any more is read
// from the source again.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Progress == nil {
		o.Progress = &progress.Count{}
	}
	before := o.Session.Vaults()
	var read int64    // from the source, by tries that came to nothing as well
	var gone []string // stored objects that no vault could give
	sorting := false  // the source was found not to list in order
	anew := false     // what the point needs is counted anew
	for try := 1; ; try++ {
		res, n, err := attempt(ctx, o, before, gone, anew)
		read += n
		var lost *repo.LostError
		if errors.Is(err, source.ErrOrder) && !sorting {
			sorting = true // from now on it does; what was stored is found again
			o.Progress.Reset()
			continue
		}
		if errors.Is(err, errUntrue) && !anew {
			anew = true
			o.Progress.Reset()
			continue
		}
		if err == nil {
			res.BytesRead = read
			return res, nil
		}
		if try >= mendTries || !errors.As(err, &lost) {
			return nil, err
		}
		if i := slices.IndexFunc(lost.Names, isStanding); i >= 0 {
			return nil, fmt.Errorf("%w; every point needs %s and a run cannot make it again: put it back from a copy of the vault, "+
				"or begin a new repository under another prefix", err, lost.Names[i])
		}
		gone = append(gone, lost.Names...)
		o.Progress.Reset() // the next try knows that this is gone, and starts from what is stored
	}
}

// mendTries is how often a run starts over because an object turned out to be lost: once for each vault that fails on the
// way, and some.
const mendTries = 5

// attempt is one try. read is what it read from the source, whatever came of it.
func attempt(ctx context.Context, o Options, before []repo.VaultResult, gone []string, anew bool) (res *Result, read int64, err error) {
	e, err := newEngine(ctx, o, gone, anew)
	if err != nil {
		return nil, 0, err
	}
	defer e.close()
	e.before = before
	if o.DryRun {
		res, err = e.dryRun(ctx)
		return res, e.stats.read.Load(), err
	}
	if err := e.readSource(ctx); err != nil {
		err = fmt.Errorf("source %s: %w", o.Name, err)
		if isLost(err) || errors.Is(err, source.ErrOrder) || errors.Is(err, ErrMost) { // it begins again, or another run does, and finds what was stored
			err = errors.Join(err, e.index.flush(ctx, e.s))
		}
		return nil, e.stats.read.Load(), err
	}
	err = staged(o, "commit", 1)(func() (err error) {
		res, err = e.finish(ctx)
		return err
	})
	if isLost(err) || errors.Is(err, errUntrue) {
		err = errors.Join(err, e.s.Writer.FlushPlacements(ctx))
	}
	if errors.Is(err, errUntrue) && !anew && o.Remark != nil {
		o.Remark(e.parent.Needs.Object, err.Error()+"; what the new point needs is counted anew from all its entries, and nothing of it is lost")
	}
	e.tellHabits()
	return res, e.stats.read.Load(), err
}

// tellHabits says which settings would tell the run what it found out by itself.
func (e *engine) tellHabits() {
	h, ok := e.view.(source.Habits)
	if !ok || e.o.Remark == nil {
		return
	}
	for _, h := range h.Habits() {
		if h.Setting != "" {
			e.o.Remark(h.Name, h.Text+"; write `"+h.Setting+"` into the source's configuration")
		}
	}
}

// engine is one run of one source.
type engine struct {
	fetch *fetching
	large *largeFiles
	lists *lists
	keep  *keeping
	watch *watching

	o        Options
	s        *repo.Session
	view     source.View
	params   format.Parameters
	cut      tree.Cut
	takenAt  time.Time
	decision retain.Decision
	before   []repo.VaultResult

	parent    *format.Commit // the point this one follows; nil for the first
	parentID  format.Hash
	last      *repo.Head    // the last point that is not marked as empty; nil if there is none
	empty     *Emptied      // see conclude
	suspect   *Suspect      // see conclude
	heads     repo.Heads    // the points of this source
	counting  []repo.Head   // those that count for retention, oldest first
	memo      repo.ListMemo // of the points list that this run writes
	reread    *Reread       // see readAnew
	mend      *mending      // not nil: something the parent needs is lost
	thin      *thinning     // not nil: stored objects that are mostly dead are let go
	scattered bool          // the parent's needs list lies in too many objects

	packed  atomic.Int64 // bytes of packs, those included that are being stored; counted where Most bounds them
	working sync.Mutex   // guards work
	work    Work         // of a dry run

	stats  stats
	dedup  *dedup
	needs  *tally
	sink   *lockedSink
	tree   *tree.Builder
	known  *knownPages
	budget budget
	pipe   *pipe
	index  indexBuffer
	pauses atomic.Int64 // for entries that change while they are read
}

// share makes the roles.
func (e *engine) share() *engine {
	e.fetch, e.large, e.lists, e.keep = &fetching{e}, &largeFiles{e}, &lists{e}, &keeping{e}
	return e
}

// ErrMost: more would have been stored than Options.Most allows.
var ErrMost = errors.New("more to be stored than is allowed")

// mayStore refuses what would be too much.
func (e *engine) mayStore(size int64) error {
	if e.o.Most <= 0 {
		return nil
	}
	packed := e.packed.Add(size) // with what others are sending at this moment
	for _, v := range e.vaultsSince() {
		if v.Err == nil && max(v.Bytes+size, packed) > e.o.Most {
			return fmt.Errorf("vault %s: %w: %d bytes are stored, and %d may be", v.Vault, ErrMost, v.Bytes, e.o.Most)
		}
	}
	return nil
}

// stats are counted by several stages.
type stats struct {
	entries, bytes, added, changed, deleted, missing, unsettled, read, wouldRead atomic.Int64

	found    atomic.Int64 // entries of the listing that are something: see isContent
	unlisted atomic.Int64 // entries that the listing could not see
	gone     atomic.Int64 // entries of the parent that were something and are there no more
}

// holds adds to the bytes of the point. One goroutine does.
func (s *stats) holds(n int64) { s.bytes.Store(format.AddSizes(s.bytes.Load(), n)) }

func newEngine(ctx context.Context, o Options, gone []string, anew bool) (_ *engine, err error) {
	if o.Memory <= 0 {
		o.Memory = 256 << 20
	}
	if o.Fetchers <= 0 {
		o.Fetchers = 32
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Missing == nil {
		o.Missing = func(string, string) {}
	}
	e := (&engine{o: o, s: o.Session, params: o.Session.Repository().Now().Parameters}).share()
	e.cut = tree.NewCut(e.s.Writer.ChunkKey(), e.params)
	e.takenAt = e.s.Now()
	if len(gone) > 0 {
		if err := e.s.Past.ForgetPoints(o.Name); err != nil {
			return nil, err
		}
	}
	earlier, err := e.findParent(ctx)
	if err != nil {
		return nil, err
	}
	e.decision = retain.Decide(o.Retention, e.takenAt, earlier)
	e.watch = newWatching(ctx, e)
	if e.reread, err = e.keep.readAnew(earlier); err != nil {
		return nil, err
	}
	if err := e.s.Begin(e.decision.RetainUntil); err != nil {
		return nil, err
	}
	e.keep.foresee(earlier)
	if e.mend, err = e.examine(ctx, gone, anew); err != nil {
		return nil, err
	}
	e.dedup = newDedup(e.s, e.thin)
	e.known = e.lists.newKnownPages(ctx)
	e.budget = newBudget(o.Memory)
	e.sink = &lockedSink{sink: e.s.Writer.MetaSink()}
	if e.needs, err = newTally(e.s.Cache(), "needs", e.mend == nil); err != nil {
		return nil, err
	}
	e.tree = tree.NewBuilder(e.sink, e.cut, e.known.find, e.needs.usesPage).Salted(o.Place)
	if e.view, err = o.Source.Freeze(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("source %s: %w", o.Name, err), e.needs.close())
	}
	if r, ok := e.view.(source.Remarks); ok && o.Remark != nil {
		for _, m := range r.Remarks() {
			o.Remark(m.Key, m.Text)
		}
	}
	e.watch.lookAround(ctx)
	return e, nil
}

func (e *engine) close() {
	e.watch.endAround()
	// Reading is over and nothing hangs on these any more: an error here could only hide the run's own.
	_ = e.view.Close()
	_ = e.needs.close()
}

// findParent picks the newest point of this source in any vault to compare with, and gives what retention needs to know
// of the earlier ones.
func (e *engine) findParent(ctx context.Context) ([]retain.Earlier, error) {
	heads, err := e.s.Past.Points(ctx, e.o.Name)
	if err != nil {
		return nil, err
	}
	var earlier []retain.Earlier
	parent, counting := e.s.Past.Followed(heads)
	for _, h := range counting {
		good := h.Line.Status == format.StatusComplete && !h.Line.Marked(format.MarkEmpty) && !h.Line.Marked(format.MarkSuspect)
		earlier = append(earlier, retain.Earlier{TakenAt: h.Line.TakenAt.Time, RetainUntil: h.Line.RetainUntil.Time, Complete: good, Slots: h.Line.Slots})
	}
	if parent != nil {
		e.parent, e.parentID = parent.Commit, parent.ID
	}
	e.last, e.counting, e.heads = lastFilled(counting), counting, heads
	return earlier, nil
}

// readSource runs the stages until every entry is in the manifest and every pack is stored.
func (e *engine) readSource(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	e.pipe = newPipe(e.budget)
	e.pipe.spare <- &cutter{p: e.params}
	e.index.start(e.o.Now())
	g.Go(func() error { return staged(e.o, "list", 1)(func() error { return e.plan(gctx) }) })
	read, stored := staged(e.o, "read", e.o.Fetchers+e.budget.large), staged(e.o, "store", e.budget.uploads)
	for range e.o.Fetchers {
		g.Go(func() error { return read(func() error { return e.fetch.fetchSmall(gctx) }) })
	}
	for range e.budget.large {
		g.Go(func() error { return read(func() error { return e.large.fetchLarge(gctx) }) })
	}
	g.Go(func() error { return e.assemble(gctx) })
	e.startCompressors(gctx, g)
	g.Go(func() error { return e.packFrames(gctx) })
	for range e.budget.uploads {
		g.Go(func() error { return stored(func() error { return e.upload(gctx) }) })
	}
	listed := make(chan struct{})
	g.Go(func() error {
		defer close(listed)
		return e.writeManifest(gctx)
	})
	g.Go(func() error { return e.index.keepUp(gctx, e.s, listed) })
	if err := g.Wait(); err != nil {
		return err
	}
	if n, ok := e.view.(source.Notes); ok && e.o.Remark != nil {
		for _, m := range n.Notes() {
			e.o.Remark(m.Key, m.Text)
		}
	}
	e.pipe = nil // its buffers' memory is for copying between vaults now
	return nil
}

// finish writes the tree's top, the needs list, secures every object, and commits.
func (e *engine) finish(ctx context.Context) (*Result, error) {
	status, marks, err := e.keep.conclude(ctx)
	if err != nil {
		return nil, err
	}
	root, err := e.endManifest(ctx)
	if err != nil {
		return nil, err
	}
	needsRoot, pointsRoot, err := e.lists.writeLists(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.s.Locks.SecureSegments(ctx); err != nil {
		return nil, err
	}
	c := &format.Commit{
		Source: e.o.Name, SourceKind: e.o.Source.Kind(),
		TakenAt: format.At(e.takenAt), RetainUntil: format.At(e.decision.RetainUntil.Truncate(time.Second)),
		Status: status, Marks: marks, Entries: e.stats.entries.Load(), Bytes: e.stats.bytes.Load(), Missing: e.stats.missing.Load(),
		Added: e.stats.added.Load(), Changed: e.stats.changed.Load(), Deleted: e.stats.deleted.Load(),
		Mode: string(e.s.Mode()), Manifest: root, Needs: needsRoot, Points: pointsRoot, Predecessors: e.heads.Newest, Slots: e.decision.Slots,
	}
	id, err := e.s.Commit(ctx, c)
	if err != nil {
		return nil, err
	}
	e.watch.keep()
	e.memo.Trim(e.lists.counts)
	if err := e.s.Past.NotePoints(e.o.Name, e.heads, pointsRoot.Sum, e.memo, len(e.counting)); err != nil {
		return nil, err
	}
	// The point stands. Vaults that would have delayed it are brought to it now.
	e.s.CatchUp(ctx, c, func(ctx context.Context) iter.Seq2[format.Need, error] { return e.lists.needsOf(ctx, c) })
	res := e.result(id, c.Status)
	res.SignedAt = c.SignedAt.Time
	return res, e.keep.toldAnew()
}

// endManifest closes the manifest's tree. What a run that changed little has of pages and of index goes into one object.
func (e *engine) endManifest(ctx context.Context) (format.PageRef, error) {
	if err := e.tree.Finish(ctx); err != nil {
		return format.PageRef{}, err
	}
	if err := e.s.Writer.EndIndex(ctx, e.sink.sink, e.index.take()); err != nil {
		return format.PageRef{}, err
	}
	return e.tree.Root(ctx)
}

func (e *engine) result(id format.Hash, status string) *Result {
	return &Result{
		Point: id, Status: status, Entries: e.stats.entries.Load(), Bytes: e.stats.bytes.Load(),
		Added: e.stats.added.Load(), Changed: e.stats.changed.Load(), Deleted: e.stats.deleted.Load(), Missing: e.stats.missing.Load(), Unsettled: e.stats.unsettled.Load(),
		BytesRead: e.stats.read.Load(), TakenAt: e.takenAt, RetainUntil: e.decision.RetainUntil, Vaults: e.vaultsSince(),
		Emptied: e.empty, Suspect: e.suspect, Reread: e.reread, FirstEmpty: e.keep.isFirst(), Nothing: e.stats.found.Load() == 0,
	}
}

// vaultsSince is what this run did in each vault, without what the session did before.
func (e *engine) vaultsSince() []repo.VaultResult {
	now := e.s.Vaults()
	for i := range now {
		j := slices.IndexFunc(e.before, func(v repo.VaultResult) bool { return v.Vault == now[i].Vault })
		if j >= 0 {
			now[i].Calls = now[i].Calls.Minus(e.before[j].Calls)
		}
	}
	return now
}

// dryRun lists and compares, reading no content and storing nothing. Of each vault it says how many locks would be
// lengthened.
func (e *engine) dryRun(ctx context.Context) (*Result, error) {
	locks, err := e.keep.forecast(ctx)
	if err != nil {
		return nil, err
	}
	e.pipe = newPipe(e.budget)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.plan(ctx) })
	weigh := func(t *task) error { return e.weigh(ctx, t) }
	g.Go(func() error { return drain(ctx, e.pipe.small, weigh) })
	g.Go(func() error { return drain(ctx, e.pipe.large, weigh) })
	g.Go(func() error {
		return drain(ctx, e.pipe.seq, func(t *task) error {
			e.sequence(t)
			if t.action == carry {
				e.budget.release(t)
			}
			switch {
			case t.reuse != nil:
				e.stats.entries.Add(t.reuse.Entries)
				e.stats.holds(t.reuse.Bytes)
			case t.entry != nil:
				e.stats.entries.Add(1)
				e.stats.holds(t.entry.Size)
				if t.entry.Missing != "" {
					e.stats.missing.Add(1)
					e.o.Missing(t.entry.Key, t.entry.Missing)
				}
			}
			return nil
		})
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("source %s: %w", e.o.Name, err)
	}
	e.stats.read.Store(e.stats.wouldRead.Load())
	status, _, err := e.keep.conclude(ctx)
	if err != nil {
		return nil, err
	}
	res := e.result(format.Hash{}, status)
	e.work.Locks = locks
	if b, ok := e.view.(source.Billed); ok {
		e.work.Asks = b.Requests(e.work.Reading)
	}
	res.Work = &e.work
	for i := range res.Vaults {
		res.Vaults[i].Extended = locks[i].Locks
	}
	return res, nil
}

// foresee has locks that are lengthened reach to what the next weeks' or months' point will ask.
func (e *keeping) foresee(earlier []retain.Earlier) {
	known := append(slices.Clone(earlier), retain.Earlier{TakenAt: e.takenAt, RetainUntil: e.decision.RetainUntil, Complete: true, Slots: e.decision.Slots})
	e.s.Foresee(func(at time.Time) time.Time { return retain.Decide(e.o.Retention, at, known).RetainUntil })
}

func drain(ctx context.Context, c <-chan *task, visit func(*task) error) error {
	for {
		select {
		case t, ok := <-c:
			if !ok {
				return nil
			}
			if err := visit(t); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
