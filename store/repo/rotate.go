package repo

import (
	"bytes"
	"context"
	"crypto/ed25519"
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
	Old        *keys.HostKey      // that of the newest descriptor; signs the change in a repository without owners
	Owner      ed25519.PrivateKey // signs it in one with owners
	New        *keys.HostKey      // holds from now on; the same as Old where only recipients change
	Recipients []keys.Recipient   // restore keys from now on; in a repository without owners all of those before, and perhaps more
	Owners     []keys.Owner       // from now on; none: those there are
	Reporters  []format.Key       // that join, each in place of the one of its name
	Pin        string

	// Prepared is stored instead of a change that is made here.
	Prepared *Prepared

	// Note is told of the new descriptor before any vault is, so that a change that is broken off is known for one's own;
	// New is pinned to it by then. May be nil.
	Note func() error
	// Accept goes on from descriptors that this machine did not make. Who sets it has shown them to the owner.
	Accept bool

	DistrustAfter time.Time     // not zero: what Old and the keys before it signed counts only as far as the vaults had it by then
	Trust         []format.Hash // IDs of points to vouch for, whatever was thought of them
	FreshStart    bool          // points from now on refer to nothing that is stored already

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

// Errors of changes of keys.
var (
	// ErrRecipientsLost: in a repository without owners a restore key cannot be taken away, or a thief could take away the owner's.
	ErrRecipientsLost = errors.New("a restore key of the repository is missing from the new ones, and in a repository without owners none can be dropped. If it is " +
		"yours, put it into keys.recipients. If it is not, somebody else's key stands in the repository for good: all that is stored from now on would open to it; " +
		"begin a new repository under another prefix, with new keys. The points from before stay readable")
	// ErrNotOwner: none of the keys at hand may sign the change.
	ErrNotOwner = errors.New("this repository has owners, and one of them signs each change of keys: give the owner's restore key with --identity FILE, on the machine " +
		"where it is kept, and take the change to the job's machine with --out FILE and `holdfast key store FILE`")
	// ErrOutdated: a prepared change that does not follow from what the vaults hold.
	ErrOutdated = errors.New("this change of keys does not follow from the newest one; make it again")
)

// changing is a change of keys that is under way.
type changing struct {
	o       ChangeOptions
	known   Known
	out     []Changed
	keepers []*keeper
	repos   []*Repository // as each vault shows it
	longest *Repository   // the chain to go on from
}

// Prepare makes a change of keys and stores nothing. It needs to read the vaults, and no more.
func Prepare(ctx context.Context, o ChangeOptions) (*Prepared, error) {
	c, err := lookForChange(ctx, o, (*keeper).glance)
	if err != nil {
		return nil, err
	}
	p, err := c.make(ctx)
	if err != nil {
		return nil, c.known.withheld(c.longest, err)
	}
	return p, nil
}

// Change adds a descriptor with new keys to the repository in every vault. It can be repeated: a change that reached some
// vaults only, or was broken off, is brought to the others, as long as it is asked for with the same keys. A vault that
// cannot be reached is in its Changed.Err; the next Change, Init or run brings it up to date. An error comes back where
// nothing was changed anywhere.
func Change(ctx context.Context, o ChangeOptions) ([]Changed, error) {
	c, err := lookForChange(ctx, o, (*keeper).meet)
	if err != nil {
		return nil, err
	}
	if c.o.Prepared != nil {
		err = c.checkPrepared()
	} else {
		c.o.Prepared, err = c.make(ctx)
	}
	if err != nil {
		return nil, c.known.withheld(c.longest, err)
	}
	if err := c.note(); err != nil {
		return nil, err
	}
	return c.store(ctx)
}

// lookForChange finds the repository in every vault whose clock agrees, and the chain that is known.
func lookForChange(ctx context.Context, o ChangeOptions, meet func(*keeper, context.Context) error) (*changing, error) {
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
	c := &changing{o: o, known: known, out: make([]Changed, len(o.Vaults)), keepers: make([]*keeper, len(o.Vaults))}
	repos := make([]*Repository, len(o.Vaults))
	c.repos = repos
	for i, v := range o.Vaults {
		c.out[i].Vault = v.Name
		c.keepers[i] = bareKeeper(v.eitherName(), o.Now, o.Report.in(v.Name))
		err := meet(c.keepers[i], ctx)
		if err == nil {
			repos[i], err = known.recognise(ctx, v, o.Old, c.keepers[i].report)
		}
		if err != nil {
			c.out[i].Err = fmt.Errorf("vault %s: %w", v.Name, err)
		}
	}
	var wrong []error
	c.longest, wrong = known.judge(repos, o.Old)
	for i, err := range wrong {
		if err == nil && repos[i] != nil && len(known.Strangers(repos[i])) > 0 {
			err = fmt.Errorf("%s: %w", known.Strangers(repos[i])[0].describe(), errStrangers{})
		}
		if err != nil {
			c.out[i].Err = fmt.Errorf("vault %s: %w", o.Vaults[i].Name, err)
		}
	}
	if c.longest == nil || !slices.ContainsFunc(c.out, func(c Changed) bool { return c.Err == nil }) {
		return nil, first(c.out)
	}
	return c, nil
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
func (c *changing) note() error {
	c.longest.PinTo(c.o.New)
	if c.o.Prepared != nil {
		c.o.New.Pin(c.longest.Fingerprint, c.o.Prepared.Sum)
	}
	if c.o.Note == nil {
		return nil
	}
	return c.o.Note()
}

// checkPrepared holds a change that was made elsewhere against the chain: it may be in it already, or follows from it.
func (c *changing) checkPrepared() error {
	p, r := c.o.Prepared, c.longest
	if p.Fingerprint != r.Fingerprint {
		return fmt.Errorf("it is for the repository %s, and this is %s: %w", p.Fingerprint, r.Fingerprint, ErrFingerprint)
	}
	if p.Descriptor.Number < len(r.Chain) && r.Chain[p.Descriptor.Number].Sum == p.Sum {
		c.o.Prepared = nil // it was stored before
		return nil
	}
	if why := r.follows(Link{Descriptor: p.Descriptor, Sum: p.Sum}); why != nil {
		return fmt.Errorf("descriptor %d: %w: %w", p.Descriptor.Number, ErrOutdated, why)
	}
	id, err := format.ParseDescriptorName(p.pieces[len(p.pieces)-1].name)
	if err != nil {
		return err
	}
	if !signedBy(r.Now().Signers(), r.ID, id) {
		return fmt.Errorf("descriptor %d: %w", id.Number, ErrNotOwner)
	}
	return nil
}

// make makes the new descriptor and the sealed copy of the new host key; nil where the newest descriptor says it all.
func (c *changing) make(ctx context.Context) (*Prepared, error) {
	o, r := c.o, c.longest
	last := r.Chain[len(r.Chain)-1]
	if !last.Owned() {
		for _, have := range last.Recipients {
			if !slices.ContainsFunc(o.Recipients, func(k keys.Recipient) bool { return k.String() == have }) {
				return nil, fmt.Errorf("restore key %s: %w", keys.Brief(have), ErrRecipientsLost)
			}
		}
	}
	signing := nextKeys(last.Descriptor, o)
	if CheckHostKey(r, o.New) == nil && sameRecipients(o.Recipients, last.Recipients) && sameKeys(signing, last.Keys) {
		return nil, nil
	}
	signer, err := c.signer()
	if err != nil {
		return nil, err
	}
	if o.DistrustAfter.After(o.Now()) {
		return nil, fmt.Errorf("distrust what came after %s: %w: that is still to come", o.DistrustAfter.Format(time.RFC3339), ErrRefused)
	}
	keyCopy, err := sealHostKey(o.New, o.Recipients)
	if err != nil {
		return nil, err
	}
	d := describe(o.New, keyCopy, o.Recipients, o.Now())
	d.Parameters, d.Repository, d.Number, d.Previous, d.Keys = last.Parameters, r.ID, last.Number+1, last.Sum, signing
	d.Parameters.Longest = max(d.Parameters.Longest, longest(o.Need))
	d.FreshStart = o.FreshStart
	if !o.DistrustAfter.IsZero() {
		d.DistrustAfter = format.At(o.DistrustAfter.UTC().Truncate(time.Second))
	}
	var before []piece
	if drops(last.Keys, signing) || len(o.Trust) > 0 {
		stays, err := c.staying(ctx)
		if err != nil {
			return nil, err
		}
		if d.Vouched, before, err = vouch(ctx, stays); err != nil {
			return nil, fmt.Errorf("vouch for the points that stay: %w", err)
		}
	}
	return c.sign(d, signer, append(before, piece{d.HostKey, keyCopy})...)
}

// longest is a time that points are kept, in seconds, rounded up.
func longest(need time.Duration) int64 { return int64((need + time.Second - 1) / time.Second) }

// signer is the key that signs the change: an owner's, or where there are none the host key in force.
func (c *changing) signer() (ed25519.PrivateKey, error) {
	if !c.longest.Now().Owned() {
		return c.o.Old.Signing, CheckHostKey(c.longest, c.o.Old)
	}
	if len(c.o.Owner) != ed25519.PrivateKeySize || !c.longest.Now().Lists(format.UseOwner, c.o.Owner[ed25519.SeedSize:]) {
		return nil, ErrNotOwner
	}
	return c.o.Owner, nil
}

// sign makes what is stored of a descriptor.
func (c *changing) sign(d *format.Descriptor, signer ed25519.PrivateKey, before ...piece) (*Prepared, error) {
	b, err := format.EncodeDescriptor(d, func(body []byte) []byte { return attest.Sign(signer, attest.Descriptor, body) })
	if err != nil {
		return nil, err
	}
	id := format.DescriptorID{Number: d.Number, Sum: sha256.Sum256(b), Hint: format.KeyHint(signer[ed25519.SeedSize:])}
	id.Signature = attest.Sign(signer, attest.DescriptorName, id.Message(d.Repository))
	if err := c.longest.follows(Link{Descriptor: d, Sum: id.Sum}); err != nil { // what readers refuse is not written
		return nil, fmt.Errorf("the change cannot be made: %w", err)
	}
	p := &Prepared{Fingerprint: c.longest.Fingerprint, Descriptor: d, Sum: id.Sum, pieces: append(before, piece{id.Name(), b})}
	if !c.o.New.Equal(c.o.Old) {
		p.HostKey = c.o.New
	}
	return p, nil
}

// nextKeys are the keys that sign from now on: the owners, the new host key's in place of the old one's, and all others.
func nextKeys(last *format.Descriptor, o ChangeOptions) []format.Key {
	var out []format.Key
	for _, w := range o.Owners {
		out = append(out, format.OwnerKey(w.Public()))
	}
	for _, k := range last.Keys {
		switch {
		case k.Use == format.UseOwner && len(o.Owners) > 0: // these are named anew
			if i := slices.IndexFunc(out, func(have format.Key) bool { return bytes.Equal(have.Key, k.Key) }); i >= 0 {
				out[i] = k
			}
			continue
		case bytes.Equal(k.Key, o.Old.Public()):
			k.Key = o.New.Public()
		case slices.ContainsFunc(o.Reporters, func(n format.Key) bool { return k.Use == n.Use && k.Name == n.Name }):
			continue
		}
		out = append(out, k)
	}
	return append(out, o.Reporters...)
}

// drops reports whether a job's key is not listed any more.
func drops(before, now []format.Key) bool {
	return slices.ContainsFunc(before, func(k format.Key) bool {
		return k.Use == format.UseJob && !slices.ContainsFunc(now, func(n format.Key) bool { return bytes.Equal(n.Key, k.Key) })
	})
}

func sameKeys(a, b []format.Key) bool {
	in := func(list []format.Key) func(format.Key) bool {
		return func(k format.Key) bool {
			return !slices.ContainsFunc(list, func(o format.Key) bool { return bytes.Equal(o.Key, k.Key) && o.Use == k.Use })
		}
	}
	return !slices.ContainsFunc(a, in(b)) && !slices.ContainsFunc(b, in(a))
}

// store brings the change to every vault that is as it should be.
func (c *changing) store(ctx context.Context) ([]Changed, error) {
	number := len(c.longest.Chain)
	if c.o.Prepared == nil { // it was made before
		number--
	}
	var sound []*Vault // nothing is copied out of another
	for i, v := range c.o.Vaults {
		if c.out[i].Err == nil {
			sound = append(sound, v)
		}
	}
	done := 0
	for i, k := range c.keepers {
		if c.out[i].Err == nil {
			c.out[i].Err = c.bringUp(ctx, k, sound)
		}
		if c.out[i].Err == nil {
			c.out[i].Number = number
			done++
		}
	}
	if done == 0 {
		return nil, first(c.out)
	}
	return c.out, nil
}

// bringUp gives one vault what it lacks of the chain, and the new descriptor last.
func (c *changing) bringUp(ctx context.Context, k *keeper, sound []*Vault) error {
	pin := c.longest.Fingerprint.String()
	mine, err := Find(ctx, k.vault.Read, pin, nil)
	if err != nil {
		return fmt.Errorf("vault %s: %w", k.vault.Name, err)
	}
	var lacking []piece
	for _, l := range c.longest.Chain[min(len(mine.Chain), len(c.longest.Chain)):] {
		for _, name := range l.pieces() {
			p, err := copyPiece(ctx, sound, name, c.o.Report)
			if err != nil {
				return err
			}
			lacking = append(lacking, p)
		}
	}
	if c.o.Prepared != nil {
		lacking = append(lacking, c.o.Prepared.pieces...)
	}
	for _, p := range lacking {
		if _, err := k.store(ctx, p.name, p.body, sha256.Sum256(p.body), k.clock().Add(c.o.Need)); err != nil {
			return fmt.Errorf("vault %s: %w", k.vault.Name, err)
		}
	}
	now, err := Find(ctx, k.vault.Read, pin, c.o.Report)
	switch {
	case err != nil:
		return fmt.Errorf("vault %s: %w", k.vault.Name, err)
	case now.End != nil:
		return fmt.Errorf("vault %s: %w", k.vault.Name, now.End.err())
	case CheckHostKey(now, c.o.New) != nil:
		return fmt.Errorf("vault %s: %w: another descriptor %d was there before, and this machine did not make it: whoever holds the old host key did. "+
			"Points from before stay readable; for new ones begin a new repository under another prefix", k.vault.Name, ErrAmbiguous, now.Now().Number)
	}
	return nil
}
