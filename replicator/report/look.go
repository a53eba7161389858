package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/prices"
	"github.com/holdfast-backup/holdfast/replicator/stats"
	"github.com/holdfast-backup/holdfast/replicator/status"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Place is a vault that is to be looked at.
type Place struct {
	Name, URL, Kind, Vendor, Credential string

	Err     error // why it cannot be looked at; then the rest means nothing
	Pinned  bool
	Locks   bool
	View    browse.View
	Inspect func(context.Context) (store.Facts, error) // nil: there is nothing to ask
	Sources []string                                   // that have to be there
	Lost    []cache.Made                               // points that this machine made before the vault was begun anew
	Scratch *cache.Cache                               // of its own, empty; nil: what lies in the vault is not added up
	Misses  func(h evidence.Hold, listed []repo.Point) bool
	Price   *prices.Price // nil: NoPrice says why
	NoPrice error
	Noticed func() []repo.Finding // what was noticed on the way, once all was looked at; may be nil
}

// Options of a report.
type Options struct {
	Identity Identity
	Scope    Scope
	Targets  Targets
	From, To time.Time
	Now      time.Time
	Seed     uint64 // which points' locks are read back; chosen by chance
}

// Bounds of what a report lists; how many there are is told beside it.
const (
	maxListed = 24   // verifications, drills and diagnoses, the newest
	maxGaps   = 10   // of a source, the longest
	maxMarks  = 100  // points, the newest
	maxHolds  = 200  // by source and time
	maxText   = 2000 // bytes of a text from a vault
	maxFound  = 100  // findings of records and on the way
	Sampled   = 32   // points whose locks are read back
	maxEvents = 1 << 20
)

// looking is one vault being looked at.
type looking struct {
	o  Options
	p  Place
	v  *Vault
	r  *Report
	ss map[string]*folding // by source

	events  int // that are kept, over all sources
	dropped bool
	sample  sample
}

