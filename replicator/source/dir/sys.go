package dirsource

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// The first and the last second that a point can say.
var (
	firstSecond = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	lastSecond  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// outOfRange reports whether a point cannot say a time.
func outOfRange(ts unix.Timespec) bool {
	sec, nsec := ts.Unix()
	return sec < firstSecond || sec > lastSecond || nsec < 0 || nsec > 999_999_999
}

// timeOf gives a time, or the nearest that a point can say: anybody can date a file, and that must not keep it out.
func timeOf(ts unix.Timespec) format.Time {
	sec, nsec := ts.Unix()
	if outOfRange(ts) {
		sec, nsec = min(max(sec, firstSecond), lastSecond), 0
	}
	return format.At(time.Unix(sec, nsec))
}

func fstat(fd int, st *unix.Stat_t) error {
	for {
		if err := unix.Fstat(fd, st); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func fstatat(dir int, name string, st *unix.Stat_t) error {
	for {
		if err := unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func openRetry(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// openAt opens one name in dir, without touching its access time where the system lets us.
func openAt(dir int, name string, flags int) (int, error) {
	if noatime != 0 && flags&pathOnly == 0 {
		fd, err := openRetry(dir, name, flags|noatime)
		if !errors.Is(err, unix.EPERM) {
			return fd, err
		}
	}
	return openRetry(dir, name, flags)
}

// openSteps opens path below dir one segment at a time and follows no symbolic link.
func openSteps(dir int, path string, flags int) (int, error) {
	for cur := dir; ; {
		name, rest, more := strings.Cut(path, "/")
		if more && rest == "" { // a folder's key
			more, flags = false, flags|unix.O_DIRECTORY
		}
		var fd int
		var err error
		if more {
			fd, err = openRetry(cur, name, pathFlags|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		} else {
			fd, err = openAt(cur, name, flags)
		}
		if cur != dir {
			_ = unix.Close(cur)
		}
		if err != nil || !more {
			return fd, err
		}
		cur, path = fd, rest
	}
}

func readlinkAt(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
}

// kept reports whether an extended attribute belongs in a recovery point. What is left out is what a restore could not set,
// such as the settings of one kind of file system; it is noted.
func kept(name string) bool {
	return allXattrs || strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.") ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// noXattr reports whether an answer means that there is none: no attributes on this file system, or one that went away.
func noXattr(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, noSuchAttr)
}

// readXattrs gives the extended attributes of what is open as fd; pathOnly: fd was opened for its path only.
func (v *view) readXattrs(fd int, key string, pathOnly bool) (map[string][]byte, error) {
	list, get := xattrCalls(fd, pathOnly)
	names, err := grow(list)
	if err != nil {
		if noXattr(err) {
			return nil, nil
		}
		return nil, failure("read the extended attributes of", key, err)
	}
	var out map[string][]byte
	total := 0
	for name := range strings.SplitSeq(string(names), "\x00") {
		if name == "" {
			continue
		}
		if !kept(name) {
			v.notes.add(key, fmt.Sprintf("extended attribute %q is not kept", name))
			continue
		}
		value, err := grow(func(b []byte) (int, error) { return get(name, b) })
		if noXattr(err) {
			continue
		}
		if err != nil {
			return nil, failure(fmt.Sprintf("read the extended attribute %q of", name), key, err)
		}
		if total += len(name) + len(value); total > maxXattrs || len(out) >= maxXattrCount {
			return nil, &source.Unreadable{Key: key, Reason: "extended attributes of over 1 MiB, or over 16,384 of them"}
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[name] = value
	}
	return out, nil
}

// grow calls a function that fills a buffer, with a larger one as long as it says ERANGE.
func grow(call func([]byte) (int, error)) ([]byte, error) {
	for size := 256; size <= 2*maxXattrs; size *= 4 {
		b := make([]byte, size)
		n, err := call(b)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n:n], nil
	}
	return nil, unix.E2BIG
}
