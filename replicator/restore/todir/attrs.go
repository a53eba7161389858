package todir

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const setID = unix.S_ISUID | unix.S_ISGID

// dressFile gives the open file fd, called temp in dir, the entry's attributes. Times come last: they say that all is right.
func (t *Target) dressFile(dir, fd int, temp string, e *format.Entry) error {
	if e.File != nil {
		if err := t.dressFD(fd, e, true); err != nil {
			return err
		}
	}
	return setTimes(dir, temp, e.Modified.Time)
}

// dress gives a folder its attributes, after everything in it is there.
func (t *Target) dress(fd int, e *format.Entry) error {
	if e.File != nil {
		if err := t.dressFD(fd, e, false); err != nil {
			return err
		}
	}
	return setTimes(fd, ".", e.Modified.Time)
}

// dressLink gives what cannot be opened its owner and times.
func (t *Target) dressLink(dir int, temp string, e *format.Entry) error {
	if t.mustOwn(e.File) {
		err := retry(func() error {
			return unix.Fchownat(dir, temp, int(e.File.UID), int(e.File.GID), unix.AT_SYMLINK_NOFOLLOW)
		})
		if err := t.owned(err); err != nil {
			return err
		}
	}
	if len(e.File.Xattrs) > 0 {
		t.notes.add(&t.notes.xattrs)
	}
	return setTimes(dir, temp, e.Modified.Time)
}

// dressFD sets owner, extended attributes and mode, in this order: changing the owner clears set-ID bits and capabilities.
func (t *Target) dressFD(fd int, e *format.Entry, file bool) error {
	f, mode := e.File, e.File.Mode
	ours := f.UID == t.euid && f.GID == t.egid
	if t.mustOwn(f) {
		err := retry(func() error { return unix.Fchown(fd, int(f.UID), int(f.GID)) })
		ours = err == nil
		if err := t.owned(err); err != nil {
			return err
		}
	}
	if file && !ours && mode&setID != 0 {
		mode &^= setID // never a set-ID program that runs as somebody else than it did
		t.notes.add(&t.notes.setIDs)
	}
	for name, value := range f.Xattrs {
		if err := retry(func() error { return unix.Fsetxattr(fd, name, value, 0) }); err != nil {
			if err == unix.ENOSPC || err == unix.EDQUOT {
				return explain("set attribute "+name+" of", e.Key, err)
			}
			t.notes.add(&t.notes.xattrs)
		}
	}
	if err := retry(func() error { return unix.Fchmod(fd, mode) }); err != nil {
		return fmt.Errorf("set the mode: %w", err)
	}
	return nil
}

// mustOwn reports whether the owner is to be set; where it should be and is not, that is noted.
func (t *Target) mustOwn(f *format.File) bool {
	if t.owner {
		return true
	}
	if f.UID != t.euid || f.GID != t.egid {
		t.notes.add(&t.notes.owners)
	}
	return false
}

// owned says what it means that an owner could not be set: a failure if it was asked for, else a note.
func (t *Target) owned(err error) error {
	switch {
	case err == nil:
		return nil
	case t.o.Owners:
		return fmt.Errorf("set the owner: %w", err)
	}
	t.notes.add(&t.notes.owners)
	return nil
}

// setTimes sets the modification time, to the nanosecond, without following links.
func setTimes(dir int, name string, mtime time.Time) error {
	if mtime.IsZero() {
		return nil
	}
	ts, err := unix.TimeToTimespec(mtime)
	if err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	times := []unix.Timespec{ts, ts}
	if err := retry(func() error { return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}

// notes count what was not kept.
type notes struct {
	mu                                      sync.Mutex
	owners, setIDs, xattrs, specials, links int64
}

func (n *notes) add(count *int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*count++
}

func (n *notes) text() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, x := range []struct {
		count int64
		text  string
	}{
		{n.owners, "entries belong to whoever restored them; run as root to give them their owners"},
		{n.setIDs, "programs lost their set-ID bits, because their owner could not be set"},
		{n.xattrs, "extended attributes could not be set"},
		{n.specials, "devices, fifos and sockets were left out; ask for them to have them made"},
		{n.links, "hard links were restored as files of their own"},
	} {
		if x.count > 0 {
			out = append(out, fmt.Sprintf("%d %s", x.count, x.text))
		}
	}
	return out
}
