package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Blocks of ext4, and how many files a disk made by filledDisk may have at most.
const (
	ext4Block  = 4 << 10
	ext4Inodes = 400_000
)

// filledDisk makes img a disk of a size with an ext4 that is about five sixths full of files of this machine: the Go
// installation, the modules it has fetched, /usr. The files are left in the folder tree.
func filledDisk(ctx context.Context, w *world, tree, img string, gib int64) error {
	mods, err := goEnv(ctx, "GOMODCACHE")
	if err != nil {
		return err
	}
	root, err := goTree(ctx)
	if err != nil {
		return err
	}
	room := filling{to: tree, left: gib << 30 / 6 * 5, files: ext4Inodes / 2}
	f := room
	for i, from := range []string{root, mods, "/usr"} {
		if err := f.copy(from, fmt.Sprint(i)); err != nil {
			return err
		}
	}
	w.bar(f.left <= 0, "the disk of %d GiB has %d files of this machine that take %d B of it", gib, room.files-f.files, room.left-f.left)
	_, _, err = execute(ctx, w.dir, environment(), "mke2fs", "-q", "-F", "-t", "ext4", "-N", fmt.Sprint(ext4Inodes), "-d", tree, img, fmt.Sprintf("%dG", gib))
	return err
}

// filling copies regular files until there are enough of them.
type filling struct {
	to    string
	left  int64 // bytes of the disk
	files int   // how many more there may be
}

func (f *filling) copy(from, name string) error {
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrPermission):
			return nil
		case err != nil:
			return err
		case f.left <= 0 || f.files <= 0:
			return fs.SkipAll
		case p == f.to:
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		return f.one(p, filepath.Join(f.to, name, rel))
	})
	if err != nil {
		return fmt.Errorf("fill a disk from %s: %w", from, err)
	}
	return nil
}

func (f *filling) one(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, in)
	f.files--
	f.left -= (n + ext4Block - 1) / ext4Block * ext4Block
	return errors.Join(err, out.Close())
}
