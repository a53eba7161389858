package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// InitOptions create a repository.
type InitOptions struct {
	Vaults     []*Vault
	HostKey    *keys.HostKey     // Init pins the repository in it; the caller keeps it
	Pin        string            // the fingerprint, or its beginning, where it is known from elsewhere than the host key
	Recipients []keys.Recipient  // restore keys' public halves; one class with the host key
	Owners     []keys.Owner      // that sign changes of keys; none: whoever has the host key does
	Need       time.Duration     // how long the first objects are locked for: the longest retention
	Parameters format.Parameters // zero: format.DefaultParameters
	Report     Report
	Now        func() time.Time
}

// InitResult is one vault after Init.
type InitResult struct {
	Vault       string
	Fingerprint format.Hash
	CacheID     format.Hash // see Repository.CacheID; of a vault where it was created
	Created     bool        // false: it was there already and is ours
}

// Inspect refuses a vault that cannot hold an immutable copy, changing nothing in it: no versioning, no object lock, a
// clock too far off. A directory is let through; it is never called immutable.
func Inspect(ctx context.Context, v *Vault, now func() time.Time) (store.Facts, error) {
	f, err := v.Inspect.Inspect(ctx)
	if err != nil {
		return f, fmt.Errorf("vault %s: %w", v.Name, err)
	}
	if err := CheckClock(f.Clock, now()); err != nil {
		return f, fmt.Errorf("vault %s: %w", v.Name, err)
	}
	switch {
	case v.Locking.Mode == store.ModeNone: // a directory: never called immutable
	case !f.Versioning:
		return f, fmt.Errorf("vault %s: versioning is off: %w: create a bucket with object lock (which turns versioning on) and name that", v.Name, ErrRefused)
	case !f.ObjectLock, !f.Immutable:
		return f, fmt.Errorf("vault %s: object lock is off, or this server has none: %w: create a bucket with object lock, at a vendor that keeps it, and name that", v.Name, ErrRefused)
	}
	return f, nil
}

// Init creates the repository in every vault that has none, and is safe to repeat. Where one exists already it must be
// the host key's. The first descriptor is put last, so that a half-done Init leaves no repository. A vault that ignores
// locks is found out by reading back the first object put, and refused.
func Init(ctx context.Context, o InitOptions) ([]InitResult, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Parameters == (format.Parameters{}) {
		o.Parameters = format.DefaultParameters()
	}
	found, repo, err := survey(ctx, o)
	if err != nil {
		return nil, err
	}
	pieces, err := founding(ctx, o, found, repo)
	if err != nil {
		return nil, err
	}
	var out []InitResult
	for i, v := range o.Vaults {
		if found[i] != nil {
			out = append(out, InitResult{v.Name, found[i].Fingerprint, found[i].CacheID(), false})
			continue
		}
		r, err := found1(ctx, o, v, pieces)
		if err != nil {
			return out, fmt.Errorf("vault %s: %w", v.Name, err)
		}
		pin(o.HostKey, pieces)
		out = append(out, InitResult{v.Name, r.Fingerprint, r.CacheID(), true})
	}
	pin(o.HostKey, pieces)
	return out, nil
}

// pin notes the repository that was founded, or found.
func pin(h *keys.HostKey, pieces []piece) {
	for _, p := range slices.Backward(pieces) { // the first descriptor is the last piece
		id, err := format.ParseDescriptorName(p.name)
		switch {
		case err != nil: // a sealed host key
		case id.Number == 0:
			h.Pin(id.Sum, id.Sum)
			h.PinNewest(keys.Newest{Sum: id.Sum})
		default:
			h.Pin(h.Repository, id.Sum)
			h.PinNewest(keys.Newest{Number: id.Number, Sum: id.Sum})
		}
	}
}

