package repo_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// second gives the repository another vault.
func (b *bench) second(t *testing.T) (*repo.Vault, *memstore.Store) {
	t.Helper()
	s := memstore.New(memstore.Options{Now: b.now})
	v := vaultOf(s)
	v.Name = "w"
	o := initOptions(b)
	o.Vaults = append(o.Vaults, v)
	if _, err := repo.Init(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return v, s
}

// openedSession runs a session and gives what became of each vault.
func openedSession(t *testing.T, b *bench, vaults ...*repo.Vault) ([]error, error) {
	t.Helper()
	s, err := b.open(t, vaults, nil)
	if err != nil {
		return nil, err
	}
	var out []error
	for _, v := range s.Vaults() {
		out = append(out, v.Err)
	}
	s.Repository().PinTo(b.host)
	return out, s.Close()
}

// TestAVaultThatWasDownDuringAChange: it shows less than is known. Beside the other it is brought up to date and is no alarm; alone it is
// refused, also where the change left the host key as it was.
func TestAVaultThatWasDownDuringAChange(t *testing.T) {
	stranger, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*repo.ChangeOptions){
		"a restore key more": func(o *repo.ChangeOptions) {
			o.Recipients = append(o.Recipients, stranger.Recipient())
			o.New = o.Old
		},
		"another host key": func(*repo.ChangeOptions) {},
	} {
		b := newOwnedBench(t)
		down, _ := b.second(t)
		b.clock = b.clock.Add(time.Hour)
		next := rotated(t, b.host)
		if _, err := b.change(t, next, func(o *repo.ChangeOptions) {
			b.asOwner(o)
			edit(o)
			next = o.New
		}); err != nil {
			t.Fatal(err)
		}
		b.host = next
		if got, err := openedSession(t, b, b.vault); err != nil || got[0] != nil {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		if b.host.Newest.Number != 1 {
			t.Errorf("%s: the newest known descriptor is %d", name, b.host.Newest.Number)
		}
		if _, err := openedSession(t, b, down); !errors.Is(err, repo.ErrWithheld) {
			t.Errorf("%s: alone: %v", name, err)
		}
		b.count(repo.Tampered, "")
		for _, order := range [][]*repo.Vault{{b.vault, down}, {down, b.vault}} {
			if got, err := openedSession(t, b, order...); err != nil || got[0] != nil || got[1] != nil || b.saw(repo.Tampered, "") {
				t.Errorf("%s: beside the other: %v, %v", name, got, err)
			}
		}
	}
}

// TestARolledBackVault: a vault that was set back to before a change says less than it has said, and is refused alone; one that was
// asked for a change which never reached any vault is no alarm.
func TestARolledBackVault(t *testing.T) {
	b := newOwnedBench(t)
	b.clock = b.clock.Add(time.Hour)
	before := movedVault(t, b)
	// Noted, and broken off before a vault had it.
	next, stop := rotated(t, b.host), errors.New("broken off")
	if _, err := b.change(t, next, func(o *repo.ChangeOptions) { b.asOwner(o); o.Note = func() error { return stop } }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	b.host.Pin(b.host.Repository, next.Descriptors...)
	if got, err := openedSession(t, b, b.vault); err != nil || got[0] != nil || b.saw(repo.Tampered, "") {
		t.Errorf("a change that was broken off: %v, %v", got, err)
	}
	if _, err := b.change(t, next, b.asOwner); err != nil {
		t.Fatal(err)
	}
	b.host = next
	if got, err := openedSession(t, b, b.vault); err != nil || got[0] != nil {
		t.Fatalf("%v, %v", got, err)
	}
	old := vaultOf(before)
	if _, err := openedSession(t, b, old); !errors.Is(err, repo.ErrWithheld) {
		t.Errorf("set back: %v", err)
	}
	if _, err := repo.Init(t.Context(), repo.InitOptions{
		Vaults: []*repo.Vault{old}, HostKey: b.host, Recipients: []keys.Recipient{b.restore.Recipient()}, Need: 35 * dayLong, Now: b.now, Report: b.report,
	}); !errors.Is(err, repo.ErrWithheld) {
		t.Errorf("init: %v", err)
	}
	if _, err := b.change(t, rotated(t, b.host), func(o *repo.ChangeOptions) { b.asOwner(o); o.Vaults = []*repo.Vault{old} }); !errors.Is(err, repo.ErrWithheld) {
		t.Errorf("a change: %v", err)
	}
}

// TestAnotherDescriptorOfTheKnownNumber: a vault with another descriptor where the newest known one belongs is another repository's: it
// fails alone, whoever signed it, and nothing is written to it.
func TestAnotherDescriptorOfTheKnownNumber(t *testing.T) {
	b := newOwnedBench(t)
	other, s := b.second(t)
	b.clock = b.clock.Add(time.Hour)
	forked := movedVault(t, b)
	if _, err := b.change(t, b.host, func(o *repo.ChangeOptions) {
		b.asOwner(o)
		o.Vaults = append(o.Vaults, other)
		o.FreshStart, o.Owners = true, []keys.Owner{keys.OwnerOf(b.restore), keys.OwnerFrom(make([]byte, 32))}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := openedSession(t, b, b.vault, other); err != nil {
		t.Fatal(err)
	}
	// In the third vault the owner's key, which a thief of the restore key has, signs another descriptor 1.
	his := &bench{t: t, clock: b.clock, store: forked, vault: vaultOf(forked), restore: b.restore, host: b.host, owned: true}
	his.vault.Name = "forked"
	name, body := his.next(t, keys.OwnerKey(b.restore), func(d *format.Descriptor) { d.FreshStart = true })
	plantPoint(his, name, body)
	was := names(t, forked)
	got, err := openedSession(t, b, his.vault, b.vault, other)
	if err != nil || !errors.Is(got[0], repo.ErrStrangers) || got[1] != nil || got[2] != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := openedSession(t, b, his.vault); !errors.Is(err, repo.ErrStrangers) {
		t.Errorf("alone: %v", err)
	}
	if names(t, forked) != was || len(names(t, s)) == 0 {
		t.Error("something was written to it")
	}
}
