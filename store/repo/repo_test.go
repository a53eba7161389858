package repo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

const dayLong = 24 * time.Hour

// bench is a repository in one vault in memory, with the attacker beside it.
type bench struct {
	t        *testing.T
	clock    time.Time
	store    *memstore.Store
	cacheDir string // of all sessions; empty: each has its own
	vault    *repo.Vault
	restore  keys.Identity
	host     *keys.HostKey
	owned    bool // the restore key's owner key signs changes of keys

	mu    sync.Mutex
	found []repo.Finding
}

func (b *bench) now() time.Time { return b.clock }

func (b *bench) report(f repo.Finding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.found = append(b.found, f)
}

// saw reports whether a finding of that kind names an object with that beginning, and forgets all findings.
func (b *bench) saw(kind repo.FindingKind, prefix string) bool { return b.count(kind, prefix) > 0 }

func (b *bench) count(kind repo.FindingKind, prefix string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, f := range b.found {
		if f.Kind == kind && strings.HasPrefix(f.Name, prefix) {
			n++
		}
	}
	b.found = nil
	return n
}

func newBench(t *testing.T) *bench { return benchOf(t, false) }

// newOwnedBench is newBench with a repository that has an owner.
func newOwnedBench(t *testing.T) *bench { return benchOf(t, true) }

