package todir

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxLinks bounds how many hard-linked files are remembered; beyond it each name becomes a file of its own, and is noted.
const maxLinks = 100_000

// links are the files with several names: the first one is restored, the others are linked to it at the end.
type links struct {
	first map[inode]*linked
	todo  []link
	apart int64 // that were too many to remember

	mu    sync.Mutex
	right map[string]bool // of the first names: whether they are at the target as they should be; receivers set it
}

type inode struct{ device, number uint64 }

type linked struct {
	key  string
	left uint64 // names that have not come
}

type link struct{ key, first string }

func newLinks() links {
	return links{first: make(map[inode]*linked), right: make(map[string]bool)}
}

// seen gives the name under which e's file was restored already. If there is none e itself becomes that, if it is usable.
func (l *links) seen(e *format.Entry, usable bool) (first string, ok bool) {
	if e.Kind != format.KindFile || e.File.Links < 2 || e.File.Inode == 0 {
		return "", false
	}
	at := inode{e.File.Device, e.File.Inode}
	if f := l.first[at]; f != nil {
		if f.left--; f.left == 0 {
			delete(l.first, at)
		}
		return f.key, true
	}
	switch {
	case !usable:
	case len(l.first) < maxLinks && len(l.todo) < maxLinks:
		l.first[at] = &linked{e.Key, e.File.Links - 1}
		l.mu.Lock()
		l.right[e.Key] = false
		l.mu.Unlock()
	default:
		l.apart++
	}
	return "", false
}

// restored remembers that e is at the target. Whatever else is under a first name, such as an older file where restoring
// it failed, is never linked to.
func (l *links) restored(e *format.Entry) {
	if e.Kind != format.KindFile || e.File.Links < 2 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.right[e.Key]; ok {
		l.right[e.Key] = true
	}
}

// later remembers a link that is to be made.
func (l *links) later(key, first string) {
	l.todo = append(l.todo, link{key, first})
}

// makeLinks makes the links that were put off until their files are there.
func (t *Target) makeLinks(ctx context.Context) error {
	t.notes.links = t.links.apart
	for _, l := range t.links.todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.makeLink(l); err != nil {
			t.job.Fail(l.key, fmt.Errorf("hard link to %q: %w", l.first, err))
		}
	}
	return nil
}

func (t *Target) makeLink(l link) error {
	if !t.links.right[l.first] {
		return errors.New("the first name was not restored")
	}
	from, fromName, err := t.reach(l.first)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	to, toName, err := t.reach(l.key)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	var a, b, dir unix.Stat_t
	if err := unix.Fstatat(from, fromName, &a, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("the first name is gone: %w", err)
	}
	if unix.Fstatat(to, toName, &b, unix.AT_SYMLINK_NOFOLLOW) == nil && a.Ino == b.Ino && a.Dev == b.Dev {
		return nil
	}
	// The folder's own attributes are set already and must not show the link.
	if err := unix.Fstat(to, &dir); err != nil {
		return err
	}
	if dir.Mode&0o200 == 0 && t.euid != 0 {
		if err := unix.Fchmod(to, uint32(dir.Mode)&0o7777|0o200); err != nil {
			return err
		}
		defer func() { _ = unix.Fchmod(to, uint32(dir.Mode)&0o7777) }() // it could be set before
	}
	temp := t.tempName()
	if err := retry(func() error { return unix.Linkat(from, fromName, to, temp, 0) }); err != nil {
		return explain("link", toName, err)
	}
	if err := retry(func() error { return unix.Renameat(to, temp, to, toName) }); err != nil {
		_ = unix.Unlinkat(to, temp, 0) // the next restore sweeps what is left
		return explain("name", toName, err)
	}
	return unix.UtimesNanoAt(to, ".", []unix.Timespec{dir.Atim, dir.Mtim}, 0)
}

// reach opens the folder a key lies in, from the root down, following no links.
func (t *Target) reach(key string) (dir int, name string, err error) {
	p, err := parse(key)
	if err != nil {
		return -1, "", err
	}
	dir, err = openat(t.root.fd, ".", openDir, 0)
	for _, seg := range p.dir {
		if err != nil {
			break
		}
		var next int
		next, err = openat(dir, seg, openDir, 0)
		_ = unix.Close(dir) // only read
		dir = next
	}
	if err != nil {
		return -1, "", explain("open the folder of", key, err)
	}
	return dir, p.name, nil
}
