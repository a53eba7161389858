package repo_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func (b *bench) change(t *testing.T, next *keys.HostKey, edit func(*repo.ChangeOptions)) ([]repo.Changed, error) {
	t.Helper()
	o := repo.ChangeOptions{
		Vaults: []*repo.Vault{b.vault}, Old: b.host, New: next, Recipients: []keys.Recipient{b.restore.Recipient()}, Need: 35 * dayLong, Now: b.now, Report: b.report,
	}
	if edit != nil {
		edit(&o)
	}
	return repo.Change(t.Context(), o)
}

// pointName signs for a point.
func pointName(h *keys.HostKey, repository format.Hash, id format.PointID) string {
	id.Hint, id.Signature = format.KeyHint(h.Public()), attest.Sign(h.Signing, attest.Point, id.Message(repository))
	return id.Name()
}

// descriptorName signs for a descriptor.
func descriptorName(k ed25519.PrivateKey, repository format.Hash, number int, body []byte) string {
	id := format.DescriptorID{Number: number, Sum: sha256.Sum256(body), Hint: format.KeyHint(k.Public().(ed25519.PublicKey))}
	id.Signature = attest.Sign(k, attest.DescriptorName, id.Message(repository))
	return id.Name()
}

func rotated(t *testing.T, h *keys.HostKey) *keys.HostKey {
	t.Helper()
	n, err := h.Rotated(false)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRotate: the new host key holds, the old one is refused, points of both are listed, and a lost new one comes back.
func TestRotate(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	first := b.point("uploads")
	old, next := b.host, rotated(t, b.host)
	b.clock = b.clock.Add(time.Hour)
	for range 2 { // asked for twice it is done once
		got, err := b.change(t, next, nil)
		if err != nil || got[0].Err != nil || got[0].Number != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	r, err := b.find("")
	if err != nil || len(r.Chain) != 2 {
		t.Fatalf("%d descriptors, %v", len(r.Chain), err)
	}
	if !errors.Is(repo.CheckHostKey(r, old), repo.ErrHostKey) || repo.CheckHostKey(r, next) != nil {
		t.Error("the wrong host key holds")
	}
	if said := fmt.Sprint(repo.CheckHostKey(r, old)); !strings.Contains(said, "use the newest host key, made by `holdfast key rotate` on 2026-11-23") {
		t.Error(said)
	}
	back, err := repo.RecoverHostKey(t.Context(), r, b.store, []keys.Identity{b.restore}, nil)
	if err != nil || !back.Equal(next) {
		t.Errorf("recovered %v, %v", back, err)
	}
	b.clock = b.clock.Add(time.Hour)
	b.host = next
	second := b.point("uploads", first)
	points := b.points()
	if len(points) != 2 || points[0].ID != first || points[1].ID != second || points[0].Distrusted {
		t.Errorf("%+v", points)
	}
}

// TestDistrust: what the stolen key signed counts as far as the vault had it in time, whatever time it claims.
func TestDistrust(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	honest := b.point("uploads")
	theft := b.clock.Add(time.Hour)
	b.clock = theft.Add(time.Hour)
	thief := b.point("uploads", honest)
	// And one that claims to be from before the theft.
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("back-dated")
	id := format.Hash(sha256.Sum256(body))
	at := format.At(theft.Add(-90 * time.Minute))
	plantPoint(b, pointName(b.host, r.ID, format.PointID{Source: "uploads", SignedAt: at, ID: id}), body)
	b.clock = b.clock.Add(time.Hour)
	next := rotated(t, b.host)
	if _, err := b.change(t, next, func(o *repo.ChangeOptions) { o.DistrustAfter = theft }); err != nil {
		t.Fatal(err)
	}
	for _, p := range b.points() {
		if want := p.ID != honest; p.Distrusted != want {
			t.Errorf("point %s (thief's %s): distrusted is %v", p.ID, thief, p.Distrusted)
		}
	}
	b.host = next
	s := b.session()
	defer s.Close()
	heads, err := s.Past.Points(t.Context(), "uploads")
	if err != nil || len(heads.Points) != 1 || heads.Points[0].ID != honest {
		t.Errorf("a run follows %+v, %v", heads.Points, err)
	}
	if r, err = b.find(""); err != nil || r.CacheID() == r.ID {
		t.Errorf("a cache from before is still used: %v", err)
	}
}

// TestHalfDoneRotation: a vault that failed is brought up to date by asking again with the same key.
func TestHalfDoneRotation(t *testing.T) {
	b := newBench(t)
	other := memstore.New(memstore.Options{Now: b.now})
	second := vaultOf(other)
	second.Name = "w"
	o := initOptions(b)
	o.Vaults = append(o.Vaults, second)
	if _, err := repo.Init(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	next := rotated(t, b.host)
	both := func(w store.Writer) func(*repo.ChangeOptions) {
		return func(o *repo.ChangeOptions) {
			v := *second
			v.Write = w
			o.Vaults = append(o.Vaults, &v)
		}
	}
	for puts := range 2 { // fails at the sealed key, then at the descriptor
		got, err := b.change(t, next, both(&failing{other, puts}))
		if err != nil || got[0].Err != nil || got[1].Err == nil {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	got, err := b.change(t, next, both(other))
	if err != nil || got[0].Err != nil || got[1].Err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	one, err1 := repo.Find(t.Context(), b.store, "", nil)
	two, err2 := repo.Find(t.Context(), other, "", nil)
	if err1 != nil || err2 != nil || len(two.Chain) != 2 || one.Chain[1].Sum != two.Chain[1].Sum {
		t.Errorf("%v, %v: the vaults differ", err1, err2)
	}
}

// failing takes some objects and then no more.
type failing struct {
	store.Writer
	puts int
}

func (f *failing) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	if f.puts--; f.puts < 0 {
		return store.Ref{}, &store.Error{Op: "put", Kind: store.ErrDenied}
	}
	return f.Writer.Put(ctx, name, body, size, o)
}

// TestThiefRotatesFirst: who stole the host key can put a descriptor before its owner does. That is said, and points of before
// stay as they are.
func TestThiefRotatesFirst(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	id := b.point("uploads")
	b.clock = b.clock.Add(time.Hour)
	if _, err := b.change(t, rotated(t, b.host), func(o *repo.ChangeOptions) { o.DistrustAfter = time.Unix(1, 0) }); err != nil { // the thief's
		t.Fatal(err)
	}
	b.clock = b.clock.Add(time.Hour)
	if _, err := b.change(t, rotated(t, b.host), nil); !errors.Is(err, repo.ErrStrangers) {
		t.Errorf("the owner's change: %v", err)
	}
	points := b.points()
	if len(points) != 1 || points[0].ID != id || !points[0].Distrusted {
		t.Fatalf("%+v", points)
	}
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context(), b.store, points[0], nil); err != nil {
		t.Errorf("the point cannot be read: %v", err)
	}
	b = newBench(t)
	if _, err := b.change(t, rotated(t, b.host), func(o *repo.ChangeOptions) { o.Recipients = nil }); !errors.Is(err, repo.ErrRecipientsLost) {
		t.Errorf("a restore key was taken away: %v", err)
	}
}

// counting counts what is asked of a vault, and can refuse to open what is named.
type counting struct {
	store.Reader
	opened int
	refuse func(store.Ref) error
}

func (c *counting) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	c.opened++
	if c.refuse != nil {
		if err := c.refuse(ref); err != nil {
			return nil, err
		}
	}
	return c.Reader.Open(ctx, ref, off, n)
}

func (c *counting) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	if c.refuse != nil {
		if err := c.refuse(ref); err != nil {
			return store.Info{}, store.Retention{}, err
		}
	}
	return c.Reader.Stat(ctx, ref)
}

// TestFloodOfDescriptors: thousands of right-looking descriptors are told from ours without being read.
func TestFloodOfDescriptors(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	for i := range 6000 { // some of them before the real second one
		sum := format.Hash(sha256.Sum256(fmt.Append(nil, i)))
		plantPoint(b, format.DescriptorID{Number: i % 3, Sum: sum, Hint: format.KeyHint(b.host.Public()), Signature: bytes.Repeat([]byte{byte(i)}, 64)}.Name(), []byte("junk"))
		if i == 3000 {
			b.clock = b.clock.Add(time.Minute)
			if _, err := b.change(t, rotated(t, b.host), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	in := &counting{Reader: b.store}
	r, err := repo.Find(t.Context(), in, "", nil)
	if err != nil || len(r.Chain) != 2 {
		t.Fatalf("%d descriptors, %v", len(r.Chain), err)
	}
	if in.opened > 4 {
		t.Errorf("%d objects were read to find two descriptors", in.opened)
	}
}

// TestVersionsThatOnlyTheirOwnerReads: what an attacker put on top and encrypted with a key of his own, or moved into an
// archive, gives errors of its own kinds. The right bytes below are found all the same.
func TestVersionsThatOnlyTheirOwnerReads(t *testing.T) {
	for _, why := range []error{
		&store.Error{Op: "open", Kind: store.ErrDenied, Code: "AccessDenied"},
		&store.Error{Op: "open", Code: "InvalidRequest"},
		&store.Error{Op: "open", Code: "InvalidObjectState"},
		&store.Error{Op: "open", Kind: store.ErrUnsupported, Code: "NotImplemented"},
	} {
		b := newBench(t)
		b.clock = b.clock.Add(time.Hour)
		id := b.point("uploads")
		ours := map[string]bool{}
		var names []string
		for info := range b.store.Versions(t.Context(), "", "") {
			ours[info.Name+info.Version] = true
			names = append(names, info.Name)
		}
		b.clock = b.clock.Add(time.Hour)
		for _, n := range names {
			b.store.Attacker().Overwrite(n, []byte("for his eyes only"))
		}
		in := &counting{Reader: b.store, refuse: func(ref store.Ref) error {
			if ref.Version == "" || !ours[ref.Name+ref.Version] {
				return why
			}
			return nil
		}}
		r, err := repo.Find(t.Context(), in, "", nil)
		if err != nil {
			t.Errorf("%v: %v", why, err)
			continue
		}
		points, err := r.Points(t.Context(), in, "", nil)
		if err != nil || len(points) != 1 || points[0].ID != id {
			t.Errorf("%v: %v, %v", why, points, err)
			continue
		}
		c, err := r.Commit(t.Context(), in, points[0], nil)
		if err != nil {
			t.Errorf("%v: %v", why, err)
			continue
		}
		reader, err := repo.NewReader(r, in, []keys.Identity{b.restore}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reader.Page(t.Context(), c.Needs); err != nil {
			t.Errorf("%v: needs list: %v", why, err)
		}
		if _, err := repo.RecoverHostKey(t.Context(), r, in, []keys.Identity{b.restore}, nil); err != nil {
			t.Errorf("%v: host key: %v", why, err)
		}
	}
}

// TestAThousandVersionsOnTop: the right bytes are looked for from the oldest version on.
func TestAThousandVersionsOnTop(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	b.point("uploads")
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	name := r.Now().HostKey
	for range 1000 {
		b.store.Attacker().Overwrite(name, []byte("one of a thousand"))
	}
	in := &counting{Reader: b.store}
	if _, err := repo.RecoverHostKey(t.Context(), r, in, []keys.Identity{b.restore}, nil); err != nil {
		t.Fatal(err)
	}
	if in.opened > 5 {
		t.Errorf("%d versions were read", in.opened)
	}
}
