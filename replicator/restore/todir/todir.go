// Package todir restores into a directory: files with their modes, times, links and attributes, objects as files at
// their key's path.
//
// A file is written under a temporary name in its folder and renamed when every byte is verified, so that nothing
// half-done ever has a right name; a restore that was killed is run again and goes on. It never leaves the target: every
// folder on the way is opened by itself without following symbolic links and held open, and a key that is not exactly one
// path is refused by name. What is in the way is replaced only where it is a file or link and --overwrite allows it; folders are never
// removed. It must never follow a link, clean a key, or write one key over another.
//
// With `changed`, a file that is there is taken as right if its size and modification time (to the nanosecond) are the
// entry's, since a time is only ever set on a file whose content was verified; links if they point to the same place. Where
// an unfinished restore was followed by a new start of the machine, such files are read and compared: see unfinished.go.
package todir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options say where to, and how much of what a file system knows.
type Options struct {
	Root     string // made if it is not there
	Owners   bool   // set owners even if we are not root; failing that fails the file. Root always tries
	Specials bool   // make devices, fifos and sockets too
}

var errStop = restore.ErrStop

// Target is a restore.Target. It serves one restore.
type Target struct {
	o     Options
	job   restore.Job
	root  *node
	owner bool
	euid  uint32
	egid  uint32

	temp   string
	serial atomic.Uint64

	doubtful   bool // an unfinished restore's files may not have reached the disk whole: see begin
	othersMark bool // and it was another point's

	stack []*node // the folders the walk is in, root first
	links links

	mu    sync.Mutex
	nodes map[*node]struct{}
	notes notes
}

var _ restore.Target = (*Target)(nil)

// New checks the options. Nothing is touched until Begin.
func New(o Options) (*Target, error) {
	if o.Root == "" {
		return nil, errors.New("restore to a directory: no directory given")
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("restore to %s: %w", o.Root, err)
	}
	o.Root = root
	return &Target{o: o, nodes: make(map[*node]struct{}), links: newLinks()}, nil
}

// KeepsVersions implements restore.Target: a directory holds the current version only.
func (t *Target) KeepsVersions() bool { return false }

// InOrder implements restore.Target.
func (t *Target) InOrder() bool { return false }