// survey looks at every vault before anything is written anywhere.
func survey(ctx context.Context, o InitOptions) ([]*Repository, *Repository, error) {
	known, err := NewKnown(o.Pin, o.HostKey)
	if err != nil {
		return nil, nil, err
	}
	found := make([]*Repository, len(o.Vaults))
	var lost error // a vault that had a repository and cannot tell which: to be filled from another, never begun anew
	for i, v := range o.Vaults {
		if _, err := Inspect(ctx, v, o.Now); err != nil {
			return nil, nil, err
		}
		if _, err := bareKeeper(v, o.Now, nil).locks.retention(o.Now().Add(o.Need)); err != nil {
			return nil, nil, err
		}
		found[i], err = known.recognise(ctx, v, o.HostKey, o.Report)
		switch {
		case err == nil, errors.Is(err, ErrNoRepository):
		case Classify(ctx, err).Lost():
			lost = cmp.Or(lost, fmt.Errorf("vault %s: %w", v.Name, err))
		case errors.Is(err, ErrHostKey):
			return nil, nil, fmt.Errorf("vault %s already holds a repository: %w", v.Name, err)
		default:
			return nil, nil, fmt.Errorf("vault %s: %w", v.Name, err)
		}
	}
	one, err := known.judgeAll(o, found)
	switch {
	case one != nil || err != nil:
	case lost != nil:
		err = lost
	case known.Pin != "":
		err = fmt.Errorf("none of these vaults holds the repository %.16s.. that the host key is pinned to: %w", known.Pin, ErrGone)
	}
	return found, one, err
}

// judgeAll is judge for Init, which begins nothing where one vault is not as it should be.
func (n Known) judgeAll(o InitOptions, found []*Repository) (*Repository, error) {
	one, wrong := n.judge(found, o.HostKey)
	for i, err := range wrong {
		if err != nil {
			return nil, fmt.Errorf("vault %s: %w", o.Vaults[i].Name, err)
		}
		if found[i] != nil {
			n.ReportStrangers(found[i], o.Report)
		}
	}
	if one == nil {
		return nil, nil
	}
	if err := CheckHostKey(one, o.HostKey); err != nil {
		return nil, fmt.Errorf("a vault already holds a repository: %w", n.withheld(one, err))
	}
	if !sameRecipients(o.Recipients, one.Now().Recipients) {
		return nil, otherRecipients(one)
	}
	if err := one.Keys().CheckOwners(o.Owners); err != nil {
		return nil, err
	}
	return one, nil
}

// piece is one of the objects that a repository is recognised and its host key recovered by.
type piece struct {
	name string
	body []byte
}

// founding gives what a vault needs to hold the repository, in the order in which it is put there, the first descriptor
// last: new objects, or those of a vault that has them.
func founding(ctx context.Context, o InitOptions, found []*Repository, existing *Repository) ([]piece, error) {
	if existing != nil {
		return copyFounding(ctx, o, found, existing)
	}
	keyCopy, err := sealHostKey(o.HostKey, o.Recipients)
	if err != nil {
		return nil, err
	}
	d := describe(o.HostKey, keyCopy, o.Recipients, o.Now())
	for _, w := range slices.Backward(o.Owners) {
		d.Keys = slices.Insert(d.Keys, 0, format.OwnerKey(w.Public()))
	}
	d.Parameters = o.Parameters
	d.Parameters.Longest = max(d.Parameters.Longest, longest(o.Need))
	if _, err := rand.Read(d.Repository[:]); err != nil {
		return nil, err
	}
	b, err := format.EncodeDescriptor(d, func(body []byte) []byte { return attest.Sign(o.HostKey.Signing, attest.Descriptor, body) })
	return []piece{{d.HostKey, keyCopy}, {format.DescriptorID{Sum: sha256.Sum256(b)}.Name(), b}}, err
}

