package repo_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// hostile is a second vault whose owner has no key of the repository's, and full control of its content and its clock.
type hostile struct {
	b     *bench
	store *memstore.Store
	vault *repo.Vault
	at    time.Time // of its clock while he plants
	his   ed25519.PrivateKey
}

func newHostile(t *testing.T, b *bench) *hostile {
	t.Helper()
	h := &hostile{b: b, his: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{6}, 32))}
	h.store = memstore.New(memstore.Options{Now: func() time.Time {
		if !h.at.IsZero() {
			return h.at
		}
		return b.now()
	}})
	h.vault = vaultOf(h.store)
	h.vault.Name = "hostile"
	return h
}

// plant stores objects long before anything else was.
func (h *hostile) plant(t *testing.T, name string, body []byte) {
	t.Helper()
	h.at = h.b.clock.Add(-1000 * time.Hour)
	defer func() { h.at = time.Time{} }()
	if _, err := h.store.Put(t.Context(), name, bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256(body)}); err != nil {
		t.Fatal(err)
	}
}

// forgedChain is a first descriptor with the repository's own ID and a key of his, and more that follow from it: the last puts
// the owner's public keys in force, which stand in the real one for anybody to read.
func (h *hostile) forgedChain(t *testing.T, r *repo.Repository, length int) (first format.Hash) {
	t.Helper()
	previous := format.Hash{}
	for n := range length {
		d := *r.Now()
		d.Number, d.Previous = n, previous
		if n < length-1 {
			d.Keys = []format.Key{format.JobKey(h.his.Public().(ed25519.PublicKey))}
		}
		body, err := format.EncodeDescriptor(&d, func(b []byte) []byte { return attest.Sign(h.his, attest.Descriptor, b) })
		if err != nil {
			t.Fatal(err)
		}
		previous = sha256.Sum256(body)
		if n == 0 {
			first = previous
		}
		h.plant(t, descriptorName(h.his, r.ID, n, body), body)
	}
	return first
}

func (b *bench) open(t *testing.T, vaults []*repo.Vault, edit func(*repo.SessionOptions)) (*repo.Session, error) {
	t.Helper()
	o := repo.SessionOptions{
		Vaults: vaults, HostKey: b.host, Now: b.now, Report: b.report,
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(t.TempDir(), cache.Options{}) },
	}
	if edit != nil {
		edit(&o)
	}
	return repo.OpenSession(t.Context(), o)
}

