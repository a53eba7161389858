package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// What holds are made of. A hold is a record, and then locks: it is noted in the reporter's book, told by every record from then on, and
// put into effect in each vault. What a vault missed the next run does.

// holdReach is how far ahead a hold may lock in a vault.
func holdReach(c *config.Config, v config.Vault, now time.Time) time.Duration {
	return max(v.Lock.Ceiling.AddTo(now).Sub(now), c.HoldCeiling.AddTo(now).Sub(now))
}

// bookHolds gives the holds that a record is to tell of: those of the reporter's book with those that were made now, but for what is over.
// The book notes them before there is a record: what a record told of must not be missing in the next. A book that was lost is filled
// from the vaults, once all of them can be read: until then nothing is noted, what is made is told with what can be read, and nil says
// that a record must not tell of holds at all.
func bookHolds(ctx context.Context, j *job, book *evidence.Book, r *repo.Repository, made []evidence.Held, reporter string, now time.Time) ([]evidence.Held, error) {
	holds, known, err := book.Holds()
	if err != nil {
		return nil, err
	}
	if !known {
		if holds, known, err = toldHolds(ctx, j, r, reporter, now); err != nil {
			return nil, err
		}
		holds = fewerHolds(holds)
	}
	for _, h := range made {
		h.At, h.Reporter = format.At(now), reporter
		more := evidence.WithHold(holds, h, now)
		if len(more) > len(holds) && heldBy(more, h.By) > evidence.MaxHolds {
			j.ui.warn("point %.12s of %s is not noted as held: there are %d holds already, and no record tells of more", h.Point, h.Source, heldBy(holds, h.By))
			continue
		}
		holds = more
	}
	holds = slices.DeleteFunc(append([]evidence.Held{}, holds...), func(h evidence.Held) bool { return h.Over(now) })
	switch {
	case known:
		return holds, book.KeepHolds(holds)
	case len(made) == 0:
		return nil, nil // asked again next time
	}
	return holds, nil
}

// heldBy counts the holds of one maker: people's and the guard's have a bound each.
func heldBy(holds []evidence.Held, by string) (n int) {
	for _, h := range holds {
		if h.By == by {
			n++
		}
	}
	return n
}

// fewerHolds leaves out what is beyond the bounds of a record.
func fewerHolds(holds []evidence.Held) (out []evidence.Held) {
	for _, h := range holds {
		if heldBy(out, h.By) < evidence.MaxHolds {
			out = append(out, h)
		}
	}
	return out
}

// toldHolds gathers from the vaults what records of a reporter tell of holds, of all reporters for none; false where a vault could not be
// read. Of one reporter all are read, as far as a listing reaches: the newest may have been made while a vault was away.
func toldHolds(ctx context.Context, j *job, r *repo.Repository, reporter string, now time.Time) (out []evidence.Held, all bool, err error) {
	all = true
	for _, v := range j.vaults {
		if v.failed != nil || j.down[v.name] {
			all = false
			continue
		}
		told, err := toldIn(ctx, v.Reader, r, reporter)
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		if err != nil {
			all = false
			j.ui.detail("vault %s: what is held cannot be read: %v", v.name, err)
		}
		for _, h := range told {
			out = evidence.WithHold(out, evidence.Held{Hold: h}, now)
		}
	}
	return out, all, nil
}

// toldIn gives what records of a vault tell of holds. Where none of the reporter's own can be read, that is no telling that there are none.
func toldIn(ctx context.Context, in store.Reader, r *repo.Repository, reporter string) ([]evidence.Hold, error) {
	o := evidence.Of(in, r)
	most := 0
	read := 0
	var unread error
	if o.Reporter = reporter; reporter != "" {
		most = maxSaidRecords
		o.Report = func(f evidence.Finding) { unread = fmt.Errorf("%s: %s", f.Name, f.Detail) }
	}
	l, err := evidence.List(ctx, o, most)
	if err != nil {
		return nil, err
	}
	if _, err := l.Latest(func(evidence.Found) bool { read++; return true }); err != nil {
		return nil, err
	}
	if read == 0 && unread != nil { // one that is damaged hides nothing that the others do not tell
		return nil, unread
	}
	return l.Holds()
}

