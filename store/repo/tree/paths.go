package tree

import (
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Paths watches over what one manifest says lies in a file system: no two keys of files, directories, symlinks and specials
// are the same, or the same but for the slash at the end. Entries are shown to it in order of their keys. The zero value is ready.
type Paths struct {
	last string
	ends []int // lengths of the beginnings of last that are such keys
}

// See gives an error for an entry whose key stands for a path that was seen before.
func (p *Paths) See(e *format.Entry) error {
	switch e.Kind {
	case format.KindFile, format.KindDir, format.KindSymlink, format.KindSpecial:
	default:
		return nil
	}
	// Whatever stands between "a" and "a/" begins with "a": only beginnings of a key can be met again.
	same := 0
	for same < len(p.last) && same < len(e.Key) && p.last[same] == e.Key[same] {
		same++
	}
	n := len(p.ends)
	for n > 0 && p.ends[n-1] > same {
		n--
	}
	p.ends, p.last = p.ends[:n], e.Key
	if n > 0 && (p.ends[n-1] == len(e.Key) || p.ends[n-1] == len(strings.TrimSuffix(e.Key, "/"))) {
		return fmt.Errorf("a second entry for the path of %q: %w", strings.TrimSuffix(e.Key, "/"), format.ErrMalformed)
	}
	p.ends = append(p.ends, len(e.Key))
	return nil
}
