package todir

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// unlike says that something is at the target with its content, and not with all else that the point has of it.
type unlike struct{ what []string }

func (u *unlike) Error() string {
	return "it was restored, and the target did not keep all that was set: it has " + strings.Join(u.what, ", ")
}

// kept passes over an error that does not keep a thing from getting its name.
func kept(err error) bool {
	var u *unlike
	return err == nil || errors.As(err, &u)
}

// dress gives what is open its attributes and asks them back. Times come last, by the name in dir that it still has.
func (t *dressing) dress(h handle, dir int, name string, e *format.Entry, m manner) error {
	w := t.found.plan(m, e)
	t.regret(e, &w, m)
	return t.make(h, dir, name, &w)
}

// make sets what is wanted and asks it back; what was not kept is set once more.
func (t *dressing) make(h handle, dir int, name string, w *wanted) error {
	for again := false; ; again = true {
		if err := t.apply(h, w); err != nil {
			return err
		}
		if err := setTimes(dir, name, w.mtime); err != nil {
			return err
		}
		diff, err := differences(h, w)
		if err != nil {
			return fmt.Errorf("look at what was set: %w", err)
		}
		if len(diff) == 0 {
			return nil
		}
		if again {
			return &unlike{diff}
		}
	}
}

// apply sets owner, extended attributes and mode, in an order in which nobody ever has more rights than in the end:
// rights that are too many are taken away first, then the owner is set (which clears set-ID bits and capabilities), then
// lists that say who else may do what, and the mode last.
func (t *dressing) apply(h handle, w *wanted) error {
	var st unix.Stat_t
	if err := h.stat(&st); err != nil {
		return fmt.Errorf("look at what is to be set: %w", err)
	}
	if mode := uint32(st.Mode) & 0o7777; w.hasMode && mode&^w.mode != 0 {
		less := mode & w.mode
		if t.euid != 0 {
			less |= mode & 0o200 // attributes can only be set by who may write
		}
		if err := h.chmod(less); err != nil {
			return fmt.Errorf("set the mode: %w", err)
		}
	} else if w.hasMode && t.euid != 0 && mode&0o200 == 0 && len(w.xattrs) > 0 {
		_ = h.chmod(mode | 0o200) // what could not be set is found when it is asked back
	}
	var has map[string][]byte
	if w.exact {
		has, _ = attributes(h, w) // what cannot be read is set
	}
	t.setAttributes(h, w, has, false)
	if err := t.setOwner(h, w, &st); err != nil {
		return err
	}
	for name := range has {
		if _, ok := w.xattrs[name]; !ok {
			_ = h.remove(name)
		}
	}
	t.setAttributes(h, w, has, true)
	if !w.hasMode {
		return nil
	}
	if err := h.chmod(w.mode); err != nil {
		return fmt.Errorf("set the mode: %w", err)
	}
	return nil
}

func (t *dressing) setOwner(h handle, w *wanted, st *unix.Stat_t) error {
	if (w.uid < 0 || uint32(w.uid) == st.Uid) && (w.gid < 0 || uint32(w.gid) == st.Gid) {
		return nil
	}
	err := h.chown(w.uid, w.gid)
	switch {
	case err == nil:
		return nil
	case t.o.Owners:
		return fmt.Errorf("set the owner: %w", err)
	}
	t.notes.add(noOwners)
	if w.mode&setID != 0 {
		t.notes.add(noSetID)
		w.mode &^= setID
	}
	w.uid, w.gid = -1, -1
	return nil
}

// setAttributes sets those that do not depend on the owner, or the others. One that this system does not let us set is
// noted, and no longer wanted; where a file has no room for it, it is missed when it is asked back.
func (t *dressing) setAttributes(h handle, w *wanted, has map[string][]byte, late bool) {
	for name, value := range w.xattrs {
		if old, ok := has[name]; late != isLate(name) || ok && bytes.Equal(old, value) && name != capability {
			continue
		}
		err := h.set(name, value)
		switch err {
		case nil, unix.ENOSPC, unix.EDQUOT, unix.E2BIG, unix.ERANGE, unix.EIO:
			continue
		}
		delete(w.xattrs, name)
		t.notes.add(noXattrs)
		if name == acl.Access {
			w.mode = acl.WithoutList(w.mode, value)
		}
	}
}

func isLate(name string) bool { return name == capability || name == acl.Access || name == acl.Default }

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
