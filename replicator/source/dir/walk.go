package dirsource

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// The Missing reasons of what a listing met.
const (
	changedListing = "changed while it was listed"            // a name that was a folder and no more is one, or the other way round
	notFound       = "listed, and not found when looked at"   // and the folder, listed again, still has it
	movedFolder    = "its folder was moved while it was read" // so that the rest of its names cannot be looked at
	anotherMount   = "on another mount, which one_file_system leaves out"
)

// maxOpen is how many of the folders on a path are held open: those above are opened again from below when their turn comes,
// so that no depth of a tree takes more descriptors than that.
const maxOpen = 32

// Entries implements source.View. A folder that cannot be read is an entry with Missing set: what is below it is unknown.
func (v *view) Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		w := walk{v: v, ctx: ctx, from: from, to: to, yield: yield}
		if key, ok := strings.CutSuffix(to, "\x00"); ok && key == from && ctx.Err() == nil {
			if e := v.direct(key); e != nil {
				w.give(e)
				return
			}
		}
		fd, err := openAt(v.root, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
		if err != nil {
			yield(nil, fmt.Errorf("list %s: %w", v.src.root, err))
			return
		}
		l := &level{fd: fd}
		defer l.close()
		var st unix.Stat_t
		if err := fstat(fd, &st); err != nil {
			yield(nil, fmt.Errorf("list %s: %w", v.src.root, err))
			return
		}
		l.device, l.inode = uint64(st.Dev), st.Ino
		if l.names, err = w.read(fd); err != nil && (fatal(err) || l.names.heard == 0) {
			yield(nil, fmt.Errorf("list %s: %w", v.src.root, err))
			return
		}
		if err != nil {
			w.root = reason(err) // a part of the root is better than nothing
		}
		w.levels = []*level{l}
		w.folder(l)
	}
}

// direct looks one key up without listing the folders on the way; nil where that does not tell all: why a name is not found,
// or a folder cannot be listed.
func (v *view) direct(key string) *format.Entry {
	path, flags := key, pathFlags
	if key == rootKey {
		path = "."
	}
	if strings.HasSuffix(key, "/") {
		flags = unix.O_RDONLY | unix.O_DIRECTORY
	}
	fd, err := v.open(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil
	}
	defer unix.Close(fd) //nolint:errcheck // read only
	var st unix.Stat_t
	if fstat(fd, &st) != nil {
		return nil
	}
	e := v.entry(key, &st)
	if (e.Kind == format.KindDir) != strings.HasSuffix(key, "/") || e.Kind == format.KindSpecial && e.File.Type == "unknown" {
		return nil
	}
	if e.Kind == format.KindSymlink {
		if e.File.Target, err = readlinkOf(fd, v.root, key); err != nil {
			return nil
		}
	}
	return e
}

// walk is one listing.
type walk struct {
	v        *view
	ctx      context.Context //nolint:containedctx // a walk ends with the call that began it
	from, to string
	yield    func(*format.Entry, error) bool

	path   []byte   // the key of the folder that is being read; in one piece, or a deep tree would hold its path once a level
	levels []*level // from the root to that folder
	root   string   // why the root could not be listed to its end
}

// level is one folder on the path.
type level struct {
	fd     int // -1: closed for now, or lost
	device uint64
	inode  uint64
	path   int // length of its key
	names  *listing
	at     int // the name that is being looked at

	again   *listing // its names when it was listed again, see gone
	against int      // at, then
	seen    unix.Timespec
}

func (l *level) close() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
		l.fd = -1
	}
}

// folder gives the entries of the folder that is open as l and all below it. False ends the walk.
func (w *walk) folder(l *level) bool {
	for ; l.at < l.names.Len(); l.at++ {
		if err := w.ctx.Err(); err != nil {
			w.yield(nil, err)
			return false
		}
		name := string(l.names.name(l.at))
		more := true
		switch {
		case l.fd < 0:
			more = w.lost(l, name)
		case l.path == 0 && name == rootKey:
			more = w.one(l, ".")
		case strings.HasSuffix(name, "/"):
			more = w.subfolder(l, strings.TrimSuffix(name, "/"))
		default:
			more = w.one(l, name)
		}
		if !more {
			return false
		}
	}
	return true
}

// key gives the key of a name in the folder that is being read.
func (w *walk) key(name string, folder bool) string {
	if folder {
		return string(w.path) + name + "/"
	}
	return string(w.path) + name
}

// give yields e if it is in the range and not excluded.
func (w *walk) give(e *format.Entry) bool {
	if e.Key < w.from || w.v.src.exclude.Match(e.Key) {
		return true
	}
	return w.yield(e, nil)
}

// one gives a single entry that is not entered.
func (w *walk) one(l *level, name string) bool {
	root := l.path == 0 && name == "."
	key := w.key(name, root)
	if w.v.src.exclude.Match(key) || key < w.from {
		return true
	}
	var st unix.Stat_t
	err := w.v.sys.stat(l.fd, name, &st)
	if errors.Is(err, unix.ENOENT) {
		if w.gone(l, name) {
			return true
		}
		err = w.v.sys.stat(l.fd, name, &st)
	}
	if err != nil {
		return w.missing(key, format.KindFile, err)
	}
	e := w.v.entry(key, &st)
	switch {
	case (e.Kind == format.KindDir) != root:
		e = &format.Entry{Kind: format.KindFile, Key: key, Modified: e.Modified, File: e.File, Missing: changedListing}
	case root:
		e.Missing = w.root
	case e.Kind == format.KindSpecial && e.File.Type == "unknown":
		e = &format.Entry{Kind: format.KindFile, Key: key, Modified: e.Modified, File: e.File, Missing: "neither a file, a folder, a link nor a device"}
		e.File.Type = ""
	case e.Kind == format.KindSymlink:
		target, err := readlinkAt(l.fd, name)
		switch {
		case errors.Is(err, unix.EINVAL):
			e.Missing = changedListing
		case errors.Is(err, unix.ENOENT) && w.gone(l, name):
			return true
		case err != nil:
			return w.missing(key, format.KindSymlink, err)
		}
		e.File.Target = target
	}
	return w.give(e)
}

