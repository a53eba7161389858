package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/stall"
)

// SessionOptions open a Session.
type SessionOptions struct {
	Vaults     []*Vault
	HostKey    *keys.HostKey
	Recipients []keys.Recipient // as configured: must be the repository's
	Owners     []keys.Owner     // as configured: must be the repository's; none: whatever it has
	Known      Known            // beside what the host key's own file pins; may be empty
	Cache      func(repository format.Hash) (*cache.Cache, error)
	Kept       *cache.Kept // objects that runs read again; nil: they are read from the vaults
	Report     Report
	Now        func() time.Time // default time.Now
	Pace       Pace
	Stall      time.Duration // how long a vault may give or take nothing; default stall.Default
}

// Session is one job's hold on a repository in all its vaults: it reads old metadata, stores and locks new objects, and
// commits points. A vault that fails is left out from then on and its error kept; the others go on. It is safe for
// concurrent use.
type Session struct {
	*vaults
	Content *Content
	Writer  *Writer
	Locks   *Locks
	Past    *Past

	placing *placing
	signing *signing
	loading *loading

	known   Known
	proofs  *proofs // that the cache remembers
	stall   time.Duration
	opening time.Duration // how long it took until the first vault was open
	decide  func(at time.Time) time.Time
}

// newSession shares out what is done with the vaults, of which not all need be known yet.
func newSession(v *vaults, pace Pace) *Session {
	p := &placing{v, pace}
	c := &Content{v}
	return &Session{
		vaults: v, Content: c, Writer: &Writer{vaults: v, placing: p}, Locks: &Locks{v, p, semaphore.NewWeighted(copyMemory)}, Past: &Past{v, c},
		placing: p, signing: &signing{v, p}, loading: &loading{v},
	}
}

// OpenSession finds the repository in every vault, checks the host key and the clocks, and loads what is new in
// placements and index since the cache was last used. It fails only if no vault can be used.
func OpenSession(ctx context.Context, o SessionOptions) (*Session, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := newSession(&vaults{host: o.HostKey, now: o.Now, report: o.Report, began: time.Now()}, o.Pace.orDefault())
	s.stall = cmp.Or(o.Stall, stall.Default)
	s.givers, s.rejoin = s.active, s.join
	for _, v := range o.Vaults {
		k := newKeeper(v, o.Now, o.Report)
		k.kept = kept{o.Kept, v.Name}
		if v.Err != nil {
			_ = k.fail(v.Err) // it is in the vault's result
		}
		s.keepers = append(s.keepers, k)
	}
	opened := false
	defer func() {
		if !opened {
			s.letGo()
		}
	}()
	if err := s.find(ctx, o); err != nil {
		return nil, err
	}
	var err error
	if s.enc, err = pack.NewEncoder(); err != nil {
		return nil, err
	}
	if err := s.Writer.open(); err != nil {
		return nil, err
	}
	if s.cache, err = o.Cache(s.repo.CacheID()); err != nil {
		return nil, err
	}
	s.proofs = openProofs(s.cache)
	s.repo.proofs = s.proofs
	for _, k := range s.keepers {
		k.cache = s.cache // of those left out already, too: what is known of them is still of use
		if k.chain != nil {
			k.chain.proofs = s.proofs
		}
	}
	if err := s.each(ctx, func(ctx context.Context, k *keeper) error {
		err := s.loading.load(ctx, k)
		k.joined = err == nil
		return err
	}); err != nil && !(errors.As(err, new(*LostError)) && len(s.active()) > 0) {
		return nil, errors.Join(err, s.cache.Close())
	}
	for _, k := range s.keepers {
		if !k.joined {
			k.overview.end()
		}
	}
	s.opening = time.Since(s.began)
	opened = true
	return s, nil
}

// find recognises the repository in each vault. A vault whose chain of descriptors is not the known one is left out: nothing
// of it is believed, and nothing in it reaches another. Vaults that are too slow are waited for only if none of the others
// has the repository.
func (s *Session) find(ctx context.Context, o SessionOptions) (err error) {
	if s.known, err = NewKnown(o.Known.Pin, o.HostKey); err != nil {
		return err
	}
	s.known.Descriptors = append(s.known.Descriptors, o.Known.Descriptors...)
	s.known.know(o.Known.Newest)
	for _, k := range s.active() {
		k.overview.start(ctx)
	}
	err = s.recogniseAll(ctx)
	if err != nil && ctx.Err() == nil && s.takeBack() {
		s.alone = true
		err = s.recogniseAll(ctx)
		s.alone = false
	}
	if err != nil {
		return err
	}
	if o.Recipients != nil && !sameRecipients(o.Recipients, s.repo.Now().Recipients) {
		return otherRecipients(s.repo)
	}
	return s.repo.Keys().CheckOwners(o.Owners)
}

