// Package memstore is a vault in memory with versions and object lock, for tests and the conformance suite.
//
// It is stricter than any real vendor, so that code which passes here does not lean on a vendor's laxity: a compliance
// lock only grows, nothing acts on a version by its name alone, a body that is not what its SHA-256 says is refused, and
// a lock that is already over is refused. Time comes from an injected clock. It must never be used as a real vault, and
// it must never become laxer than reality.
package memstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// Options of a new Store. The zero value is a locked, versioned vault on the local clock.
type Options struct {
	Now           func() time.Time // the vault's clock; default time.Now
	DefaultMode   store.Mode       // default retention: how a Put without a lock of its own is locked
	DefaultPeriod time.Duration    // and for how long
	NoLock        bool             // a vault with versions and without object lock: locks are refused
}

// Store is a versioned vault in memory. It is safe for concurrent use.
type Store struct {
	opts Options

	mu      sync.RWMutex
	serial  uint64
	objects map[string][]*version // oldest first
	names   []string              // in order, with some that are gone
	added   []string              // since then
}

type version struct {
	id       string
	body     []byte
	modified time.Time
	marker   bool
	lock     store.Retention
}

var errNoVersion = errors.New("no version given")

var (
	_ store.Reader    = (*Store)(nil)
	_ store.Writer    = (*Store)(nil)
	_ store.Locker    = (*Store)(nil)
	_ store.Remover   = (*Store)(nil)
	_ store.Inspector = (*Store)(nil)
)

// New makes an empty vault.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Store{opts: o, objects: make(map[string][]*version)}
}

// String names the vault in messages.
func (s *Store) String() string { return "memory:" }

