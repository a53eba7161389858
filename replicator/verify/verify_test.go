package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestIntact(t *testing.T) {
	r := newRig(t)
	src := filled()
	first := r.run("uploads", src)
	src.Put("small/0007", []byte("other bytes"))
	src.Put("small/0150", []byte("new"))
	src.Delete("small/0100")
	r.run("uploads", src)
	r.run("site", src)
	for _, level := range []Level{Locks, Bytes, Content} {
		t.Run(string(level), func(t *testing.T) {
			r.t = t
			o := r.options(level)
			if level != Content {
				o.Identities = nil // no key is needed
			}
			p := &progress.Count{}
			o.Progress = p
			got, s := r.verify(o)
			if len(got) != 0 || s.Status != OK || s.Points != 3 || !s.LocksChecked || s.Governance != 0 {
				t.Errorf("%+v%s", s, show(got))
			}
			if s.Objects == 0 || s.Bytes == 0 || p.Done.Load() < s.Objects+s.EntriesRead || level != Content && p.Done.Load() != s.Objects {
				t.Errorf("%+v; progress %d", s, p.Done.Load())
			}
			if level != Locks && s.ObjectsRead != s.Objects {
				t.Errorf("%d of %d objects read", s.ObjectsRead, s.Objects)
			}
			if level == Locks && s.ObjectsRead != 0 {
				t.Errorf("%d objects read to check locks", s.ObjectsRead)
			}
			if level == Content && (s.EntriesRead < 152 || s.EntriesRead != s.Entries) {
				t.Errorf("%d of %d entries read", s.EntriesRead, s.Entries)
			}
		})
	}
	t.Run("one point", func(t *testing.T) {
		r.t = t
		o := r.options(Content)
		o.Points = []format.Hash{first}
		if got, s := r.verify(o); len(got) != 0 || s.Points != 1 || s.EntriesRead != 152 {
			t.Errorf("%+v%s", s, show(got))
		}
	})
	t.Run("a sample", func(t *testing.T) {
		r.t = t
		o := r.options(Content)
		o.Sample = 30
		_, s := r.verify(o)
		if s.EntriesRead == 0 || s.EntriesRead > s.Entries*2/3 || s.Sample != 30 || s.ObjectsRead >= s.Objects {
			t.Errorf("%+v", s)
		}
	})
}

// attack does something to one of the rig's objects and says which.
type attack func(t *testing.T, r *rig) string

func damage(prefix string) attack {
	return func(t *testing.T, r *rig) string {
		info := r.one(prefix)
		if err := r.vault.Attacker().Damage(info.Ref, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }); err != nil {
			t.Fatal(err)
		}
		return info.Name
	}
}

func lose(prefix string) attack {
	return func(t *testing.T, r *rig) string {
		info := r.one(prefix)
		if err := r.vault.Attacker().Lose(info.Ref); err != nil {
			t.Fatal(err)
		}
		return info.Name
	}
}

func hide(prefix string) attack {
	return func(_ *testing.T, r *rig) string { return r.vault.Attacker().Hide(r.one(prefix).Name).Name }
}

func overwrite(prefix string) attack {
	return func(_ *testing.T, r *rig) string {
		return r.vault.Attacker().Overwrite(r.one(prefix).Name, []byte("pay me")).Name
	}
}

func unlock(prefix string) attack {
	return func(t *testing.T, r *rig) string {
		info := r.one(prefix)
		if err := r.vault.Attacker().Unlock(info.Ref); err != nil {
			t.Fatal(err)
		}
		return info.Name
	}
}

func both(a, b attack) attack {
	return func(t *testing.T, r *rig) string { a(t, r); return b(t, r) }
}

func truncate(prefix string) attack {
	return func(t *testing.T, r *rig) string {
		info := r.one(prefix)
		if err := r.vault.Attacker().Damage(info.Ref, func(b []byte) []byte { return b[:len(b)-1] }); err != nil {
			t.Fatal(err)
		}
		return info.Name
	}
}

