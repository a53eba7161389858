package repo

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Repository is what a vault's descriptors say.
type Repository struct {
	ID          format.Hash
	Fingerprint format.Hash // SHA-256 of the first descriptor
	Chain       []Link      // descriptors by number; the last one holds now
}

// Link is one descriptor of the chain.
type Link struct {
	*format.Descriptor
	Name    string
	Sum     format.Hash
	Size    int64
	Arrived time.Time // the vault's timestamp
}

// Now is the newest descriptor.
func (r *Repository) Now() *format.Descriptor { return r.Chain[len(r.Chain)-1].Descriptor }

// SigningKeys gives every key that ever signed for the repository, newest first.
func (r *Repository) SigningKeys() []ed25519.PublicKey {
	var out []ed25519.PublicKey
	for _, l := range slices.Backward(r.Chain) {
		out = append(out, ed25519.PublicKey(l.SigningKey))
	}
	return out
}

// signed reports whether any of the repository's keys made sig over msg, and whether the vault has had it, since arrived, only
// after that key was distrusted.
func (r *Repository) signed(domain attest.Domain, msg, sig []byte, arrived time.Time) (ok, distrusted bool) {
	until := time.Time{} // what the keys before the descriptor at hand signed counts if it came no later; zero: whenever
	for _, l := range slices.Backward(r.Chain) {
		if attest.Verify(ed25519.PublicKey(l.SigningKey), domain, msg, sig) {
			return true, !until.IsZero() && arrived.After(until)
		}
		if t := l.DistrustAfter.Time; !t.IsZero() && (until.IsZero() || t.Before(until)) {
			until = t
		}
	}
	return false, false
}

// Fresh is the number of the newest descriptor with which deduplication started anew: points that were made under one
// before are not built upon. It is 0 if there never was one.
func (r *Repository) Fresh() int {
	for n, l := range slices.Backward(r.Chain) {
		if l.FreshStart {
			return n
		}
	}
	return 0
}

// Under is the number of the descriptor that a point was made under; -1 if it is not in the chain.
func (r *Repository) Under(c *format.Commit) int {
	return slices.IndexFunc(r.Chain, func(l Link) bool { return l.Sum == c.Descriptor })
}

// CacheID names the cache of what is known of the repository: another one from each descriptor on that distrusts what the
// cache may hold.
func (r *Repository) CacheID() format.Hash {
	id := r.ID
	for _, l := range r.Chain {
		if !l.DistrustAfter.IsZero() || l.FreshStart {
			id = sha256.Sum256(append(id[:], l.Sum[:]...))
		}
	}
	return id
}

// Recipients parses the restore recipients that hold now.
func (r *Repository) Recipients() ([]keys.Recipient, error) {
	return keys.ParseRecipients(r.Now().Recipients)
}

// MetaRecipients are those of manifests and index: the restore keys and the host's metadata key.
func (r *Repository) MetaRecipients() ([]keys.Recipient, error) {
	return keys.ParseRecipients(append(slices.Clone(r.Now().Recipients), r.Now().Metadata))
}

// candidate is one descriptor object in a vault's listing.
type candidate struct {
	number  int
	sum     format.Hash
	sig     []byte // in the name of all but the first
	name    string
	version string // the oldest
	size    int64
	arrived time.Time
}

// Find recognises the repository in a vault: the first descriptor that arrived, by the vault's own timestamps, and the
// chain of descriptors that follow from it. pin, if not empty, is a prefix (at least 16 digits) of the fingerprint the
// first one must have. A vault without one is ErrNoRepository.
func Find(ctx context.Context, r store.Reader, pin string, report Report) (*Repository, error) {
	var firsts shortList
	later, any := false, false
	for c, err := range descriptors(ctx, r, format.PrefixDescriptors, report) {
		if err != nil {
			return nil, err
		}
		any, later = true, later || c.number > 0
		if c.number == 0 && (pin == "" || strings.HasPrefix(c.sum.String(), pin)) {
			firsts.add(c)
		}
	}
	first, err := pickFirst(ctx, r, firsts.oldestFirst(), any, pin, report)
	if err != nil {
		return nil, err
	}
	repo := &Repository{ID: first.Repository, Fingerprint: first.Sum, Chain: []Link{first}}
	for n := 1; later; n++ {
		next, ok, err := pickNext(ctx, r, repo, n, report)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		repo.Chain = append(repo.Chain, next)
	}
	return repo, nil
}

// descriptors gives the descriptor objects under a prefix, each with its oldest version. Junk with a name that cannot be
// one is reported and passed over.
func descriptors(ctx context.Context, r store.Reader, prefix string, report Report) iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		var at candidate
		for info, err := range r.Versions(ctx, prefix) {
			if err != nil {
				yield(candidate{}, fmt.Errorf("list descriptors: %w", err))
				return
			}
			n, sum, sig, err := format.ParseDescriptorName(info.Name)
			if err != nil {
				report.send(Tampered, info.Name, "not the name of a descriptor")
				continue
			}
			if info.DeleteMarker {
				report.send(Tampered, info.Name, "a delete marker lies on the descriptor")
				continue
			}
			if at.name != info.Name {
				if at.name != "" && !yield(at, nil) {
					return
				}
				at = candidate{n, sum, sig, info.Name, info.Version, info.Size, info.Modified}
			}
			if info.Modified.Before(at.arrived) {
				at.arrived, at.version, at.size = info.Modified, info.Version, info.Size
			}
		}
		if at.name != "" {
			yield(at, nil)
		}
	}
}

// shortList keeps those that arrived first: whoever floods a vault comes later.
type shortList struct{ list []candidate }