func benchOf(t *testing.T, owned bool) *bench {
	t.Helper()
	b := &bench{t: t, owned: owned, clock: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	var err error
	if b.restore, err = keys.GenerateIdentity(keys.X25519); err != nil {
		t.Fatal(err)
	}
	if b.host, err = keys.GenerateHostKey(keys.X25519); err != nil {
		t.Fatal(err)
	}
	b.store = memstore.New(memstore.Options{Now: b.now})
	b.vault = vaultOf(b.store)
	if _, err := repo.Init(t.Context(), initOptions(b)); err != nil {
		t.Fatal(err)
	}
	return b
}

func vaultOf(s *memstore.Store) *repo.Vault {
	return &repo.Vault{
		Name: "v", Read: s, Write: s, Lock: s, Inspect: s,
		Locking: repo.Locking{Mode: store.Compliance, Slack: 10 * dayLong, Ceiling: 400 * dayLong},
	}
}

func initOptions(b *bench) repo.InitOptions {
	var owners []keys.Owner
	if b.owned {
		owners = append(owners, keys.OwnerOf(b.restore))
	}
	return repo.InitOptions{
		Owners: owners,
		Vaults: []*repo.Vault{b.vault}, HostKey: b.host, Recipients: []keys.Recipient{b.restore.Recipient()},
		Need: 35 * dayLong, Now: b.now, Report: b.report,
	}
}

func (b *bench) session() *repo.Session {
	b.t.Helper()
	dir := b.cacheDir
	if dir == "" {
		dir = b.t.TempDir()
	}
	s, err := repo.OpenSession(b.t.Context(), repo.SessionOptions{
		Vaults: []*repo.Vault{b.vault}, HostKey: b.host, Now: b.now, Report: b.report,
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(dir, cache.Options{}) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// again opens and closes a session.
func (b *bench) again() {
	b.t.Helper()
	if err := b.session().Close(); err != nil {
		b.t.Fatal(err)
	}
}

// point commits an empty point of a source that follows others.
func (b *bench) point(source string, follows ...format.Hash) format.Hash {
	b.t.Helper()
	id, err := b.commit(source, b.clock, follows...)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// commit tries to commit an empty point.
func (b *bench) commit(source string, taken time.Time, follows ...format.Hash) (format.Hash, error) {
	b.t.Helper()
	ctx := b.t.Context()
	s := b.session()
	defer func() {
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
	}()
	until := b.clock.Add(35 * dayLong)
	if err := s.Begin(until); err != nil {
		b.t.Fatal(err)
	}
	root := func(sink *repo.Sink, ref format.PageRef, page []byte) format.PageRef {
		tb := tree.NewBuilder(sink, tree.NewCut([32]byte{}, format.DefaultParameters()), nil, nil)
		if err := tb.Leaf(ctx, ref, page); err != nil {
			b.t.Fatal(err)
		}
		r, err := tb.Root(ctx)
		if err != nil {
			b.t.Fatal(err)
		}
		return r
	}
	manifest := root(s.Writer.MetaSink(), format.PageRef{}, nil)
	size, ok, err := s.Content.Size(manifest.Object)
	if err != nil || !ok {
		b.t.Fatal(ok, err)
	}
	need := format.Need{Name: manifest.Object, Size: size, Living: size}
	line, err := need.AppendLine(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	var before []format.Predecessor
	for _, id := range follows {
		before = append(before, format.Predecessor{ID: id, SignedAt: format.At(taken.UTC().Truncate(time.Second)), RetainUntil: format.At(until)})
	}
	needs := root(s.Writer.NeedsSink(), format.PageRef{First: need.Name, Entries: 1, Bytes: size}, line)
	return s.Commit(ctx, &format.Commit{
		Source: source, SourceKind: "s3", TakenAt: format.At(taken), RetainUntil: format.At(until), Mode: "compliance",
		Status: format.StatusComplete, Manifest: manifest, Needs: needs, Predecessors: before,
	})
}

func (b *bench) find(pin string) (*repo.Repository, error) {
	return repo.Find(b.t.Context(), b.store, pin, b.report)
}

func (b *bench) points() []repo.Point {
	b.t.Helper()
	r, err := b.find("")
	if err != nil {
		b.t.Fatal(err)
	}
	p, err := r.Points(b.t.Context(), b.vault.Read, "", b.report)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// plantPoint puts an object as someone with the writer's credential can.
func plantPoint(b *bench, name string, body []byte) {
	b.t.Helper()
	if _, err := b.store.Put(b.t.Context(), name, bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256(body)}); err != nil {
		b.t.Fatal(err)
	}
}

func TestInitIsSafeToRepeatAndRefusesStrangers(t *testing.T) {
	b := newBench(t)
	again, err := repo.Init(t.Context(), initOptions(b))
	if err != nil || again[0].Created {
		t.Fatalf("repeated: %+v, %v", again, err)
	}
	mine := b.host
	if b.host, err = keys.GenerateHostKey(keys.X25519); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Init(t.Context(), initOptions(b)); !errors.Is(err, repo.ErrHostKey) {
		t.Errorf("with another host key: %v", err)
	}
	b.host = mine
	if b.restore, err = keys.GenerateIdentity(keys.X25519); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Init(t.Context(), initOptions(b)); !errors.Is(err, repo.ErrRecipients) {
		t.Errorf("with other recipients: %v", err)
	}
}

func TestInitRefusesUnfitVaults(t *testing.T) {
	b := newBench(t)
	b.store = memstore.New(memstore.Options{Now: b.now, NoLock: true})
	b.vault = vaultOf(b.store)
	if _, err := repo.Init(t.Context(), initOptions(b)); !errors.Is(err, repo.ErrRefused) {
		t.Errorf("no lock: %v", err)
	}
	b.store = memstore.New(memstore.Options{Now: b.now})
	b.vault = vaultOf(b.store)
	o := initOptions(b)
	o.Need = 395 * dayLong
	if _, err := repo.Init(t.Context(), o); !errors.Is(err, repo.ErrCeiling) {
		t.Errorf("beyond the ceiling: %v", err)
	}
	o = initOptions(b)
	o.Now = func() time.Time { return b.clock.Add(6 * time.Minute) }
	if _, err := repo.Init(t.Context(), o); !errors.Is(err, store.ErrClock) {
		t.Errorf("clock: %v", err)
	}
	if _, err := repo.Init(t.Context(), initOptions(b)); !errors.Is(err, repo.ErrGone) {
		t.Errorf("another repository for a host key that is pinned to one: %v", err)
	}
	b.host = b.host.Secrets()
	b.vault.Lock = forgetful{}
	if _, err := repo.Init(t.Context(), initOptions(b)); !errors.Is(err, store.ErrNoLock) {
		t.Errorf("locks that do not take: %v", err)
	}
	if _, err := b.find(""); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("a refused init left a repository: %v", err)
	}
}

// forgetful accepts locks and does nothing.
type forgetful struct{}

func (forgetful) Extend(context.Context, store.Ref, store.Retention) error { return nil }

func TestHostKeyComesBack(t *testing.T) {
	b := newBench(t)
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	h, err := repo.RecoverHostKey(t.Context(), r, b.store, []keys.Identity{b.restore}, nil)
	if err != nil || !h.Equal(b.host) {
		t.Fatalf("recovered %v, %v", h, err)
	}
	other, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.RecoverHostKey(t.Context(), r, b.store, []keys.Identity{other}, nil); err == nil {
		t.Error("another key opened the host key")
	}
}

func TestTheOldestDescriptorIsTheRepositorys(t *testing.T) {
	b := newBench(t)
	was, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	b.clock = b.clock.Add(time.Hour)
	d := *was.Now()
	d.Repository[0]++
	stranger, err := keys.GenerateHostKey(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	d.Keys = []format.Key{format.JobKey(stranger.Public())}
	forged, err := format.EncodeDescriptor(&d, func(m []byte) []byte { return attest.Sign(stranger.Signing, attest.Descriptor, m) })
	if err != nil {
		t.Fatal(err)
	}
	forgedName := format.DescriptorID{Sum: sha256.Sum256(forged)}.Name()
	plantPoint(b, forgedName, forged)
	name := format.DescriptorID{Sum: was.Fingerprint}.Name()
	b.store.Attacker().Overwrite(name, []byte("gone"))
	b.store.Attacker().Hide(name)
	plantPoint(b, format.PrefixDescriptors+"junk", []byte("x"))
	now, err := b.find("")
	if err != nil || now.ID != was.ID {
		t.Fatalf("found %v, %v", now, err)
	}
	if !b.saw(repo.Tampered, name) {
		t.Error("what lies on the descriptor was not reported")
	}
	if _, err := b.find(was.Fingerprint.String()[:20]); err != nil {
		t.Errorf("pinned: %v", err)
	}
	if _, err := b.find(strings.Repeat("0", 20)); !errors.Is(err, repo.ErrFingerprint) {
		t.Errorf("pinned to another: %v", err)
	}
}

// TestALaterDescriptorUnderAFirstName: the first descriptor has a job key that this version knows. A later one need not have, and
// anybody can store one under a first one's name.
func TestALaterDescriptorUnderAFirstName(t *testing.T) {
	b := newBench(t)
	was, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	d := *was.Now()
	d.Number, d.Previous, d.Keys = 1, was.Fingerprint, []format.Key{{Use: format.UseJob, Alg: "unknown", Key: []byte{1}}}
	later, err := format.EncodeDescriptor(&d, func(m []byte) []byte { return attest.Sign(b.host.Signing, attest.Descriptor, m) })
	if err != nil {
		t.Fatal(err)
	}
	name := format.DescriptorID{Sum: sha256.Sum256(later)}.Name()
	plantPoint(b, name, later)
	if now, err := b.find(""); err != nil || now.ID != was.ID {
		t.Fatalf("found %v, %v", now, err)
	}
	if !b.saw(repo.Tampered, name) {
		t.Error("what is no first descriptor was not reported")
	}
}

func TestPointsStandUnderAttack(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	id := b.point("uploads")
	want := b.points()
	if len(want) != 1 || want[0].ID != id || want[0].Late {
		t.Fatalf("%+v", want)
	}
	b.clock = b.clock.Add(time.Hour)
	b.store.Attacker().Overwrite(want[0].Name, []byte("not a commit"))
	b.store.Attacker().Hide(want[0].Name)
	plantPoint(b, format.PrefixPoints+"uploads/junk", []byte("x"))
	plantPoint(b, strings.Replace(want[0].Name, "uploads", "others", 1), []byte("x")) // another source's name under this signature
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	b.saw(repo.Tampered, "")
	got := b.points()
	if len(got) != 1 || got[0].ID != id || got[0].Version != want[0].Version || !got[0].Arrived.Equal(want[0].Arrived) {
		t.Fatalf("%+v", got)
	}
	if !b.saw(repo.Tampered, want[0].Name) {
		t.Error("what lies on the point was not reported")
	}
	c, err := r.Commit(t.Context(), b.store, got[0], b.report)
	if err != nil || c.Source != "uploads" {
		t.Fatalf("%+v, %v", c, err)
	}
}

// TestPointsOfOneSecond makes runs that follow each other faster than the clocks count.
func TestPointsOfOneSecond(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	want := []format.Hash{b.point("uploads")}
	for range 7 {
		want = append(want, b.point("uploads", want[len(want)-1]))
		b.point("other")
		if len(want) == 5 {
			b.clock = b.clock.Add(time.Second)
		}
	}
	var got []format.Hash
	for _, p := range b.points() {
		if p.Source == "uploads" {
			got = append(got, p.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("in the order\n%v, made in\n%v", got, want)
	}
}

// TestPointsOfAnotherTime signs commit objects with the real key, as a thief of the machine can, for times of his choice.
func TestPointsOfAnotherTime(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	b.point("uploads")
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	forge := func(at time.Time) {
		id := format.Hash(sha256.Sum256([]byte(at.String())))
		plantPoint(b, pointName(b.host, r.ID, format.PointID{Source: "uploads", SignedAt: format.At(at), ID: id}), []byte("x"))
	}
	forge(b.clock.Add(time.Second))
	if n := len(b.points()); n != 1 {
		t.Errorf("a point from the future counts: %d points", n)
	}
	if !b.saw(repo.Tampered, format.PrefixPoints) {
		t.Error("a point from the future was not reported")
	}
	forge(b.clock.Add(-2 * time.Hour))
	points := b.points()
	if len(points) != 2 || !points[0].Late || points[1].Late {
		t.Errorf("a point that came two hours late: %+v", points)
	}
}

func TestASessionRefusesWhatIsNotItsOwn(t *testing.T) {
	b := newBench(t)
	open := func(o repo.SessionOptions) error {
		o.Vaults, o.Now, o.Report = []*repo.Vault{b.vault}, b.now, b.report
		o.Cache = func(format.Hash) (*cache.Cache, error) { return cache.Open(t.TempDir(), cache.Options{}) }
		s, err := repo.OpenSession(t.Context(), o)
		if err == nil {
			t.Error(s.Close())
		}
		return err
	}
	stranger, err := keys.GenerateHostKey(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	if err := open(repo.SessionOptions{HostKey: stranger}); !errors.Is(err, repo.ErrHostKey) {
		t.Errorf("a stranger's host key: %v", err)
	}
	other, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	if err := open(repo.SessionOptions{HostKey: b.host, Recipients: []keys.Recipient{other.Recipient()}}); !errors.Is(err, repo.ErrRecipients) {
		t.Errorf("other recipients: %v", err)
	}
	if err := open(repo.SessionOptions{HostKey: b.host, Known: repo.Known{Pin: strings.Repeat("f", 16)}}); !errors.Is(err, repo.ErrFingerprint) {
		t.Errorf("another fingerprint: %v", err)
	}
}

// TestPlacementsAreSigned plants a placements object that sends a writer to the attacker's version, signed by no key of
// the repository: it is left out.
func TestPlacementsAreSigned(t *testing.T) {
	b := newBench(t)
	stranger, err := keys.GenerateHostKey(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	forged := format.Placement{Name: format.PackName(format.Hash{1}), Version: "v9", Size: 5, Mode: "compliance", Until: format.At(b.clock.Add(dayLong))}
	name := b.say(stranger, forged)
	b.saw(repo.Tampered, "")
	s := b.session()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, ok, err := s.Content.Size(forged.Name); ok || err != nil {
		t.Errorf("the forged placement counts: %v %v", ok, err)
	}
	if !b.saw(repo.Tampered, name) {
		t.Error("the forged placements object was not reported")
	}
}