// withBook opens the book of the configured reporter for a moment; without a reporter's key nothing is done.
func withBook(ctx context.Context, j *job, r *repo.Repository, do func(*evidence.Book, *keys.ReporterKey) error) (err error) {
	key, err := j.reporterKey()
	if err != nil || key == nil {
		return err
	}
	dir, err := j.cacheDir(j.config, r.CacheID())
	if err != nil {
		return unusableCache(err)
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	book, lock, err := evidence.OpenBook(wait, filepath.Join(filepath.Dir(dir), "records", key.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return do(book, key)
}

// heldIn is what became of a hold in one vault.
type heldIn struct {
	vault    string
	plain    bool      // it keeps no locks: the hold is its record
	status   string    // one of those below
	extended int64     // locks
	copied   int64     // objects that the vault lacked
	until    time.Time // of the locks
	err      error
}

// What becomes of a hold in a vault.
const (
	nowHeld   = "held"      // all is locked
	noLocks   = "no locks"  // the vault keeps no locks: prune spares the point, and all of it is there
	notThere  = "absent"    // the vault has not got the point
	notHeld   = "failed"    // and will be tried again
	heldShort = "not whole" // something of the point is lost; the rest is locked, or spared
)

// putHold puts a hold into effect in the vaults that are named, and notes in which of them it is done.
func putHold(ctx context.Context, j *job, r *repo.Repository, h evidence.Held, names []string) ([]heldIn, error) {
	out, at := holders(ctx, j, r, h.Hold, names)
	var err error
	if having := haveIt(out); len(having) > 0 {
		err = lockHold(ctx, j, h.Hold, at, having, out)
	}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	for _, v := range out {
		if v.status != notHeld {
			h.Done = append(h.Done, v.vault)
		}
	}
	berr := withBook(ctx, j, r, func(book *evidence.Book, _ *keys.ReporterKey) error {
		holds, ok, err := book.Holds()
		if err != nil || !ok {
			return err
		}
		return book.KeepHolds(evidence.WithHold(holds, h, time.Time{}))
	})
	return out, errors.Join(err, berr)
}

// holders finds out which of the vaults have a point. One that cannot be asked has failed.
func holders(ctx context.Context, j *job, r *repo.Repository, h evidence.Hold, names []string) (out []heldIn, at *repo.Point) {
	for _, v := range j.vaults {
		if !slices.Contains(names, v.name) {
			continue
		}
		x := heldIn{vault: v.name, err: v.failed}
		if c, ok := j.config.Vault(v.name); ok {
			x.plain = !c.URL.Locks()
		}
		if x.err == nil && j.down[v.name] { // all tries were waited out already, or the first was not answered
			_, x.err = v.once.Inspect(ctx)
		}
		var listed []repo.Point
		if x.err == nil {
			listed, x.err = r.Points(ctx, v.Reader, h.Source, nil)
		}
		i := slices.IndexFunc(listed, func(p repo.Point) bool { return p.ID == h.Point })
		switch {
		case x.err != nil:
			x.status, x.err = notHeld, prefixed(x.err, "vault "+v.name)
		case i < 0:
			if x.err = missed(ctx, j, v, h, listed); x.err != nil {
				x.status = heldShort
			} else {
				x.status = notThere
			}
		case at == nil:
			at = &listed[i]
		}
		out = append(out, x)
	}
	return out, at
}

// haveIt gives the vaults that have the point.
func haveIt(out []heldIn) (names []string) {
	for _, x := range out {
		if x.status == "" {
			names = append(names, x.vault)
		}
	}
	return names
}

// missed says that a vault has not got a point that it should have; nil where it need not.
func missed(ctx context.Context, j *job, v *vault, h evidence.Hold, listed []repo.Point) error {
	known, err := j.trusts.knownRepository(j.config, j.pin)
	if err != nil {
		return err
	}
	r, err := repo.Find(ctx, v.Reader, known.Pin, nil)
	if err != nil {
		return prefixed(err, "vault "+v.name)
	}
	if needNot(j.config, v.name, r, h, listed) {
		return nil
	}
	return &marked{errDamage, fmt.Errorf("vault %s: point %.12s of %s is gone", v.name, h.Point, h.Source)}
}

// needNot reports whether a vault need not have a point that is held: it is none of the source's, or joined after the point was made. Of a
// source that is not configured any more it needs to have one if it has any. c may be nil: nobody knows then, and what is missing is missed.
func needNot(c *config.Config, vault string, r *repo.Repository, h evidence.Hold, listed []repo.Point) bool {
	if r.Chain[0].Arrived.Truncate(time.Second).After(h.SignedAt.Time) {
		return true
	}
	if c != nil {
		if s, ok := c.Source(h.Source); ok {
			return !slices.Contains(s.Vaults, vault)
		}
	}
	return c != nil && !slices.ContainsFunc(listed, func(p repo.Point) bool { return p.Source == h.Source })
}

// lockHold locks what a held point needs in vaults that have it. In those that keep no locks it looks whether all is there: the hold is made by
// its record, so that one which cannot be looked at is held all the same.
func lockHold(ctx context.Context, j *job, h evidence.Hold, p *repo.Point, names []string, out []heldIn) (err error) {
	j.holding = true
	defer func() { j.holding = false }()
	failed := func(err error) {
		for i := range out {
			if slices.Contains(names, out[i].vault) {
				out[i].fail(err)
			}
		}
	}
	session, err := j.session(ctx, names)
	if err != nil {
		failed(err)
		if errors.Is(err, repo.ErrAllVaults) {
			return nil // each says so
		}
		return err
	}
	defer func() {
		j.remember(session.Vaults())
		err = errors.Join(err, session.Close())
	}()
	err = backup.Hold(ctx, session, repo.Head{Point: *p}, h.Until.Time)
	some := errors.As(err, new(*repo.LostError))
	var own *repo.LostPointError
	damaged := errors.As(err, &own)
	unread := !some && !damaged && repo.Classify(ctx, err).Lost() // what the point needs is not known, so that nothing is locked
	for _, v := range session.Vaults() {
		i := slices.IndexFunc(out, func(x heldIn) bool { return x.vault == v.Vault })
		x := &out[i]
		x.extended, x.copied, x.until, x.err = v.Extended, v.Copied, v.LockedUntil, v.Err
		switch {
		case v.Err != nil:
			x.fail(v.Err)
		case some || damaged && slices.Contains(own.Vaults, v.Vault) || unread && x.plain:
			x.status = heldShort
		case err != nil && !damaged:
			x.fail(err)
		case x.plain:
			x.status = noLocks
		default:
			x.status = nowHeld
		}
	}
	if some || damaged || unread {
		return &marked{errDamage, err}
	}
	return nil
}

// fail says that a vault failed. Where there are no locks the record is all that a hold is, and stands.
func (x *heldIn) fail(err error) {
	if x.status, x.err = notHeld, err; x.plain {
		x.status, x.err = noLocks, fmt.Errorf("vault %s: whether all of the point is there cannot be told: %w", x.vault, err)
	}
}

// finishHolds does what vaults missed of holds of a source: they were down, or the hold was broken off. Where all is done nothing is asked.
func finishHolds(ctx context.Context, j *job, source config.Source) error {
	return finishHoldsOf(ctx, j, source.Vaults, func(name string) bool { return name == source.Name })
}

// finishOtherHolds is finishHolds for what is held of sources that are not configured any more.
func finishOtherHolds(ctx context.Context, j *job) error {
	return finishHoldsOf(ctx, j, vaultsOf(j, ""), func(name string) bool {
		_, ok := j.config.Source(name)
		return !ok
	})
}

func finishHoldsOf(ctx context.Context, j *job, vaults []string, of func(source string) bool) error {
	if j.found == nil || j.activity == nil {
		return nil
	}
	var open []evidence.Held
	if err := withBook(ctx, j, j.found, func(book *evidence.Book, _ *keys.ReporterKey) error {
		holds, _, err := book.Holds()
		for _, h := range holds {
			if of(h.Source) && !h.Over(j.now()) && len(missing(j, h, vaults)) > 0 {
				open = append(open, h)
			}
		}
		return err
	}); err != nil {
		return &marked{errRecord, fmt.Errorf("what is held cannot be known: %w", err)}
	}
	var all together
	for _, h := range open {
		names := slices.DeleteFunc(missing(j, h, vaults), func(name string) bool { return j.down[name] })
		if len(names) == 0 {
			continue // said already
		}
		done, err := putHold(ctx, j, j.found, h, names)
		all = append(all, err)
		for _, v := range done {
			if v.err != nil && ctx.Err() == nil {
				all = append(all, &marked{errVault, fmt.Errorf("point %.12s is not held until %s yet: %w", h.Point, date(h.Until.Time), waysOut(v.err, h.Until.Time, j.now()))})
			} else if v.status == nowHeld {
				j.ui.remark("Point %.12s of %s is held until %s in vault %s as well now.", h.Point, h.Source, date(h.Until.Time), v.vault)
			}
		}
	}
	return all.orNil()
}

// missing gives the vaults in which a hold is not done.
func missing(j *job, h evidence.Held, names []string) (out []string) {
	for _, name := range names {
		if c, ok := j.config.Vault(name); ok && c.URL.Locks() && !slices.Contains(h.Done, name) {
			out = append(out, name)
		}
	}
	return out
}

// guardsHold is what the guard of a run held, for its record; nil where it held nothing.
func guardsHold(source string, r *backup.Result) []evidence.Held {
	u := r.Suspect
	if u == nil || u.Clean == nil || u.Held.IsZero() {
		return nil
	}
	h := evidence.Held{Hold: evidence.Hold{
		Source: source, Point: u.Clean.ID, SignedAt: u.Clean.SignedAt, Until: format.At(u.Held.UTC().Truncate(time.Second)), By: evidence.ByGuard,
		Reason: "the last clean point before an alarm",
	}}
	for _, v := range r.Vaults {
		if v.Err == nil {
			h.Done = append(h.Done, v.Vault)
		}
	}
	return []evidence.Held{h}
}

// waysOut says of a vault why a hold failed there, where the vendor's policy is the likely reason.
func waysOut(err error, until time.Time, now time.Time) error {
	if !errors.Is(err, store.ErrDenied) {
		return err
	}
	return fmt.Errorf("%w; the policy of the vault's key may not let it lock that far: print it anew with `holdfast policy --max-lock %dd`", err, int(until.Sub(now)/(24*time.Hour))+1)
}
