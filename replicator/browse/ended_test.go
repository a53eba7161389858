package browse

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestBehindTheEndOfTheChain: where a change of keys is damaged nobody can check what the keys in it signed. Such a point is opened by its
// full ID, as where no descriptor is left, with a word about it; by nothing else.
func TestBehindTheEndOfTheChain(t *testing.T) {
	r := newRig(t)
	r.run("uploads", memsource.New(memsource.Options{}))
	next := must(keys.GenerateHostKey(keys.X25519))(t)
	next.ChunkKey = r.host.ChunkKey
	if _, err := repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{r.asVault()}, Old: r.host, New: next, Recipients: []keys.Recipient{r.restore.Recipient()}, Need: 35 * 24 * time.Hour, Now: r.now,
	}); err != nil {
		t.Fatal(err)
	}
	r.host, r.clock = next, r.clock.Add(time.Hour)
	id := r.run("uploads", memsource.New(memsource.Options{}))
	for info, err := range r.vault.Versions(t.Context(), format.PrefixDescriptors+"000001-", "") {
		if err != nil {
			t.Fatal(err)
		}
		if err := r.vault.Attacker().Damage(info.Ref, func(body []byte) []byte { body[len(body)/2] ^= 1; return body }); err != nil {
			t.Fatal(err)
		}
	}
	v := r.view()
	if v.Repository.Ended() == nil {
		t.Fatal("the chain did not end")
	}
	got, err := Resolve(t.Context(), v, id.String(), false)
	if err != nil || got.ID != id || !got.Distrusted || !errors.Is(got.Doubt, repo.ErrEnd) {
		t.Errorf("by its full ID: %v, %+v", err, got.Doubt)
	}
	for _, spec := range []string{id.String()[:40], strings.Repeat("a", 64)} {
		if got, err := Resolve(t.Context(), v, spec, false); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, %v", spec, got.ID, err)
		}
	}
	if got, err := Resolve(t.Context(), v, "uploads@latest", false); err == nil && got.ID == id {
		t.Error("it is the newest")
	}
}
