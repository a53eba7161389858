package repo

import (
	"crypto/ed25519"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Reporter gives the key of a reporter that a hint in a record's name speaks of, if it counts for what arrived in the vault
// at a time: before the first descriptor that no longer lists it. It is an evidence.Keyring.
func (r *Repository) Reporter(name, hint string, arrived time.Time) (ed25519.PublicKey, bool) {
	if r.End != nil && !arrived.Before(r.End.Arrived) {
		return nil, false
	}
	for i, l := range slices.Backward(r.Chain) {
		for _, k := range l.Keys {
			if k.Use != format.UseReporter || k.Alg != format.AlgEd25519 || k.Name != name || format.KeyHint(k.Key) != hint {
				continue
			}
			retired := i+1 < len(r.Chain) && !arrived.Before(r.Chain[i+1].Arrived)
			return k.Key, !retired
		}
	}
	return nil, false
}
