package repo

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
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

// verify reports whether any of the repository's keys made sig over msg.
func (r *Repository) verify(domain attest.Domain, msg, sig []byte) bool {
	for _, k := range r.SigningKeys() {
		if attest.Verify(k, domain, msg, sig) {
			return true
		}
	}
	return false
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
	name    string
	version string // the oldest
	arrived time.Time
}

// Find recognises the repository in a vault: the first descriptor that arrived, by the vault's own timestamps, and the
// chain of descriptors that follow from it. pin, if not empty, is a prefix (at least 16 digits) of the fingerprint the
// first one must have. A vault without one is ErrNoRepository.
func Find(ctx context.Context, r store.Reader, pin string, report Report) (*Repository, error) {
	cands, err := listDescriptors(ctx, r, report)
	if err != nil {
		return nil, err
	}
	first, err := pickFirst(ctx, r, cands, pin, report)
	if err != nil {
		return nil, err
	}
	repo := &Repository{ID: first.Repository, Fingerprint: first.Sum, Chain: []Link{first}}
	for n := 1; ; n++ {
		next, ok, err := pickNext(ctx, r, cands, repo, n, report)
		if err != nil {
			return nil, err
		}
		if !ok {
			return repo, nil
		}
		repo.Chain = append(repo.Chain, next)
	}
}

// listDescriptors gives the descriptor objects by number, then by time of arrival. Junk with a name that cannot be one
// is reported and passed over.
func listDescriptors(ctx context.Context, r store.Reader, report Report) ([]candidate, error) {
	var out []candidate
	for info, err := range r.Versions(ctx, format.PrefixDescriptors) {
		if err != nil {
			return nil, fmt.Errorf("list descriptors: %w", err)
		}
		n, sum, err := format.ParseDescriptorName(info.Name)
		if err != nil {
			report.send(Tampered, info.Name, "not the name of a descriptor")
			continue
		}
		if info.DeleteMarker {
			report.send(Tampered, info.Name, "a delete marker lies on the descriptor")
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last].name == info.Name {
			if info.Modified.Before(out[last].arrived) {
				out[last].arrived, out[last].version = info.Modified, info.Version
			}
			continue
		}
		if len(out) >= maxDescriptors {
			return nil, fmt.Errorf("over %d descriptors: %w", maxDescriptors, format.ErrBounds)
		}
		out = append(out, candidate{n, sum, info.Name, info.Version, info.Modified})
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		if a.number != b.number {
			return a.number - b.number
		}
		return a.arrived.Compare(b.arrived)
	})
	return out, nil
}

// maxDescriptors bounds how much junk under descriptors/ is looked at.
const maxDescriptors = 10_000

func pickFirst(ctx context.Context, r store.Reader, cands []candidate, pin string, report Report) (Link, error) {
	var found []Link
	var spoilt error
	var junk []Finding // if there is a right one beside it; else it may be the right one that is spoilt
	for _, c := range cands {
		if c.number != 0 || pin != "" && !strings.HasPrefix(c.sum.String(), pin) {
			continue
		}
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
	case pin != "" && len(cands) > 0:
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

// pickNext finds descriptor n: signed by the key before, naming the one before, the earliest to arrive.
func pickNext(ctx context.Context, r store.Reader, cands []candidate, repo *Repository, n int, report Report) (Link, bool, error) {
	prev := repo.Chain[n-1]
	for _, c := range cands {
		if c.number != n {
			continue
		}
		l, err := readDescriptor(ctx, r, c, ed25519.PublicKey(prev.SigningKey), report)
		if err == nil && (l.Previous != prev.Sum || l.Repository != repo.ID || l.Number != n) {
			err = fmt.Errorf("does not follow from descriptor %d: %w", n-1, format.ErrMalformed)
		}
		if err == nil {
			return l, true, nil
		}
		if !notOurs(err) {
			return Link{}, false, err
		}
		report.send(Tampered, c.name, "%v", err)
	}
	return Link{}, false, nil
}

// readDescriptor reads and checks one; signer nil means it signs for itself.
func readDescriptor(ctx context.Context, r store.Reader, c candidate, signer ed25519.PublicKey, report Report) (Link, error) {
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
	return Link{Descriptor: d, Sum: c.sum, Size: int64(len(b)), Arrived: c.arrived}, nil
}
