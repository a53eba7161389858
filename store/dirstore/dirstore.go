// Package dirstore is a vault in a directory: a disk at another site, or a plain copy of a bucket vault.
//
// Object names are paths below the root, exactly, so that a copy made by any tool in either direction opens as a vault.
// A directory has no versions and enforces no locks: retention is recorded beside the objects, under .holdfast, and
// honoured by this package's own Remove, and Facts.Immutable is always false. It must never overwrite a file, never
// leave half an object under a name, never leave its root, and never be called immutable.
package dirstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// The only names below the root that are not stored objects.
const (
	private      = ".holdfast"
	temporary    = private + "/tmp"
	retentionDir = private + "/retention"
	recordLock   = private + "/lock"
)

// Options of Open. The zero value is what production uses.
type Options struct {
	Now      func() time.Time // default time.Now
	ReadOnly bool             // create nothing: for restores from a mounted copy
	Create   bool             // make the root: for who begins a vault; else, where its disk is not mounted, something would be put into the folder below
	NoSync   bool             // skip fsync: for tests only, an object may then vanish with the power
}

// Store is a vault in a directory. It is safe for concurrent use, by several processes too.
type Store struct {
	kept *retentions

	path   string
	root   *os.Root
	opts   Options
	claims claims
	flock  func(fd, how int) error
}

// retentions are the locks that a directory records beside its objects.
type retentions struct{ *Store }

// share makes the roles.
func (s *Store) share() *Store {
	s.kept = &retentions{s}
	return s
}

var (
	_ store.Reader    = (*Store)(nil)
	_ store.Writer    = (*Store)(nil)
	_ store.Locker    = (*Store)(nil)
	_ store.Remover   = (*Store)(nil)
	_ store.Inspector = (*Store)(nil)
)

// Open opens the directory at dir, which has to be there unless it is to be created. Close it when done.
func Open(dir string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory vault: %w", err)
	}
	if o.Create {
		if err := os.MkdirAll(abs, 0o700); err != nil {
			return nil, fmt.Errorf("open directory vault: %w", err)
		}
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open directory vault: %w", err)
	}
	return (&Store{path: abs, root: root, opts: o, claims: claims{(*os.Root).Link, renameFree}, flock: syscall.Flock}).share(), nil
}

// Close releases the directory.
func (s *Store) Close() error { return s.root.Close() }

// String names the vault in messages.
func (s *Store) String() string { return "file://" + s.path }

// Put implements store.Writer. The same bytes under the same name again are success; other bytes are store.ErrExists.
func (s *Store) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	ref := store.Ref{Name: name}
	if err := s.put(ctx, name, body, size, o); err != nil {
		return ref, s.fail("put", ref, err)
	}
	return ref, nil
}

func (s *Store) put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) error {
	if err := s.check(ctx, name); err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return fmt.Errorf("%w: opened for reading only", store.ErrDenied)
	}
	want, err := s.kept.asked(o.Retention)
	if err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("size %d", size)
	}
	tmp, err := s.writeTemp(ctx, io.NewSectionReader(body, 0, size), size, o.SHA256)
	if err != nil {
		return err
	}
	defer func() { _ = s.root.Remove(tmp) }()
	if err := s.makeParents(name); err != nil {
		return err
	}
	switch err := s.claim(tmp, name); {
	case err == nil:
		if err := s.syncDir(path.Dir(name)); err != nil {
			return err
		}
	case errors.Is(err, fs.ErrExist):
		if err := s.same(ctx, name, size, o.SHA256); err != nil {
			return err
		}
	default:
		return err
	}
	if want.Mode == store.ModeNone {
		return nil
	}
	return s.kept.grow(name, want)
}

// writeTemp writes the body to a synced file of its own and gives its name; nothing is left behind on failure.
func (s *Store) writeTemp(ctx context.Context, body io.Reader, size int64, sum [32]byte) (name string, err error) {
	f, name, err := s.createTemp()
	if err != nil {
		return "", err
	}
	tmp := name // "return" with an error empties name
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			_ = s.root.Remove(tmp)
		}
	}()
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(f, h), &ctxReader{ctx: ctx, r: body}, make([]byte, 128<<10))
	if err != nil {
		return "", err
	}
	if n != size {
		return "", fmt.Errorf("body has %d bytes of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	if got := [32]byte(h.Sum(nil)); got != sum {
		return "", fmt.Errorf("%w: body is %x, options say %x", store.ErrChecksum, got, sum)
	}
	// The vault's clock is this machine's, so its timestamps must be too: the kernel's for files lags by a tick, and a network
	// file system's is its server's. A point would seem to have arrived before it was signed.
	now := s.opts.Now()
	if err := s.root.Chtimes(name, now, now); err != nil {
		return "", err
	}
	if s.opts.NoSync {
		return name, nil
	}
	return name, f.Sync()
}

