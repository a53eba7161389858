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

	// Note is told of the new descriptor before any vault is, so that a change that is broken off is known for one's own;
	// New is pinned to it by then. May be nil.
	Note func() error
	// Accept goes on from descriptors that this machine did not make. Who sets it has shown them to the owner.
	Accept bool

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
var ErrRecipientsLost = errors.New("a restore key of the repository is missing from the new ones, and none can be dropped. If it is yours, put it into " +
	"keys.recipients. If it is not, somebody else's key stands in the repository for good: all that is stored from now on would open to it; begin a new " +
	"repository under another prefix, with new keys. The points from before stay readable")

// Change adds a descriptor with new keys to the repository in every vault. It can be repeated: a change that reached some
// vaults only, or was broken off, is brought to the others, as long as it is asked for with the same keys. A vault that
// cannot be reached is in its Changed.Err; the next Change, Init or run brings it up to date. An error comes back where
// nothing was changed anywhere.
func Change(ctx context.Context, o ChangeOptions) ([]Changed, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	known, err := NewKnown(o.Pin, o.Old, o.New)
	if err != nil {
		return nil, err
	}
	if o.Accept {
		known.Descriptors = nil
	}
	out := make([]Changed, len(o.Vaults))
	keepers := make([]*keeper, len(o.Vaults))
	repos := make([]*Repository, len(o.Vaults))
	for i, v := range o.Vaults {
		out[i].Vault = v.Name
		keepers[i] = &keeper{vault: v, now: o.Now, report: o.Report.in(v.Name)}
		var err error
		if err = keepers[i].meet(ctx); err == nil {
			repos[i], err = known.recognise(ctx, v, o.Old, keepers[i].report)
		}
		if err != nil {
			out[i].Err = fmt.Errorf("vault %s: %w", v.Name, err)
		}
	}
	longest, wrong := known.judge(repos, o.Old)
	for i, err := range wrong {
		if err == nil && repos[i] != nil && len(known.Strangers(repos[i])) > 0 {
			err = fmt.Errorf("%s: %w", known.Strangers(repos[i])[0].describe(), errStrangers{})
		}
		if err != nil {
			out[i].Err = fmt.Errorf("vault %s: %w", o.Vaults[i].Name, err)
		}
	}
	if longest == nil || !slices.ContainsFunc(out, func(c Changed) bool { return c.Err == nil }) {
		return nil, first(out)
	}
	pieces, err := change(ctx, o, longest)
	if err != nil {
		return nil, known.withheld(longest, err)
	}
	if err := note(o, longest, pieces); err != nil {
		return nil, err
	}
	number := len(longest.Chain)
	if len(pieces) == 0 { // it was made before
		number--
	}
	var sound []*Vault // nothing is copied out of another
	for i, v := range o.Vaults {
		if out[i].Err == nil {
			sound = append(sound, v)
		}
	}
	done := 0
	for i, k := range keepers {
		if out[i].Err == nil {
			out[i].Err = bringUp(ctx, o, k, sound, longest, pieces)
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

// note pins the new host key to the repository and to the descriptor that is about to be stored.
func note(o ChangeOptions, r *Repository, pieces []piece) error {
	r.PinTo(o.New)
	for _, p := range pieces {
		if _, sum, _, err := format.ParseDescriptorName(p.name); err == nil {
			o.New.Pin(r.Fingerprint, sum)
		}
	}
	if o.Note == nil {
		return nil
	}
	return o.Note()
}

// change makes the new descriptor and the sealed copy of the new host key; none where the newest descriptor says it all.
func change(ctx context.Context, o ChangeOptions, r *Repository) ([]piece, error) {
	for _, have := range r.Now().Recipients {
		if !slices.ContainsFunc(o.Recipients, func(k keys.Recipient) bool { return k.String() == have }) {
			return nil, fmt.Errorf("restore key %.30s..: %w", have, ErrRecipientsLost)
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
func bringUp(ctx context.Context, o ChangeOptions, k *keeper, sound []*Vault, longest *Repository, pieces []piece) error {
	pin := longest.Fingerprint.String()
	mine, err := Find(ctx, k.vault.Read, pin, nil)
	if err != nil {
		return fmt.Errorf("vault %s: %w", k.vault.Name, err)
	}
	var lacking []piece
	for _, l := range longest.Chain[min(len(mine.Chain), len(longest.Chain)):] {
		for _, name := range []string{l.HostKey, l.Name} {
			p, err := copyPiece(ctx, sound, name, o.Report)
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
	now, err := Find(ctx, k.vault.Read, pin, o.Report)
	switch {
	case err != nil:
		return fmt.Errorf("vault %s: %w", k.vault.Name, err)
	case CheckHostKey(now, o.New) != nil:
		return fmt.Errorf("vault %s: %w: another descriptor %d was there before, and this machine did not make it: whoever holds the old host key did. "+
			"Points from before stay readable; for new ones begin a new repository under another prefix", k.vault.Name, ErrAmbiguous, now.Now().Number)
	}
	return nil
}
