package repo_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// TestAnEndThatIsOnlySaid: who has the host key can say that an object's lock is over, and cannot keep its loss from being
// told with that, whether the cache is kept or lost, and whether there are locks.
func TestAnEndThatIsOnlySaid(t *testing.T) {
	for _, mode := range []store.Mode{store.Compliance, store.ModeNone} {
		for _, kept := range []bool{true, false} {
			b := newBench(t)
			b.vault.Locking.Mode = mode
			b.clock = b.clock.Add(time.Hour)
			b.cacheDir = t.TempDir()
			b.point("uploads")
			lost := b.only(format.PrefixMeta)
			b.clock = b.clock.Add(time.Hour)
			b.say(b.host, format.Placement{Name: lost.Name, Version: lost.Version, Size: lost.Size, Mode: "compliance", Until: format.At(b.clock.Add(-time.Minute))})
			if !kept {
				b.cacheDir = t.TempDir()
			}
			b.again()
			if err := b.store.Attacker().Lose(lost.Ref); err != nil {
				t.Fatal(err)
			}
			if !kept {
				b.cacheDir = t.TempDir()
			}
			b.saw(repo.Missing, "")
			b.again()
			if !b.saw(repo.Missing, lost.Name) {
				t.Errorf("mode %q, cache kept %t: nothing was said of what is gone", mode, kept)
			}
		}
	}
}

// TestTheLatestEndThatIsSaid: of what was locked longer since it was stored, the later end counts.
func TestTheLatestEndThatIsSaid(t *testing.T) {
	for _, longer := range []time.Duration{0, 60 * dayLong} {
		b := newBench(t)
		b.cacheDir = t.TempDir()
		b.point("uploads")
		o := b.only(format.PrefixMeta)
		b.clock = b.clock.Add(time.Hour)
		b.say(b.host, format.Placement{Name: o.Name, Version: o.Version, Size: o.Size, Mode: "compliance", Until: format.At(b.clock.Add(longer))})
		b.clock = b.clock.Add(50 * dayLong) // the first lock is over
		if err := b.store.Attacker().Lose(o.Ref); err != nil {
			t.Fatal(err)
		}
		b.cacheDir = t.TempDir()
		b.saw(repo.Missing, "")
		b.again()
		if told := b.saw(repo.Missing, o.Name); told != (longer > 0) {
			t.Errorf("locked %s longer: told %t", longer, told)
		}
	}
}

// only gives the one object under a prefix.
func (b *bench) only(prefix string) store.Info {
	b.t.Helper()
	var out []store.Info
	for info, err := range b.store.Versions(b.t.Context(), prefix, "") {
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, info)
	}
	if len(out) != 1 {
		b.t.Fatalf("%d objects under %s", len(out), prefix)
	}
	return out[0]
}

// say stores a placements object that is signed with a host key, and gives its name.
func (b *bench) say(host *keys.HostKey, p ...format.Placement) string {
	b.t.Helper()
	return sayInstead(b, host, nil, p...)
}

// sayInstead is say of a placements object that replaces others.
func sayInstead(b *bench, host *keys.HostKey, replaces []format.Hash, ps ...format.Placement) string {
	b.t.Helper()
	name, body := b.placements(host, replaces, ps...)
	plantPoint(b, name, body)
	return name
}

// placements makes a placements object.
func (b *bench) placements(host *keys.HostKey, replaces []format.Hash, ps ...format.Placement) (name string, body []byte) {
	b.t.Helper()
	r, err := b.find("")
	if err != nil {
		b.t.Fatal(err)
	}
	h := format.SegmentHeader{Repository: r.ID, Vault: b.vault.Name, Written: format.At(b.clock), Replaces: replaces}
	plain, err := format.EncodePlacements(h, ps)
	if err != nil {
		b.t.Fatal(err)
	}
	enc, err := pack.NewEncoder()
	if err != nil {
		b.t.Fatal(err)
	}
	body = enc.Frame(nil, plain)
	return nameOfPlacements(b, host, sha256.Sum256(body)), body
}

// nameOfPlacements names a placements object that is signed with a host key.
func nameOfPlacements(b *bench, host *keys.HostKey, sum format.Hash) string {
	b.t.Helper()
	r, err := b.find("")
	if err != nil {
		b.t.Fatal(err)
	}
	id := format.PlacementsID{Vault: b.vault.Name, Written: format.At(b.clock.Truncate(time.Second)), Sum: sum, Hint: format.KeyHint(host.Public())}
	id.Signature = attest.Sign(host.Signing, attest.Placements, id.Message(r.ID))
	return id.Name()
}
