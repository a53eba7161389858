package repo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Owners gives the owner keys that sign the next change of keys; none in a repository without owners.
func (r *Repository) Owners() []keys.Owner {
	var out []keys.Owner
	for _, k := range r.Now().KeysFor(format.UseOwner) {
		out = append(out, keys.OwnerFrom(k))
	}
	return out
}

// CheckOwners refuses configured owners that are not the repository's. None configured are any.
func (r *Repository) CheckOwners(want []keys.Owner) error {
	have := r.Owners()
	missing := func(o keys.Owner) bool { return !slices.Contains(have, o) }
	if len(want) == 0 || len(want) == len(have) && !slices.ContainsFunc(want, missing) {
		return nil
	}
	texts := []string{"none"}
	if len(have) > 0 {
		texts = texts[:0]
	}
	for _, o := range have {
		texts = append(texts, o.String())
	}
	return fmt.Errorf("%w: it has %s; compare keys.owners with your papers, or change the owners with `holdfast key rotate --identity FILE`", ErrOwners, strings.Join(texts, ", "))
}
