package dirstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/holdfast-backup/holdfast/store"
)

// Open implements store.Reader. A range that reaches past the end gives what there is and then io.ErrUnexpectedEOF.
func (s *Store) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	rc, err := s.open(ctx, ref, off, n)
	if err != nil {
		return nil, s.fail("open", ref, err)
	}
	return rc, nil
}

func (s *Store) open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if err := s.checkRef(ctx, ref); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("offset %d", off)
	}
	f, fi, err := s.openFile(ref.Name)
	if err != nil {
		return nil, err
	}
	size := fi.Size()
	if off > size {
		return nil, errors.Join(fmt.Errorf("offset %d of %d bytes: %w", off, size, io.ErrUnexpectedEOF), f.Close())
	}
	if n < 0 {
		n = size - off
	}
	return &body{ctx: ctx, f: f, r: io.NewSectionReader(f, off, n), left: n}, nil
}

type body struct {
	ctx  context.Context // of the Open call: the stream ends with it
	f    *os.File
	r    *io.SectionReader
	left int64
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if errors.Is(err, io.EOF) && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *body) Close() error { return b.f.Close() }

// Stat implements store.Reader. The retention is what is recorded, and binds only this package's Remove.
func (s *Store) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	info, r, err := s.stat(ctx, ref)
	if err != nil {
		return store.Info{}, store.Retention{}, s.fail("stat", ref, err)
	}
	return info, r, nil
}

func (s *Store) stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	if err := s.checkRef(ctx, ref); err != nil {
		return store.Info{}, store.Retention{}, err
	}
	f, fi, err := s.openFile(ref.Name)
	if err != nil {
		return store.Info{}, store.Retention{}, err
	}
	defer f.Close()
	r, err := s.kept.readRetention(ref.Name)
	info := store.Info{Ref: store.Ref{Name: ref.Name}, Size: fi.Size(), Modified: fi.ModTime().UTC()}
	return info, r, err
}

// checkRef is check for a Ref: a directory has no versions, so one that names a version names nothing here.
func (s *Store) checkRef(ctx context.Context, ref store.Ref) error {
	if err := s.check(ctx, ref.Name); err != nil {
		return err
	}
	if ref.Version != "" {
		return fmt.Errorf("%w: a directory keeps no versions", store.ErrNotFound)
	}
	return nil
}

// Versions implements store.Reader: every file under prefix, by name in byte order. Memory grows with the largest single
// directory only. Links and special files are no objects, and passed over.
func (s *Store) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		if prefix == private || strings.HasPrefix(prefix, private+"/") {
			return // nothing in there is an object
		}
		dir := "."
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir = prefix[:i]
			if err := store.CheckName(dir); err != nil {
				yield(store.Info{}, s.fail("versions", store.Ref{Name: prefix}, err))
				return
			}
		}
		w := walker{s: s, ctx: ctx, prefix: prefix, after: after, yield: yield}
		if err := w.walk(dir); err != nil && !errors.Is(err, errStop) {
			yield(store.Info{}, s.fail("versions", store.Ref{Name: prefix}, err))
		}
	}
}

var errStop = errors.New("stopped by the consumer")

type walker struct {
	s      *Store
	ctx    context.Context
	prefix string
	after  string
	yield  func(store.Info, error) bool
}

func (w *walker) walk(dir string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := w.s.list(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // nothing under the prefix, as below another object; or gone since its parent was read
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if name == private {
			continue
		}
		if e.IsDir() {
			below := name + "/"
			behind := below > w.after || strings.HasPrefix(w.after, below)
			if behind && (strings.HasPrefix(below, w.prefix) || strings.HasPrefix(w.prefix, below)) {
				if err := w.walk(name); err != nil {
					return err
				}
			}
			continue
		}
		if !strings.HasPrefix(name, w.prefix) || name <= w.after {
			continue
		}
		if err := w.file(name, e); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) file(name string, e fs.DirEntry) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if !e.Type().IsRegular() {
		return nil // whoever may write into the folder could end every listing with one such file
	}
	fi, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info := store.Info{Ref: store.Ref{Name: name}, Size: fi.Size(), Modified: fi.ModTime().UTC(), Latest: true}
	if !w.yield(info, nil) {
		return errStop
	}
	return nil
}

// list reads one directory in the byte order of the full names below it: "a-b" comes before "a/c", "a.b" too.
func (s *Store) list(dir string) ([]fs.DirEntry, error) {
	d, err := s.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortKey(a), sortKey(b)) })
	return entries, nil
}

func sortKey(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}