const maxCandidates = 1000

func (s *shortList) add(c candidate) {
	s.list = append(s.list, c)
	if len(s.list) >= 2*maxCandidates {
		s.list = s.oldestFirst()[:maxCandidates]
	}
}

func (s *shortList) oldestFirst() []candidate {
	slices.SortStableFunc(s.list, func(a, b candidate) int { return a.arrived.Compare(b.arrived) })
	return s.list
}

// pickFirst gives the oldest of the candidates that is right, and refuses to choose between two of one age.
func pickFirst(ctx context.Context, r store.Reader, cands []candidate, any bool, pin string, report Report) (Link, error) {
	var found []Link
	var spoilt error
	var junk []Finding // if there is a right one beside it; else it may be the right one that is spoilt
	for _, c := range cands {
		if len(found) > 0 && c.arrived.After(found[0].Arrived) {
			break
		}
		l, err := readDescriptor(ctx, r, c, ed25519.PublicKey(nil), report)
		if err != nil {
			if notOurs(err) {
				junk = append(junk, Finding{Tampered, c.name, err.Error()})
				spoilt = cmp.Or(spoilt, err)
				continue
			}
			return Link{}, err
		}
		found = append(found, l)
	}
	if len(found) > 0 && report != nil {
		for _, f := range junk {
			report(f)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Link{}, ErrAmbiguous
	case spoilt != nil:
		return Link{}, fmt.Errorf("%w; %s", spoilt, elsewhere)
	case pin != "" && any:
		return Link{}, fmt.Errorf("no descriptor here begins with %s: %w", pin, ErrFingerprint)
	}
	return Link{}, nothing(ctx, r)
}

// elsewhere is what helps a vault that lost its first descriptor. Another must not be made: the points would not be its own.
const elsewhere = "without it nothing here can be recognised. It is the same object in every vault: `holdfast init` brings it from " +
	"another vault of the configuration; else put it back from a copy of this one"

// nothing tells a place without a repository from a repository that lost its descriptor.
func nothing(ctx context.Context, r store.Reader) error {
	for _, err := range r.Versions(ctx, format.PrefixPoints) {
		if err != nil {
			return fmt.Errorf("list points: %w", err)
		}
		return fmt.Errorf("%s: %w, and there are recovery points; %s", format.PrefixDescriptors, ErrMissing, elsewhere)
	}
	return ErrNoRepository
}

// pickNext finds descriptor n: signed by the key before, naming the one before, the earliest to arrive. A name that the key
// before did not sign is rejected unread.
func pickNext(ctx context.Context, r store.Reader, repo *Repository, n int, report Report) (Link, bool, error) {
	prev := repo.Chain[n-1]
	signer := ed25519.PublicKey(prev.SigningKey)
	var cands shortList
	for c, err := range descriptors(ctx, r, fmt.Sprintf("%s%06d-", format.PrefixDescriptors, n), nil) {
		if err != nil {
			return Link{}, false, err
		}
		if !attest.Verify(signer, attest.DescriptorName, format.DescriptorMessage(repo.ID, n, c.sum), c.sig) {
			report.send(Tampered, c.name, "the key before did not sign it")
			continue
		}
		cands.add(c)
	}
	var found *Link
	for _, c := range cands.oldestFirst() {
		l, err := readDescriptor(ctx, r, c, signer, report)
		if err == nil && (l.Previous != prev.Sum || l.Repository != repo.ID || l.Number != n) {
			err = fmt.Errorf("does not follow from descriptor %d: %w", n-1, format.ErrMalformed)
		}
		if err == nil && found != nil && !l.Arrived.After(found.Arrived) {
			// Whoever holds the host key made one of them, and nothing here says who.
			return Link{}, false, fmt.Errorf("%s and %s came at the same moment and both follow descriptor %d: %w; compare both with the papers "+
				"of your changes of keys, and read another vault with --vault NAME", found.Name, l.Name, n-1, ErrForked)
		}
		if err == nil && found != nil {
			err = fmt.Errorf("a second descriptor %d, which came after %s: %w", n, found.Name, format.ErrMalformed)
		}
		switch {
		case err == nil:
			found = &l
		case notOurs(err):
			report.send(Tampered, c.name, "%v", err)
		default:
			return Link{}, false, err
		}
	}
	if found == nil {
		return Link{}, false, nil
	}
	return *found, true, nil
}

// readDescriptor reads and checks one; signer nil means it signs for itself.
func readDescriptor(ctx context.Context, r store.Reader, c candidate, signer ed25519.PublicKey, report Report) (Link, error) {
	if c.size > format.MaxDescriptor && c.version != "" {
		// Nothing of that size was ever ours; a smaller version may lie on top.
		c.version = ""
	}
	b, _, err := whole(ctx, r, store.Ref{Name: c.name, Version: c.version}, c.sum, format.MaxDescriptor, report)
	if err != nil {
		return Link{}, fmt.Errorf("read descriptor: %w", err)
	}
	d, body, sig, err := format.DecodeDescriptor(b)
	if err != nil {
		return Link{}, fmt.Errorf("%s: %w", c.name, err)
	}
	if signer == nil {
		signer = ed25519.PublicKey(d.SigningKey)
	}
	if d.Number != c.number || !attest.Verify(signer, attest.Descriptor, body, sig) {
		return Link{}, fmt.Errorf("%s: signature or number is wrong: %w", c.name, format.ErrMalformed)
	}
	return Link{Descriptor: d, Name: c.name, Sum: c.sum, Size: int64(len(b)), Arrived: c.arrived}, nil
}
