package dirsource

import (
	"bytes"
	"errors"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// listing is the names of one folder, folders with a "/" at the end, in one piece of memory.
type listing struct {
	text  []byte
	refs  []ref
	heard int // names there were, in the range or not
	long  int // names left out because their keys are longer than a point can hold
}

type ref struct {
	off int
	n   uint16 // a name has at most 255 bytes on every file system that matters; see add
}

func (l *listing) add(name []byte, folder bool) error {
	if len(name) > 1<<15 {
		return errors.New("a name of over 32 KiB")
	}
	off := len(l.text)
	l.text = append(l.text, name...)
	if folder {
		l.text = append(l.text, '/')
	}
	l.refs = append(l.refs, ref{off, uint16(len(l.text) - off)}) //nolint:gosec // bounded above
	return nil
}

func (l *listing) name(i int) []byte { r := l.refs[i]; return l.text[r.off : r.off+int(r.n)] }

// Len, Less and Swap sort by bytes.
func (l *listing) Len() int           { return len(l.refs) }
func (l *listing) Less(i, j int) bool { return bytes.Compare(l.name(i), l.name(j)) < 0 }
func (l *listing) Swap(i, j int)      { l.refs[i], l.refs[j] = l.refs[j], l.refs[i] }

// sort sorts the names and leaves out what was given twice, as some systems do while a folder changes.
func (l *listing) sort() {
	sort.Sort(l)
	n := 0
	for i := range l.refs {
		if n > 0 && bytes.Equal(l.name(i), l.name(n-1)) {
			continue
		}
		l.refs[n] = l.refs[i]
		n++
	}
	l.refs = l.refs[:n]
}

// has reports whether a name is listed, as a folder or not.
func (l *listing) has(name string) bool {
	for _, want := range []string{name, name + "/"} {
		i := sort.Search(l.Len(), func(i int) bool { return string(l.name(i)) >= want })
		if i < l.Len() && string(l.name(i)) == want {
			return true
		}
	}
	return false
}

// read gives the sorted names of the folder open as fd, whose key is w.path, without those that cannot be in the range.
// With an error it gives what was heard until then.
func (w *walk) read(fd int) (*listing, error) {
	l := &listing{}
	if len(w.path) == 0 && !w.before(rootKey, false) && !w.past(rootKey) {
		_ = l.add([]byte("."), true)
	}
	var key []byte
	err := w.v.sys.names(fd, func(name []byte, folder bool) error {
		l.heard++
		key = append(append(key[:0], w.path...), name...)
		if folder {
			key = append(key, '/')
		}
		if w.before(string(key), folder) || w.past(string(key)) {
			return nil
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if len(key) > format.MaxKey {
			l.long++
			return nil
		}
		return l.add(name, folder)
	})
	l.sort()
	return l, err
}

// before reports whether key, and for a folder all below it, lies before the range.
func (w *walk) before(key string, folder bool) bool {
	return key < w.from && (!folder || !strings.HasPrefix(w.from, key))
}

// past reports whether key, and so all below it, lies at or after the end.
func (w *walk) past(key string) bool { return w.to != "" && key >= w.to }

// smallFolder is up to how many names a folder is listed again for each name that is not found.
const smallFolder = 4096

// gone reports whether a name of the folder l that was listed and is not found has been removed since: it proves it by
// listing the folder again. A system that goes on listing what it says is not there (a server whose disk is gone, a stale
// mount) must not empty a recovery point in silence.
//
// A large folder is listed again sixteen times at most while it is gone through. In between, what is not found in a folder
// that has changed since counts as removed.
func (w *walk) gone(l *level, name string) bool {
	var st unix.Stat_t
	if fstat(l.fd, &st) != nil {
		return false
	}
	if l.again != nil && l.names.Len() > smallFolder && l.at-l.against <= l.names.Len()/16 {
		if !l.again.has(name) || st.Mtim != l.seen {
			return true
		}
		if time.Since(time.Unix(st.Mtim.Unix())) > coarse {
			return false
		}
	}
	return w.listAgain(l) && !l.again.has(name)
}

// coarse is more than the steps in which file systems date what changes: in the same step a change leaves no trace.
const coarse = 3 * time.Second

// listAgain lists the folder l, which is the one on top of the path, again.
func (w *walk) listAgain(l *level) bool {
	fd, err := w.v.sys.open(l.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if errors.Is(err, unix.ENOENT) { // it was removed itself, or its server says so
		var st unix.Stat_t
		if fstat(l.fd, &st) != nil || st.Nlink != 0 {
			return false
		}
		l.again, l.against = &listing{}, l.at
		return true
	}
	if err != nil {
		return false
	}
	defer unix.Close(fd) //nolint:errcheck // read only
	var st unix.Stat_t
	if fstat(fd, &st) != nil {
		return false
	}
	again, err := w.read(fd)
	if err != nil && !(errors.Is(err, unix.ENOENT) && st.Nlink == 0) {
		return false
	}
	l.again, l.against, l.seen = again, l.at, st.Mtim
	return true
}