// TestAForgedChainFailsAlone: whoever controls one of two vaults plants a first descriptor with the repository's ID and a chain
// that ends in the owner's keys. That vault alone is left out; the chain of the other holds; nothing of his reaches it.
func TestAForgedChainFailsAlone(t *testing.T) {
	for _, order := range []string{"good first", "hostile first"} {
		for _, length := range []int{1, 2, 5} {
			b := newBench(t)
			r, err := b.find("")
			if err != nil {
				t.Fatal(err)
			}
			h := newHostile(t, b)
			h.forgedChain(t, r, length)
			vaults := []*repo.Vault{b.vault, h.vault}
			if order == "hostile first" {
				vaults[0], vaults[1] = vaults[1], vaults[0]
			}
			before := names(t, b.store)
			s, err := b.open(t, vaults, nil)
			if err != nil {
				t.Fatalf("%s, %d: %v", order, length, err)
			}
			if s.Repository().Fingerprint != r.Fingerprint || len(s.Repository().Chain) != 1 {
				t.Errorf("%s, %d: the session goes by %s with %d descriptors", order, length, s.Repository().Fingerprint, len(s.Repository().Chain))
			}
			for _, v := range s.Vaults() {
				if failed := v.Err != nil; failed != (v.Vault == "hostile") {
					t.Errorf("%s, %d: vault %s: %v", order, length, v.Vault, v.Err)
				} else if failed && !errors.Is(v.Err, repo.ErrFingerprint) {
					t.Errorf("%s, %d: not named for what it is: %v", order, length, v.Err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if after := names(t, b.store); after != before {
				t.Errorf("%s, %d: the good vault has other objects:\n%s\n%s", order, length, before, after)
			}
		}
	}
}

// TestForgedChainsAtInit: init neither takes a forged repository for its own nor fills another vault from it.
func TestForgedChainsAtInit(t *testing.T) {
	b := newBench(t)
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	h := newHostile(t, b)
	h.forgedChain(t, r, 2)
	empty := vaultOf(memstore.New(memstore.Options{Now: b.now}))
	empty.Name = "empty"
	for _, pinned := range []bool{true, false} {
		if !pinned {
			b.host = b.host.Secrets()
		}
		o := initOptions(b)
		o.Vaults = []*repo.Vault{h.vault, empty}
		want := repo.ErrFingerprint
		if !pinned {
			want = repo.ErrUnpinned
		}
		if _, err := repo.Init(t.Context(), o); !errors.Is(err, want) {
			t.Errorf("pinned %v: %v", pinned, err)
		}
		if got := names(t, empty.Read); got != "" {
			t.Errorf("pinned %v: copied into the empty vault: %s", pinned, got)
		}
	}
}

// TestAHostKeyFromBeforeIsPinned: a host key without a pin takes the repository whose first descriptor it signed itself, and no
// other, and says that it was not pinned.
func TestAHostKeyFromBeforeIsPinned(t *testing.T) {
	b := newBench(t)
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	h := newHostile(t, b)
	h.forgedChain(t, r, 3)
	b.host = b.host.Secrets()
	s, err := b.open(t, []*repo.Vault{h.vault, b.vault}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Pinned() || s.Repository().Fingerprint != r.Fingerprint || s.Vaults()[0].Err == nil {
		t.Errorf("pinned %v, %s, %+v", s.Pinned(), s.Repository().Fingerprint, s.Vaults())
	}
	s.Repository().PinTo(b.host)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s, err = b.open(t, []*repo.Vault{b.vault}, nil); err != nil || !s.Pinned() {
		t.Fatalf("the second time: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	// Where only the forged one is there it is not taken.
	b.host = b.host.Secrets()
	if _, err := b.open(t, []*repo.Vault{h.vault}, nil); !errors.Is(err, repo.ErrUnpinned) {
		t.Errorf("alone: %v", err)
	}
	// A pin from the paper that does not fit the host key's own is refused.
	b.host.Pin(r.Fingerprint)
	if _, err := b.open(t, []*repo.Vault{b.vault}, func(o *repo.SessionOptions) { o.Known.Pin = strings.Repeat("0", 16) }); !errors.Is(err, repo.ErrFingerprint) {
		t.Errorf("two pins: %v", err)
	}
}

// TestStrangersDescriptor: with a stolen host key a thief adds a restore key. The owner's run says so, and seals to the keys
// that it knows; it is never told to put his into the configuration.
func TestStrangersDescriptor(t *testing.T) {
	b := newBench(t)
	thief, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	stolen := b.host.Secrets()
	stolen.Pin(b.host.Repository)
	both := []keys.Recipient{b.restore.Recipient(), thief.Recipient()}
	if _, err := b.change(t, stolen, func(o *repo.ChangeOptions) { o.Old, o.Recipients = stolen, both }); err != nil {
		t.Fatal(err)
	}
	b.saw(repo.Tampered, "")
	s, err := b.open(t, []*repo.Vault{b.vault}, func(o *repo.SessionOptions) { o.Recipients = []keys.Recipient{b.restore.Recipient()} })
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Repository().Chain) != 1 || len(s.Writer.Recipients()) != 1 || s.Vaults()[0].Err != nil {
		t.Errorf("%d descriptors, %d recipients, %+v", len(s.Repository().Chain), len(s.Writer.Recipients()), s.Vaults())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !b.saw(repo.Tampered, "descriptors/000001-") {
		t.Error("a descriptor that this machine did not make is no alarm")
	}
	// A rotation that does not accept it stops; one that does cannot drop his key, and says so.
	if _, err := b.change(t, rotated(t, b.host), nil); !errors.Is(err, repo.ErrStrangers) {
		t.Errorf("rotated over it: %v", err)
	}
	_, err = b.change(t, rotated(t, b.host), func(o *repo.ChangeOptions) { o.Accept = true })
	if !errors.Is(err, repo.ErrRecipientsLost) || !strings.Contains(err.Error(), "new repository") {
		t.Errorf("his key was dropped, or it is not said that it cannot be: %v", err)
	}
}

// TestABrokenOffRotationIsKnown: the descriptor of a change is noted before any vault hears of it, so that one that was broken
// off is no stranger; one that a vault withholds is named.
func TestABrokenOffRotationIsKnown(t *testing.T) {
	b := newBench(t)
	old, next := b.host, rotated(t, b.host)
	notes := 0
	_, err := b.change(t, next, func(o *repo.ChangeOptions) {
		o.Note = func() error {
			if notes++; len(next.Descriptors) != 2 {
				t.Errorf("%d descriptors are known when it is noted", len(next.Descriptors))
			}
			if r, err := b.find(""); err != nil || len(r.Chain) != 1 {
				t.Errorf("%d descriptors are stored already, %v", len(r.Chain), err)
			}
			return nil
		}
	})
	if err != nil || notes != 1 {
		t.Fatalf("%v, noted %d times", err, notes)
	}
	b.host = next
	b.again()
	if b.saw(repo.Tampered, "descriptors/") {
		t.Error("an own descriptor is an alarm")
	}
	// Broken off before a vault took it, the old key goes on; behind it, it is refused, and not because of a stranger.
	b.host = old
	b.host.Pin(old.Repository, next.Descriptors...)
	if _, err := b.open(t, []*repo.Vault{b.vault}, nil); !errors.Is(err, repo.ErrHostKey) || errors.Is(err, repo.ErrStrangers) {
		t.Errorf("the old key behind it: %v", err)
	}
	// A vault that is set back to the time before says less than is known.
	set := newBench(t)
	next = rotated(t, set.host)
	next.Pin(set.host.Repository, format.Hash{7})
	set.host = next
	if _, err := set.open(t, []*repo.Vault{set.vault}, nil); !errors.Is(err, repo.ErrWithheld) {
		t.Errorf("a descriptor is withheld: %v", err)
	}
}

// TestForksOfOneAge: of two descriptors that follow the same one and came at the same moment none is chosen, and both are named.
func TestForksOfOneAge(t *testing.T) {
	b := newBench(t)
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	var both []string
	for i := range 2 {
		d := *r.Now()
		d.Number, d.Previous, d.Created = 1, r.Chain[0].Sum, format.At(b.clock.Add(time.Duration(i)*time.Hour))
		body, err := format.EncodeDescriptor(&d, func(m []byte) []byte { return attest.Sign(b.host.Signing, attest.Descriptor, m) })
		if err != nil {
			t.Fatal(err)
		}
		name := descriptorName(b.host.Signing, r.ID, 1, body)
		plantPoint(b, name, body)
		both = append(both, name)
		if i == 0 {
			if _, err := b.find(""); err != nil {
				t.Fatalf("one alone: %v", err)
			}
		}
	}
	_, err = b.find("")
	if !errors.Is(err, repo.ErrForked) || !strings.Contains(err.Error(), both[0]) || !strings.Contains(err.Error(), both[1]) {
		t.Errorf("two of one age: %v", err)
	}
	b.clock = b.clock.Add(time.Minute)
	if _, err := b.open(t, []*repo.Vault{b.vault}, nil); !errors.Is(err, repo.ErrForked) {
		t.Errorf("a run: %v", err)
	}
}

// names gives all that a vault holds, but what a session puts there itself.
func names(t *testing.T, r store.Reader) string {
	t.Helper()
	var out []string
	for info, err := range r.Versions(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info.Name)
	}
	return strings.Join(out, "\n")
}
