package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Known is what a machine knows of its repository from elsewhere than a vault: who controls a vault's content and its
// times can make any chain of descriptors up, but for the hash of the first one.
type Known struct {
	Pin         string        // the fingerprint, or its beginning; empty: nothing is known yet
	Newest      keys.Newest   // the newest descriptor that a vault has shown; zero: not known
	Descriptors []format.Hash // that this machine made or its owner accepted, each with those before it; none: any that follow
}

// Errors of chains of descriptors that are not the known one.
var (
	// ErrUnpinned: the fingerprint is not known here, and the first descriptor is not one that this host key signed.
	ErrUnpinned = errors.New("it is not known here which repository is the right one: put `fingerprint: HEX`, from the paper " +
		"that `holdfast init` had you write, into the configuration, or give --fingerprint HEX")
	// ErrGone: a repository that is known is nowhere, and another is not begun in its place under the same host key.
	ErrGone = errors.New("check the vaults' URLs and prefixes; for a new repository name another file in keys.host, and init makes a host key of its own")
	// ErrStrangers: a descriptor that this machine did not make and whose keys it cannot go on with.
	ErrStrangers = errors.New("a change of keys that this machine did not make")
	// ErrForked: two changes of keys of one age follow the same descriptor.
	ErrForked = errors.New("two changes of keys claim to be next")
	// ErrWithheld: the vault does not show a descriptor that this machine knows.
	ErrWithheld = errors.New("the vault does not show a change of keys that this machine knows: it withholds it, or was set back to an earlier state")
)

// NewKnown puts together what is known: a pin from the command line or the configuration, and what host keys' files hold.
// Two that do not agree are ErrFingerprint.
func NewKnown(pin string, hosts ...*keys.HostKey) (Known, error) {
	n := Known{Pin: pin}
	for _, h := range hosts {
		if h == nil || format.Hash(h.Repository).IsZero() {
			continue
		}
		whole := format.Hash(h.Repository).String()
		if !strings.HasPrefix(whole, n.Pin) {
			return n, fmt.Errorf("%.16s.. is asked for, and the host key's file is pinned to %s: %w", n.Pin, whole, ErrFingerprint)
		}
		n.Pin = whole
		for _, d := range h.Descriptors {
			n.Descriptors = append(n.Descriptors, d)
		}
		n.know(h.Newest)
	}
	return n, nil
}

// know takes note of a descriptor that a vault has shown.
func (n *Known) know(d keys.Newest) {
	if !d.IsZero() && (n.Newest.IsZero() || d.Number > n.Newest.Number) {
		n.Newest = d
	}
}

// Short reports whether a chain ends before the newest descriptor that is known.
func (n Known) Short(r *Repository) bool {
	return !n.Newest.IsZero() && len(r.Chain) <= n.Newest.Number
}

// otherwise reports whether a chain has another descriptor where the newest one that is known belongs.
func (n Known) otherwise(r *Repository) bool {
	return !n.Newest.IsZero() && !n.Short(r) && r.Chain[n.Newest.Number].Sum != n.Newest.Sum
}

// recognise finds the repository in one vault. Where none is pinned yet, only the one that this host key itself began is
// taken: its first descriptor is signed with the host key.
func (n Known) recognise(ctx context.Context, v *Vault, host *keys.HostKey, report Report) (*Repository, error) {
	r, err := Find(ctx, v.Read, n.Pin, report)
	if err != nil {
		return nil, err
	}
	if n.Pin == "" && !r.Chain[0].Lists(format.UseJob, host.Public()) {
		if len(r.Chain) == 1 { // it is not this host key's in any case
			return nil, CheckHostKey(r, host)
		}
		return nil, fmt.Errorf("a repository with the fingerprint %s is here: %w", r.Fingerprint, ErrUnpinned)
	}
	return r, nil
}

// upTo is how many descriptors of a chain are known: those up to the last that is, and the first in any case, which is pinned.
// What an owner signed after it is known by that signature.
func (n Known) upTo(r *Repository) int {
	up := 1
	if len(n.Descriptors) == 0 {
		up = len(r.Chain)
	}
	for i, l := range slices.Backward(r.Chain) {
		if slices.Contains(n.Descriptors, l.Sum) {
			up = max(up, i+1)
		}
	}
	for up < len(r.Chain) && r.Chain[up-1].Owned() {
		up++
	}
	return up
}

// Strangers gives the descriptors of a chain that this machine does not know.
func (n Known) Strangers(r *Repository) []Link { return r.Chain[n.upTo(r):] }

