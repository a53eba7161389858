package repo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Keys are a repository's keys beside those that sign for jobs.
type Keys struct{ r *Repository }

// Keys gives the keys that the repository lists now.
func (r *Repository) Keys() Keys { return Keys{r} }

// Owners gives the owner keys that sign the next change of keys; none in a repository without owners.
func (k Keys) Owners() []keys.Owner {
	var out []keys.Owner
	for _, k := range k.r.Now().KeysFor(format.UseOwner) {
		out = append(out, keys.OwnerFrom(k))
	}
	return out
}

// CheckOwners refuses configured owners that are not the repository's. None configured are any.
func (k Keys) CheckOwners(want []keys.Owner) error {
	have := k.Owners()
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