func (s *Store) createTemp() (*os.File, string, error) {
	if err := s.root.MkdirAll(temporary, 0o700); err != nil {
		return nil, "", err
	}
	for range 100 {
		name := fmt.Sprintf("%s/%016x", temporary, rand.Uint64())
		f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, name, err
		}
	}
	return nil, "", errors.New("no free name for a temporary file")
}

// same reports whether the file under name already holds the bytes of sum.
func (s *Store) same(ctx context.Context, name string, size int64, sum [32]byte) error {
	f, fi, err := s.openFile(name)
	if errors.Is(err, errSymlink) {
		return fmt.Errorf("%w: %w", store.ErrExists, err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if fi.Size() == size {
		if _, err := io.Copy(h, &ctxReader{ctx: ctx, r: f}); err != nil {
			return err
		}
		if [32]byte(h.Sum(nil)) == sum {
			return nil
		}
	}
	return store.ErrExists
}

// makeParents creates and syncs the directories above name, one by one, so that a crash cannot lose one of them later.
func (s *Store) makeParents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	at := ""
	for seg := range strings.SplitSeq(dir, "/") {
		parent := at
		at = path.Join(at, seg)
		err := s.root.Mkdir(at, 0o700)
		if errors.Is(err, fs.ErrExist) {
			err := s.realDir(at)
			if errors.Is(err, syscall.ENOTDIR) {
				return fmt.Errorf("%w: in a directory an object and others below it cannot be beside each other: %w", store.ErrInTheWay, err)
			}
			if errors.Is(err, errSymlink) {
				return fmt.Errorf("%w: %w", store.ErrInTheWay, err)
			}
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := s.syncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) syncDir(dir string) error {
	if s.opts.NoSync {
		return nil
	}
	if dir == "" {
		dir = "."
	}
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) {
		return nil // this file system does not sync folders
	}
	return err
}

// check refuses what must not be touched: a finished context, a name that is not plain, and our own bookkeeping.
func (s *Store) check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := store.CheckName(name); err != nil {
		return err
	}
	if name == private || strings.HasPrefix(name, private+"/") {
		return fmt.Errorf("%w: %s is the directory vault's own", store.ErrName, private)
	}
	return nil
}

// errSymlink: os.Root keeps links from leaving the root; within it they would let one object stand for another. So what is
// neither a file nor a folder is no object: it is not listed, and not found under its name.
var errSymlink = errors.New("a symbolic link or special file stands in the way")

func (s *Store) realDir(dir string) error {
	fi, err := s.root.Lstat(dir)
	if err != nil {
		return err
	}
	switch {
	case fi.IsDir():
		return nil
	case fi.Mode().IsRegular():
		return fmt.Errorf("%s is an object: %w", dir, syscall.ENOTDIR)
	}
	return fmt.Errorf("%s: %w", dir, errSymlink)
}

// openFile opens the regular file under name, refusing links on the way and at the end.
func (s *Store) openFile(name string) (*os.File, fs.FileInfo, error) {
	for i := range len(name) {
		if name[i] == '/' {
			if err := s.realDir(name[:i]); err != nil {
				return nil, nil, err
			}
		}
	}
	fi, err := s.root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if fi.IsDir() {
		return nil, nil, fs.ErrNotExist
	}
	if !fi.Mode().IsRegular() {
		return nil, nil, errSymlink
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	fi, err = f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, fi, nil
}

// fail wraps err with its kind.
func (s *Store) fail(op string, ref store.Ref, err error) error {
	return &store.Error{Op: op, Vault: s.String(), Ref: ref, Kind: kindOf(err), Err: err}
}

func kindOf(err error) error {
	for _, kind := range []error{store.ErrExists, store.ErrChecksum, store.ErrLocked, store.ErrNotFound, store.ErrDenied, store.ErrName, store.ErrUnsupported, store.ErrInTheWay} {
		if errors.Is(err, kind) {
			return nil // the cause says it already
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, errSymlink):
		return store.ErrNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return store.ErrDenied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return store.ErrNoSpace
	case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ESTALE):
		return store.ErrTransient
	}
	return nil
}

// ctxReader ends a copy when its context does.
type ctxReader struct {
	ctx context.Context // of one call
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
