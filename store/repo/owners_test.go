package repo_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// asOwner has the owner sign a change.
func (b *bench) asOwner(o *repo.ChangeOptions) { o.Owner = keys.OwnerKey(b.restore) }

// next makes a descriptor that follows from the newest one.
func (b *bench) next(t *testing.T, signer ed25519.PrivateKey, edit func(*format.Descriptor)) (name string, body []byte) {
	t.Helper()
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	last := r.Chain[len(r.Chain)-1]
	d := *last.Descriptor
	d.Number, d.Previous, d.Created, d.DistrustAfter, d.FreshStart = last.Number+1, last.Sum, format.At(b.clock), format.Time{}, false
	if edit != nil {
		edit(&d)
	}
	body, err = format.EncodeDescriptor(&d, func(m []byte) []byte { return attest.Sign(signer, attest.Descriptor, m) })
	if err != nil {
		t.Fatal(err)
	}
	return descriptorName(signer, r.ID, d.Number, body), body
}

// length is how many descriptors are found.
func (b *bench) length(t *testing.T) int {
	t.Helper()
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	return len(r.Chain)
}

// TestOnlyAnOwnerChangesKeys: with the host key alone, and so with a stolen machine, nobody makes a change of keys: what it signs is
// junk by its name, is never read, and changes nothing.
func TestOnlyAnOwnerChangesKeys(t *testing.T) {
	b := newOwnedBench(t)
	b.clock = b.clock.Add(time.Hour)
	stranger, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*repo.ChangeOptions){
		"nobody":                         nil,
		"a restore key of somebody else": func(o *repo.ChangeOptions) { o.Owner = keys.OwnerKey(stranger) },
		"the host key":                   func(o *repo.ChangeOptions) { o.Owner = b.host.Signing },
	} {
		if _, err := b.change(t, rotated(t, b.host), edit); !errors.Is(err, repo.ErrNotOwner) {
			t.Errorf("%s signs: %v", name, err)
		}
	}
	his := func(d *format.Descriptor) { d.Recipients = append(d.Recipients, stranger.Recipient().String()) }
	name, body := b.next(t, b.host.Signing, his)
	plantPoint(b, name, body)
	// And with the owner's hint in the name.
	id, err := format.ParseDescriptorName(name)
	if err != nil {
		t.Fatal(err)
	}
	id.Hint = format.KeyHint(keys.OwnerOf(b.restore).Public())
	plantPoint(b, id.Name(), body)
	in := &counting{Reader: b.store}
	r, err := repo.Find(t.Context(), in, "", b.report)
	if err != nil || len(r.Chain) != 1 || r.End != nil || in.opened != 1 {
		t.Fatalf("%v, %d objects were read", err, in.opened)
	}
	if n := b.count(repo.Tampered, name[:len("descriptors/000001-")]); n != 2 {
		t.Errorf("%d findings for two descriptors of a thief", n)
	}
	b.again()
	if b.count(repo.Tampered, format.PrefixDescriptors); b.length(t) != 1 {
		t.Error("the thief's descriptor is in the chain")
	}
	// The owner's change is made all the same.
	next := rotated(t, b.host)
	if got, err := b.change(t, next, b.asOwner); err != nil || got[0].Err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	if b.host = next; b.length(t) != 2 {
		t.Error("the owner's change is not in the chain")
	}
	b.again()
}

