package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// Bounds of what is kept of one repository.
const (
	maxKeptFiles  = 96
	maxKeptBytes  = 64 << 20
	maxKeptObject = 8 << 20
)

// Kept keeps the bytes of a few stored objects that the next run will read again, as they lie in a vault: sealed where they are
// sealed there. They are plain files beside the caches, each named by a hash of the vault, the object's name and its version. A
// file says nothing of what the vault holds: whoever reads one has seen that version listed, and holds the bytes against the hash
// in the object's name, or in the reference that leads to them. A nil Kept keeps nothing. It is safe for concurrent use.
type Kept struct {
	dir   string
	added atomic.Bool // since it was trimmed
}

// NewKept keeps objects in dir, a folder that nobody else may write to. It is made when something is kept.
func NewKept(dir string) *Kept { return &Kept{dir: dir} }

// path is where a version of an object is kept. One without a version ID is not: other bytes may take its place and look the same.
func (k *Kept) path(vault string, ref store.Ref) (string, bool) {
	if k == nil || ref.Version == "" {
		return "", false
	}
	h := sha256.New()
	for _, part := range []string{vault, ref.Name, ref.Version} {
		h.Write([]byte(part + "\x00"))
	}
	return filepath.Join(k.dir, hex.EncodeToString(h.Sum(nil))), true
}

// Put keeps the bytes of a version that a vault holds. One that cannot be kept is read from the vault when it is needed.
func (k *Kept) Put(vault string, ref store.Ref, body []byte) {
	path, ok := k.path(vault, ref)
	if !ok || len(body) > maxKeptObject {
		return
	}
	if err := k.write(path, body); errors.Is(err, fs.ErrNotExist) && os.MkdirAll(k.dir, 0o700) == nil {
		_ = k.write(path, body)
	}
	k.added.Store(true)
}

func (k *Kept) write(path string, body []byte) error {
	f, err := os.CreateTemp(k.dir, ".new-") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// ReadAt fills p with bytes of a version, and reports whether it could.
func (k *Kept) ReadAt(vault string, ref store.Ref, p []byte, off int64) bool {
	path, ok := k.path(vault, ref)
	if !ok {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if n, _ := f.ReadAt(p, off); n < len(p) {
		return false
	}
	k.used(path)
	return true
}

// Whole gives all bytes of a version of at most max bytes, and reports whether it could.
func (k *Kept) Whole(vault string, ref store.Ref, max int64) ([]byte, bool) {
	path, ok := k.path(vault, ref)
	if !ok {
		return nil, false
	}
	if info, err := os.Lstat(path); err != nil || info.Size() > max {
		return nil, false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, false
	}
	k.used(path)
	return b, true
}

// used has a file count as a new one: what was not used for longest goes first.
func (k *Kept) used(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// Drop forgets a version.
func (k *Kept) Drop(vault string, ref store.Ref) {
	if path, ok := k.path(vault, ref); ok {
		_ = os.Remove(path)
	}
}

// Trim removes what is beyond the bounds, if anything was added.
func (k *Kept) Trim() {
	if k == nil || !k.added.Swap(false) {
		return
	}
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return
	}
	files := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	var bytes int64
	for i, f := range files {
		if bytes += f.Size(); i >= maxKeptFiles || bytes > maxKeptBytes {
			_ = os.Remove(filepath.Join(k.dir, f.Name()))
		}
	}
}
