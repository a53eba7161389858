package todir

import (
	"fmt"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// What was not kept of what was restored; a number comes before each but the last.
const (
	noOwners   = "entries belong to whoever restored them; run as root to give them their owners"
	noSetID    = "programs lost their set-ID bits, because their owner could not be set"
	noXattrs   = "extended attributes could not be set"
	noSpecials = "left out: devices, fifos and sockets are made with --specials"
	noLinks    = "hard links were restored as files of their own"
	setAside   = "folders stood where the point has something else; they were renamed to NAME%s"
	ownTarget  = "the folder restored into was there before: it keeps its own mode, owner and time"
)

// notes count what was not kept, each kind once, in the order in which it was met.
type notes struct {
	mu    sync.Mutex
	texts []string
	count map[string]int64
}

func (n *notes) add(text string) { n.addN(text, 1) }

func (n *notes) addN(text string, count int64) {
	if count == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count == nil {
		n.count = make(map[string]int64)
	}
	if n.count[text] == 0 {
		n.texts = append(n.texts, text)
	}
	n.count[text] += count
}

func (n *notes) text() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, text := range n.texts {
		if text != ownTarget {
			text = fmt.Sprintf("%d %s", n.count[text], text)
		}
		out = append(out, text)
	}
	return out
}

// regret notes what the plan for e leaves out: because of the file system, once for each, or because of our rights.
func (t *Target) regret(e *format.Entry, w *wanted, m manner) {
	here := func(what string) {
		t.notes.add("entries lie on a file system that does not keep their " + what + " (at " + m.where + ")")
	}
	if !w.mtime.Equal(e.Modified.Time) {
		here("exact times")
	}
	f := e.File
	if f == nil {
		return
	}
	if w.uid < 0 && f.UID != t.euid || w.gid < 0 && f.GID != t.egid {
		if m.lacks.owners && t.owner {
			here("owners")
		} else {
			t.notes.add(noOwners)
		}
	}
	if m.lacks.modes && e.Kind != format.KindSymlink {
		here("modes")
	}
	if w.hasMode && f.Mode&setID != 0 && w.mode&setID == 0 {
		t.notes.add(noSetID)
	}
	lists, others := false, false
	for name := range f.Xattrs {
		if _, ok := w.xattrs[name]; !ok {
			isList := name == acl.Access || name == acl.Default
			lists, others = lists || isList, others || !isList
		}
	}
	if lists {
		here("ACLs")
	}
	if others {
		here("extended attributes")
	}
}
