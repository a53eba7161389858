package repo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// pickNext finds descriptor n: signed as the one before asks for, and naming it. A name without such a signature is rejected
// unread. It gives nil where there is none, and an End where what is signed cannot be used.
//
// In a repository with owners two that are valid are a fork, and neither counts: an owner signed twice, and nothing here says
// which one was meant. Without owners anybody who has the host key makes a second one, so the older counts.
func pickNext(ctx context.Context, r store.Reader, repo *Repository, n int, report Report) (*Link, *End, error) {
	prev := repo.Chain[n-1]
	cands, err := signedNext(ctx, r, repo, n, report)
	if err != nil {
		return nil, nil, err
	}
	var found *Link
	var end *End
	var passed []Finding // what is told of those that cannot be used, if not as the end of the chain
	for _, c := range cands {
		if found != nil && c.Sum == found.Sum {
			continue // the same one, in the name of another owner
		}
		l, err := readDescriptor(ctx, r, c, prev.Signers(), report)
		if err == nil || errors.Is(err, format.ErrNewer) {
			if why := repo.follows(l); why != nil {
				err = why
			}
		}
		switch {
		case err == nil && found == nil:
			found = &l
		case err == nil && prev.Owned():
			end = &End{n, "", []format.Hash{found.Sum, l.Sum}, found.Arrived, fmt.Errorf("%s and %s both follow descriptor %d: %w", found.Name, l.Name, n-1, ErrForked)}
			return nil, end, nil
		case err == nil && !l.Arrived.After(found.Arrived):
			// Whoever holds the host key made one of them, and nothing here says who.
			return nil, nil, fmt.Errorf("%s and %s came at the same moment and both follow descriptor %d: %w; compare both with the papers "+
				"of your changes of keys, and read another vault with --vault NAME", found.Name, l.Name, n-1, ErrForked)
		case err == nil:
			report.send(Tampered, c.name, "a second descriptor %d, which came after %s", n, found.Name)
		case Classify(ctx, err).Unusable():
			switch {
			case end == nil:
				end = &End{n, c.name, []format.Hash{c.Sum}, c.arrived, err}
			case end.Sums[0] == c.Sum:
				continue // the same one, in the name of another owner
			}
			passed = append(passed, Finding{Kind: Tampered, Name: c.name, Detail: err.Error()})
		default:
			return nil, nil, err
		}
	}
	if found == nil && end != nil {
		passed = passed[1:] // it is the end, and told as that
	}
	for _, f := range passed {
		report.send(f.Kind, f.Name, "%s", f.Detail)
	}
	if found != nil {
		return found, nil, nil
	}
	return nil, end, nil
}

// signedNext gives the descriptors n whose names are signed as the one before asks for, the oldest first.
func signedNext(ctx context.Context, r store.Reader, repo *Repository, n int, report Report) ([]candidate, error) {
	signers := repo.Chain[n-1].Signers()
	var cands shortList
	for c, err := range descriptors(ctx, r, fmt.Sprintf("%s%06d-", format.PrefixDescriptors, n), nil) {
		if err != nil {
			return nil, err
		}
		if !signedBy(signers, repo.ID, c.DescriptorID) {
			report.send(Tampered, c.name, "none of the keys that may sign it did")
			continue
		}
		cands.add(c)
	}
	return cands.oldestFirst(), nil
}

// signedBy reports whether one of these keys signed a descriptor's name.
func signedBy(signers [][]byte, repository format.Hash, id format.DescriptorID) bool {
	return slices.ContainsFunc(signers, func(k []byte) bool {
		return format.KeyHint(k) == id.Hint && attest.Verify(ed25519.PublicKey(k), attest.DescriptorName, id.Message(repository), id.Signature)
	})
}

// follows tells what keeps a descriptor from being the next of the chain.
func (r *Repository) follows(l Link) error {
	prev := r.Chain[len(r.Chain)-1]
	if l.Previous != prev.Sum || l.Repository != r.ID || l.Number != len(r.Chain) {
		return fmt.Errorf("does not follow from descriptor %d: %w", prev.Number, format.ErrMalformed)
	}
	if l.Class != "" && l.Class != prev.Class && !l.FreshStart {
		return fmt.Errorf("changes the class of keys without a fresh start: %w", format.ErrMalformed)
	}
	for _, k := range l.Keys {
		same := func(o format.Key) bool { return bytes.Equal(o.Key, k.Key) }
		if !slices.ContainsFunc(prev.Keys, same) && slices.ContainsFunc(r.Chain, func(l Link) bool { return slices.ContainsFunc(l.Keys, same) }) {
			return fmt.Errorf("lists a key again that was dropped (%.8x..): %w", k.Key, format.ErrMalformed)
		}
	}
	return nil
}