func (s *Session) recogniseAll(ctx context.Context) error {
	repos := make([]*Repository, len(s.keepers))
	if err := s.eachIndexed(ctx, func(ctx context.Context, i int, k *keeper) (err error) {
		repos[i], err = s.recognise(ctx, k)
		return err
	}); err != nil {
		return err
	}
	for i, k := range s.keepers {
		if !s.inStep(k) {
			repos[i] = nil
		}
	}
	var wrong []error
	s.repo, wrong = s.known.judge(repos, s.host)
	for i, k := range s.keepers {
		if repos[i] == nil {
			continue
		}
		err := wrong[i]
		if err == nil {
			err = s.accept(k, repos[i])
		}
		if err := s.settle(ctx, k, err); err != nil {
			return err
		}
	}
	if err := s.living(ctx); err != nil {
		return err
	}
	if err := CheckHostKey(s.repo, s.host); err != nil {
		return s.known.withheld(s.repo, err)
	}
	return nil
}

// recognise reads the vault's clock and finds the repository in it.
func (s *Session) recognise(ctx context.Context, k *keeper) (*Repository, error) {
	if err := k.meet(ctx); err != nil {
		return nil, err
	}
	v := *k.vault
	v.Read = &keptDescriptors{Reader: v.Read, kept: k.kept}
	return s.known.recognise(ctx, &v, s.host, k.report)
}

// accept takes a vault whose chain was judged to be the known one.
func (s *Session) accept(k *keeper, r *Repository) (err error) {
	s.known.ReportStrangers(r, k.report)
	k.chain = s.repo.shownBy(r)
	k.chain.proofs = cmp.Or(s.proofs, k.chain.proofs)
	k.reader, err = NewReader(s.repo, k.vault.Read, s.host.Identities(), s.placer(k), k.report)
	if err == nil {
		k.reader.kept = k.kept
	}
	return err
}

// open does for one vault what OpenSession does for those in step.
func (s *Session) open(ctx context.Context, k *keeper) error {
	r, err := s.recognise(ctx, k)
	if err != nil {
		return err
	}
	if err := s.repo.against(r, s.host); err != nil {
		return err
	}
	if err := s.accept(k, r); err != nil {
		return err
	}
	if err := s.loading.load(ctx, k); err != nil {
		return err
	}
	k.joined = true
	return nil
}

// Pinned reports whether the repository and all its descriptors in force were known before this session. Where they were not,
// PinTo notes them.
func (s *Session) Pinned() bool {
	return s.known.Pin == s.repo.Fingerprint.String() && s.known.Newest.Number == s.repo.Now().Number && !s.known.Newest.IsZero() && !slices.ContainsFunc(s.repo.Chain[len(s.repo.Chain)-1:], func(l Link) bool {
		return !slices.Contains(s.known.Descriptors, l.Sum)
	})
}

// meet reads the vault's clock and refuses one too far from ours.
func (k *keeper) meet(ctx context.Context) error {
	f, err := k.vault.Inspect.Inspect(ctx)
	if err != nil {
		return err
	}
	// Taken after the answer: a slow one makes the vault's time early, never late, which is the safe side for a signed time.
	k.offset = f.Clock.Sub(k.now())
	return CheckClock(f.Clock, k.now())
}

// glance does what meet does, for who only reads: a vault's reader may not look at the bucket's settings, and learns the vault's
// time from the refusal.
func (k *keeper) glance(ctx context.Context) error {
	f, err := k.vault.Inspect.Inspect(ctx)
	if err != nil && !errors.Is(err, store.ErrDenied) {
		return err
	}
	if f.Clock.IsZero() {
		return err
	}
	return CheckClock(f.Clock, k.now())
}

// CheckClock refuses a vault whose clock and ours are over MaxClockOffset apart.
func CheckClock(vault, local time.Time) error {
	if off := vault.Sub(local); off.Abs() > MaxClockOffset {
		return fmt.Errorf("%w: the vault says %s, this machine is %s off; set the clock (NTP) and try again",
			store.ErrClock, vault.Format(time.RFC3339), off.Abs().Round(time.Second))
	}
	return nil
}

// CheckHostKey reports whether the host key is the one the newest descriptor names.
func CheckHostKey(r *Repository, h *keys.HostKey) error {
	if !r.Now().Lists(format.UseJob, h.Public()) || !slices.Contains(r.Now().Metadata, h.Metadata.Recipient().String()) {
		return fmt.Errorf("%w: use %s, or get it back with `holdfast key recover --identity FILE`", ErrHostKey, r.Trust().hostKeyInForce())
	}
	return nil
}

// hostKeyInForce says which of the host keys that people may have is the one that holds.
func (t Trust) hostKeyInForce() string {
	since := slices.IndexFunc(t.r.Chain, func(l Link) bool { return slices.Equal(l.Metadata, t.r.Now().Metadata) })
	if since == 0 {
		return "the host key made by `holdfast init`"
	}
	return "the newest host key, made by `holdfast key rotate` on " + t.r.Chain[since].Created.UTC().Format(time.DateOnly)
}

