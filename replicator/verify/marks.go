package verify

import (
	"hash/maphash"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// marks compares what a needs list says of the pages of a manifest with the pages that a walk meets: of each object one number,
// the sum over all stretches of bytes of a random function of where they begin, less the same of where they end. Stretches side by
// side come to the same as one that is both, and what the list says is taken from what is met: where both are the same, nothing
// remains.
type marks struct {
	seed maphash.Seed
	left map[string]uint64 // by object
}

func newMarks() *marks { return &marks{maphash.MakeSeed(), map[string]uint64{}} }

func (m *marks) at(offset int64) uint64 { return maphash.Comparable(m.seed, offset) }

// list takes a line of the needs list.
func (m *marks) list(n format.Need) {
	for i, edge := range n.Pages.Edges() {
		if i%2 == 0 {
			m.left[n.Name] -= m.at(edge)
		} else {
			m.left[n.Name] += m.at(edge)
		}
	}
}

// met takes a page of the manifest.
func (m *marks) met(ref format.PageRef) {
	m.left[ref.Object] += m.at(ref.Frame.Offset) - m.at(ref.Frame.Offset+ref.Frame.Length)
}

// wrong gives the objects of which the list says something else than the manifest.
func (m *marks) wrong() (names []string) {
	for name, left := range m.left {
		if left != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
