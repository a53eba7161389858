// Package todir restores into a directory: files with their modes, times, links and attributes, objects as files at
// their key's path.
//
// A file is written under a temporary name in its folder and renamed when every byte is verified, so that nothing
// half-done ever has a right name; a restore that was killed is run again and goes on. It never leaves the target: every
// folder on the way is opened by itself without following symbolic links and known again by its inode, and a key that is
// not exactly one path is refused by name. What is in the way is replaced only where --overwrite allows it; nothing is ever
// deleted but what the point replaces. It must never follow a link, clean a key, or write one key over another.
//
// What is set is asked back: mode, owner, times, attributes, size. What a file system does not keep is tried out once and
// noted. With `changed` everything is compared, content too, and what differs is put right; with `never` what is there
// stays, and what visibly differs is named. The folder that is restored into is no content: if it was there before it keeps
// its own attributes. Where an unfinished restore was followed by a new start of the machine, see unfinished.go.
package todir

import (
	"container/list"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options say where to, and how much of what a file system knows.
type Options struct {
	Root     string // made if it is not there
	Owners   bool   // set owners even if we are not root; failing that fails the file. Root always tries
	Specials bool   // make devices, fifos and sockets too
	InPlace  bool   // the root is the source's own folder: with Changed and Always it is content too
}

var errStop = restore.ErrStop

// Target is a restore.Target. It serves one restore.
type Target struct {
	hard   *linking
	attrs  *dressing
	found  *finding
	places *placing

	o      Options
	ctx    context.Context //nolint:containedctx // of Begin: of the restore, for what is read to be compared
	job    restore.Job
	root   *node
	made   bool // the root was
	owner  bool
	euid   uint32
	egid   uint32
	groups []int // that files can be given to without being root

	temp   string
	serial atomic.Uint64
	linkat func(dir int, name string, to int, as string) error

	doubtful   bool // an unfinished restore's files may not have reached the disk whole: see begin
	othersMark bool // and it was another point's

	stack []*node // the folders the walk is in, root first
	links links
	notes notes

	mu      sync.Mutex
	nodes   map[*node]struct{}
	folders folders
}

// linking makes hard links.
type linking struct{ *Target }

// dressing gives what was made its owner, mode, times and attributes.
type dressing struct{ *Target }

// finding looks at what is there already, and at what an earlier restore left.
type finding struct{ *Target }

// placing puts what was made in its place.
type placing struct{ *Target }

// share makes the roles.
func (t *Target) share() *Target {
	t.hard, t.attrs, t.found, t.places = &linking{t}, &dressing{t}, &finding{t}, &placing{t}
	return t
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
	t := (&Target{o: o, nodes: make(map[*node]struct{}), links: newLinks(), folders: folders{list.New()}}).share()
	t.linkat = func(dir int, name string, to int, as string) error { return unix.Linkat(dir, name, to, as, 0) }
	return t, nil
}

// KeepsVersions implements restore.Target: a directory holds the current version only.
func (t *Target) KeepsVersions() bool { return false }

// InOrder implements restore.Target.
func (t *Target) InOrder() bool { return false }

// Begin makes the directory, locks it against a second restore, and finds out what its file system can tell apart.
func (t *Target) Begin(ctx context.Context, job restore.Job) error {
	t.ctx, t.job = ctx, job
	t.euid, t.egid = uint32(os.Geteuid()), uint32(os.Getegid())
	t.owner = t.o.Owners || t.euid == 0
	groups, err := os.Getgroups()
	if err != nil {
		return fmt.Errorf("restore to %s: %w", t.o.Root, err)
	}
	t.groups = append(groups, os.Getegid())
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	t.temp = tempPrefix + hex.EncodeToString(b[:]) + "-"
	t.root = &node{t: t, name: t.o.Root, fd: -1}
	t.root.refs.Store(1)
	t.keep(t.root)
	t.stack = []*node{t.root}
	fd, err := t.openRoot()
	switch {
	case err == unix.ENOENT && job.DryRun:
		t.root.absent = true
		return t.found.begin()
	case err != nil:
		return fmt.Errorf("restore to %s: %w", t.o.Root, err)
	}
	t.root.fd, t.root.pins = fd, 1 // it stays open
	if !job.DryRun {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
			return fmt.Errorf("restore to %s: another restore is writing there; wait for it, or give another directory", t.o.Root)
		}
	}
	if err := unix.Fstat(fd, &t.root.was); err != nil {
		return fmt.Errorf("restore to %s: %w", t.o.Root, err)
	}
	t.root.id = idOf(&t.root.was)
	if t.made && t.private() {
		if err := t.root.markOurs(fd); err != nil {
			return err
		}
	}
	if err := t.root.sweep(fd); err != nil {
		return err
	}
	t.root.bequeath = hasDefaultACL(fd)
	t.root.manner = t.probe(fd, t.o.Root)
	return t.found.begin()
}

// private reports whether the point says who may look into the root, which is then nobody's but ours until that is set.
func (t *Target) private() bool { return t.job.Commit.SourceKind == "dir" }

