package todir

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const setID = unix.S_ISUID | unix.S_ISGID

// capability is what a program may do without being root's. Changing the owner clears it.
const capability = "security.capability"

// wanted is what an entry's attributes are to be at the target, as far as its file system and our rights go. The same plan
// is what is set, what is asked back afterwards, and what --overwrite changed compares.
type wanted struct {
	size     int64 // -1: has none
	uid, gid int   // -1: as it comes
	mode     uint32
	hasMode  bool
	mtime    time.Time // zero: as it comes
	xattrs   map[string][]byte
	exact    bool // what has no place in xattrs is not to be there
}

// plan says what e is to be in a folder of manner m.
func (t *finding) plan(m manner, e *format.Entry) wanted {
	w := wanted{size: -1, uid: -1, gid: -1, mtime: m.nearest(e.Modified.Time)}
	if e.Kind.HasContent() && !strings.HasSuffix(e.Key, "/") {
		w.size = e.Size
	}
	f := e.File
	if f == nil {
		return w // buckets and disks know no modes
	}
	w.uid, w.gid = t.owners(m, f)
	w.exact, w.xattrs = !m.lacks.xattrs || !m.lacks.acls, make(map[string][]byte, len(f.Xattrs))
	for name, value := range f.Xattrs {
		if m.keeps(name) {
			w.xattrs[name] = value
		}
	}
	if e.Kind == format.KindSymlink || m.lacks.modes {
		return w
	}
	w.mode, w.hasMode = f.Mode, true
	if list, ok := f.Xattrs[acl.Access]; ok && m.lacks.acls {
		w.mode = acl.WithoutList(w.mode, list)
	}
	if e.Kind == format.KindFile && (!right(w.uid, f.UID, t.euid) || !right(w.gid, f.GID, t.egid)) {
		w.mode &^= setID // never a set-ID program that runs as somebody else than it did
	}
	return w
}

func right(set int, want, own uint32) bool { return set == int(want) || set < 0 && want == own }

// owners gives the user and group that are to be set. Who is not root can only give to groups of his own.
func (t *finding) owners(m manner, f *format.File) (uid, gid int) {
	if t.o.Owners || t.owner && !m.lacks.owners {
		return int(f.UID), int(f.GID)
	}
	uid, gid = -1, -1
	if m.lacks.owners {
		return uid, gid
	}
	if f.UID == t.euid {
		uid = int(f.UID)
	}
	if slices.Contains(t.groups, int(f.GID)) {
		gid = int(f.GID)
	}
	return uid, gid
}

// comparable reports whether an attribute that the point does not have must not be at the target. Those that the system
// itself gives, such as SELinux labels, are left to it.
func comparable(name string) bool {
	return strings.HasPrefix(name, "user.") || name == capability || name == acl.Access || name == acl.Default
}

// attributes reads the extended attributes that count: those of w, and what must not be there.
func attributes(h handle, w *wanted) (map[string][]byte, error) {
	names, err := grow(h.list)
	if err != nil {
		if absent(err) {
			return nil, nil
		}
		return nil, err
	}
	var out map[string][]byte
	for name := range strings.SplitSeq(string(names), "\x00") {
		if _, want := w.xattrs[name]; name == "" || !want && !comparable(name) {
			continue
		}
		value, err := grow(func(b []byte) (int, error) { return h.get(name, b) })
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = make(map[string][]byte)
		}
		out[name] = value
	}
	return out, nil
}

// maxXattr is more than any system lets names or values have.
const maxXattr = 4 << 20

// grow calls a function that fills a buffer, with a larger one as long as it says ERANGE.
func grow(call func([]byte) (int, error)) ([]byte, error) {
	for size := 256; size <= maxXattr; size *= 16 {
		b := make([]byte, size)
		n, err := call(b)
		switch err {
		case unix.ERANGE:
			continue
		case unix.EINTR:
			size /= 16
			continue
		case nil:
			return b[:n:n], nil
		}
		return nil, err
	}
	return nil, unix.E2BIG
}

// differences names what is not as wanted. It says how it is, then how it is to be.
func differences(h handle, w *wanted) ([]string, error) {
	var st unix.Stat_t
	if err := h.stat(&st); err != nil {
		return nil, err
	}
	out := visibly(&st, w, true)
	if w.uid >= 0 && uint32(w.uid) != st.Uid {
		out = append(out, fmt.Sprintf("owner %d, not %d", st.Uid, w.uid))
	}
	if w.gid >= 0 && uint32(w.gid) != st.Gid {
		out = append(out, fmt.Sprintf("group %d, not %d", st.Gid, w.gid))
	}
	if !w.exact {
		return out, nil
	}
	has, err := attributes(h, w)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(w.xattrs)) {
		if value, ok := has[name]; !ok {
			out = append(out, fmt.Sprintf("no attribute %q", name))
		} else if !bytes.Equal(value, w.xattrs[name]) {
			out = append(out, fmt.Sprintf("another value of attribute %q", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if _, ok := w.xattrs[name]; !ok {
			out = append(out, fmt.Sprintf("attribute %q, which the point does not have", name))
		}
	}
	return out, nil
}

// visibly names what can be seen without opening anything: size, mode and, where that counts, time.
func visibly(st *unix.Stat_t, w *wanted, times bool) (out []string) {
	if w.size >= 0 && st.Size != w.size {
		out = append(out, fmt.Sprintf("%d bytes, not %d", st.Size, w.size))
	}
	if mode := uint32(st.Mode) & 0o7777; w.hasMode && mode != w.mode {
		out = append(out, fmt.Sprintf("mode %04o, not %04o", mode, w.mode))
	}
	if at := time.Unix(st.Mtim.Unix()); times && !w.mtime.IsZero() && !at.Equal(w.mtime) {
		out = append(out, fmt.Sprintf("time %s, not %s", at.UTC().Format(time.RFC3339Nano), w.mtime.UTC().Format(time.RFC3339Nano)))
	}
	return out
}