// sealHostKey seals a host key to restore keys.
func sealHostKey(h *keys.HostKey, to []keys.Recipient) ([]byte, error) {
	text, err := h.Secrets().MarshalText()
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w, err := seal.Seal(&buf, to...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// describe begins a descriptor of these keys.
func describe(h *keys.HostKey, keyCopy []byte, to []keys.Recipient, now time.Time) *format.Descriptor {
	d := &format.Descriptor{
		Format: format.Version, Kind: "descriptor", Created: format.At(now.Truncate(time.Second)),
		Class: string(h.Metadata.Class()), Metadata: []string{h.Metadata.Recipient().String()},
		Keys: []format.Key{format.JobKey(h.Public())}, HostKey: format.HostKeyName(sha256.Sum256(keyCopy)), HostKeyLen: int64(len(keyCopy)),
	}
	for _, r := range to {
		d.Recipients = append(d.Recipients, r.String())
	}
	return d
}

// copyFounding reads the descriptors of the whole chain and the sealed host keys they name, each from any vault in which the
// repository was recognised.
func copyFounding(ctx context.Context, o InitOptions, found []*Repository, r *Repository) ([]piece, error) {
	var vaults []*Vault
	for i, v := range o.Vaults {
		if found[i] != nil {
			vaults = append(vaults, v)
		}
	}
	var sealed, descriptors []piece
	for _, l := range slices.Backward(r.Chain) {
		for _, name := range l.pieces() {
			p, err := copyPiece(ctx, vaults, name, o.Report)
			if err != nil {
				return nil, fmt.Errorf("read what the repository was founded with, in any vault: %w", err)
			}
			if name == l.Name {
				descriptors = append(descriptors, p)
			} else {
				sealed = append(sealed, p)
			}
		}
	}
	return append(sealed, descriptors...), nil
}

// copyPiece reads a descriptor, a sealed host key or a list of vouched points from the first vault that has it.
func copyPiece(ctx context.Context, vaults []*Vault, name string, report Report) (p piece, err error) {
	sum, err := format.ParseName(name)
	if err != nil {
		return p, err
	}
	var why error
	for _, v := range vaults {
		b, _, err := whole(ctx, v.Read, store.Ref{Name: name}, sum, format.MaxPack, report)
		if err == nil {
			return piece{name, b}, nil
		}
		why = cmp.Or(why, err)
	}
	return p, why
}

// found1 writes the founding objects into one vault, the first descriptor last, and recognises the result.
func found1(ctx context.Context, o InitOptions, v *Vault, pieces []piece) (*Repository, error) {
	var first format.Hash
	k := bareKeeper(v.eitherName(), o.Now, nil)
	if err := k.meet(ctx); err != nil {
		return nil, err
	}
	for i, p := range pieces {
		sum := format.Hash(sha256.Sum256(p.body))
		placed, err := k.store(ctx, p.name, p.body, sum, k.clock().Add(o.Need))
		if err == nil && i == 0 {
			err = k.prove(ctx, placed)
		}
		if err != nil {
			return nil, err
		}
		first = sum
	}
	r, err := Find(ctx, v.Read, "", o.Report)
	if err != nil {
		return nil, err
	}
	if r.Fingerprint != first { // whoever knows no fingerprint would take that one
		return nil, fmt.Errorf("another repository was created here at the same time: %w", ErrAmbiguous)
	}
	return r, nil
}

// prove lengthens a lock by a minute and reads it back. A server that only remembers the headers it was sent with an
// object, and gives them back, keeps no locks; it is found out here.
func (k *keeper) prove(ctx context.Context, p format.Placement) error {
	if k.vault.Locking.Mode == store.ModeNone {
		return nil
	}
	ref, longer := store.Ref{Name: p.Name, Version: p.Version}, store.Retention{Mode: k.vault.Locking.Mode, Until: p.Until.Add(time.Minute)}
	if err := k.vault.Lock.Extend(ctx, ref, longer); err != nil {
		return fmt.Errorf("lengthen a lock, as every run must be able to: %w", err)
	}
	_, got, err := k.vault.Read.Stat(ctx, ref)
	if err == nil && !got.Covers(longer) {
		err = fmt.Errorf("a lock that was lengthened reads back as it was: %w: %w", ErrNotLocked, store.ErrNoLock)
	}
	return err
}

// RecoverHostKey opens the sealed copy of the newest host key with a restore key and checks it against the descriptor.
func RecoverHostKey(ctx context.Context, r *Repository, in store.Reader, ids []keys.Identity, report Report) (*keys.HostKey, error) {
	name := r.Now().HostKey
	sum, err := format.ParseName(name)
	if err != nil {
		return nil, err
	}
	b, _, err := whole(ctx, in, store.Ref{Name: name}, sum, format.MaxHostKeyCopy, report)
	if err != nil {
		return nil, fmt.Errorf("read the sealed host key: %w", err)
	}
	plain, err := seal.Open(bytes.NewReader(b), ids...)
	if err != nil {
		return nil, fmt.Errorf("open the sealed host key: %w", err)
	}
	text, err := readAll(plain, format.MaxHostKeyCopy)
	if err != nil {
		return nil, fmt.Errorf("open the sealed host key: %w", err)
	}
	h, err := keys.ParseHostKey(text)
	if err != nil {
		return nil, err
	}
	h = h.Secrets() // what was sealed with them says nothing about a repository
	r.PinTo(h)
	return h, CheckHostKey(r, h)
}
