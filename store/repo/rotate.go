package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// ChangeOptions change a repository's keys: the host key, the restore keys, or both.
type ChangeOptions struct {
	Vaults     []*Vault
	Old        *keys.HostKey    // signs the change: that of the newest descriptor
	New        *keys.HostKey    // holds from now on; the same as Old where only recipients are added
	Recipients []keys.Recipient // restore keys from now on: all of those before, and perhaps more
	Pin        string

	DistrustAfter time.Time // not zero: what Old and the keys before it signed counts only as far as the vaults had it by then
	FreshStart    bool      // points from now on refer to nothing that is stored already

	Need   time.Duration // how long the new objects are locked for: the longest retention
	Report Report
	Now    func() time.Time
}

// Changed is one vault after a change.
type Changed struct {
	Vault  string
	Number int // of the descriptor that holds now
	Err    error
}

// ErrRecipientsLost: a restore key cannot be taken away from what is stored, and pretending so would be a lie.
var ErrRecipientsLost = errors.New("a restore key of the repository is missing from the new ones")

// Change adds a descriptor with new keys to the repository in every vault. It can be repeated: a change that reached some
// vaults only, or was broken off, is brought to the others, as long as it is asked for with the same keys. A vault that
// cannot be reached is in its Changed.Err; the next Change, Init or run brings it up to date. An error comes back where
// nothing was changed anywhere.
func Change(ctx context.Context, o ChangeOptions) ([]Changed, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	out := make([]Changed, len(o.Vaults))
	keepers := make([]*keeper, len(o.Vaults))
	var longest *Repository
	for i, v := range o.Vaults {
		out[i].Vault = v.Name
		keepers[i] = &keeper{vault: v, now: o.Now, report: o.Report.in(v.Name)}
		r, err := findFor(ctx, keepers[i], o.Pin)
		if err == nil && longest != nil && r.ID != longest.ID {
			err = ErrAmbiguous
		}
		if err != nil {
			out[i].Err = fmt.Errorf("vault %s: %w", v.Name, err)
			continue
		}
		if longest == nil || len(r.Chain) > len(longest.Chain) {
			longest = r
		}
	}
	if longest == nil {
		return nil, first(out)
	}
	pieces, err := change(ctx, o, longest)
	if err != nil {
		return nil, err
	}
	number := len(longest.Chain)
	if len(pieces) == 0 { // it was made before
		number--
	}
	done := 0
	for i, k := range keepers {
		if out[i].Err == nil {
			out[i].Err = bringUp(ctx, o, k, longest, pieces)
		}
		if out[i].Err == nil {
			out[i].Number = number
			done++
		}
	}
	if done == 0 {
		return nil, first(out)
	}
	return out, nil
}

func first(out []Changed) error {
	for _, c := range out {
		if c.Err != nil {
			return c.Err
		}
	}
	return ErrNoRepository
}

func findFor(ctx context.Context, k *keeper, pin string) (*Repository, error) {
	if err := k.meet(ctx); err != nil {
		return nil, err
	}
	return Find(ctx, k.vault.Read, pin, k.report)
}

// change makes the new descriptor and the sealed copy of the new host key; none where the newest descriptor says it all.
func change(ctx context.Context, o ChangeOptions, r *Repository) ([]piece, error) {
	for _, have := range r.Now().Recipients {
		if !slices.ContainsFunc(o.Recipients, func(k keys.Recipient) bool { return k.String() == have }) {
			return nil, fmt.Errorf("%w: %.20s", ErrRecipientsLost, have)
		}
	}
	if CheckHostKey(r, o.New) == nil && sameRecipients(o.Recipients, r.Now().Recipients) {
		return nil, nil
	}
	if err := CheckHostKey(r, o.Old); err != nil {
		return nil, err
	}
	if o.DistrustAfter.After(o.Now()) {
		return nil, fmt.Errorf("distrust what came after %s: %w: that is still to come", o.DistrustAfter.Format(time.RFC3339), ErrRefused)
	}
	keyCopy, err := sealHostKey(o.New, o.Recipients)
	if err != nil {
		return nil, err
	}
	last := r.Chain[len(r.Chain)-1]
	d := describe(o.New, keyCopy, o.Recipients, o.Now())
	d.Parameters, d.Repository, d.Number, d.Previous = last.Parameters, r.ID, last.Number+1, last.Sum
	d.FreshStart = o.FreshStart
	if !o.DistrustAfter.IsZero() {
		d.DistrustAfter = format.At(o.DistrustAfter.UTC().Truncate(time.Second))
	}
	b, err := format.EncodeDescriptor(d, func(body []byte) []byte { return attest.Sign(o.Old.Signing, attest.Descriptor, body) })
	if err != nil {
		return nil, err
	}
	sum := format.Hash(sha256.Sum256(b))
	sig := attest.Sign(o.Old.Signing, attest.DescriptorName, format.DescriptorMessage(r.ID, d.Number, sum))
	return []piece{{d.HostKey, keyCopy}, {format.DescriptorName(d.Number, sum, sig), b}}, nil
}

// bringUp gives one vault what it lacks of the chain, and the new descriptor last.
func bringUp(ctx context.Context, o ChangeOptions, k *keeper, longest *Repository, pieces []piece) error {
	mine, err := Find(ctx, k.vault.Read, o.Pin, nil)
	if err != nil {
		return fmt.Errorf("vault %s: %w", k.vault.Name, err)
	}
	var lacking []piece
	for _, l := range longest.Chain[min(len(mine.Chain), len(longest.Chain)):] {
		for _, name := range []string{l.HostKey, l.Name} {
			p, err := copyPiece(ctx, o.Vaults, name, o.Report)
			if err != nil {
				return err
			}
			lacking = append(lacking, p)
		}
	}
	for _, p := range append(lacking, pieces...) {
		if _, err := k.store(ctx, p.name, p.body, sha256.Sum256(p.body), k.clock().Add(o.Need)); err != nil {
			return fmt.Errorf("vault %s: %w", k.vault.Name, err)
		}
	}
	now, err := Find(ctx, k.vault.Read, o.Pin, o.Report)
	switch {
	case err != nil:
		return fmt.Errorf("vault %s: %w", k.vault.Name, err)
	case CheckHostKey(now, o.New) != nil:
		return fmt.Errorf("vault %s: %w: another descriptor %d was there before: whoever holds the old host key may have put it. "+
			"Points from before stay readable; for new ones begin a new repository under another prefix", k.vault.Name, ErrAmbiguous, now.Now().Number)
	}
	return nil
}