// missing gives an entry that is there and cannot be looked at.
func (w *walk) missing(key string, kind format.Kind, err error) bool {
	if fatal(err) {
		w.yield(nil, failure("list", key, err))
		return false
	}
	why := reason(err)
	switch {
	case errors.Is(err, unix.ENOENT):
		why = notFound
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		why = changedListing
	}
	return w.give(&format.Entry{Kind: kind, Key: key, File: &format.File{}, Missing: why})
}

// lost gives a name whose folder is out of reach.
func (w *walk) lost(l *level, name string) bool {
	kind := format.KindFile
	if strings.HasSuffix(name, "/") {
		kind = format.KindDir
	}
	return w.give(&format.Entry{Kind: kind, Key: string(w.path[:l.path]) + name, File: &format.File{}, Missing: movedFolder})
}

// fatal reports whether err is of the run and not of the entry.
func fatal(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) ||
		errors.Is(err, unix.EBADF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// subfolder gives a folder and what is below it.
func (w *walk) subfolder(in *level, name string) bool {
	key := w.key(name, true)
	if w.v.src.exclude.Covers(key) {
		return true
	}
	if w.v.src.oneFS { // before it is opened: that could wait for a server, or mount something
		var st unix.Stat_t
		if apart, err := w.v.apart(in.fd, name); err == nil && apart && fstatat(in.fd, name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return w.give(w.v.entry(key, &st))
		}
	}
	fd, err := w.v.sys.open(in.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if errors.Is(err, unix.ENOENT) {
		if w.gone(in, name) {
			return true
		}
		fd, err = w.v.sys.open(in.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	}
	if err != nil {
		return w.closedFolder(in.fd, name, key, err)
	}
	l := &level{fd: fd}
	defer l.close()
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return w.missing(key, format.KindDir, err)
	}
	e := w.v.entry(key, &st)
	if w.v.src.oneFS && w.v.isApart(fd, &st) {
		return w.give(e)
	}
	l.device, l.inode = uint64(st.Dev), st.Ino
	return w.enter(in, l, e, name)
}

// enter gives the open folder l, whose entry is e, and what is below it.
func (w *walk) enter(in, l *level, e *format.Entry, name string) bool {
	was := len(w.path)
	w.path = append(append(w.path, name...), '/')
	l.path = len(w.path)
	defer func() { w.path = w.path[:was] }()
	var err error
	l.names, err = w.read(l.fd)
	switch {
	case err != nil && fatal(err):
		w.yield(nil, failure("list", e.Key, err))
		return false
	case errors.Is(err, unix.ENOENT):
		w.path = w.path[:was]
		if w.gone(in, name) {
			return true // with all that was in it
		}
		w.path = w.path[:l.path]
		e.Missing = notFound
	case err != nil:
		e.Missing = reason(err) // what was heard of its names until then is read all the same
	case l.names.long > 0:
		e.Missing = fmt.Sprintf("%d names in it make paths of over %d bytes, which no point can hold", l.names.long, format.MaxKey)
	}
	if !w.give(e) {
		return false
	}
	w.levels = append(w.levels, l)
	if n := len(w.levels) - 1 - maxOpen; n >= 0 {
		w.levels[n].close()
	}
	more := w.folder(l)
	w.levels = w.levels[:len(w.levels)-1]
	if more && in.fd < 0 {
		more = w.reopen(in, l)
	}
	return more
}

// reopen opens a folder again that was closed on the way down: from below, which costs the same at any depth, or from the
// root. One that is not what it was is lost. False ends the walk.
func (w *walk) reopen(l, below *level) bool {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fromBelow := func() (int, error) {
		if below.fd < 0 {
			return -1, unix.ENOENT
		}
		return w.v.sys.open(below.fd, "..", flags)
	}
	fromRoot := func() (int, error) {
		if l.path == 0 {
			return w.v.sys.open(w.v.root, ".", flags)
		}
		return w.v.open(string(w.path[:l.path]), flags)
	}
	for _, open := range []func() (int, error){fromBelow, fromRoot} {
		fd, err := open()
		if err != nil {
			if fatal(err) {
				w.yield(nil, failure("list", string(w.path[:l.path]), err))
				return false
			}
			continue
		}
		var st unix.Stat_t
		if fstat(fd, &st) == nil && uint64(st.Dev) == l.device && st.Ino == l.inode {
			l.fd = fd
			return true
		}
		_ = unix.Close(fd)
	}
	return true
}

// closedFolder gives a folder that could not be opened, with what can be known of it.
func (w *walk) closedFolder(dir int, name, key string, why error) bool {
	var st unix.Stat_t
	if fatal(why) || w.v.sys.stat(dir, name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return w.missing(key, format.KindDir, why)
	}
	e := w.v.entry(key, &st)
	e.Missing = reason(why)
	if errors.Is(why, unix.ENOENT) {
		e.Missing = notFound
	}
	return w.give(e)
}
