package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// tarHolds is the rule for a stream: everything but a NUL in a name, and content under a name that ends in a slash.
func tarHolds(key string, size int) bool {
	return !strings.Contains(key, "\x00") && (!strings.HasSuffix(key, "/") || size == 0)
}

func (w *world) toTar(ctx context.Context, j *job, point string, o origin) (cost, error) {
	b, err := j.bring(ctx, point, place{url: "-"})
	if err != nil {
		return b.cost, err
	}
	is, twice := contents{}, 0
	for r := tar.NewReader(bytes.NewReader(b.out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return b.cost, fmt.Errorf("the tar stream cannot be read: %w", err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return b.cost, err
		}
		if _, ok := o.holds[h.Name]; !ok && h.Typeflag == tar.TypeDir {
			continue // a directory's own folders
		}
		if _, ok := is[h.Name]; ok {
			twice++
		}
		is[h.Name] = string(data)
	}
	w.bar(twice == 0, "no name is twice in the tar stream")
	return b.cost, w.settle("tar stream", b, o.holds, is, func(key string) bool { return tarHolds(key, len(o.holds[key])) })
}

// pathHolds is the rule for a directory on a file system that tells all names apart.
func pathHolds(holds contents) func(key string) bool {
	return func(key string) bool {
		path := strings.TrimSuffix(key, "/")
		if path != key && len(holds[key]) > 0 || strings.HasPrefix(path, ".holdfast-part-") {
			return false
		}
		segments := strings.Split(path, "/")
		for i, s := range segments {
			if s == "" || s == "." || s == ".." || len(s) > 255 || strings.Contains(s, "\x00") {
				return false
			}
			if _, file := holds[strings.Join(segments[:i], "/")]; file && i > 0 {
				return false // a key that is a file here too
			}
		}
		return true
	}
}

// below reads what is in a directory: files, and those empty folders that stand for keys.
func below(root string, holds contents) (contents, error) {
	is := contents{}
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		key := strings.TrimPrefix(p, root+"/")
		switch {
		case d.IsDir():
			if _, ok := holds[key+"/"]; ok {
				is[key+"/"] = ""
			}
			return nil
		case d.Type().IsRegular():
			data, err := os.ReadFile(p)
			is[key] = string(data)
			return err
		}
		target, err := os.Readlink(p)
		is[key] = "-> " + target
		return err
	})
	return is, err
}

func (w *world) toFolder(ctx context.Context, j *job, point string, o origin) (cost, error) {
	around := w.path("around")
	to := filepath.Join(around, "in", "target")
	b, err := j.bring(ctx, point, dirAt(to))
	if err != nil {
		return b.cost, err
	}
	is, err := below(to, o.holds)
	if err != nil {
		return b.cost, err
	}
	if err := w.settle("directory", b, o.holds, is, pathHolds(o.holds)); err != nil {
		return b.cost, err
	}
	stray := 0
	for _, d := range []string{around, filepath.Join(around, "in")} {
		names, err := os.ReadDir(d)
		if err != nil {
			return b.cost, err
		}
		stray += len(names) - 1
	}
	if _, err := os.Lstat("/tmp/escaped"); err == nil {
		stray++
	}
	w.bar(stray == 0, "%d files outside the directory", stray)
	return b.cost, nil
}