// TestAnOwnersDescriptorIsTaken: a machine that knows the chain up to an owner's descriptor takes what an owner signed after it,
// and knows it from then on; what only changes restore keys stops no run.
func TestAnOwnersDescriptorIsTaken(t *testing.T) {
	b := newOwnedBench(t)
	b.clock = b.clock.Add(time.Hour)
	second, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := b.host.Secrets()
	elsewhere.Pin(b.host.Repository)
	both := []keys.Recipient{b.restore.Recipient(), second.Recipient()}
	if _, err := b.change(t, elsewhere, func(o *repo.ChangeOptions) {
		b.asOwner(o)
		o.Old, o.Recipients = elsewhere, both
	}); err != nil {
		t.Fatal(err)
	}
	b.count(repo.Tampered, "")
	s, err := b.open(t, []*repo.Vault{b.vault}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Writer.Recipients()) != 2 || s.Pinned() || b.saw(repo.Tampered, "") {
		t.Errorf("%d recipients, pinned %v", len(s.Writer.Recipients()), s.Pinned())
	}
	s.Repository().PinTo(b.host)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	// Dropped again, which only an owner can.
	one := []keys.Recipient{second.Recipient()}
	if _, err := b.change(t, b.host, func(o *repo.ChangeOptions) { o.Recipients = one }); !errors.Is(err, repo.ErrNotOwner) {
		t.Errorf("the host key drops a restore key: %v", err)
	}
	if _, err := b.change(t, b.host, func(o *repo.ChangeOptions) { b.asOwner(o); o.Recipients = one }); err != nil {
		t.Fatal(err)
	}
	r, err := b.find("")
	if err != nil || len(r.Chain) != 3 || len(r.Now().Recipients) != 1 || r.Now().Recipients[0] != one[0].String() {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestOwnersAreNamedLater: a repository without owners gets them by a change that its host key signs; from then on only they sign.
// Owners are changed by an owner.
func TestOwnersAreNamedLater(t *testing.T) {
	b := newBench(t)
	second, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	owners := []keys.Owner{keys.OwnerOf(b.restore)}
	named := func(o *repo.ChangeOptions) { o.Owners = owners }
	b.clock = b.clock.Add(time.Hour)
	if _, err := b.change(t, b.host, named); err != nil {
		t.Fatal(err)
	}
	if got, err := b.change(t, b.host, named); err != nil || got[0].Number != 1 {
		t.Errorf("named twice: %+v, %v", got, err)
	}
	if _, err := b.change(t, rotated(t, b.host), nil); !errors.Is(err, repo.ErrNotOwner) {
		t.Errorf("the host key signs a change: %v", err)
	}
	owners = []keys.Owner{keys.OwnerOf(second)}
	if _, err := b.change(t, b.host, func(o *repo.ChangeOptions) { named(o); b.asOwner(o) }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.change(t, rotated(t, b.host), b.asOwner); !errors.Is(err, repo.ErrNotOwner) {
		t.Errorf("an owner from before signs a change: %v", err)
	}
	// One that was dropped never returns.
	owners = []keys.Owner{keys.OwnerOf(second), keys.OwnerOf(b.restore)}
	_, err = b.change(t, b.host, func(o *repo.ChangeOptions) { named(o); o.Owner = keys.OwnerKey(second) })
	if !errors.Is(err, format.ErrMalformed) || !strings.Contains(err.Error(), "dropped") {
		t.Errorf("a dropped owner returns: %v", err)
	}
	if r, err := b.find(""); err != nil || len(r.Keys().Owners()) != 1 || r.Keys().Owners()[0] != keys.OwnerOf(second) || r.Keys().CheckOwners(owners) == nil || r.Keys().CheckOwners(owners[:1]) != nil {
		t.Errorf("%v: %+v", err, r)
	}
}

// TestAPreparedChange: an owner makes a change where the vault can only be read; the job's machine stores it, once, and no other.
func TestAPreparedChange(t *testing.T) {
	b := newOwnedBench(t)
	b.clock = b.clock.Add(time.Hour)
	prepare := func(edit func(*repo.ChangeOptions)) *repo.Prepared {
		t.Helper()
		o := repo.ChangeOptions{
			Vaults: []*repo.Vault{{Name: "v", Read: b.store, Inspect: b.store}}, Old: b.host, New: rotated(t, b.host), Recipients: []keys.Recipient{b.restore.Recipient()},
			Owner: keys.OwnerKey(b.restore), Need: 35 * dayLong, Now: b.now,
		}
		if edit != nil {
			edit(&o)
		}
		p, err := repo.Prepare(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range [][]byte{nil, []byte("{}"), text[:len(text)/2], bytes.Replace(text, []byte(`"version":1`), []byte(`"version":2`), 1), bytes.Replace(text, []byte("keys/"), []byte("key/"), 1)} {
			if _, err := repo.ParsePrepared(bad); !errors.Is(err, repo.ErrPrepared) {
				t.Errorf("%.40s: %v", bad, err)
			}
		}
		again, err := repo.ParsePrepared(text)
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	store := func(p *repo.Prepared) error {
		next := p.HostKey
		if next == nil {
			next = b.host
		}
		got, err := b.change(t, next, func(o *repo.ChangeOptions) { o.Prepared = p })
		if err == nil {
			err = got[0].Err
		}
		return err
	}
	p, rival := prepare(nil), prepare(func(o *repo.ChangeOptions) { o.DistrustAfter = b.clock.Add(-time.Minute) })
	if b.length(t) != 1 {
		t.Fatal("it is stored already")
	}
	for range 2 {
		if err := store(p); err != nil {
			t.Fatal(err)
		}
	}
	b.host = p.HostKey
	if b.length(t) != 2 || p.HostKey == nil {
		t.Errorf("%d descriptors", b.length(t))
	}
	if err := store(rival); !errors.Is(err, repo.ErrOutdated) {
		t.Errorf("two of one number are stored: %v", err)
	}
	b.again()
	// One of another repository, and one that no owner signed.
	other := newOwnedBench(t)
	other.clock = b.clock
	b, other = other, b
	if err := store(p); !errors.Is(err, repo.ErrFingerprint) {
		t.Errorf("another repository's: %v", err)
	}
	b = other
	name, body := b.next(t, b.host.Signing, nil)
	text, err := prepare(nil).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]any
	if err := json.Unmarshal(text, &parts); err != nil {
		t.Fatal(err)
	}
	delete(parts, "host_key")
	parts["objects"] = []map[string]any{{"name": name, "body": body}}
	if text, err = json.Marshal(parts); err != nil {
		t.Fatal(err)
	}
	forged, err := repo.ParsePrepared(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := store(forged); !errors.Is(err, repo.ErrNotOwner) {
		t.Errorf("signed by the host key: %v", err)
	}
}

// TestAForkOfAnOwner: an owner that signed two descriptors of one number has none in force: the chain ends before both, in either
// order, and one descriptor in the names of two owners is no fork.
func TestAForkOfAnOwner(t *testing.T) {
	b := newOwnedBench(t)
	second, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	first := keys.OwnerOf(b.restore)
	if _, err := b.change(t, b.host, func(o *repo.ChangeOptions) {
		b.asOwner(o)
		o.Owners = []keys.Owner{first, keys.OwnerOf(second)}
	}); err != nil {
		t.Fatal(err)
	}
	b.clock = b.clock.Add(time.Hour)
	id := b.point("uploads")
	b.clock = b.clock.Add(time.Hour)
	name, body := b.next(t, keys.OwnerKey(b.restore), nil)
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	other, otherBody := b.next(t, keys.OwnerKey(second), func(d *format.Descriptor) { d.FreshStart = true })
	plantPoint(b, name, body)
	plantPoint(b, descriptorName(keys.OwnerKey(second), r.ID, 2, body), body)
	if b.length(t) != 3 {
		t.Fatal("one descriptor in the names of two owners is not taken")
	}
	b.clock = b.clock.Add(time.Hour)
	plantPoint(b, other, otherBody)
	if r, err = b.find(""); err != nil || len(r.Chain) != 2 || r.End == nil || !errors.Is(r.End.Err, repo.ErrForked) || !strings.Contains(r.End.Err.Error(), other) {
		t.Fatalf("%v, %+v", err, r)
	}
	if points := b.points(); len(points) != 1 || points[0].ID != id || points[0].Distrusted {
		t.Errorf("points from before: %+v", points)
	}
	if _, err := b.open(t, []*repo.Vault{b.vault}, nil); !errors.Is(err, repo.ErrEnd) {
		t.Errorf("a run: %v", err)
	}
}

// TestTheChainEnds: a descriptor that is signed and cannot be read ends trust in what came later, and writing; never what came
// before. It stops no listing.
func TestTheChainEnds(t *testing.T) {
	signed := func(b *bench, body []byte) string {
		r, err := b.find("")
		if err != nil {
			t.Fatal(err)
		}
		return descriptorName(keys.OwnerKey(b.restore), r.ID, 1, body)
	}
	replaced := func(old, new string) func(*bench) (string, []byte) {
		return func(b *bench) (string, []byte) {
			_, body := b.next(t, keys.OwnerKey(b.restore), nil)
			body = bytes.Replace(body, []byte(old), []byte(new), 1)
			return signed(b, body), body
		}
	}
	for name, c := range map[string]struct {
		make func(*bench) (string, []byte)
		want error
	}{
		"a later version":      {replaced(`"format":"`+format.Version, `"format":"2`), format.ErrNewer},
		"a feature":            {replaced(`"kind":"descriptor"`, `"kind":"descriptor","requires":["colour"]`), format.ErrNewer},
		"no descriptor at all": {func(b *bench) (string, []byte) { body := []byte(`{"format":"2"}`); return signed(b, body), body }, format.ErrMalformed},
		"a member too many":    {replaced(`"class"`, `"colour":"red","class"`), format.ErrMalformed},
		"other bytes":          {func(b *bench) (string, []byte) { return signed(b, []byte("the right ones")), []byte("others") }, repo.ErrDamaged},
		"as it should be":      {replaced(`"created"`, `"created"`), nil},
	} {
		b := newOwnedBench(t)
		b.clock = b.clock.Add(time.Hour)
		before := b.point("uploads")
		b.clock = b.clock.Add(time.Hour)
		object, body := c.make(b)
		plantPoint(b, object, body)
		if c.want == nil { // this one is as it should be
			if b.length(t) != 2 {
				t.Errorf("%s: it is not taken", name)
			}
			continue
		}
		b.count(repo.Tampered, "")
		r, err := b.find("")
		if err != nil || len(r.Chain) != 1 || r.End == nil || !errors.Is(r.End.Err, c.want) {
			t.Errorf("%s: %v, %+v", name, err, r)
			continue
		}
		if told := b.count(repo.Tampered, format.PrefixDescriptors); told != 1 {
			t.Errorf("%s: told %d times", name, told)
		}
		b.clock = b.clock.Add(time.Hour)
		late := sha256.Sum256([]byte("late"))
		plantPoint(b, pointName(b.host, r.ID, format.PointID{Source: "uploads", SignedAt: format.At(b.clock), ID: late}), []byte("late"))
		for _, p := range b.points() {
			if p.Distrusted != (p.ID != before) {
				t.Errorf("%s: point %s, distrusted %v", name, p.ID, p.Distrusted)
			}
		}
		was := names(t, b.store)
		if _, err := b.open(t, []*repo.Vault{b.vault}, nil); !errors.Is(err, repo.ErrEnd) {
			t.Errorf("%s: a run: %v", name, err)
		}
		if _, err := b.change(t, rotated(t, b.host), b.asOwner); !errors.Is(err, repo.ErrEnd) {
			t.Errorf("%s: a change: %v", name, err)
		}
		if names(t, b.store) != was {
			t.Errorf("%s: something was stored", name)
		}
	}
}

// TestTheEndInOneVault: where one vault's copy of a descriptor is damaged and another has it, both go on, and the damaged one is brought
// up to date; one whose descriptor no vault can give fails alone.
func TestTheEndInOneVault(t *testing.T) {
	for _, newer := range []bool{false, true} {
		b := newOwnedBench(t)
		other := memstore.New(memstore.Options{Now: b.now})
		second := vaultOf(other)
		second.Name = "w"
		o := initOptions(b)
		o.Vaults = append(o.Vaults, second)
		if _, err := repo.Init(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		b.clock = b.clock.Add(time.Hour)
		if newer {
			_, body := b.next(t, keys.OwnerKey(b.restore), nil)
			body = bytes.Replace(body, []byte(format.Version), []byte("2"), 1)
			r, err := b.find("")
			if err != nil {
				t.Fatal(err)
			}
			plantPoint(b, descriptorName(keys.OwnerKey(b.restore), r.ID, 1, body), body)
		} else {
			next := rotated(t, b.host)
			if _, err := b.change(t, next, func(o *repo.ChangeOptions) { b.asOwner(o); o.Vaults = append(o.Vaults, second) }); err != nil {
				t.Fatal(err)
			}
			b.host = next
			r, err := b.find("")
			if err != nil {
				t.Fatal(err)
			}
			for info := range b.store.Versions(t.Context(), r.Chain[1].Name, "") {
				if err := b.store.Attacker().Damage(info.Ref, func(body []byte) []byte { return append(body, 'x') }); err != nil {
					t.Fatal(err)
				}
			}
		}
		s, err := b.open(t, []*repo.Vault{b.vault, second}, nil)
		if err != nil {
			t.Fatalf("newer %v: %v", newer, err)
		}
		for _, v := range s.Vaults() {
			if failed := v.Err != nil; failed != (newer && v.Vault == "v") || failed && !errors.Is(v.Err, repo.ErrEnd) {
				t.Errorf("newer %v: vault %s: %v", newer, v.Vault, v.Err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestNothingIsKeptLongerThanTheDescriptorSays: a point whose end lies beyond the bound is not written, and one that a thief signed is
// listed and not gone by.
func TestNothingIsKeptLongerThanTheDescriptorSays(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	id := b.point("uploads")
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Commit(t.Context(), b.store, b.points()[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	longest := time.Duration(r.Now().Parameters.Longest) * time.Second
	for i, past := range []time.Duration{0, time.Second, 70 * 365 * dayLong, 0} {
		if i == 3 {
			c.Descriptor[0] ^= 1 // one that nobody has seen
		}
		c.SignedAt = format.At(b.clock.Add(time.Duration(i-10) * time.Second))
		c.RetainUntil = format.At(c.SignedAt.Add(longest + past))
		body, err := format.EncodeCommit(c)
		if err != nil {
			t.Fatal(err)
		}
		plantPoint(b, pointName(b.host, r.ID, format.PointID{Source: "uploads", SignedAt: c.SignedAt, ID: sha256.Sum256(body)}), body)
	}
	s := b.session()
	defer s.Close()
	heads, err := s.Past.Points(t.Context(), "uploads")
	if err != nil || len(heads.Points) != 2 || heads.Points[0].ID == id && heads.Points[1].ID == id || len(b.points()) != 5 {
		t.Errorf("%d points are gone by, %v", len(heads.Points), err)
	}
	if !b.saw(repo.Tampered, format.PrefixPoints) {
		t.Error("an end beyond the bound is no alarm")
	}
	err = s.Begin(b.clock.Add(longest + time.Minute))
	if !errors.Is(err, repo.ErrCeiling) || !strings.Contains(err.Error(), "of this repository") {
		t.Errorf("a point that would be kept too long: %v", err)
	}
	// A rotation takes the bound from what the configuration keeps.
	next := rotated(t, b.host)
	if _, err := b.change(t, next, func(o *repo.ChangeOptions) { o.Need = 4000 * dayLong; o.Vaults[0].Locking.Ceiling = 5000 * dayLong }); err != nil {
		t.Fatal(err)
	}
	if r, err = b.find(""); err != nil || r.Now().Parameters.Longest != 4000*24*60*60 {
		t.Errorf("%v, %+v", err, r.Now().Parameters)
	}
}
