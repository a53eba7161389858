package dirsource

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/source"
)

// maxNotes bounds how many different things are noted; what is beyond it is counted under the last.
const maxNotes = 64

// notes count what was not kept of entries that are in the point, by what it is, with the first key of each.
type notes struct {
	mu   sync.Mutex
	seen map[string]*note
}

type note struct {
	key   string
	count int64
}

// add notes that what is true of the entry of key.
func (n *notes) add(key, what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = map[string]*note{}
	}
	at := n.seen[what]
	if at == nil {
		if len(n.seen) >= maxNotes {
			return
		}
		at = &note{key: key}
		n.seen[what] = at
	}
	at.count++
}

// all gives a remark for each kind, in order of their texts.
func (n *notes) all() (out []source.Remark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(n.seen)) {
		at := n.seen[what]
		text := what
		if at.count > 1 {
			text = fmt.Sprintf("%s; so with %d entries, of which this is the first", what, at.count)
		}
		out = append(out, source.Remark{Key: at.key, Text: text})
	}
	return out
}

// Notes implements source.Notes.
func (v *view) Notes() []source.Remark { return v.notes.all() }
