// Package verify holds one vault against what its recovery points need: that every stored object is there in the right
// version with its lock, that its bytes are those its name promises, and that its content decodes to what was backed up.
//
// The levels build on each other. Locks and bytes need no private key. Objects that many points share are looked at once,
// and leaf pages that a point has in common with the one before are decoded once. Memory is bounded by the number of
// points and the constants here, not by how many objects there are; the one exception is the content level, which keeps
// eight bytes for each stored object that one point needs, and the name of each that its manifest is in. The package must never
// write to a vault, and never let junk that an attacker laid beside intact bytes pass for damage.
package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Level says how closely to look.
type Level string

// The levels; each includes those before it.
const (
	Locks   Level = "locks"   // every object is there, in the right version, locked as long as its points ask
	Bytes   Level = "bytes"   // and its stored bytes have the SHA-256 in its name
	Content Level = "content" // and all of it decrypts and decodes to the hashes in the manifest
)

// ErrLevel: no such level.
var ErrLevel = errors.New("no such level: use locks, bytes or content")

// Status is the verdict over a vault.
type Status string

// The verdicts. An object that is gone, damaged or not locked long enough is damage: the copy cannot be relied on.
const (
	OK       Status = "ok"
	Tampered Status = "tampered" // something was put on top or beside; the right bytes are all there and locked
	Damaged  Status = "damaged"
)

// Finding is one thing that is wrong. Point is the point that needs the object, the one kept longest of several; it is
// zero where the object belongs to none.
type Finding struct {
	repo.Finding
	Point format.Hash
}

// Options of a verification of one vault.
type Options struct {
	Repository *repo.Repository
	In         store.Reader
	Identities []keys.Identity // for Content: a restore key
	Points     []format.Hash   // IDs; none: all points, which an unvouched repository refuses
	Vault      string          // its name, as runs call it; may be empty
	Made       []cache.Made    // points that this machine made there and that have to be there, as long as they are kept
	Lost       []cache.Made    // points that this machine made there before the vault was begun anew
	Level      Level           // default Locks
	// Sample is the share, in percent, of stored objects whose bytes are read and of entries whose content is decoded.
	// 0 is all of them. Which ones is random, chosen anew each run.
	Sample      float64
	InTurn      *InTurn          // read the part whose turn it is; of all points, at level Locks or Bytes; nil: all
	NoLocks     bool             // the vault is a directory, which keeps no locks: Summary.LocksChecked says so
	Concurrency int              // requests at once, default 16; content is decoded by at most 4
	Emit        func(Finding)    // called one at a time; may be nil
	Progress    *progress.Count  // objects looked at and entries walked, of about so many; may be nil
	Now         func() time.Time // by which points are over; default time.Now
}

// Summary is what a verification came to. Counts of findings are counts of Emit's calls.
type Summary struct {
	Status       Status
	Level        Level
	Points       int     // looked at
	Objects      int64   // stored objects looked at, each once (once for every 128 different needs lists)
	Bytes        int64   // their stored size
	ObjectsRead  int64   // of them read in full and hashed
	Entries      int64   // manifest entries walked: those of leaf pages shared by consecutive points once
	EntriesRead  int64   // of them decoded and compared
	UnknownKind  int64   // entries passed by: this version does not know their kind, and checks nothing of them
	Records      int64   // evidence of what was done: signed, and read
	Sample       float64 // percent; 100: all
	LocksChecked bool    // every one; false: the vault keeps none, or only some were read, in their turn
	Governance   int64   // objects held by a governance lock only, which an administrator can take away
	Missing      int64
	Damaged      int64
	Unlocked     int64
	Tampered     int64
	Turn         *Turned // of a verification in turns
	Seconds      float64
}

const (
	defaultConcurrency = 16
	maxDecoders        = 4       // content jobs at once, each of up to about 32 MiB
	maxRemembered      = 100_000 // findings remembered so as to give each once
)

