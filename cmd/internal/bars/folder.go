package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// folderState reads a directory: with content only its regular files, else everything that is there with its mode, owner,
// times, links and attributes.
func folderState(root string, contentOnly bool) (state, error) {
	out := state{}
	inodes := map[uint64]string{} // first name of what has several
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || contentOnly && !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		i, err := readFile(p, inodes, rel)
		out[filepath.ToSlash(rel)] = i
		return err
	})
	return out, err
}

func readFile(p string, inodes map[uint64]string, rel string) (i item, err error) {
	fi, err := os.Lstat(p)
	if err != nil {
		return i, err
	}
	i.modified = fi.ModTime()
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return i, fmt.Errorf("%s: no stat", p)
	}
	i.rest = fmt.Sprintf("%s %d:%d", fi.Mode(), st.Uid, st.Gid)
	if fi.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(p)
		i.rest += fmt.Sprintf(" %s -> %q", fi.ModTime().UTC(), target)
		return i, err
	}
	i.rest += fmt.Sprintf(" %s xattrs %s", fi.ModTime().UTC(), attributes(p))
	if !fi.Mode().IsRegular() {
		return i, nil
	}
	if st.Nlink > 1 {
		if inodes[st.Ino] == "" {
			inodes[st.Ino] = rel
		}
		i.rest += " is " + inodes[st.Ino]
	}
	f, err := os.Open(p)
	if err != nil {
		return i, err
	}
	defer f.Close()
	sum := sha256.New()
	i.size, err = io.Copy(sum, f)
	i.sum = hex.EncodeToString(sum.Sum(nil))
	return i, err
}

// attributes are the user's extended attributes, as text.
func attributes(p string) string {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(p, buf)
	if err != nil || n == 0 {
		return ""
	}
	var out []string
	for _, name := range splitZero(buf[:n]) {
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(p, name, value)
		if err == nil {
			out = append(out, fmt.Sprintf("%s=%q", name, value[:n]))
		}
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

func splitZero(b []byte) (out []string) {
	for len(b) > 0 {
		n := slices.Index(b, 0)
		if n < 0 {
			n = len(b)
		}
		out = append(out, string(b[:n]))
		b = b[min(n+1, len(b)):]
	}
	return out
}

// makeFolder copies the Go tree and adds what a bucket cannot have.
func makeFolder(ctx context.Context, to string) error {
	root, err := goTree(ctx)
	if err != nil {
		return err
	}
	if _, _, err := execute(ctx, "", nil, "/bin/cp", "-a", root, to); err != nil {
		return err
	}
	odd := filepath.Join(to, "odd things")
	if err := os.MkdirAll(filepath.Join(odd, "empty"), 0o711); err != nil {
		return err
	}
	for name, mode := range map[string]os.FileMode{"a space": 0o640, "new\nline": 0o400, "-dash": 0o755, "not utf-8 \xff": 0o600, "quote\"": 0o666, "sticky": 0o644 | os.ModeSetgid} {
		p := filepath.Join(odd, name)
		if err := os.WriteFile(p, []byte("content of "+name), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(p, mode); err != nil {
			return err
		}
	}
	for from, target := range map[string]string{"link": "a space", "dangling": "../nowhere", "absolute": "/etc/passwd", "up": ".."} {
		if err := os.Symlink(target, filepath.Join(odd, from)); err != nil {
			return err
		}
	}
	if err := os.Link(filepath.Join(odd, "a space"), filepath.Join(odd, "second name")); err != nil {
		return err
	}
	// Where the file system has no user attributes there are none to keep.
	_ = unix.Setxattr(filepath.Join(odd, "-dash"), "user.colour", []byte{1, 0, 255}, 0)
	sparse, err := os.Create(filepath.Join(odd, "sparse"))
	if err != nil {
		return err
	}
	defer sparse.Close()
	if _, err := sparse.WriteAt([]byte("in the middle"), 64<<20); err != nil {
		return err
	}
	return sparse.Truncate(160 << 20)
}