// Put implements store.Writer.
func (s *Store) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	ref := store.Ref{Name: name}
	if err := ctx.Err(); err != nil {
		return ref, fail("put", ref, nil, err)
	}
	if err := store.CheckName(name); err != nil {
		return ref, fail("put", ref, nil, err)
	}
	if size < 0 {
		return ref, fail("put", ref, nil, fmt.Errorf("size %d", size))
	}
	// Grown by what is really there, so that a wrong size costs no memory.
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.NewSectionReader(body, 0, size))
	if err != nil {
		return ref, fail("put", ref, nil, err)
	}
	if n != size {
		return ref, fail("put", ref, nil, fmt.Errorf("body has %d bytes of %d: %w", n, size, io.ErrUnexpectedEOF))
	}
	if got := sha256.Sum256(buf.Bytes()); got != o.SHA256 {
		return ref, fail("put", ref, store.ErrChecksum, fmt.Errorf("body is %x, options say %x", got, o.SHA256))
	}
	if err := ctx.Err(); err != nil {
		return ref, fail("put", ref, nil, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	lock := o.Retention
	if lock.Mode == store.ModeNone && lock.Until.IsZero() && s.opts.DefaultMode != store.ModeNone {
		lock = store.Retention{Mode: s.opts.DefaultMode, Until: wholeSeconds(now.Add(s.opts.DefaultPeriod))}
	}
	if lock, err = s.checkLock(lock, now); err != nil {
		return ref, fail("put", ref, kindOf(err), err)
	}
	return s.add(name, &version{body: buf.Bytes(), modified: now, lock: lock}), nil
}

// add appends v as the newest version; s.mu is held.
func (s *Store) add(name string, v *version) store.Ref {
	s.serial++
	v.id = "v" + strconv.FormatUint(s.serial, 36)
	if len(s.objects[name]) == 0 {
		s.added = append(s.added, name)
	}
	s.objects[name] = append(s.objects[name], v)
	return store.Ref{Name: name, Version: v.id}
}

// checkLock gives the lock as it will be kept: whole seconds, in the future, of a known mode; or the zero Retention.
func (s *Store) checkLock(r store.Retention, now time.Time) (store.Retention, error) {
	if r.Mode == store.ModeNone && r.Until.IsZero() {
		return store.Retention{}, nil
	}
	if s.opts.NoLock {
		return r, store.ErrNoLock
	}
	if r.Mode != store.Compliance && r.Mode != store.Governance {
		return r, fmt.Errorf("lock mode %q", r.Mode)
	}
	r.Until, r.LegalHold = wholeSeconds(r.Until), false
	if !r.Until.After(now) {
		return r, fmt.Errorf("retain-until %s is not after the vault's clock %s", r.Until.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	return r, nil
}

// Open implements store.Reader. A range that reaches past the end gives what there is and then io.ErrUnexpectedEOF.
func (s *Store) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if off < 0 {
		return nil, fail("open", ref, nil, fmt.Errorf("offset %d", off))
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, err := s.find(ctx, "open", ref)
	if err != nil {
		return nil, err
	}
	size := int64(len(v.body))
	if off > size {
		return nil, fail("open", ref, nil, fmt.Errorf("offset %d of %d bytes: %w", off, size, io.ErrUnexpectedEOF))
	}
	have := v.body[off:]
	short := false
	if n >= 0 {
		short = n > int64(len(have))
		have = have[:min(n, int64(len(have)))]
	}
	return &reader{ctx: ctx, r: bytes.NewReader(have), short: short}, nil
}

type reader struct {
	ctx   context.Context // of the Open call: a stream ends with the call that asked for it
	r     *bytes.Reader
	short bool
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if errors.Is(err, io.EOF) && r.short {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *reader) Close() error { return nil }

// Stat implements store.Reader.
func (s *Store) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, err := s.find(ctx, "stat", ref)
	if err != nil {
		return store.Info{}, store.Retention{}, err
	}
	info := store.Info{Ref: store.Ref{Name: ref.Name, Version: v.id}, Size: int64(len(v.body)), Modified: v.modified}
	return info, v.lock, nil
}

// Versions implements store.Reader. It lists the vault as it was when the iteration began.
func (s *Store) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for _, info := range s.snapshot(prefix, after) {
			if err := ctx.Err(); err != nil {
				yield(store.Info{}, fail("versions", store.Ref{Name: prefix}, nil, err))
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (s *Store) snapshot(prefix, after string) []store.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inOrder()
	var out []store.Info
	from, found := slices.BinarySearch(s.names, max(prefix, after))
	if found && after >= prefix { // begins behind it
		from++
	}
	for _, name := range s.names[from:] {
		if !strings.HasPrefix(name, prefix) {
			break
		}
		vs := s.objects[name]
		for i := len(vs) - 1; i >= 0; i-- {
			v := vs[i]
			out = append(out, store.Info{
				Ref: store.Ref{Name: name, Version: v.id}, Size: int64(len(v.body)), Modified: v.modified,
				Latest: i == len(vs)-1, DeleteMarker: v.marker,
			})
		}
	}
	return out
}

// inOrder puts the names in order that were added since the last listing, so that a listing costs what it gives; s.mu is held.
func (s *Store) inOrder() {
	if len(s.added) == 0 {
		return
	}
	slices.Sort(s.added)
	all := make([]string, 0, len(s.names)+len(s.added))
	old := s.names
	for _, name := range s.added {
		n, _ := slices.BinarySearch(old, name)
		all, old = append(append(all, old[:n]...), name), old[n:]
	}
	s.names, s.added = slices.Compact(append(all, old...)), nil
}

// Extend implements store.Locker. Shortening, and loosening compliance to governance, are ErrLocked while the old lock
// lasts.
func (s *Store) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ref.Version == "" {
		return fail("extend", ref, nil, errNoVersion)
	}
	v, err := s.find(ctx, "extend", ref)
	if err != nil {
		return err
	}
	now := s.now()
	if to, err = s.checkLock(to, now); err != nil {
		return fail("extend", ref, kindOf(err), err)
	}
	if to.Mode == store.ModeNone {
		return fail("extend", ref, nil, errors.New("no retention given"))
	}
	if v.lock.Until.After(now) && (to.Until.Before(v.lock.Until) || (v.lock.Mode == store.Compliance && to.Mode != store.Compliance)) {
		return fail("extend", ref, store.ErrLocked, fmt.Errorf("locked in %s mode until %s", v.lock.Mode, v.lock.Until.Format(time.RFC3339)))
	}
	v.lock = to
	return nil
}

// Remove implements store.Remover: it deletes exactly ref, never without a version and never while it is locked.
func (s *Store) Remove(ctx context.Context, ref store.Ref) error {
	if err := ctx.Err(); err != nil {
		return fail("remove", ref, nil, err)
	}
	if ref.Version == "" {
		return fail("remove", ref, nil, errNoVersion)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range s.objects[ref.Name] {
		if v.id != ref.Version {
			continue
		}
		if v.lock.Until.After(s.now()) {
			return fail("remove", ref, store.ErrLocked, fmt.Errorf("until %s", v.lock.Until.Format(time.RFC3339)))
		}
		s.drop(ref.Name, i)
		return nil
	}
	return fail("remove", ref, store.ErrNotFound, nil)
}

// drop removes the i-th version of name; s.mu is held.
func (s *Store) drop(name string, i int) {
	vs := s.objects[name]
	vs = append(vs[:i:i], vs[i+1:]...)
	if len(vs) == 0 {
		delete(s.objects, name)
		return
	}
	s.objects[name] = vs
}

// Inspect implements store.Inspector.
func (s *Store) Inspect(ctx context.Context) (store.Facts, error) {
	if err := ctx.Err(); err != nil {
		return store.Facts{}, fail("inspect", store.Ref{}, nil, err)
	}
	local := time.Now()
	now := s.now()
	f := store.Facts{
		Immutable: !s.opts.NoLock, Versioning: true, ObjectLock: !s.opts.NoLock,
		Clock: now, Offset: now.Sub(local.Round(0)),
	}
	if s.opts.DefaultMode != store.ModeNone {
		f.Default = store.Retention{Mode: s.opts.DefaultMode, Until: now.Add(s.opts.DefaultPeriod)}
	}
	return f, nil
}

func (s *Store) now() time.Time { return s.opts.Now().UTC().Round(0) }

// find gives the version ref names, or the newest if it names none; a delete marker is not found. s.mu is held.
func (s *Store) find(ctx context.Context, op string, ref store.Ref) (*version, error) {
	if err := ctx.Err(); err != nil {
		return nil, fail(op, ref, nil, err)
	}
	if err := store.CheckName(ref.Name); err != nil {
		return nil, fail(op, ref, nil, err)
	}
	vs := s.objects[ref.Name]
	for i := len(vs) - 1; i >= 0; i-- {
		if ref.Version == "" || vs[i].id == ref.Version {
			if vs[i].marker {
				return nil, fail(op, ref, store.ErrNotFound, errors.New("a delete marker"))
			}
			return vs[i], nil
		}
	}
	return nil, fail(op, ref, store.ErrNotFound, nil)
}

// wholeSeconds rounds up, as a lock must never be shorter than asked for.
func wholeSeconds(t time.Time) time.Time {
	t = t.UTC().Round(0)
	if w := t.Truncate(time.Second); !w.Equal(t) {
		return w.Add(time.Second)
	}
	return t
}

func kindOf(err error) error {
	if errors.Is(err, store.ErrNoLock) {
		return store.ErrNoLock
	}
	return nil
}

func fail(op string, ref store.Ref, kind, err error) error {
	if errors.Is(err, kind) && kind != nil {
		err = nil
	}
	return &store.Error{Op: op, Vault: "memory:", Ref: ref, Kind: kind, Err: err}
}