// Run verifies. Findings are no error: an error says that the vault could not be read to the end, or that the key given
// opens nothing, and the Summary then covers what was done.
func Run(ctx context.Context, o Options) (Summary, error) {
	start := time.Now()
	r, err := newRun(ctx, o)
	if err != nil {
		return Summary{}, err
	}
	err = r.all(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	s := r.summary()
	s.Seconds = time.Since(start).Seconds()
	return s, err
}

// run is one verification.
type run struct {
	checks  *checking
	records *reporting

	o      Options
	reader *repo.Reader
	sample sampler
	opened atomic.Bool  // an entry's content was chosen to be read
	absent atomic.Int64 // objects that were asked for by name and are not there
	losses atomic.Int64 // what package repo found lost or damaged
	unread unread

	mu       sync.Mutex // guards what follows
	sum      Summary
	spare    *spare          // what to read of the stored objects if the sample takes none
	reported map[string]bool // kind and name of findings about stored objects
}

// checking reads the objects that points need, and looks at their locks.
type checking struct {
	*run
	inTurn *turning // nil: all are read
}

// reporting looks at what reporters left: records and drills' reports.
type reporting struct{ *run }

// share makes the roles.
func (r *run) share() *run {
	r.checks, r.records = &checking{run: r}, &reporting{r}
	return r
}

func newRun(_ context.Context, o Options) (*run, error) {
	if o.Repository == nil || o.In == nil {
		return nil, errors.New("verify: repository and reader are needed")
	}
	switch o.Level {
	case "":
		o.Level = Locks
	case Locks, Bytes, Content:
	default:
		return nil, fmt.Errorf("level %q: %w", o.Level, ErrLevel)
	}
	if o.Level == Content && len(o.Identities) == 0 {
		return nil, repo.ErrNeedKey
	}
	if o.InTurn != nil && (o.Level == Content || len(o.Points) > 0 || o.Sample != 0 && o.Sample != 100) {
		return nil, errors.New("verify: a turn is one of all points, at level locks or bytes, and of no sample")
	}
	if o.Sample < 0 || o.Sample > 100 {
		return nil, fmt.Errorf("sample of %g%%: give a share between 0 and 100", o.Sample)
	}
	if o.Sample == 0 {
		o.Sample = 100
	}
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = new(progress.Count)
	}
	o.In = flat.NewReader(o.In)
	r := (&run{o: o, reported: map[string]bool{}}).share()
	r.sum = Summary{Level: o.Level, Sample: o.Sample, LocksChecked: !o.NoLocks}
	var err error
	if r.sample, err = newSampler(o.Sample); err != nil {
		return nil, err
	}
	r.reader, err = repo.NewReader(o.Repository, o.In, o.Identities, nil, r.noticed)
	return r, err
}

func (r *run) summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sum
	switch {
	case s.Missing+s.Damaged+s.Unlocked > 0:
		s.Status = Damaged
	case s.Tampered > 0:
		s.Status = Tampered
	default:
		s.Status = OK
	}
	return s
}

// all goes through the levels.
func (r *run) all(ctx context.Context) error {
	if err := r.descriptors(ctx); err != nil {
		return err
	}
	points, err := r.points(ctx)
	if err != nil {
		return err
	}
	if r.o.InTurn != nil {
		if err := r.checks.turn(ctx, points); err != nil {
			return err
		}
		return r.beside(ctx)
	}
	if err := r.checks.objects(ctx, points); err != nil {
		return err
	}
	if err := r.beside(ctx); err != nil {
		return err
	}
	if err := r.checks.readSpare(ctx); err != nil {
		return err
	}
	if r.o.Level != Content {
		return nil
	}
	return r.content(ctx, points)
}

// descriptors looks at them once more, for what is noticed: junk beside them is tampering too.
func (r *run) descriptors(ctx context.Context) error {
	if !r.o.Repository.Vouched() {
		if len(r.o.Points) == 0 {
			return repo.ErrNoDescriptor
		}
		r.find(repo.Missing, format.PrefixDescriptors, format.Hash{}, "%v: signatures are not checked, and nothing vouches for a point but its full ID", repo.ErrNoDescriptor)
		return nil
	}
	found, err := repo.Find(ctx, r.o.In, r.o.Repository.Fingerprint.String(), r.noticed)
	if err != nil {
		return err
	}
	if found.ID != r.o.Repository.ID {
		return repo.ErrAmbiguous
	}
	return r.strays(ctx)
}

// beside looks at what no point needs and a key of the repository signed: without descriptors there is none to check it with.
func (r *run) beside(ctx context.Context) error {
	if r.o.Repository.Vouched() {
		if err := r.placements(ctx); err != nil {
			return err
		}
		if err := r.records.records(ctx); err != nil {
			return err
		}
	}
	return r.records.reports(ctx)
}

// noticed takes what package repo reports, which knows of no point.
func (r *run) noticed(f repo.Finding) {
	if f.Kind == repo.Missing || f.Kind == repo.Damaged {
		r.losses.Add(1)
	}
	r.emit(Finding{Finding: f})
}

func (r *run) find(k repo.FindingKind, name string, p format.Hash, detail string, args ...any) {
	r.emit(Finding{repo.Finding{Kind: k, Name: name, Detail: fmt.Sprintf(detail, args...)}, p})
}

// emit counts and passes on a finding about a stored object, once for each kind and name: several of the steps here, and
// the reader below, may come across the same thing.
func (r *run) emit(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := string(f.Kind) + " " + f.Name
	if r.reported[key] {
		return
	}
	if len(r.reported) < maxRemembered {
		r.reported[key] = true
	}
	r.pass(f)
}

// pass counts and passes on a finding; the lock is held.
func (r *run) pass(f Finding) {
	switch f.Kind {
	case repo.Missing:
		r.sum.Missing++
	case repo.Damaged:
		r.sum.Damaged++
	case repo.Unlocked:
		r.sum.Unlocked++
	case repo.Tampered:
		r.sum.Tampered++
	}
	if r.o.Emit != nil {
		r.o.Emit(f)
	}
}
