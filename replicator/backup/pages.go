package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// The needs list says of each meta object which of its bytes are pages of the point's manifest. That is what it says for the
// parent, with the pages that the new tree refers to and without those that the parent's did: most are in both. So what is counted
// is edges: a page that is used adds one where it begins and takes one away where it ends, and the other way round for one
// that is dropped. Pages side by side, and pages that are dropped and used again, cancel out, in whatever order they come.

// edge is a place in an object's payload at which more or fewer pages lie on the next byte than on the one before.
type edge struct {
	at    int64
	delta int64
}

// pageEdge names an edge.
type pageEdge struct {
	object string
	at     int64
}

// maxPageEdges is how many edges wait in memory to be cancelled. A page that is kept is dropped and used again soon after.
const maxPageEdges = 1 << 15

// page counts a page of a manifest, times sign: its bytes among those that are needed, and its edges. An error comes out of
// objects.
func (n *tally) page(ref format.PageRef, sign int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return
	}
	if n.err = n.c.Add(ref.Object, sign*ref.Frame.Length); n.err != nil {
		return
	}
	n.edge(pageEdge{ref.Object, ref.Frame.Offset}, sign)
	n.edge(pageEdge{ref.Object, ref.Frame.Offset + ref.Frame.Length}, -sign)
	if len(n.edges) >= maxPageEdges {
		n.err = n.spill()
	}
}

func (n *tally) edge(at pageEdge, delta int64) {
	if delta += n.edges[at]; delta == 0 {
		delete(n.edges, at)
		return
	}
	n.edges[at] = delta
}

// spill moves the edges to the disk, where each stands behind the sum of its object. The caller holds mu.
func (n *tally) spill() error {
	for at, delta := range n.edges {
		key := binary.BigEndian.AppendUint64(append([]byte(at.object), 0), uint64(at.at)) //nolint:gosec // an offset is never negative
		if err := n.c.Add(string(key), delta); err != nil {
			return err
		}
	}
	clear(n.edges)
	return nil
}

// counted is what was counted of one object.
type counted struct {
	name   string
	living int64
	edges  []edge
}

// objects gives what was counted, by name.
func (n *tally) objects() iter.Seq2[counted, error] {
	return func(yield func(counted, error) bool) {
		n.mu.Lock()
		if n.err == nil {
			n.err = n.spill()
		}
		err := n.err
		n.mu.Unlock()
		if err != nil {
			yield(counted{}, err)
			return
		}
		var o counted
		for item, err := range n.c.All() {
			if err != nil {
				yield(counted{}, err)
				return
			}
			if at, ok := edgeOf(item, o.name); ok {
				if item.Sum != 0 {
					o.edges = append(o.edges, edge{at, item.Sum})
				}
				continue
			}
			if o.name != "" && !yield(o, nil) {
				return
			}
			o = counted{name: item.Key, living: item.Sum}
		}
		if o.name != "" {
			yield(o, nil)
		}
	}
}

// edgeOf gives the place of an edge of an object, if the item is one.
func edgeOf(item cache.Item, object string) (int64, bool) {
	rest, ok := strings.CutPrefix(item.Key, object+"\x00")
	if !ok || len(rest) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64([]byte(rest))), true //nolint:gosec // it came from one
}

// errUntrue: the last point's needs list does not say which pages its manifest is in. The run counts anew from all entries.
var errUntrue = errors.New("the needs list of the last point does not say which pages of its manifest are where")

// withEdges gives what becomes of an object's pages. Every byte of it is on one page of a point's manifest, or on none.
func withEdges(object string, old format.Pages, edges []edge) (format.Pages, error) {
	if len(edges) == 0 {
		return old, nil
	}
	was := old.Edges()
	var now []int64
	depth, before := int64(0), int64(0)
	for i := 0; i < len(was) || len(edges) > 0; {
		at := int64(-1)
		if i < len(was) {
			at = was[i]
		}
		if len(edges) > 0 && (at < 0 || edges[0].at < at) {
			at = edges[0].at
		}
		if i < len(was) && was[i] == at {
			depth += 1 - 2*int64(i%2)
			i++
		}
		if len(edges) > 0 && edges[0].at == at {
			depth += edges[0].delta
			edges = edges[1:]
		}
		if depth < 0 || depth > 1 {
			return nil, fmt.Errorf("%s, byte %d: %w", object, at, errUntrue)
		}
		if depth != before {
			now, before = append(now, at), depth
		}
	}
	if before != 0 {
		return nil, fmt.Errorf("%s: %w", object, errUntrue)
	}
	if len(now) > 2*format.MaxStretches { // no object that this program fills has so many pages
		return nil, nil
	}
	return format.PagesOf(now), nil
}
