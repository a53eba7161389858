package todir

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
)

// keeping is what a file system keeps of what is set, as it was tried on a file of our own. FAT, many FUSE and some network
// file systems take what they do not keep without an error, so only asking back tells. The zero value keeps all.
type keeping struct {
	where string // a folder on it, for the notes
	lacks struct{ owners, modes, xattrs, acls, links bool }
	tick  time.Duration // times are cut to a multiple of it; 0: they are exact
	from  time.Time     // the earliest and latest that there can be; zero: not known
	until time.Time
}

// keeps reports whether an extended attribute can be kept at all.
func (k *keeping) keeps(name string) bool {
	switch {
	case name == acl.Access || name == acl.Default:
		return !k.lacks.acls
	case strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted."):
		return !k.lacks.xattrs
	}
	return true // each of security.* is kept or not by itself
}

// nearest gives what a time becomes here.
func (k *keeping) nearest(at time.Time) time.Time {
	switch {
	case at.IsZero():
		return at
	case !k.from.IsZero() && at.Before(k.from):
		return k.from
	case !k.until.IsZero() && at.After(k.until):
		return k.until
	case k.tick == 0:
		return at
	}
	// Truncate counts from the year 1, of which every tick here is a whole part.
	return at.Truncate(k.tick)
}

// probeKeeping tries everything on a file that is removed again. What cannot be tried is taken to be kept: the first file
// tells.
func (t *Target) probeKeeping(dir int, k *keeping) {
	name := t.tempName()
	fd, err := openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	defer func() {
		_ = unix.Close(fd)
		_ = unix.Unlinkat(dir, name, 0)
	}()
	h := openHandle(fd)
	is := func(as func(*unix.Stat_t) bool) bool {
		var st unix.Stat_t
		return h.stat(&st) != nil || as(&st)
	}
	for _, mode := range []uint32{0o640, 0o405} {
		k.lacks.modes = k.lacks.modes || h.chmod(mode) != nil || !is(func(st *unix.Stat_t) bool { return uint32(st.Mode)&0o7777 == mode })
	}
	_ = h.chmod(0o600)
	value := []byte("x")
	k.lacks.xattrs = !takes(h, "user.holdfast.probe", value)
	k.lacks.acls = !takes(h, acl.Access, acl.Named(0o640, t.euid, 6))
	if t.euid == 0 {
		err := h.chown(1, 1)
		k.lacks.owners = err == unix.EPERM || err == unix.ENOSYS || err == unix.ENOTSUP ||
			err == nil && !is(func(st *unix.Stat_t) bool { return st.Uid == 1 && st.Gid == 1 })
	}
	probeTimes(dir, name, k)
	second := t.tempName()
	err = retry(func() error { return unix.Linkat(dir, name, dir, second, 0) })
	if k.lacks.links = noHardLinks(err); err == nil {
		_ = unix.Unlinkat(dir, second, 0)
	}
}

// takes reports whether an attribute that is set is there afterwards.
func takes(h handle, name string, value []byte) bool {
	if h.set(name, value) != nil {
		return false
	}
	got, err := grow(func(b []byte) (int, error) { return h.get(name, b) })
	return err == nil && len(got) == len(value)
}

// probeTimes finds how fine times are, and how early and late they can be: Linux moves a time that a file system cannot
// hold to the next that it can, without a word.
func probeTimes(dir int, name string, k *keeping) {
	after := func(at time.Time) (time.Time, bool) {
		var st unix.Stat_t
		if setTimes(dir, name, at) != nil || unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return time.Time{}, false
		}
		return time.Unix(st.Mtim.Unix()), true
	}
	middle := time.Date(2001, 2, 3, 4, 5, 7, 789_012_345, time.UTC)
	got, ok := after(middle)
	if !ok || got.Equal(middle) {
		k.tick = 0
	} else {
		for _, tick := range []time.Duration{100, time.Microsecond, time.Millisecond, 10 * time.Millisecond, time.Second, 2 * time.Second} {
			if k.tick = tick; got.Equal(middle.Truncate(tick)) {
				break
			}
		}
	}
	if first, ok := after(time.Unix(-1<<40, 0)); ok && first.Before(middle) && first.Unix() != -1<<40 {
		k.from = first
	}
	if last, ok := after(time.Unix(1<<40, 0)); ok && last.After(middle) && last.Unix() != 1<<40 {
		k.until = last
	}
}

// noHardLinks reports whether err says that no link can be made here, or no more, rather than that something is wrong. EIO is
// what FUSE programs answer that have never heard of links (rclone mount); if it is a disk that fails, so does the copy.
func noHardLinks(err error) bool {
	return slices.Contains([]error{unix.EPERM, unix.ENOTSUP, unix.EOPNOTSUPP, unix.ENOSYS, unix.EMLINK, unix.EXDEV, unix.EIO}, err)
}