func put(t *testing.T, r *rig, name string, body []byte) string {
	t.Helper()
	if _, err := r.vault.Put(context.Background(), name, bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256(body)}); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAttacks(t *testing.T) {
	junkPoint := func(t *testing.T, r *rig) string {
		return put(t, r, format.PointID{Source: "uploads", SignedAt: format.At(r.clock), ID: format.Hash{1}, Hint: format.KeyHint(r.host.Public()), Signature: make([]byte, 64)}.Name(), []byte("junk"))
	}
	for _, c := range []struct {
		name    string
		do      attack
		locks   repo.FindingKind // what each level finds; "": nothing
		bytes   repo.FindingKind
		content repo.FindingKind
	}{
		{"lost pack", lose("packs/"), repo.Missing, repo.Missing, repo.Missing},
		{"lost manifest", lose("meta/"), repo.Missing, repo.Missing, repo.Missing},
		{"lost needs list", lose("needs/"), repo.Missing, repo.Missing, repo.Missing},
		{"lost descriptor copy of the host key", lose("keys/"), repo.Missing, repo.Missing, repo.Missing},
		{"damaged pack", damage("packs/"), "", repo.Damaged, repo.Damaged},
		{"damaged manifest", damage("meta/"), "", repo.Damaged, repo.Damaged},
		{"damaged needs list", damage("needs/"), repo.Damaged, repo.Damaged, repo.Damaged},
		{"damaged host key copy", damage("keys/"), "", repo.Damaged, repo.Damaged},
		{"damaged commit object", damage("points/"), repo.Damaged, repo.Damaged, repo.Damaged},
		{"truncated pack", truncate("packs/"), repo.Damaged, repo.Damaged, repo.Damaged},
		{"truncated needs list", truncate("needs/"), repo.Damaged, repo.Damaged, repo.Damaged},
		{"unlocked pack", unlock("packs/"), repo.Unlocked, repo.Unlocked, repo.Unlocked},
		{"unlocked manifest", unlock("meta/"), repo.Unlocked, repo.Unlocked, repo.Unlocked},
		{"unlocked needs list", unlock("needs/"), repo.Unlocked, repo.Unlocked, repo.Unlocked},
		{"unlocked commit object", unlock("points/"), repo.Unlocked, repo.Unlocked, repo.Unlocked},
		{"unlocked descriptor", unlock("descriptors/"), repo.Unlocked, repo.Unlocked, repo.Unlocked},
		{"unlocked host key copy", unlock("keys/"), repo.Unlocked, repo.Unlocked, repo.Unlocked},
		{"marker on a pack", hide("packs/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"marker on the manifest", hide("meta/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"marker on the needs list", hide("needs/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"marker on the point", hide("points/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"marker on the descriptor", hide("descriptors/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"pack overwritten", overwrite("packs/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"manifest overwritten", overwrite("meta/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"needs list overwritten", overwrite("needs/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"point overwritten", overwrite("points/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"descriptor overwritten", overwrite("descriptors/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"host key copy overwritten", overwrite("keys/"), repo.Tampered, repo.Tampered, repo.Tampered},
		{"junk beside the points", junkPoint, repo.Tampered, repo.Tampered, repo.Tampered},
		{"junk beside the descriptors", func(t *testing.T, r *rig) string { return put(t, r, "descriptors/x", []byte("x")) }, repo.Tampered, repo.Tampered, repo.Tampered},
		{"another first descriptor", func(t *testing.T, r *rig) string {
			other := newRig(t)
			info := other.one("descriptors/")
			body := must(other.vault.Open(context.Background(), info.Ref, 0, -1))(t)
			r.clock = r.clock.Add(time.Hour)
			return put(t, r, info.Name, must(io.ReadAll(body))(t))
		}, repo.Tampered, repo.Tampered, repo.Tampered},
		{"a forged second descriptor", func(t *testing.T, r *rig) string {
			return put(t, r, format.DescriptorID{Number: 1, Sum: format.Hash{9}, Hint: format.KeyHint(r.host.Public()), Signature: make([]byte, 64)}.Name(), []byte("forged"))
		}, repo.Tampered, repo.Tampered, repo.Tampered},
		{"overwritten and unlocked below", both(unlock("packs/"), overwrite("packs/")), repo.Unlocked, repo.Unlocked, repo.Unlocked},
		{"overwritten and damaged below", both(damage("packs/"), overwrite("packs/")), repo.Damaged, repo.Damaged, repo.Damaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.run("uploads", filled())
			name := c.do(t, r)
			for level, want := range map[Level]repo.FindingKind{Locks: c.locks, Bytes: c.bytes, Content: c.content} {
				got, s := r.verify(r.options(level))
				found := false
				for _, f := range got {
					found = found || f.Kind == want && f.Name == name && f.Detail != ""
					if f.Kind != want && !(f.Kind == repo.Tampered && f.Name == name) {
						t.Errorf("%s: also finds %s", level, show([]Finding{f}))
					}
				}
				if want != "" && !found || want == "" && len(got) > 0 {
					t.Errorf("%s: want %q of %s, got%s", level, want, name, show(got))
				}
				status := map[repo.FindingKind]Status{"": OK, repo.Tampered: Tampered}[want]
				if status == "" {
					status = Damaged
				}
				if s.Status != status {
					t.Errorf("%s: status %q, want %q%s", level, s.Status, status, show(got))
				}
			}
		})
	}
}

// An object that several points share has to be locked as long as the longest of them asks.
func TestSharedObjects(t *testing.T) {
	r := newRig(t)
	src := filled()
	r.run("uploads", src)
	r.keep = "100d"
	r.clock = r.clock.Add(24 * time.Hour)
	long := r.run("uploads", src)
	if got, s := r.verify(r.options(Locks)); len(got) != 0 {
		t.Fatalf("%+v%s", s, show(got))
	}
	pack := r.one("packs/")
	if err := r.vault.Attacker().Unlock(pack.Ref); err != nil {
		t.Fatal(err)
	}
	// Long enough for the first point, not for the second.
	if err := r.vault.Extend(context.Background(), pack.Ref, store.Retention{Mode: store.Compliance, Until: r.clock.Add(50 * 24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	got, s := r.verify(r.options(Locks))
	if len(got) != 1 || got[0].Kind != repo.Unlocked || got[0].Name != pack.Name || got[0].Point != long || s.Status != Damaged {
		t.Errorf("%+v%s", s, show(got))
	}
}

// Governance where compliance was asked for is no lock; where it was asked for, it is one, and is said.
func TestGovernance(t *testing.T) {
	r := newRig(t)
	r.again(r.run("uploads", filled()), func(c *format.Commit) { c.Mode = string(store.Compliance) })
	pack := r.one("packs/")
	until := r.clock.Add(300 * 24 * time.Hour)
	if err := r.vault.Attacker().Unlock(pack.Ref); err != nil {
		t.Fatal(err)
	}
	if err := r.vault.Extend(context.Background(), pack.Ref, store.Retention{Mode: store.Governance, Until: until}); err != nil {
		t.Fatal(err)
	}
	got, s := r.verify(r.options(Locks))
	if len(got) != 1 || got[0].Kind != repo.Unlocked || !strings.Contains(got[0].Detail, "governance") || s.Governance != 1 {
		t.Errorf("%+v%s", s, show(got))
	}
}

func TestDirectoryVault(t *testing.T) {
	r := newRig(t)
	r.run("uploads", filled())
	for _, info := range r.list("") {
		if err := r.vault.Attacker().Unlock(info.Ref); err != nil {
			t.Fatal(err)
		}
	}
	o := r.options(Bytes)
	o.NoLocks = true
	if got, s := r.verify(o); len(got) != 0 || s.LocksChecked || s.Status != OK {
		t.Errorf("%+v%s", s, show(got))
	}
}

// The same bytes put twice are no attack: a repeated request, or two runs at once.
func TestPutTwice(t *testing.T) {
	r := newRig(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", body(1, 1000))
	r.run("uploads", src)
	for _, prefix := range []string{"packs/", "needs/"} {
		info := r.one(prefix)
		body := must(r.vault.Open(context.Background(), info.Ref, 0, -1))(t)
		b := must(io.ReadAll(body))(t)
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
		put(t, r, info.Name, b)
	}
	if got, s := r.verify(r.options(Content)); len(got) != 0 {
		t.Errorf("%+v%s", s, show(got))
	}
	// One of the two being locked is enough.
	pack := r.oldest("packs/")
	if err := r.vault.Attacker().Unlock(pack.Ref); err != nil {
		t.Fatal(err)
	}
	lock := store.Retention{Mode: store.Compliance, Until: r.clock.Add(300 * 24 * time.Hour)}
	if err := r.vault.Extend(context.Background(), r.one("packs/").Ref, lock); err != nil {
		t.Fatal(err)
	}
	if got, s := r.verify(r.options(Locks)); len(got) != 0 {
		t.Errorf("%+v%s", s, show(got))
	}
	// So often is no accident.
	for range maxVersions {
		b := must(io.ReadAll(must(r.vault.Open(context.Background(), pack.Ref, 0, -1))(t)))(t)
		put(t, r, pack.Name, b)
	}
	if got, s := r.verify(r.options(Locks)); len(got) != 1 || got[0].Kind != repo.Tampered {
		t.Errorf("%+v%s", s, show(got))
	}
}

// The right bytes are found under any number of others.
func TestManyVersions(t *testing.T) {
	r := newRig(t)
	r.run("uploads", filled())
	name := r.one("packs/").Name
	for range 3 * maxVersions {
		r.vault.Attacker().Overwrite(name, []byte("pay me"))
		r.vault.Attacker().Hide(name)
	}
	if got, s := r.verify(r.options(Locks)); len(got) != 1 || got[0].Kind != repo.Tampered || s.Status != Tampered {
		t.Errorf("%+v%s", s, show(got))
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	r.run("uploads", filled())
	o := r.options(Content)
	o.Identities = nil
	if _, err := Run(t.Context(), o); !errors.Is(err, repo.ErrNeedKey) {
		t.Errorf("no key: %v", err)
	}
	o.Identities = []keys.Identity{must(keys.GenerateIdentity(keys.X25519))(t)}
	if _, err := Run(t.Context(), o); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("another key: %v", err)
	}
	o.Identities = []keys.Identity{r.host.Metadata}
	if _, err := Run(t.Context(), o); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("the host key: %v", err)
	}
	o = r.options("everything")
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrLevel) {
		t.Errorf("level: %v", err)
	}
	o = r.options(Locks)
	o.Points = []format.Hash{{1}}
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrNoPoint) {
		t.Errorf("point: %v", err)
	}
	o = r.options(Locks)
	o.Sample = 101
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("a sample of 101% was taken")
	}
}

var errGone = errors.New("the vault does not answer")

// failing fails every request from the nth on with err, and says so.
func failing(in store.Reader, n int, err error, failed func()) store.Reader {
	var asked atomic.Int64
	return store.Around(func(ctx context.Context, _ store.Op, do func(context.Context) error) error {
		if asked.Add(1) > int64(n) {
			failed()
			return err
		}
		return do(ctx)
	}).Reader(in)
}

// A vault that stops answering, at whatever request, ends the verification with its error: never a finding, never "ok". A connection that
// breaks within a body is no damage, and a bucket that is not there is no lost object.
func TestFailingVault(t *testing.T) {
	r := newRig(t)
	r.run("uploads", filled())
	for _, with := range []error{
		errGone,
		&store.Error{Op: "open", Kind: store.ErrTransient, Err: io.ErrUnexpectedEOF},
		&store.Error{Op: "open", Kind: store.ErrNoBucket, Code: "NoSuchBucket"},
		&store.Error{Op: "open", Kind: store.ErrStalled},
	} {
		o := r.options(Content)
		for n := 0; ; n++ {
			o.In = failing(r.vault, n, with, func() {})
			o.Emit = func(f Finding) { t.Errorf("%v after %d requests: %v", with, n, f) }
			_, err := Run(t.Context(), o)
			if err == nil {
				if n < 20 {
					t.Fatalf("done after %d requests", n)
				}
				break
			}
			if !errors.Is(err, with) {
				t.Fatalf("%v after %d requests: %v", with, n, err)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	r := newRig(t)
	r.run("uploads", filled())
	o := r.options(Content)
	for n := 0; n < 60; n += 7 {
		ctx, cancel := context.WithCancel(t.Context())
		o.In = failing(r.vault, n, errGone, cancel)
		if _, err := Run(ctx, o); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("after %d requests: %v", n, err)
		}
		cancel()
	}
}

// What no honest writer makes, signed all the same. A needs list that is too short shows at the content level only.
func TestLyingCommits(t *testing.T) {
	r := newRig(t)
	src := filled()
	first := r.run("uploads", src)
	src.Put("small/9999", body(9999, 3000)) // in a pack of its own
	second := r.run("uploads", src)
	var needs format.PageRef
	r.again(first, func(c *format.Commit) { needs = c.Needs })
	short := r.again(second, func(c *format.Commit) { c.Needs = needs })
	counts := r.again(second, func(c *format.Commit) { c.Entries++ })
	if got, s := r.verify(r.options(Bytes)); len(got) != 1 || got[0].Point != counts {
		t.Errorf("%+v%s", s, show(got))
	}
	got, s := r.verify(r.options(Content))
	unlisted, miscounted := 0, 0
	for _, f := range got {
		switch {
		case f.Kind != repo.Damaged:
			t.Errorf("also finds%s", show([]Finding{f}))
		case f.Point == short && strings.Contains(f.Detail, "needs list leaves it out"):
			unlisted++
		case f.Point == short && strings.Contains(f.Detail, "names other pages"): // those of the first run that the second did without
		case f.Point == counts && strings.Contains(f.Detail, "it says"):
			miscounted++
		default:
			t.Errorf("also finds%s", show([]Finding{f}))
		}
	}
	if unlisted < 2 || miscounted != 1 || s.Status != Damaged {
		t.Errorf("%+v%s", s, show(got))
	}
}

// Which entries are lost is said where a pack is damaged.
func TestLostEntriesAreNamed(t *testing.T) {
	r := newRig(t)
	src := memsource.New(memsource.Options{})
	src.Put("only/this", body(1, 5000))
	r.run("uploads", src)
	damage("packs/")(t, r)
	got, _ := r.verify(r.options(Content))
	named := false
	for _, f := range got {
		named = named || strings.Contains(f.Detail, `"only/this"`)
	}
	if !named {
		t.Errorf("got%s", show(got))
	}
}

// Hundreds of points share needs lists and pages: what is looked at does not grow with their number, nor does what is found.
func TestManyPoints(t *testing.T) {
	r := newRig(t)
	src := filled()
	id := r.run("uploads", src)
	s := r.session()
	found := s.Repository()
	var c *format.Commit
	for _, p := range must(found.Points(t.Context(), r.vault, "", nil))(t) {
		if p.ID == id {
			c = must(found.Commit(t.Context(), r.vault, p, nil))(t)
		}
	}
	for range 200 {
		if err := s.Begin(c.RetainUntil.Time); err != nil {
			t.Fatal(err)
		}
		must(s.Commit(t.Context(), c))(t)
		r.clock = r.clock.Add(time.Second)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lose("packs/")(t, r)
	got, sum := r.verify(r.options(Locks))
	if len(got) != 1 || sum.Points != 201 || sum.Objects > 201+20 {
		t.Errorf("%+v%s", sum, show(got))
	}
}

// Pages that a point shares with the one before are compared once.
func TestUnchangedPagesOnce(t *testing.T) {
	r := newRig(t)
	src := memsource.New(memsource.Options{})
	for i := range 3000 {
		src.Put(fmt.Sprintf("k%05d", i), body(uint64(i), 20))
	}
	r.run("uploads", src)
	src.Put("k01500", []byte("changed"))
	r.run("uploads", src)
	got, s := r.verify(r.options(Content))
	if len(got) != 0 || s.Entries < 3001 || s.Entries > 3300 || s.EntriesRead != s.Entries {
		t.Errorf("%+v%s", s, show(got))
	}
}
