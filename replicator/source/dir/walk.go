package dirsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// changedListing is the Missing reason of a name that was a folder and no more is one, or the other way round.
const changedListing = "changed while it was listed"

// Entries implements source.View. A folder that cannot be read is an entry with Missing set: what is below it is unknown.
func (v *view) Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		w := walk{v: v, ctx: ctx, from: from, to: to, yield: yield}
		fd, err := openAt(v.root, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
		if err != nil {
			yield(nil, fmt.Errorf("list %s: %w", v.src.root, err))
			return
		}
		defer unix.Close(fd) //nolint:errcheck // read only
		l, err := w.read(fd, "")
		if err != nil {
			yield(nil, fmt.Errorf("list %s: %w", v.src.root, err))
			return
		}
		w.folder(fd, "", l)
	}
}

// walk is one listing.
type walk struct {
	v        *view
	ctx      context.Context //nolint:containedctx // a walk ends with the call that began it
	from, to string
	yield    func(*format.Entry, error) bool
}

// listing is the names of one folder, folders with a "/" at the end, in one piece of memory.
type listing struct {
	text []byte
	refs []ref
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

// read gives the sorted names of the folder open as fd, without those that cannot be in the range.
func (w *walk) read(fd int, prefix string) (*listing, error) {
	l := &listing{}
	if prefix == "" && !w.before(rootKey, false) && !w.past(rootKey) {
		_ = l.add([]byte("."), true)
	}
	var key []byte
	err := readNames(fd, func(name []byte, folder bool) error {
		key = append(append(key[:0], prefix...), name...)
		if folder {
			key = append(key, '/')
		}
		if w.before(string(key), folder) || w.past(string(key)) {
			return nil
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		return l.add(name, folder)
	})
	if err != nil {
		return nil, err
	}
	sort.Sort(l)
	return l, nil
}

// before reports whether key, and for a folder all below it, lies before the range.
func (w *walk) before(key string, folder bool) bool {
	return key < w.from && (!folder || !strings.HasPrefix(w.from, key))
}

// past reports whether key, and so all below it, lies at or after the end.
func (w *walk) past(key string) bool { return w.to != "" && key >= w.to }

// folder gives the entries of an open folder and all below it. False ends the walk.
func (w *walk) folder(fd int, prefix string, l *listing) bool {
	for i := range l.refs {
		if err := w.ctx.Err(); err != nil {
			w.yield(nil, err)
			return false
		}
		name := string(l.name(i))
		key := prefix + name
		var more bool
		switch {
		case key == rootKey:
			more = w.one(fd, ".", key)
		case strings.HasSuffix(name, "/"):
			more = w.subfolder(fd, strings.TrimSuffix(name, "/"), key)
		default:
			more = w.one(fd, name, key)
		}
		if !more {
			return false
		}
	}
	return true
}

// give yields e if it is in the range and not excluded.
func (w *walk) give(e *format.Entry) bool {
	if e.Key < w.from || w.v.src.exclude.Match(e.Key) {
		return true
	}
	return w.yield(e, nil)
}

// one gives a single entry that is not entered.
func (w *walk) one(dir int, name, key string) bool {
	if w.v.src.exclude.Match(key) || key < w.from {
		return true
	}
	var st unix.Stat_t
	if err := fstatat(dir, name, &st); err != nil {
		return w.missing(key, format.KindFile, err)
	}
	e := w.v.entry(key, &st)
	if (e.Kind == format.KindDir) != (key == rootKey) {
		e = &format.Entry{Kind: format.KindFile, Key: key, Modified: e.Modified, File: e.File, Missing: changedListing}
	}
	if e.Kind == format.KindSymlink {
		target, err := readlinkAt(dir, name)
		if errors.Is(err, unix.EINVAL) {
			e.Missing = changedListing
		} else if err != nil {
			return w.missing(key, format.KindSymlink, err)
		}
		e.File.Target = target
	}
	return w.give(e)
}

// missing gives an entry that is there and cannot be looked at; one that is gone is nothing.
func (w *walk) missing(key string, kind format.Kind, err error) bool {
	if errors.Is(err, unix.ENOENT) {
		return true
	}
	if fatal(err) {
		w.yield(nil, failure("list", key, err))
		return false
	}
	why := reason(err)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		why = changedListing
	}
	return w.give(&format.Entry{Kind: kind, Key: key, File: &format.File{}, Missing: why})
}

// fatal reports whether err is of the run and not of the entry.
func fatal(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) ||
		errors.Is(err, unix.EBADF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// subfolder gives a folder and what is below it.
func (w *walk) subfolder(dir int, name, key string) bool {
	if w.v.src.exclude.Covers(key) {
		return true
	}
	var st unix.Stat_t
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return w.closedFolder(dir, name, key, err)
	}
	defer unix.Close(fd) //nolint:errcheck // read only
	if err := fstat(fd, &st); err != nil {
		return w.missing(key, format.KindDir, err)
	}
	e := w.v.entry(key, &st)
	if w.v.src.oneFS && e.File.Device != w.v.device {
		return w.give(e)
	}
	l, err := w.read(fd, key)
	if err != nil {
		if fatal(err) {
			w.yield(nil, failure("list", key, err))
			return false
		}
		e.Missing = reason(err)
		return w.give(e)
	}
	return w.give(e) && w.folder(fd, key, l)
}

// closedFolder gives a folder that could not be opened, with what can be known of it.
func (w *walk) closedFolder(dir int, name, key string, why error) bool {
	var st unix.Stat_t
	if fatal(why) || fstatat(dir, name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return w.missing(key, format.KindDir, why)
	}
	e := w.v.entry(key, &st)
	if w.v.src.oneFS && e.File.Device != w.v.device {
		return w.give(e)
	}
	e.Missing = reason(why)
	return w.give(e)
}
