package repo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// signature is one that a job's key is to have made.
type signature struct {
	domain   attest.Domain
	msg, sig []byte
	hint     string // from a name; empty: it may be any key's
	source   string // of a point
}

func pointSignature(r *Repository, id format.PointID) signature {
	return signature{attest.Point, id.Message(r.ID), id.Signature, id.Hint, id.Source}
}

func placementsSignature(r *Repository, id format.PlacementsID) signature {
	return signature{attest.Placements, id.Message(r.ID), id.Signature, id.Hint, ""}
}

// signer is a job's key of the chain.
type signer struct {
	format.Key
	hint string
	last int // number of the last descriptor that lists it
}

// Trust is what a repository's keys say of points and placements.
type Trust struct{ r *Repository }

// Trust judges points and placements by the repository's keys.
func (r *Repository) Trust() Trust { return Trust{r} }

// signersOf gives every job's key of a chain whose algorithm is known, the newest first, each once.
func signersOf(chain []Link) (out []signer) {
	for _, l := range slices.Backward(chain) {
		for _, k := range l.Keys {
			known := func(s signer) bool { return bytes.Equal(s.Key.Key, k.Key) }
			if k.Use == format.UseJob && k.Alg == format.AlgEd25519 && !slices.ContainsFunc(out, known) {
				out = append(out, signer{k, format.KeyHint(k.Key), l.Number})
			}
		}
	}
	return out
}

// made reports whether a key made a signature. Most that are not its own are told by their hint, without any arithmetic.
func (t Trust) made(s signer, of signature) bool {
	switch {
	case of.hint != "" && of.hint != s.hint:
		return false
	case of.source != "" && len(s.Sources) > 0 && !slices.Contains(s.Sources, of.source):
		return false
	}
	return t.r.proofs.verify(s.Key.Key, of)
}

// Signed reports whether any key that the repository ever had for a point's source signed the point's name.
func (t Trust) Signed(id format.PointID) bool {
	of := pointSignature(t.r, id)
	return slices.ContainsFunc(t.r.keys, func(s signer) bool { return t.made(s, of) })
}

// signed reports whether any of the repository's keys made a signature, and whether it counts for nothing all the same, since
// the vault has had it only from arrived on: after its key was distrusted, or after a change of keys that cannot be read.
func (t Trust) signed(of signature, arrived time.Time) (ok, distrusted bool) {
	s := t.maker(of)
	return s != nil, s != nil && t.distrusts(*s, arrived)
}

// maker gives the key of the chain that made a signature; nil where none did.
func (t Trust) maker(of signature) *signer {
	i := slices.IndexFunc(t.r.keys, func(s signer) bool { return t.made(s, of) })
	if i < 0 {
		return nil
	}
	return &t.r.keys[i]
}

// distrusts decides about index segments and placements.
func (t Trust) distrusts(s signer, arrived time.Time) bool {
	if t.retired(s, arrived) {
		return true
	}
	return slices.ContainsFunc(t.after(s), func(l Link) bool { return !l.DistrustAfter.IsZero() && arrived.After(l.DistrustAfter.Time) })
}

// after gives the descriptors that do not list a key any more.
func (t Trust) after(s signer) []Link { return t.r.Chain[min(s.last+1, len(t.r.Chain)):] }

// retired reports whether a vault got something only once its key did not count any more: since the first descriptor without it arrived
// there, or since the chain ended.
func (t Trust) retired(s signer, arrived time.Time) bool {
	if t.r.End != nil && !arrived.Before(t.r.End.Arrived) {
		return true
	}
	later := t.after(s)
	return len(later) > 0 && !later[0].Arrived.IsZero() && !arrived.Before(later[0].Arrived)
}

