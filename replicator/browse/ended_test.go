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
	next := must(r.host.Rotated(false))(t)
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

// TestDistrustedIsNotWithheld: a point that a later one lists, and that is there under a key which is distrusted, is not told of as withheld.
func TestDistrustedIsNotWithheld(t *testing.T) {
	r := newRig(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("a"))
	first := r.run("uploads", src)
	src.Put("b", []byte("b"))
	second := r.run("uploads", src)
	next := must(r.host.Rotated(false))(t)
	if _, err := repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{r.asVault()}, Old: r.host, New: next, Recipients: []keys.Recipient{r.restore.Recipient()}, Need: 35 * 24 * time.Hour, Now: r.now,
		DistrustAfter: r.clock.Add(-24 * time.Hour), Trust: []format.Hash{second},
	}); err != nil {
		t.Fatal(err)
	}
	v := r.view()
	v.Vault = "offsite"
	got, err := Resolve(t.Context(), v, "uploads@latest", false)
	if err != nil || got.ID != second {
		t.Fatal(got.ID, err)
	}
	r.host, r.told = next, func(f repo.Finding) { r.findings = append(r.findings, f) }
	r.run("uploads", src)
	for _, f := range r.findings {
		if f.Kind == repo.Missing {
			t.Errorf("%s: %s", f.Name, f.Detail)
		}
	}
	if got, err := Resolve(t.Context(), v, first.String(), false); err != nil || !got.Distrusted {
		t.Errorf("the other is not there, or trusted: %v", err)
	}
}