// Look looks at a vault and adds it to the report. What is wrong in a vault is part of the report; the error is a context's.
func (r *Report) Look(ctx context.Context, o Options, p Place) error {
	v := Vault{Name: p.Name, URL: p.URL, Kind: p.Kind, Vendor: p.Vendor, Credential: p.Credential, Pinned: p.Pinned}
	v.Immutability.Locks = p.Locks
	l := &looking{o: o, p: p, v: &v, r: r, ss: map[string]*folding{}, sample: sample{seed: o.Seed}}
	err := p.Err
	if err == nil {
		err = l.all(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		v.Error = clip(err.Error())
	}
	r.Vaults = append(r.Vaults, v)
	return nil
}

// all looks at everything. The error says why nothing can be said of the vault.
func (l *looking) all(ctx context.Context) error {
	re := l.p.View.Repository
	l.v.Repository, l.v.Fingerprint = re.ID.String(), re.Fingerprint.String()
	l.clock(ctx)
	l.keys()
	sources, err := status.Look(ctx, status.Options{
		View: l.p.View, Sources: l.p.Sources, RPO: time.Duration(l.r.Targets.RPO) * time.Second, Locks: l.p.Locks, Lost: l.p.Lost, Now: l.o.Now, Each: l.point,
	})
	if err != nil {
		return err
	}
	for _, s := range sources {
		l.stands(s)
	}
	if len(sources) > 0 {
		l.v.Alarms = sources[0].Vault // the same in all
	}
	for _, step := range []func(context.Context) error{l.records, l.marks, l.holds, l.locks, l.attacks, l.stored} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	l.fold()
	if l.p.Noticed != nil {
		for _, f := range l.p.Noticed() {
			if len(l.v.Noticed) < maxFound {
				l.v.Noticed = append(l.v.Noticed, ChainFinding{string(f.Kind), clip(f.Name), clip(f.Detail)})
			}
		}
	}
	return nil
}

// unknown notes what is not known of this vault.
func (l *looking) unknown(section, what, why string, args ...any) {
	l.r.Unknown = append(l.r.Unknown, Unknown{section, l.v.Name, what, clip(fmt.Sprintf(why, args...))})
}

// clock asks the vault for its clock and its settings.
func (l *looking) clock(ctx context.Context) {
	if l.p.Inspect == nil {
		return
	}
	f, err := l.p.Inspect(ctx)
	if err != nil {
		l.unknown("identity", "the vault's clock and settings", "they cannot be asked for with this credential: %v", err)
		l.v.Immutability.ObjectLock, l.v.Immutability.Versioning = "not known", "not known"
		return
	}
	l.v.Clock = Clock{At: stamp(f.Clock), Offset: int64(f.Offset.Round(time.Second) / time.Second)}
	if !l.p.Locks {
		l.v.Immutability.ObjectLock, l.v.Immutability.Versioning = "none: a directory", "none: a directory"
		return
	}
	on := func(b bool) string { return map[bool]string{true: "on", false: "off"}[b] }
	l.v.Immutability.ObjectLock, l.v.Immutability.Versioning, l.v.Immutability.Default = on(f.ObjectLock), on(f.Versioning), "none"
	if f.Default.Mode != store.ModeNone {
		l.v.Immutability.Default = fmt.Sprintf("%s, %d days", f.Default.Mode, int(f.Default.Until.Sub(f.Clock).Round(time.Hour)/(24*time.Hour)))
	}
}

// keys lists the public halves that count now, and how they changed.
func (l *looking) keys() {
	re := l.p.View.Repository
	k := &l.v.Keys
	for _, r := range re.Now().Recipients {
		k.Recipients = append(k.Recipients, keys.Brief(r))
	}
	k.Owners = len(re.Keys().Owners())
	for _, key := range re.Now().Keys {
		if key.Use == format.UseReporter {
			k.Reporters = append(k.Reporters, KeyHolder{key.Name, key.Role, sum(key.Key)})
		}
	}
	for n, d := range re.Chain {
		k.Changes = append(k.Changes, Change{n, stamp(d.Arrived), d.Sum.String()})
	}
}

// stands takes how a source stands, as status tells it.
func (l *looking) stands(s status.Source) {
	out := Source{
		Source: s.Name, Configured: s.Wanted, Verified: map[string]string{}, DrilledAt: stamp(s.Records.Drilled), Alarms: s.Alarms,
		LastRunAt: stamp(s.Records.Ran), LastRun: s.Records.Run,
	}
	for _, level := range levels() {
		out.Verified[string(level)] = stamp(s.Records.Verified[level])
	}
	if n := s.Newest; n != nil {
		out.Newest = &Newest{Point: n.ID.String(), SignedAt: stamp(n.SignedAt.Time), Status: "damaged"}
		if n.Line != nil {
			out.Newest.Status, out.Newest.Entries, out.Newest.Missing, out.Newest.Marks = n.Line.Status, n.Line.Entries, n.Line.Missing, n.Line.Marks
		} else if n.Head != nil {
			out.Newest.Status = "newer"
		}
	}
	if l.r.Targets.RPO > 0 && s.Wanted {
		met := s.Point != nil && s.RPOMet
		out.RPOMet = &met
	}
	if p := s.Point; p != nil {
		age := int64(s.Age / time.Second)
		out.Point, out.TakenAt, out.Age = p.ID.String(), stamp(p.Line.TakenAt.Time), &age
		out.RetainTo, out.Held, out.Kind = stamp(p.Line.RetainUntil.Time), stamp(s.Held), p.Line.SourceKind
		out.Entries, out.Bytes, out.Missing = p.Line.Entries, p.Line.Bytes, p.Line.Missing
		switch {
		case s.Mode != store.ModeNone:
			out.Protected, out.Mode = stamp(s.Protected), string(s.Mode)
		case l.p.Locks && p.Line.Mode != "":
			out.Protected = "none"
		}
	}
	if s.Short != nil {
		out.Short = clip(s.Short.Error())
	}
	l.v.Sources = append(l.v.Sources, out)
}

// marks takes what the guard marked, and who acknowledged it.
func (l *looking) marks(ctx context.Context) error {
	all, err := status.Marks(ctx, l.p.View)
	if err != nil {
		return err
	}
	l.v.MarkCount = len(all)
	slices.SortStableFunc(all, func(a, b status.Mark) int { // what stands open is never left out for what is over
		open := func(m status.Mark) int { return map[bool]int{true: 0, false: 1}[m.State == status.Open] }
		return cmp.Or(cmp.Compare(open(a), open(b)), b.Point.SignedAt.Compare(a.Point.SignedAt.Time))
	})
	for _, m := range all[:min(len(all), maxMarks)] {
		x := Mark{Source: m.Point.Source, Point: m.Point.ID.String(), SignedAt: stamp(m.Point.SignedAt.Time), Marks: m.Point.Line.Marks, State: string(m.State), Rules: []string{}}
		for _, f := range m.Findings {
			x.Rules = append(x.Rules, clip(fmt.Sprintf("%s (%d)", f.Rule, f.Count)))
		}
		if len(m.Acks) > 0 {
			a := m.Acks[0]
			x.By, x.AckedAt, x.Reason = a.Reporter, stamp(a.Time), clip(a.Reason)
		}
		l.v.Marks = append(l.v.Marks, x)
	}
	return nil
}

// holds takes what is held longer than it is kept.
func (l *looking) holds(ctx context.Context) error {
	list, err := evidence.List(ctx, l.p.View.Records(), 0)
	if err != nil {
		return err
	}
	all, err := list.Holds()
	if err != nil {
		return err
	}
	l.v.HoldCount = len(all)
	for _, h := range all[:min(len(all), maxHolds)] {
		l.v.Holds = append(l.v.Holds, Hold{
			Source: h.Source, Point: h.Point.String(), SignedAt: stamp(h.SignedAt.Time), Until: stamp(h.Until.Time), Over: h.Over(l.o.Now),
			By: cmp.Or(h.By, "person"), Reporter: h.Reporter, At: stamp(h.At.Time), Reason: clip(h.Reason),
		})
	}
	return nil
}

// stored adds up what lies in the vault.
func (l *looking) stored(ctx context.Context) error {
	if l.p.Scratch == nil {
		l.unknown("stored", "what lies in the vault", "it was not added up: there is no room for it on this machine")
		return nil
	}
	came := map[string]int64{}
	s, err := stats.Look(ctx, stats.Options{
		Repository: l.p.View.Repository, In: l.p.View.In, Scratch: l.p.Scratch, Report: l.p.View.Report, Now: l.o.Now, Misses: l.p.Misses,
		Each: func(i store.Info) {
			month := monthOf(i.Modified)
			if _, known := came[month]; !known && len(came) >= maxMonths {
				month = monthOf(time.Time{}) // times that somebody made up
			}
			came[month] += i.Size
		},
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.unknown("stored", "what lies in the vault", "it could not be added up: %v", err)
		return nil
	}
	out := &Stored{
		Stored: Size(s.Stored), Needed: Size(s.Needed), Unneeded: Size(s.Unneeded), Records: Size(s.Records), Other: Size(s.Other), Missing: Size(s.Missing),
		Over: s.Over, Unread: s.Unread, Newest: Size(s.Needed), Arrived: []Sum{}, Expiring: []Sum{},
	}
	var total int64
	for _, month := range sorted(came) {
		total += came[month]
		out.Arrived = append(out.Arrived, Sum{month, came[month], total})
	}
	ends := map[string]int64{}
	for _, e := range s.Expiries {
		ends[monthOf(e.At)] += e.Bytes
		out.Newest.Objects, out.Newest.Bytes = out.Newest.Objects-e.Objects, out.Newest.Bytes-e.Bytes
	}
	left := s.Needed.Bytes
	for _, month := range sorted(ends) {
		left -= ends[month]
		out.Expiring = append(out.Expiring, Sum{month, ends[month], left})
	}
	if p := l.p.Price; p != nil {
		out.Cost = &Cost{Amount: p.Month(s.Stored.Bytes), Currency: p.Table.Currency, PricesOf: p.Name()}
	} else {
		l.unknown("stored", "what the storage costs", "%v", l.p.NoPrice)
	}
	l.v.Stored = out
	return nil
}
