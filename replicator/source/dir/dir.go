// Package dirsource is a directory as a source: files, folders, symbolic links and special files of one tree.
//
// Keys are paths relative to the root with "/" between segments, as raw bytes; a folder's key ends in "/", the root's is
// "./". Entries come in byte order of these keys, so "a.txt" stands before "a/", and "a/b" before "a0". Nothing is
// frozen: a file that is not what was listed (inode, size, mtime or ctime differ, before or after its bytes were read) is
// source.ErrChanged. Symbolic links are never followed below the root, special files are never opened, and nothing here
// writes; access times are left alone where the system allows that.
//
// Memory is bounded by the names of the folders on one path, about 40 bytes a name, not by the size of the tree; a tree of
// any depth is read with a bounded number of descriptors, and costs the same a folder however deep that lies.
//
// What is listed and cannot be looked at is in the point as missing, unless it is proved that it was removed meanwhile.
package dirsource

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options says what is protected.
type Options struct {
	Root          string   // a directory; may itself be a symbolic link
	Exclude       []string // globs against the whole key; a folder whose whole content matches is not entered
	OneFileSystem bool     // record folders that other file systems are mounted on, and do not enter them
}

// rootKey is the key of the root itself.
const rootKey = "./"

// Source is one directory tree.
type Source struct {
	root    string
	exclude glob.Set
	oneFS   bool
}

// New checks the options. The directory is opened by Freeze.
func New(o Options) (*Source, error) {
	if o.Root == "" {
		return nil, errors.New("directory source: no directory given")
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("directory source %s: %w", o.Root, err)
	}
	set, err := glob.ParseSet(o.Exclude)
	if err != nil {
		return nil, fmt.Errorf("directory source %s: exclude: %w", root, err)
	}
	return &Source{root: root, exclude: set, oneFS: o.OneFileSystem}, nil
}

// Kind is "dir".
func (s *Source) Kind() string { return "dir" }

// UnusedExcludes implements source.Excluder.
func (s *Source) UnusedExcludes() []string { return s.exclude.Unused() }

// Freeze opens the root. A root that is missing, not a directory or not readable is an error here.
func (s *Source) Freeze(ctx context.Context) (source.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := openRetry(unix.AT_FDCWD, s.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w; check that it exists and that this user may read it", s.root, err)
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open directory %s: %w", s.root, err)
	}
	mount, _ := mountOf(fd, "")
	return &view{
		src: s, sys: system{fstatat, openAt, readNames}, root: fd, device: uint64(st.Dev), mount: mount,
		users: names{lookup: userName}, groups: names{lookup: groupName},
	}, nil
}

// system is what a listing asks of the system: tests have it lie.
type system struct {
	stat  func(dir int, name string, st *unix.Stat_t) error
	open  func(dir int, name string, flags int) (int, error)
	names func(fd int, visit func(name []byte, folder bool) error) error
}

// view is one reading of the tree. The root stays open, so a root that is moved away is still read.
type view struct {
	src    *Source
	sys    system
	root   int
	device uint64
	mount  uint64 // 0: this system does not tell mounts apart
	users  names
	groups names
	notes  notes
	deep   deep
	once   sync.Once
	closed error
}

// Clock is this machine's.
func (v *view) Clock() time.Time { return time.Now() }

// Close closes the root.
func (v *view) Close() error {
	v.once.Do(func() {
		v.deep.close()
		v.closed = unix.Close(v.root)
	})
	return v.closed
}

// entry gives the listing fields. The target of a symbolic link is added by the caller.
func (v *view) entry(key string, st *unix.Stat_t) *format.Entry {
	e := &format.Entry{
		Key:      key,
		Modified: timeOf(st.Mtim),
		File: &format.File{
			Mode: uint32(st.Mode) & 0o7777, UID: st.Uid, GID: st.Gid,
			User: v.users.of(st.Uid), Group: v.groups.of(st.Gid),
			Changed: timeOf(st.Ctim), Inode: st.Ino, Device: uint64(st.Dev), Links: uint64(st.Nlink),
		},
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Kind, e.Size = format.KindFile, st.Size
	case unix.S_IFDIR:
		e.Kind = format.KindDir
	case unix.S_IFLNK:
		e.Kind = format.KindSymlink
	default:
		e.Kind = format.KindSpecial
		e.File.Type, e.File.Rdev = specialType(st)
	}
	if outOfRange(st.Mtim) || outOfRange(st.Ctim) {
		v.notes.add(key, "dated outside the years 0000 to 9999, which no point can say; kept with the nearest time")
	}
	return e
}

// specialType names a special file; only devices have a number.
func specialType(st *unix.Stat_t) (string, uint64) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return "fifo", 0
	case unix.S_IFSOCK:
		return "socket", 0
	case unix.S_IFCHR:
		return "char", uint64(st.Rdev)
	case unix.S_IFBLK:
		return "block", uint64(st.Rdev)
	default:
		return "unknown", 0
	}
}

// same reports whether st is what e was listed from. Links and access time do not count: a new hard link changes ctime.
func same(e *format.Entry, st *unix.Stat_t) bool {
	f := e.File
	if f == nil || f.Inode != st.Ino || f.Device != uint64(st.Dev) || !f.Changed.Equal(timeOf(st.Ctim).Time) {
		return false
	}
	if !e.Modified.Equal(timeOf(st.Mtim).Time) {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return e.Kind == format.KindFile && e.Size == st.Size
	case unix.S_IFDIR:
		return e.Kind == format.KindDir
	case unix.S_IFLNK:
		return e.Kind == format.KindSymlink
	default:
		return e.Kind == format.KindSpecial
	}
}

// failure turns what the system said of one entry into the contract's errors. Running out of descriptors or memory is a
// failure of the whole run, not of the entry.
func failure(op, key string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s %q: %w", op, key, source.ErrGone)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ESTALE), errors.Is(err, unix.EISDIR):
		return fmt.Errorf("%s %q: %w", op, key, source.ErrChanged)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%s %q: %w; raise the limit on open files", op, key, err)
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EBADF):
		return fmt.Errorf("%s %q: %w", op, key, err)
	}
	return &source.Unreadable{Key: key, Reason: reason(err), Err: err}
}

// reason is short and stable.
func reason(err error) string {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "access denied"
	case errors.Is(err, unix.EIO):
		return "input/output error"
	}
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return "cannot be read"
}

// names caches user or group names. An ID without a name has the empty one.
type names struct {
	lookup func(id string) string
	mu     sync.Mutex
	known  map[uint32]string
}

// maxNames bounds the cache; past it names are looked up again.
const maxNames = 1 << 16

func (n *names) of(id uint32) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s, ok := n.known[id]; ok {
		return s
	}
	if n.known == nil || len(n.known) >= maxNames {
		n.known = map[uint32]string{}
	}
	s := n.lookup(strconv.FormatUint(uint64(id), 10))
	n.known[id] = s
	return s
}

func userName(id string) string {
	u, err := user.LookupId(id)
	if err != nil {
		return ""
	}
	return u.Username
}

func groupName(id string) string {
	g, err := user.LookupGroupId(id)
	if err != nil {
		return ""
	}
	return g.Name
}