// judge says whether a point is distrusted, and whether a descriptor vouches for it, so that its arrival says nothing. A point of a key
// that was dropped counts if a later descriptor lists it: of those that distrust, the newest one or one after it. Else it counts only if none of
// them distrusts, it came before the key was dropped, and does not claim a later time than that.
func (t Trust) judge(p Point) (distrusted, vouched bool) {
	for _, s := range t.r.keys {
		if !t.made(s, pointSignature(t.r, p.PointID)) {
			continue
		}
		later := t.after(s)
		distrusting := false
		for _, l := range slices.Backward(later) {
			if l.vouches(p.PointID) {
				return false, true
			}
			if distrusting = !l.DistrustAfter.IsZero(); distrusting {
				break
			}
		}
		return distrusting || t.retired(s, p.Arrived) || len(later) > 0 && p.SignedAt.After(later[0].Created.Time), false
	}
	return true, false
}

// tooLate reports whether a vault got a point only once its key did not count any more.
func (t Trust) tooLate(p Point) bool {
	for _, s := range t.r.keys {
		if t.made(s, pointSignature(t.r, p.PointID)) {
			later := t.after(s)
			return t.retired(s, p.Arrived) || len(later) > 0 && p.SignedAt.After(later[0].Created.Time)
		}
	}
	return true
}

// longest is how far the end of a point may lie behind its signed time: as the descriptor says that allows most, since points of any
// of them are there.
func (t Trust) longest() time.Duration {
	var most int64
	for _, l := range t.r.Chain {
		most = max(most, l.Parameters.Longest)
	}
	return time.Duration(most) * time.Second
}

// ErrUntrusted: a point that is signed as it must be, and says of itself what no honest run says.
var ErrUntrusted = errors.New("not trusted: it is taken only by its ID, nothing is built on it, no lock is lengthened for it")

// Doubt is why a point does not count for what its commit object, or its head, says: an end beyond what the repository allows, or a descriptor
// that this vault does not show. Nil where it counts, and where there is no descriptor to hold it against.
func (t Trust) Doubt(c *format.Commit) error {
	switch {
	case t.r.unvouched:
		return nil
	case c.RetainUntil.Sub(c.SignedAt.Time) > t.longest():
		return fmt.Errorf("it says that it is kept until %s, longer than any point of this repository: %w", c.RetainUntil.UTC().Format(time.RFC3339), ErrUntrusted)
	case t.Under(c) < 0:
		return fmt.Errorf("it was made under descriptor %.16s.., which this vault does not show: %w", c.Descriptor, ErrUntrusted)
	}
	return nil
}

// Kept is until when a point is kept: as it says, and no longer than the repository allows.
func (t Trust) Kept(c *format.Commit) time.Time {
	until := c.RetainUntil.Time
	if most := t.longest(); !t.r.unvouched && until.Sub(c.SignedAt.Time) > most {
		return c.SignedAt.Add(most)
	}
	return until
}

// End is why a chain of descriptors ends before the last one that is signed: what comes next cannot be read, or is there
// twice. What came before keeps its trust, what arrived later has none, and nothing is stored where it is so.
type End struct {
	Number  int           // of the descriptor that cannot be used
	Name    string        // its object's; empty: there are two
	Sums    []format.Hash // of those that claim to be it
	Arrived time.Time     // of the first of them
	Err     error
}

// ErrEnd: a change of keys is signed as it must be and cannot be used.
var ErrEnd = errors.New("a change of keys is signed and cannot be used: what arrived before it is as good as before, what arrived later is not trusted, and nothing is stored here")

func (e *End) err() error {
	what := "read it from another vault with --vault NAME"
	switch {
	case errors.Is(e.Err, format.ErrNewer):
		what = "use a newer holdfast"
	case errors.Is(e.Err, ErrForked):
		what = "compare both with the papers of your changes of keys"
	}
	return fmt.Errorf("descriptor %d: %w; %s: %w", e.Number, ErrEnd, what, e.Err)
}

// Ended is why the chain ends before the last change of keys that is signed; nil where it does not.
func (r *Repository) Ended() error {
	if r.End == nil {
		return nil
	}
	return r.End.err()
}

// stops reports whether the end of a vault's chain is one for a machine that knows more of the chain: not if it knows what
// stands behind it.
func (e *End) stops(known []Link) bool {
	return !(len(e.Sums) == 1 && e.Number < len(known) && known[e.Number].Sum == e.Sums[0])
}
