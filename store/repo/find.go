package repo

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
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
	End         *End        // why there are no more of them though one more is signed; nil where there is none

	keys      []signer // of the chain
	proofs    *proofs  // of signatures by these
	unvouched bool     // see Unvouched
}

// chainOf is a repository with these descriptors.
func chainOf(chain []Link) *Repository {
	return &Repository{ID: chain[0].Repository, Fingerprint: chain[0].Sum, Chain: chain, keys: signersOf(chain), proofs: newProofs()}
}

// Link is one descriptor of the chain.
type Link struct {
	*format.Descriptor
	Name    string
	Sum     format.Hash
	Size    int64
	Arrived time.Time // the vault's timestamp

	vouched   map[string]string // points it lists, with their sources
	vouchedIn []format.Need     // the objects that list is in
}

// Now is the newest descriptor.
func (r *Repository) Now() *format.Descriptor { return r.Chain[len(r.Chain)-1].Descriptor }

// Fresh is the number of the newest descriptor with which deduplication started anew: points that were made under one
// before are not built upon. It is 0 if there never was one.
func (t Trust) Fresh() int {
	for n, l := range slices.Backward(t.r.Chain) {
		if l.FreshStart {
			return n
		}
	}
	return 0
}

// Under is the number of the descriptor that a point was made under; -1 if it is not in the chain.
func (t Trust) Under(c *format.Commit) int { return t.number(c.Descriptor) }

// number is that of a descriptor of the chain; -1 if it is not in it.
func (t Trust) number(sum format.Hash) int {
	return slices.IndexFunc(t.r.Chain, func(l Link) bool { return l.Sum == sum })
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
func (k Keys) Recipients() ([]keys.Recipient, error) {
	return keys.ParseRecipients(k.r.Now().Recipients)
}

// MetaRecipients are those of manifests and index: the restore keys and the host's metadata keys.
func (k Keys) MetaRecipients() ([]keys.Recipient, error) {
	return keys.ParseRecipients(append(slices.Clone(k.r.Now().Recipients), k.r.Now().Metadata...))
}

// candidate is one descriptor object in a vault's listing.
type candidate struct {
	format.DescriptorID
	name    string
	version string // the oldest
	size    int64
	arrived time.Time
}

// Find recognises the repository in a vault: the first descriptor that arrived, by the vault's own timestamps, and the
// chain of descriptors that follow from it. pin, if not empty, is a prefix (at least 32 digits) of the fingerprint the
// first one must have. A vault without one is ErrNoRepository, or, where it holds recovery points, ErrNoDescriptor.
func Find(ctx context.Context, r store.Reader, pin string, report Report) (*Repository, error) {
	var firsts shortList
	later, any := false, false
	for c, err := range descriptors(ctx, r, format.PrefixDescriptors, report) {
		if err != nil {
			return nil, err
		}
		any, later = any || c.Number == 0, later || c.Number > 0
		if c.Number == 0 && (pin == "" || strings.HasPrefix(c.Sum.String(), pin)) {
			firsts.add(c)
		}
	}
	first, err := pickFirst(ctx, r, firsts.oldestFirst(), any, pin, report)
	if err != nil {
		return nil, err
	}
	repo := chainOf([]Link{first})
	for n := 1; later; n++ {
		next, end, err := pickNext(ctx, r, repo, n, report)
		if err != nil {
			return nil, err
		}
		if end != nil {
			report.send(Tampered, cmp.Or(end.Name, format.PrefixDescriptors), "%v", end.err())
		}
		if repo.End = end; next == nil {
			break
		}
		repo.Chain = append(repo.Chain, *next)
	}
	repo.keys = signersOf(repo.Chain)
	return repo, repo.readVouched(ctx, r, report)
}

// descriptors gives the descriptor objects under a prefix, each with its oldest version. Junk with a name that cannot be
// one is reported and passed over.
func descriptors(ctx context.Context, r store.Reader, prefix string, report Report) iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		var at candidate
		for info, err := range r.Versions(ctx, prefix, "") {
			if err != nil {
				yield(candidate{}, fmt.Errorf("list descriptors: %w", err))
				return
			}
			id, err := format.ParseDescriptorName(info.Name)
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
				at = candidate{id, info.Name, info.Version, info.Size, info.Modified}
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
		l, err := readDescriptor(ctx, r, c, nil, report)
		if err != nil {
			if f := Classify(ctx, err); f.Lost() || f == Foreign {
				junk = append(junk, Finding{Kind: Tampered, Name: c.name, Detail: err.Error()})
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
	case errors.Is(spoilt, format.ErrDraft):
		return Link{}, spoilt
	case spoilt != nil:
		return Link{}, fmt.Errorf("%w: %w; %s", ErrNoDescriptor, spoilt, elsewhere)
	case pin != "" && any:
		return Link{}, fmt.Errorf("no descriptor here begins with %s: %w", pin, ErrFingerprint)
	}
	return Link{}, nothing(ctx, r, pin)
}

// elsewhere is what helps a vault that lost its first descriptor. Another must not be made: the points would not be its own.
const elsewhere = "it is the same object in every vault: `holdfast init` brings it from another vault of the configuration; else put it back " +
	"from a copy of this one. Without it points are read by their full IDs alone"

// nothing tells a place without a repository from a repository that lost its descriptor. Where one is known nobody is told to create it.
func nothing(ctx context.Context, r store.Reader, pin string) error {
	for _, err := range r.Versions(ctx, format.PrefixPoints, "") {
		if err != nil {
			return fmt.Errorf("list points: %w", err)
		}
		return fmt.Errorf("%w: %s: %w, and there are recovery points; %s", ErrNoDescriptor, format.PrefixDescriptors, ErrMissing, elsewhere)
	}
	if pin != "" {
		return notHere{pin}
	}
	return ErrNoRepository
}

// notHere is ErrNoRepository where it is known which one there has to be.
type notHere struct{ pin string }

func (e notHere) Error() string {
	return fmt.Sprintf("the repository %.16s.. is not in this vault: its disk or share is not mounted, its URL is another's, or it was wiped; "+
		"if it was wiped, or is new in the configuration, `holdfast init` brings the repository there from another vault, and the next run fills it", e.pin)
}

func (notHere) Is(target error) bool { return target == ErrNoRepository }

// readDescriptor reads and checks one. One of signers signed it; without any, its own first job key did.
func readDescriptor(ctx context.Context, r store.Reader, c candidate, signers [][]byte, report Report) (Link, error) {
	if c.size > format.MaxDescriptor && c.version != "" {
		// Nothing of that size was ever ours; a smaller version may lie on top.
		c.version = ""
	}
	b, _, err := whole(ctx, r, store.Ref{Name: c.name, Version: c.version}, c.Sum, format.MaxDescriptor, report)
	if err != nil {
		return Link{}, fmt.Errorf("read descriptor: %w", err)
	}
	d, body, sig, err := format.DecodeDescriptor(b)
	l := Link{Descriptor: d, Name: c.name, Sum: c.Sum, Size: int64(len(b)), Arrived: c.arrived}
	if err != nil {
		return l, fmt.Errorf("%s: %w", c.name, err)
	}
	if signers == nil && d.Number == 0 {
		signers = d.KeysFor(format.UseJob)[:1] // which any first one has
	}
	signed := func(k []byte) bool { return attest.Verify(ed25519.PublicKey(k), attest.Descriptor, body, sig) }
	if d.Number != c.Number || !slices.ContainsFunc(signers, signed) {
		return Link{}, fmt.Errorf("%s: signature or number is wrong: %w", c.name, format.ErrMalformed)
	}
	return l, nil
}
