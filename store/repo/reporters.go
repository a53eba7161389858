package repo

import (
	"crypto/ed25519"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Reporter gives the key of a reporter that a hint in a record's name speaks of, if it counts for what arrived in the vault
// at a time: before the first descriptor that no longer lists it. It is an evidence.Keyring.
func (k Keys) Reporter(name, hint string, arrived time.Time) (ed25519.PublicKey, bool) {
	if k.r.End != nil && !arrived.Before(k.r.End.Arrived) {
		return nil, false
	}
	for i, l := range slices.Backward(k.r.Chain) {
		for _, key := range l.Keys {
			if key.Use != format.UseReporter || key.Alg != format.AlgEd25519 || key.Name != name || format.KeyHint(key.Key) != hint {
				continue
			}
			retired := i+1 < len(k.r.Chain) && !arrived.Before(k.r.Chain[i+1].Arrived)
			return key.Key, !retired
		}
	}
	return nil, false
}

// Reporting reports whether the repository has, or had, a reporter. Without one there are no records.
func (k Keys) Reporting() bool {
	return slices.ContainsFunc(k.r.Chain, func(l Link) bool {
		return slices.ContainsFunc(l.Keys, func(key format.Key) bool { return key.Use == format.UseReporter })
	})
}
