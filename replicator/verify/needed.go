package verify

import (
	"context"
	"encoding/binary"
	"iter"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// needed is a needs list in little memory: the first eight bytes of each hash, sorted. A false match by chance is out of
// the question, and who could make one on purpose writes the list as well.
type needed struct {
	sums  []uint64
	pages *marks
	all   bool // the list could not be read, which was reported: everything counts as needed
}

func (r *run) needsOf(ctx context.Context, p *point) (*needed, error) {
	n := &needed{pages: newMarks()}
	for need, err := range tree.Needs(ctx, r.reader.Page, p.commit.Needs, nil) {
		if err != nil {
			n.all = true
			return n, r.trouble(ctx, p.commit.Needs.Object, p.ID, err)
		}
		sum, err := format.ParseName(need.Name)
		if err != nil {
			return nil, err
		}
		n.sums = append(n.sums, short(sum))
		n.pages.list(need)
	}
	slices.Sort(n.sums)
	return n, nil
}

func short(h format.Hash) uint64 { return binary.BigEndian.Uint64(h[:8]) }

func (n *needed) has(name string) bool {
	sum, err := format.ParseName(name)
	return err == nil && n.hasSum(sum)
}

func (n *needed) hasSum(sum format.Hash) bool {
	_, ok := slices.BinarySearch(n.sums, short(sum))
	return ok || n.all
}

// earlier walks the leaves of the point before, to know those that are the same.
type earlier struct {
	next func() (format.PageRef, error, bool)
	stop func()
	head format.PageRef
	more bool
}

func newEarlier(ctx context.Context, load tree.Load, before *point) *earlier {
	e := &earlier{stop: func() {}}
	if before == nil {
		return e
	}
	e.next, e.stop = iter.Pull2(tree.Leaves(ctx, load, before.commit.Manifest, "", nil))
	e.advance()
	return e
}

// has reports whether leaf is one of the earlier point's. Leaves must be asked for in order.
func (e *earlier) has(leaf format.PageRef) bool {
	for e.more && e.head.First < leaf.First {
		e.advance()
	}
	return e.more && e.head.First == leaf.First && e.head.Sum == leaf.Sum
}

// advance gives up at an error: it was reported when that point was looked at, and here it only costs reading twice.
func (e *earlier) advance() {
	var err error
	e.head, err, e.more = e.next()
	e.more = e.more && err == nil
}

func (e *earlier) close() { e.stop() }
