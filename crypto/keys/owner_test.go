package keys_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

// The identity and its owner key are a vector for other implementations: docs/format.md says how one comes from the other.
const (
	ownerIdentity = "AGE-SECRET-KEY-1QZ79P9A9AE8DVZ27SRMK5JUUEHUVTFZTEMFALP22DQKKPAWCJLUS7MP7QF"
	ownerSeed     = "c43b833e373e6c5f3169f7442b5bada3c7d234f08a4782b43b6bc24310325fce"
	ownerPublic   = "hfowner1l62g66ezpgafwjrekfuer76e4pz2ejfhidpaaqefopqcm7lqa4yejdwyf4"
)

func TestOwnerKey(t *testing.T) {
	id, err := keys.ParseIdentity(ownerIdentity)
	if err != nil {
		t.Fatal(err)
	}
	k := keys.OwnerKey(id)
	if got := hex.EncodeToString(k.Seed()); got != ownerSeed {
		t.Errorf("seed %s, want %s", got, ownerSeed)
	}
	o := keys.OwnerOf(id)
	if o.String() != ownerPublic || !o.Public().Equal(k.Public()) || o != keys.OwnerFrom(k.Public().(ed25519.PublicKey)) {
		t.Errorf("public half %s, want %s", o, ownerPublic)
	}
	for _, class := range []keys.Class{keys.Hybrid, keys.X25519} {
		other, err := keys.GenerateIdentity(class)
		if err != nil {
			t.Fatal(err)
		}
		again, err := keys.ParseOwner(keys.OwnerOf(other).String())
		if err != nil || again != keys.OwnerOf(other) || again == o || again.IsZero() {
			t.Errorf("%s: %v, %v", class, again, err)
		}
	}
	if keys.OwnerKey(keys.Identity{}) != nil || !keys.OwnerOf(keys.Identity{}).IsZero() {
		t.Error("no identity has an owner key")
	}
}

func TestOwnersAreSpelledOneWay(t *testing.T) {
	last := ownerPublic[len(ownerPublic)-1:]
	for name, s := range map[string]string{
		"empty": "", "short": ownerPublic[:len(ownerPublic)-1], "long": ownerPublic + "a", "upper": strings.ToUpper(ownerPublic), "space": ownerPublic + " ",
		"mistyped": strings.Replace(ownerPublic, ownerPublic[20:21], map[bool]string{true: "b", false: "a"}[ownerPublic[20] == 'a'], 1),
		"spare":    ownerPublic[:len(ownerPublic)-1] + map[bool]string{true: "b", false: "a"}[last == "a"],
		"padded":   ownerPublic + "======", "recipient": "age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm", "secret": ownerIdentity,
	} {
		_, err := keys.ParseOwner(s)
		if !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "QZ79P9A") {
			t.Errorf("%s: the secret is in the message", name)
		}
	}
	if _, err := keys.ParseOwners([]string{ownerPublic, ownerPublic}); !errors.Is(err, keys.ErrDuplicate) {
		t.Errorf("twice: %v", err)
	}
	if list, err := keys.ParseOwners([]string{ownerPublic}); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}