// Begin makes the directory, locks it against a second restore, and finds out what its file system can tell apart.
func (t *Target) Begin(ctx context.Context, job restore.Job) error {
	t.job = job
	t.euid, t.egid = uint32(os.Geteuid()), uint32(os.Getegid())
	t.owner = t.o.Owners || t.euid == 0
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	t.temp = tempPrefix + hex.EncodeToString(b[:]) + "-"
	if !job.DryRun {
		if err := os.MkdirAll(t.o.Root, 0o777); err != nil {
			return fmt.Errorf("restore to %s: %w", t.o.Root, err)
		}
	}
	t.root = &node{t: t, name: t.o.Root, fd: -1}
	t.root.refs.Store(1)
	fd, err := openat(unix.AT_FDCWD, t.o.Root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil && (!job.DryRun || err != unix.ENOENT) {
		return fmt.Errorf("restore to %s: %w", t.o.Root, err)
	}
	if err == nil {
		t.root.fd = fd
	}
	t.keep(t.root)
	t.stack = []*node{t.root}
	if job.DryRun {
		if fd >= 0 {
			t.root.manner = t.probe(fd)
		}
		return t.begin()
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return fmt.Errorf("restore to %s: another restore is writing there; wait for it, or give another directory", t.o.Root)
	}
	if err := t.root.sweep(); err != nil {
		return err
	}
	t.root.manner = t.probe(fd)
	return t.begin()
}

func (t *Target) tempName() string {
	return t.temp + fmt.Sprintf("%x", t.serial.Add(1))
}

// Accept implements restore.Target.
func (t *Target) Accept(_ context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	e := versions[len(versions)-1]
	p, err := parse(e.Key)
	if err != nil {
		return nil, 0, err
	}
	if p.folder {
		verdict, err := t.folder(e, p)
		return nil, verdict, err
	}
	if e.Kind == format.KindSpecial && !t.o.Specials {
		t.notes.add(&t.notes.specials)
		return nil, restore.Ignore, nil
	}
	n, err := t.descend(p.dir)
	if err != nil {
		return nil, 0, err
	}
	if err := n.claim(p.name, false); err != nil {
		return nil, 0, err
	}
	there, equal, err := t.compare(n, p.name, e)
	if err != nil {
		return nil, 0, err
	}
	skip := there && t.job.Overwrite == restore.Never || equal && t.job.Overwrite == restore.Changed
	if first, ok := t.links.seen(e, !skip || equal); ok && !skip {
		t.links.later(e.Key, first)
		return nil, restore.Done, nil
	}
	if skip && equal {
		t.links.restored(e)
	}
	if skip {
		return nil, restore.Skip, nil
	}
	verdict := restore.Take
	if !e.Kind.HasContent() {
		verdict = restore.TakeEmpty
	}
	if t.job.DryRun {
		return nil, verdict, nil
	}
	return receiver{t, n.hold(), p.name}, verdict, nil
}

// folder makes the folder that e is.
func (t *Target) folder(e *format.Entry, p path) (restore.Verdict, error) {
	if e.Size > 0 {
		return 0, refuse("the key ends in a slash and has content, and no folder can hold that")
	}
	if e.Kind != format.KindDir && e.Kind != format.KindObject {
		return 0, refuse("the key ends in a slash and is no folder")
	}
	if p.name == "" {
		t.leave(1)
		t.root.own(e)
		return restore.Done, nil
	}
	in, err := t.descend(p.dir)
	if err != nil {
		return 0, err
	}
	n, err := in.enter(p.name, e)
	if err != nil {
		return 0, err
	}
	t.stack = append(t.stack, n)
	if t.job.Overwrite == restore.Never && !n.fresh && n.fd >= 0 {
		return restore.Skip, nil
	}
	n.own(e)
	return restore.Done, nil
}

// compare reports whether something is at the entry's place, and whether it seems to be what the entry is.
func (t *Target) compare(n *node, name string, e *format.Entry) (there, equal bool, err error) {
	if n.fresh || n.fd < 0 {
		return false, false, nil
	}
	var st unix.Stat_t
	err = retry(func() error { return unix.Fstatat(n.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	switch {
	case err == unix.ENOENT:
		return false, false, nil
	case err != nil:
		return false, false, explain("look at", name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return true, false, refuse("a folder is at the target where %q must be", name)
	case unix.S_IFREG:
		if t.torn(n, name, &st, e) {
			return false, false, nil
		}
		equal = e.Kind.HasContent() && st.Size == e.Size &&
			time.Unix(st.Mtim.Unix()).Equal(e.Modified.Time)
	case unix.S_IFLNK:
		equal = e.Kind == format.KindSymlink && t.pointsTo(n, name, e.File.Target)
	}
	return true, equal, nil
}

func (t *Target) pointsTo(n *node, name, target string) bool {
	buf := make([]byte, len(target)+1)
	k, err := unix.Readlinkat(n.fd, name, buf)
	return err == nil && string(buf[:k]) == target
}

// Finish makes hard links, sets the last folders' attributes and has the file system write everything out.
func (t *Target) Finish(ctx context.Context) error {
	t.leave(1)
	if err := t.makeLinks(ctx); err != nil {
		return err
	}
	if err := syncAll(t.root.fd); err != nil {
		return fmt.Errorf("restore to %s: write everything out: %w", t.o.Root, err)
	}
	t.settled()
	if e := t.root.entry; e != nil {
		if err := t.dress(t.root.fd, e); err != nil {
			t.job.Fail(e.Key, err)
		}
		t.root.entry = nil
	}
	return nil
}

// Close lets go of the folders. Temporary files were removed by those who made them.
func (t *Target) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.nodes {
		if n.fd >= 0 {
			_ = unix.Close(n.fd) // a folder has no data to lose
		}
	}
	clear(t.nodes)
	return nil
}

// Notes implements restore.Target.
func (t *Target) Notes() []string { return t.notes.text() }