// toPlanted restores over links, files and folders that somebody left at the target.
func (w *world) toPlanted(ctx context.Context, j *job, point string, o origin) (cost, error) {
	to, outside := w.path("planted"), w.path("outside")
	victim := filepath.Join(outside, "victim")
	if err := errors.Join(
		writeBelow(outside, "victim", "untouched"), os.MkdirAll(to, 0o755),
		os.Symlink(outside, filepath.Join(to, "CASE")), os.Symlink(outside, filepath.Join(to, "x.d")), os.Symlink(victim, filepath.Join(to, "plain")), os.Symlink(outside, filepath.Join(to, "planted")),
		os.Symlink(victim, filepath.Join(to, "planted-file")), os.MkdirAll(filepath.Join(to, "a b", "full"), 0o755), os.Link(victim, filepath.Join(to, "a+b")),
	); err != nil {
		return cost{}, err
	}
	b, err := j.bring(ctx, point, dirAt(to), "--overwrite", "always")
	if err != nil {
		return b.cost, err
	}
	is, err := below(to, o.holds)
	if err != nil {
		return b.cost, err
	}
	// A directory's point has x.d as a folder of its own, and "a b" as a file: --overwrite always puts those in place of what is
	// there. A bucket's keys only imply folders: what stands in the way of one is refused.
	folders := o.name == "directory"
	links := []string{"CASE", "x.d", "planted"}
	if folders {
		links = []string{"CASE", "planted"}
		w.bar(!strings.HasPrefix(is["x.d"], "-> "), "the link at \"x.d\", a folder in the point, is one: %q", is["x.d"])
	}
	for _, link := range links {
		w.bar(is[link] == "-> "+outside, "the link at %q is as it was: %q", link, is[link])
		delete(is, link)
	}
	if _, ours := o.holds["planted-file"]; !ours {
		delete(is, "planted-file") // nothing of the point goes there
	}
	plain := pathHolds(o.holds)
	err = w.settle("directory with links and folders planted in it", b, o.holds, is, func(key string) bool {
		return plain(key) && !strings.HasPrefix(key, "CASE/") && !strings.HasPrefix(key, "planted/") && (folders || !strings.HasPrefix(key, "x.d/") && key != "a b")
	})
	names, rerr := os.ReadDir(outside)
	data, verr := os.ReadFile(victim)
	w.bar(rerr == nil && verr == nil && len(names) == 1 && string(data) == "untouched", "what the links lead to is untouched: %d files, %q", len(names), data)
	return b.cost, err
}

// toBucket restores to a fresh bucket, beside one that the keys were put into one by one: what that one holds must be in
// this one too.
func toBucket(ctx context.Context, w *world, j *job, point string, o origin, k servers.Kind) (cost, error) {
	to, err := w.newBucket(ctx, k)
	if err != nil {
		return cost{}, err
	}
	b, err := j.bring(ctx, point, to.asOwner())
	if err != nil {
		return b.cost, err
	}
	is, err := to.contents(ctx, o.holds)
	if err != nil {
		return b.cost, err
	}
	could, err := w.kept(ctx, k, o.holds)
	if err != nil {
		return b.cost, err
	}
	return b.cost, w.settle("bucket on "+string(k), b, o.holds, is, func(key string) bool {
		if !utf8.ValidString(key) {
			return false // "a sequence of Unicode characters"
		}
		body, kept := could.holds[key]
		if !kept || body != o.holds[key] || o.holds.nested(key) {
			_, there := is[key]
			return there // it may hold what it did not when its neighbours came first
		}
		return true
	})
}

// plantedInPoint restores two points of one directory one over the other: what is a link in the first is a folder in the
// second.
func plantedInPoint(ctx context.Context, w *world) error {
	fmt.Println("-- a link in one point, a folder in the next")
	root, to, outside := w.path("turning"), w.path("restored"), w.path("outside")
	turn := filepath.Join(root, "turn")
	if err := errors.Join(writeBelow(outside, "victim", "untouched"), writeBelow(root, "before", "1"), os.Symlink(outside, turn)); err != nil {
		return err
	}
	vault, reader, err := w.lockedVault(ctx, servers.KindMinIO)
	if err != nil {
		return err
	}
	j, err := newJob(ctx, w, dirAt(root), vault, reader)
	if err != nil {
		return err
	}
	first, err := j.run(ctx, "run with a link")
	if err != nil {
		return err
	}
	if err := errors.Join(os.Remove(turn), writeBelow(turn, "victim", "from the point"), writeBelow(turn, "more", "from the point")); err != nil {
		return err
	}
	second, err := j.run(ctx, "run with a folder")
	if err != nil {
		return err
	}
	if _, err := j.bring(ctx, first.Point, dirAt(to)); err != nil {
		return err
	}
	b, err := j.bring(ctx, second.Point, dirAt(to), "--overwrite", "always")
	if err != nil {
		return err
	}
	refused, err := b.refused()
	if err != nil {
		return err
	}
	info, lerr := os.Lstat(filepath.Join(to, "turn"))
	now, nerr := os.ReadFile(filepath.Join(to, "turn", "victim"))
	w.bar(lerr == nil && info.IsDir() && nerr == nil && string(now) == "from the point" && len(refused) == 0,
		"the folder takes the link's place, with what is in it, and %q are refused", slices.Sorted(maps.Keys(refused)))
	data, verr := os.ReadFile(filepath.Join(outside, "victim"))
	names, rerr := os.ReadDir(outside)
	w.bar(verr == nil && rerr == nil && string(data) == "untouched" && len(names) == 1, "what it leads to is untouched")
	return nil
}