func (t *Target) openRoot() (int, error) {
	if !t.job.DryRun {
		if err := os.MkdirAll(filepath.Dir(t.o.Root), 0o777); err != nil {
			return -1, err
		}
		mode := uint32(0o777)
		if t.private() {
			mode = 0o700
		}
		err := retry(func() error { return unix.Mkdir(t.o.Root, mode) })
		if err != nil && err != unix.EEXIST {
			return -1, &os.PathError{Op: "mkdir", Path: t.o.Root, Err: err}
		}
		t.made = err == nil
	}
	fd, err := openat(unix.AT_FDCWD, t.o.Root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR {
		return -1, &os.PathError{Op: "mkdir", Path: t.o.Root, Err: err}
	}
	return fd, err
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
		t.notes.add(noSpecials)
		return nil, restore.Ignore, nil
	}
	n, err := t.descend(p.dir)
	if err != nil {
		return nil, 0, err
	}
	if err := n.claim(p.name, false); err != nil {
		return nil, 0, err
	}
	f, err := t.found.find(n, p.name, e)
	if err != nil {
		return nil, 0, err
	}
	if f.there && t.job.Overwrite == restore.Never {
		return t.leaveIt(n, p.name, &f, e)
	}
	return t.decide(n, p.name, &f, e)
}

// leaveIt says of what is there and stays whether it looks like the entry.
func (t *Target) leaveIt(n *node, name string, f *found, e *format.Entry) (restore.Receiver, restore.Verdict, error) {
	what := t.found.seen(n, name, f, e)
	first := t.links.of(e)
	defer t.links.decided(first)
	if first == nil && len(what) == 0 && !n.manner.lacks.links {
		t.hard.addLinked(e, f, true)
	}
	if len(what) > 0 {
		return nil, 0, differs(what)
	}
	return nil, restore.Skip, nil
}

// decide says what becomes of an entry that is not there, or may be replaced.
func (t *Target) decide(n *node, name string, f *found, e *format.Entry) (restore.Receiver, restore.Verdict, error) {
	changed := f.there && t.job.Overwrite == restore.Changed
	joined := false
	first := t.links.of(e)
	defer t.links.decided(first)
	switch {
	case n.manner.lacks.links && several(e):
		t.notes.add(noLinks)
	case first == nil:
		there := f
		if !changed {
			there = &found{}
		}
		joined = t.hard.addLinked(e, there, false)
	case t.hard.linkable(first, e):
		t.links.later(e.Key, first)
		if changed && f.at == first.at {
			return nil, restore.Skip, nil // and if that file is replaced, it is linked to the new one
		}
		return nil, restore.Done, nil
	}
	verdict := restore.Take
	switch {
	case !e.Kind.HasContent():
		verdict = restore.TakeEmpty
		if changed && t.found.sameOdd(n, name, f, e) {
			return nil, restore.Skip, nil
		}
	case changed && !joined && kindOf(&f.st) == unix.S_IFREG && f.st.Size == e.Size:
		verdict = restore.Look
	}
	if t.job.DryRun && verdict != restore.Look {
		return nil, verdict, nil
	}
	return receiver{t, n.hold(), name}, verdict, nil
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
		return t.rootEntry(e), nil
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
	if t.job.Overwrite == restore.Never && !n.fresh && !n.ours && !n.absent {
		w := t.found.plan(n.manner, e)
		if what := visibly(&n.was, &w, false); len(what) > 0 {
			return 0, differs(what)
		}
		return restore.Skip, nil
	}
	n.own(e)
	return restore.Done, nil
}

// rootEntry decides about the root's own attributes. A folder that was there is somebody's own: only one that this restore
// made, or that is the source's itself, becomes what the point's root was.
func (t *Target) rootEntry(e *format.Entry) restore.Verdict {
	n := t.root
	if n.absent || t.made || n.ours || t.o.InPlace && t.job.Overwrite != restore.Never {
		n.own(e)
		return restore.Done
	}
	w := t.found.plan(n.manner, e)
	if len(visibly(&n.was, &w, true)) > 0 {
		t.notes.add(ownTarget)
	}
	if t.job.Overwrite == restore.Always {
		return restore.Done // nothing is passed over then
	}
	return restore.Skip
}

// Finish makes hard links, sets the last folders' attributes and has the file system write everything out.
func (t *Target) Finish(ctx context.Context) error {
	t.leave(1)
	if err := t.hard.makeLinks(ctx); err != nil {
		return err
	}
	if err := syncAll(t.root.fd); err != nil {
		return fmt.Errorf("restore to %s: write everything out: %w", t.o.Root, err)
	}
	t.found.settled()
	if t.root.ours && t.root.entry == nil {
		return t.openToOthers()
	}
	if err := t.root.finish(); err != nil && t.root.entry != nil {
		t.job.Fail(t.root.entry.Key, err)
	}
	t.root.entry = nil
	return nil
}

// openToOthers gives a root that was made for a part of a point, without its root's attributes, those of any new folder.
func (t *Target) openToOthers() error {
	fd, name := t.root.fd, t.tempName()
	var st unix.Stat_t
	err := retry(func() error { return unix.Mkdirat(fd, name, 0o777) })
	if err == nil {
		err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		err = errors.Join(err, unix.Unlinkat(fd, name, unix.AT_REMOVEDIR))
	}
	if err == nil {
		err = unix.Fchmod(fd, uint32(st.Mode)&0o7777)
	}
	if err != nil {
		return fmt.Errorf("restore to %s: set its mode: %w", t.o.Root, err)
	}
	_ = unix.Unlinkat(fd, folderMark, 0) // the next restore would only set everything again
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