// judge gives the chain to go by: the longest that is known; and for each vault what is wrong with its own, which is judged by
// itself. repos has nil for vaults without one.
func (n Known) judge(repos []*Repository, host *keys.HostKey) (*Repository, []error) {
	var chosen *Repository
	for _, r := range repos {
		if r == nil {
			continue
		}
		// Where nothing else is there it is gone by all the same, so that it can be said what is wrong.
		if n.otherwise(r) && slices.ContainsFunc(repos, func(o *Repository) bool { return o != nil && !n.otherwise(o) }) {
			continue
		}
		if up := n.upTo(r); chosen == nil || up > len(chosen.Chain) {
			chosen = chainOf(r.Chain[:up:up])
		}
	}
	errs := make([]error, len(repos))
	doubtful := error(nil) // nothing says which of two is the right one
	for i, r := range repos {
		if r == nil {
			continue
		}
		switch errs[i] = chosen.against(r, host); {
		case errs[i] != nil:
		case n.otherwise(r):
			errs[i] = fmt.Errorf("%s stands where another is known: %w", r.Chain[n.Newest.Number].describe(), errStrangers{})
		case n.Short(chosen):
			errs[i] = fmt.Errorf("descriptor %d (%.16x..) is in no vault that can be read: %w", n.Newest.Number, n.Newest.Sum, ErrWithheld)
		}
		if n.Pin == "" && errors.Is(errs[i], ErrAmbiguous) {
			doubtful = errs[i]
		}
	}
	if doubtful != nil {
		for i, r := range repos {
			if r != nil {
				errs[i] = doubtful
			}
		}
	}
	return chosen, errs
}

// against holds one vault's chain against the known one.
func (r *Repository) against(other *Repository, host *keys.HostKey) error {
	if other.Fingerprint != r.Fingerprint {
		return fmt.Errorf("its first descriptor is %s, that of the others %s: %w", other.Fingerprint, r.Fingerprint, ErrAmbiguous)
	}
	same := 0
	for same < min(len(r.Chain), len(other.Chain)) && r.Chain[same].Sum == other.Chain[same].Sum {
		same++
	}
	switch {
	case other.End != nil && other.End.stops(r.Chain):
		return other.End.err()
	case same == len(other.Chain):
		return nil // what it lacks is brought to it
	case same < len(r.Chain):
		return fmt.Errorf("%s stands where %s is known: %w", other.Chain[same].describe(), r.Chain[same].Name, errStrangers{})
	case CheckHostKey(other, host) != nil:
		return fmt.Errorf("%s puts another host key in force: %w", other.Chain[same].describe(), errStrangers{})
	}
	return nil
}

// shownBy is the known chain with what one vault says of it: when each descriptor came, zero for one that did not yet.
func (r *Repository) shownBy(vault *Repository) *Repository {
	chain := slices.Clone(r.Chain)
	for i := range chain {
		if chain[i].Arrived = (time.Time{}); i < len(vault.Chain) && vault.Chain[i].Sum == chain[i].Sum {
			chain[i].Arrived = vault.Chain[i].Arrived
		}
	}
	out := chainOf(chain)
	if vault.End != nil && vault.End.stops(r.Chain) {
		out.End = vault.End
	}
	return out
}

// errStrangers is ErrStrangers, and ErrHostKey as well: with this host key one cannot go on there.
type errStrangers struct{}

func (errStrangers) Error() string { return ErrStrangers.Error() }

func (errStrangers) Is(target error) bool { return target == ErrStrangers || target == ErrHostKey }

// AfterStrangers is what to do about a descriptor that this machine did not make.
const AfterStrangers = "compare the dates of all changes of keys, and every restore key, with your papers: `holdfast key recover --identity FILE` shows them before " +
	"it asks. If you made the change on another machine, let it go on. If not, somebody has your host key: do not install what it would give, and do not put " +
	"that restore key into the configuration; begin a new repository under another prefix, with new keys. The points from before stay readable"

// withheld says why a host key is not in force where that is because descriptors are missing that this machine knows.
func (n Known) withheld(r *Repository, err error) error {
	for _, d := range n.Descriptors {
		if !slices.ContainsFunc(r.Chain, func(l Link) bool { return l.Sum == d }) {
			return fmt.Errorf("descriptor %.16s.. is in no vault that can be read: %w: %w", d, ErrWithheld, err)
		}
	}
	return err
}

// describe names a descriptor with its dates.
func (l Link) describe() string {
	return fmt.Sprintf("descriptor %d (%.16s.., made %s, stored %s)", l.Number, l.Sum, l.Created.UTC().Format(time.RFC3339), l.Arrived.UTC().Format(time.RFC3339))
}

// ReportStrangers reports what a vault's chain has beyond the descriptors that this machine knows.
func (n Known) ReportStrangers(r *Repository, report Report) {
	up := n.upTo(r)
	before := r.Chain[up-1].Recipients
	for _, l := range r.Chain[up:] {
		report.send(Tampered, l.Name, "%s was not made by this machine%s; nothing is stored under it; %s", l.describe(), changes(before, l.Recipients), AfterStrangers)
		before = l.Recipients
	}
}

// changes says which restore keys a descriptor adds.
func changes(before, now []string) string {
	var added []string
	for _, r := range now {
		if !slices.Contains(before, r) {
			added = append(added, keys.Brief(r))
		}
	}
	if len(added) == 0 {
		return ""
	}
	return " and would seal to further restore keys: " + strings.Join(added, ", ")
}

// sums gives the descriptors of a chain as a host key's file notes them.
func (r *Repository) sums() [][32]byte {
	var out [][32]byte
	for _, l := range r.Chain {
		out = append(out, l.Sum)
	}
	return out
}

// PinTo notes in a host key that it is for this repository, the descriptors that are known, and the newest one, which a vault shows.
func (r *Repository) PinTo(h *keys.HostKey) {
	h.Pin(r.Fingerprint, r.sums()...)
	h.PinNewest(keys.Newest{Number: r.Now().Number, Sum: r.Chain[len(r.Chain)-1].Sum})
}
