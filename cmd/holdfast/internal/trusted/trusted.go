// Package trusted tells whether a file that decides what this program does could be somebody else's: a configuration that
// was put into a folder in which others work, a host key or a cache that others can replace.
//
// A file is trusted if its owner is the user who runs the program or root, if nobody else can write to it, and if the same
// holds of the folder it lies in: who can write there can put another one in its place. A sticky folder such as /tmp keeps
// others from that only once the file is there, so it is no place for what is looked for by its name. Where root runs the
// program for a user through sudo, that user's files are trusted too: he could run anything. Nothing is changed here.
package trusted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNotTrusted: somebody else could have written it.
var ErrNotTrusted = errors.New("it could be somebody else's")

// Who runs the program.
type Who struct {
	UID  uint32
	Sudo uint32 // of the user for whom root runs it; UID if nobody
}

// Me is who runs this process; env is the environment.
func Me(env func(string) (string, bool)) Who {
	w := Who{UID: uint32(os.Geteuid())} //nolint:gosec // -1 only where there are no users, and nothing is checked there
	w.Sudo = w.UID
	if w.UID != 0 {
		return w
	}
	text, _ := env("SUDO_UID")
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		w.Sudo = uint32(n)
	}
	return w
}

// owns reports whether what uid owns is trusted.
func (w Who) owns(uid uint32) bool { return uid == 0 || uid == w.UID || uid == w.Sudo }

// File checks a file by name, and the folder it lies in; for a link also where it leads to. A file that is not there, or
// cannot be looked at, is no error, and one of something that has no owner in this sense, such as a pipe, neither.
func (w Who) File(path string) error { return w.check(path, true) }

// Named is File for one that the user named himself: of the folder nothing is asked.
func (w Who) Named(path string) error { return w.check(path, false) }

func (w Who) check(path string, folder bool) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return nil // whoever opens it says what is wrong
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil
	}
	if err := w.look(real, info, false); err != nil {
		return err
	}
	if !folder {
		return nil
	}
	for _, dir := range []string{filepath.Dir(real), filepath.Dir(abs)} {
		if err := w.folder(dir); err != nil {
			return err
		}
	}
	return nil
}

func (w Who) folder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return w.look(dir, info, false)
}

// Folder checks a folder in which everything is this program's own, as File checks a file, but that the one it lies in may
// be sticky. It must be no link: who can set one sends what is written there elsewhere.
func (w Who) Folder(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil // it is not there, or whoever opens it says what is wrong
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%w: %s is a link; name the folder itself, or remove the link", ErrNotTrusted, dir)
	}
	if err := w.look(dir, info, false); err != nil {
		return err
	}
	above := filepath.Dir(dir)
	if info, err = os.Stat(above); err != nil {
		return err
	}
	return w.look(above, info, true)
}

// look judges one file or folder by its owner and mode.
func (w Who) look(path string, info fs.FileInfo, sticky bool) error {
	o, ok := ownerOf(info)
	if !ok || readOnly(path) {
		return nil
	}
	what, quoted := "the file", quote(path)
	if info.IsDir() {
		what = "the folder"
	}
	if !w.owns(o.uid) {
		return fmt.Errorf("%w: %s %s belongs to user %d, and this is user %d; if it is right, `chown %d %s`", ErrNotTrusted, what, path, o.uid, w.UID, w.UID, quoted)
	}
	mode := info.Mode().Perm() & 0o022
	if mode&0o020 != 0 && o.uid != 0 && o.uid == o.gid {
		mode &^= 0o020 // a group of this user's own, as distributions make them
	}
	if mode == 0 || sticky && info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	return fmt.Errorf("%w: others can write to %s %s (mode %04o); see whether they have, then `chmod go-w %s`, or keep it elsewhere", ErrNotTrusted, what, path, unixMode(info.Mode()), quoted)
}

// unixMode is the mode as chmod takes it.
func unixMode(m fs.FileMode) uint32 {
	n := uint32(m.Perm())
	if m&fs.ModeSticky != 0 {
		n |= 0o1000
	}
	return n
}

// owner is who a file belongs to.
type owner struct{ uid, gid uint32 }

// quote makes a path safe to paste behind a command.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,@%", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 && !strings.HasPrefix(s, "-") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
