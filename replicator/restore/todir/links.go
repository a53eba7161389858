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

// maxCopies bounds how many copies of one file are tried before another is made.
const maxCopies = 8

// links are the files with several names: the first one is restored, the others are linked to it at the end.
type links struct {
	first map[inode]*linked
	taken map[fileID]inode // of files at the target that stay: which of the point's files they are
	todo  []link
	full  map[string][]string // first names that took no more links, or none from there, to the copies that others are linked to

	mu    sync.Mutex
	right map[string]bool // of the first names: whether they are at the target as they should be; receivers set it
}

type inode struct{ device, number uint64 }

type linked struct {
	key    string
	left   uint64 // names that have not come
	at     fileID // the file that was at the target under the first name; zero: none that stays
	unread bool   // it was left as it is, and nobody looked into it
	used   bool   // another name is to be linked to it
}

type link struct{ key, first string }

func newLinks() links {
	return links{first: make(map[inode]*linked), taken: make(map[fileID]inode), full: make(map[string][]string), right: make(map[string]bool)}
}

// of gives the file of which e is another name, if one came before.
func (l *links) of(e *format.Entry) *linked {
	if !several(e) {
		return nil
	}
	at := inode{e.File.Device, e.File.Inode}
	f := l.first[at]
	if f != nil {
		if f.left--; f.left == 0 {
			delete(l.first, at)
		}
	}
	return f
}

func several(e *format.Entry) bool {
	return e.Kind == format.KindFile && e.File.Links > 1 && e.File.Inode != 0
}

// addLinked makes e the first name of its file; there is what the target has under it, if that may stay. joined: that belongs to
// another file of the point, so it may not.
func (t *linking) addLinked(e *format.Entry, there *found, unread bool) (joined bool) {
	l := &t.links
	if !several(e) {
		return false
	}
	if len(l.first) >= maxLinks || len(l.todo) >= maxLinks {
		t.notes.add(noLinks)
		return false
	}
	f := &linked{key: e.Key, left: e.File.Links - 1, unread: unread}
	file := inode{e.File.Device, e.File.Inode}
	if there.there {
		if of, ok := l.taken[there.at]; ok && of != file {
			joined = true
		} else {
			f.at = there.at
			if len(l.taken) < maxLinks {
				l.taken[there.at] = file
			}
		}
	}
	l.first[file] = f
	l.mu.Lock()
	defer l.mu.Unlock()
	l.right[e.Key] = false
	return joined
}

// linkable reports whether e can become a name of a file that came before. One that was left as it is has to be read first.
func (t *linking) linkable(first *linked, e *format.Entry) bool {
	if !first.unread {
		return true
	}
	if t.job.DryRun {
		return false
	}
	dir, name, err := t.reach(first.key)
	if err != nil {
		return false
	}
	defer unix.Close(dir) //nolint:errcheck // only read
	f, content, diff := t.found.sameFile(t.ctx, dir, name, t.root.manner, e)
	if f != nil {
		defer f.Close()
	}
	if !content || len(diff) > 0 {
		return false
	}
	first.unread = false
	t.links.mu.Lock()
	defer t.links.mu.Unlock()
	t.links.right[first.key] = true
	return true
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
func (l *links) later(key string, first *linked) {
	first.used = true
	l.todo = append(l.todo, link{key, first.key})
}

// decided forgets a file of which all names came and none is to be linked to it: a tree may have any number of those.
func (l *links) decided(f *linked) {
	if f == nil || f.left > 0 || f.used {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.right, f.key)
}

// makeLinks makes the links that were put off until their files are there.
func (t *linking) makeLinks(ctx context.Context) error {
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

func (t *linking) makeLink(l link) error {
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
	copied, err := t.linkOrCopy(from, fromName, to, toName, l.first)
	if err != nil {
		return err
	}
	if copied && len(t.links.full[l.first]) < maxCopies {
		t.links.full[l.first] = append(t.links.full[l.first], l.key)
	}
	return unix.UtimesNanoAt(to, ".", []unix.Timespec{dir.Atim, dir.Mtim}, 0)
}

// linkOrCopy gives a file another name; where it can have no more, or none there, a copy gets that.
func (t *linking) linkOrCopy(from int, fromName string, to int, toName, first string) (copied bool, err error) {
	temp := t.tempName()
	err = retry(func() error { return t.linkat(from, fromName, to, temp) })
	if err == nil {
		return false, t.placeTemp(to, temp, toName)
	}
	if !noHardLinks(err) {
		return false, explain("link", toName, err)
	}
	for _, key := range t.links.full[first] {
		dir, name, rerr := t.reach(key)
		if rerr != nil {
			continue
		}
		err = retry(func() error { return t.linkat(dir, name, to, temp) })
		_ = unix.Close(dir) // only passed through
		if err == nil {
			return false, t.placeTemp(to, temp, toName)
		}
	}
	t.notes.add(noLinks)
	if err := t.copyFile(from, fromName, to, temp); err != nil {
		_ = unix.Unlinkat(to, temp, 0) // the next restore sweeps what is left
		return false, fmt.Errorf("copy it, as there can be no link: %w", err)
	}
	return true, t.placeTemp(to, temp, toName)
}

func (t *linking) placeTemp(to int, temp, name string) error {
	err := t.places.place(to, temp, name, true)
	if err != nil {
		_ = unix.Unlinkat(to, temp, 0) // the next restore sweeps what is left
	}
	return err
}

// reach opens the folder a key lies in, from the root down, following no links.
func (t *linking) reach(key string) (dir int, name string, err error) {
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