// otherRecipients says which keys a repository seals to.
func otherRecipients(r *Repository) error {
	var are []string
	for _, have := range r.Now().Recipients {
		are = append(are, keys.Brief(have))
	}
	return fmt.Errorf("%w: %s seals to %s; compare these with the papers your restore keys are on. If all of them are yours, "+
		"put them into keys.recipients, and add others with `holdfast key add-recipient --identity FILE`. "+
		"If one is not, somebody else had the host key: do not configure it, and begin a new repository under another prefix",
		ErrRecipients, r.Chain[len(r.Chain)-1].describe(), strings.Join(are, ", "))
}

func sameRecipients(a []keys.Recipient, b []string) bool {
	as := make([]string, len(a))
	for i, r := range a {
		as[i] = r.String()
	}
	bs := slices.Clone(b)
	slices.Sort(as)
	slices.Sort(bs)
	return slices.Equal(as, bs)
}

func (s *Session) placer(k *keeper) func(string) (format.Placement, bool) {
	return func(name string) (format.Placement, bool) {
		if k.cache == nil {
			return format.Placement{}, false
		}
		p, ok, err := k.placement(name)
		return p, ok && err == nil
	}
}

// Close closes the cache.
func (s *Session) Close() error {
	s.letGo()
	for _, k := range s.keepers {
		k.kept.in.Trim()
	}
	return errors.Join(s.proofs.keep(s.cache), s.cache.Close())
}

// Repository is the one this session writes to.
func (s *Session) Repository() *Repository { return s.repo }

// Cache is the local cache.
func (s *Session) Cache() *cache.Cache { return s.cache }

// VaultResult is how one vault fared.
type VaultResult struct {
	Vault       string
	Err         error
	LockedUntil time.Time   // of the commit object, as read back; before it is there, what is asked for what is stored now; zero: no locks
	Point       format.Hash // where it caught up with a point of its own; else zero
	Calls
}

// Vaults tells how each vault fares.
func (s *Session) Vaults() []VaultResult {
	var out []VaultResult
	for _, k := range s.keepers {
		asked, err := k.locks.retention(s.until())
		if err != nil { // beyond the ceiling, as Begin said
			asked.Until = time.Time{}
		}
		k.mu.Lock()
		v := VaultResult{Vault: k.vault.Name, Err: k.failed, LockedUntil: asked.Until, Point: k.point, Calls: k.calls}
		if !k.committed.IsZero() {
			v.LockedUntil = k.committed
		}
		if v.Err == nil && k.behind {
			v.Err = fmt.Errorf("vault %s: %w", k.vault.Name, ErrBehind)
		}
		k.mu.Unlock()
		out = append(out, v)
	}
	return out
}

// Begin says until when what is stored from now on is needed. It leaves out a vault whose ceiling forbids such a lock,
// before anything is written.
func (s *Session) Begin(need time.Time) error {
	if most := s.repo.Trust().longest(); need.Sub(s.Now()) > most {
		return fmt.Errorf("%w: points of this repository are kept for at most %d days, and this one would be kept until %s: shorten the retention, or run `holdfast key rotate --identity FILE`, "+
			"which takes the bound from the configuration", ErrCeiling, most/(24*time.Hour), need.UTC().Format(time.RFC3339))
	}
	return s.Locks.Begin(need)
}

// Begin is Session.Begin for what is no point of this repository's retention: a hold, which has a bound of its own.
func (s *Locks) Begin(need time.Time) error {
	s.mu.Lock()
	s.need = need
	s.mu.Unlock()
	for _, k := range s.active() {
		if _, err := k.locks.retention(need); err != nil {
			_ = k.fail(err) // it is in the vault's result
		}
	}
	if len(s.active()) == 0 {
		return s.dead()
	}
	return nil
}

// Furthest is the furthest time that Begin takes without leaving out a vault that is in use.
func (s *Session) Furthest() time.Time {
	most := s.Now().Add(s.repo.Trust().longest())
	for _, k := range s.active() {
		l := k.vault.Locking
		if l.Mode == store.ModeNone || l.Ceiling <= 0 {
			continue
		}
		if end := k.clock().Add(l.Ceiling - l.Slack); end.Before(most) {
			most = end
		}
	}
	return most.Truncate(time.Second)
}

// Foresee says until when a point of the near future will need most of what is needed now: that of the week or the month
// that begins within half a lock's slack. A lock that has to be lengthened goes that far at once, so that it is not
// lengthened again in a few days; none is lengthened for this alone. It is called before anything is secured.
func (s *Session) Foresee(decide func(at time.Time) time.Time) {
	s.decide = decide
	for _, k := range s.active() {
		if l := k.vault.Locking; l.Mode != store.ModeNone {
			k.ahead = decide(k.clock().Add(l.Slack / 2))
		}
	}
}
