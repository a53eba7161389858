package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// Bounds of what a Reader keeps at hand.
const (
	maxOpenObjects = 48      // opened headers, at most 384 KiB each
	blockSize      = 1 << 20 // read-ahead in meta and needs objects, whose pages are read one after another
	maxBlocks      = 12
)

// Reader reads stored objects of one vault by name and proves what it gives by hash. It finds the right version under
// overwrites and delete markers. It is safe for concurrent use; its memory is bounded by the constants above.
type Reader struct {
	repo   *Repository
	in     store.Reader
	ids    []keys.Identity
	dec    *pack.Decoder
	place  func(name string) (format.Placement, bool)
	report Report
	kept   kept // of versions that are placed

	scratch pack.Scratch
	objects *lru[string, *object]
	blocks  *lru[blockKey, []byte]
}

// object is one stored object, pinned to a version.
type object struct {
	mu     sync.Mutex
	opened *pack.Object
	ref    store.Ref
	proven bool // this version's bytes have the right hash as a whole

	lost    error     // no version had the right bytes, when all were read
	without store.Ref // what was known of its place then
}

type blockKey struct {
	ref store.Ref
	n   int64
}

// NewReader makes a reader. ids open sealed objects and may be none for plain ones; place gives the placement of an
// object where it is known, and may be nil.
func NewReader(r *Repository, in store.Reader, ids []keys.Identity, place func(string) (format.Placement, bool), report Report) (*Reader, error) {
	dec, err := pack.NewDecoder()
	if err != nil {
		return nil, err
	}
	return &Reader{
		repo: r, in: flat.NewReader(in), ids: ids, dec: dec, place: place, report: report,
		objects: newLRU[string, *object](maxOpenObjects), blocks: newLRU[blockKey, []byte](maxBlocks),
	}, nil
}

// Repository is what is read.
func (r *Reader) Repository() *Repository { return r.repo }

// Store is the vault that is read.
func (r *Reader) Store() store.Reader { return r.in }

// Page reads one page of a manifest or needs tree; it is a tree.Load.
func (r *Reader) Page(ctx context.Context, ref format.PageRef) ([]byte, error) {
	return r.page(ctx, ref.Object, ref.Frame, ref.Sum)
}

// Extent reads one extent page.
func (r *Reader) Extent(ctx context.Context, x format.Extent) ([]byte, error) {
	return r.page(ctx, x.Object, x.Frame, x.Sum)
}

func (r *Reader) page(ctx context.Context, name string, f format.Frame, sum format.Hash) ([]byte, error) {
	var page []byte
	err := r.Frames(ctx, name, []format.Frame{f}, func(_ int, plain []byte) error {
		if sha256.Sum256(plain) != sum {
			return ErrWrongBytes
		}
		page = append([]byte(nil), plain...)
		return nil
	})
	return page, err
}

// ErrWrongBytes is what a visitor returns when a frame is not what its reference promises: the reader then looks for
// another version of the object with the right hash, once, and calls the visitor again.
var ErrWrongBytes = errors.New("not the bytes that were referred to")

// Frames gives visit the plain bytes of each frame of the object, in order of offset, fetching neighbours together. i is
// the frame's place in frames; plain is valid during the call only. Where the vault's bytes are damaged or not those of
// name's hash, the versions are walked for the right ones; frames already visited are not visited again.
func (r *Reader) Frames(ctx context.Context, name string, frames []format.Frame, visit func(i int, plain []byte) error) error {
	return r.FramesTo(ctx, name, frames, nil, visit)
}

// FramesTo is Frames for frames that are kept, as [pack.Object.FramesTo] says. room may be asked twice for a frame: where the
// first bytes that were found under the name were wrong.
func (r *Reader) FramesTo(ctx context.Context, name string, frames []format.Frame, room pack.Room, visit func(i int, plain []byte) error) error {
	o, err := r.open(ctx, name)
	if err != nil {
		return err
	}
	done := make([]bool, len(frames))
	once := func(i int, plain []byte) error {
		if done[i] {
			return nil
		}
		if err := visit(i, plain); err != nil {
			return err
		}
		done[i] = true
		return nil
	}
	unmet := room
	if room != nil {
		unmet = func(i int) ([]byte, error) {
			if done[i] { // what lies there belongs to the visitor now
				return nil, nil
			}
			return room(i)
		}
	}
	opened, proven, err := r.ready(ctx, o, name)
	if err == nil {
		err = opened.FramesTo(ctx, frames, unmet, once)
	}
	if err == nil || proven || !otherMayDo(ctx, err) {
		return annotate(name, err)
	}
	first := err
	if opened, err = r.relocate(ctx, o, name); err == nil {
		err = opened.FramesTo(ctx, frames, unmet, once)
	} else if store.Retryable(first) {
		err = fmt.Errorf("%w (%w)", err, first) // it may be there, and is not delivered
	}
	return annotate(name, err)
}

// Scan gives visit every frame of an object in order.
func (r *Reader) Scan(ctx context.Context, name string, visit func(f format.Frame, plain []byte) error) error {
	o, err := r.open(ctx, name)
	if err != nil {
		return err
	}
	opened, proven, err := r.ready(ctx, o, name)
	if err != nil && !proven && otherMayDo(ctx, err) {
		opened, err = r.relocate(ctx, o, name)
	}
	if err != nil {
		return annotate(name, err)
	}
	return annotate(name, opened.Scan(ctx, visit))
}

// Whole reads a small plain or sealed object as stored and proves its hash, which is in its name.
func (r *Reader) Whole(ctx context.Context, name string, max int64) ([]byte, store.Info, error) {
	sum, err := format.ParseName(name)
	if err != nil {
		return nil, store.Info{}, err
	}
	return whole(ctx, r.in, r.hint(name), sum, max, r.report)
}

// exactly is Whole of an object of known size (less than zero: not known), read into a buffer of that size.
func (r *Reader) exactly(ctx context.Context, name string, size int64) ([]byte, error) {
	sum, err := format.ParseName(name)
	if err != nil {
		return nil, err
	}
	if size >= 0 && size <= format.MaxPack {
		b, err := readRange(ctx, r.in, r.hint(name), 0, size)
		if err == nil && sha256.Sum256(b) == sum {
			return b, nil
		}
		if err != nil && !otherMayDo(ctx, err) {
			return nil, err
		}
	}
	b, _, err := r.Whole(ctx, name, format.MaxPack)
	return b, err
}

// Locate finds the version of name with the right bytes by reading versions until one fits.
func (r *Reader) Locate(ctx context.Context, name string) (store.Info, error) {
	sum, err := format.ParseName(name)
	if err != nil {
		return store.Info{}, err
	}
	return locate(ctx, r.in, name, sum, format.MaxPack, r.report)
}

func (r *Reader) hint(name string) store.Ref {
	if r.place != nil {
		if p, ok := r.place(name); ok {
			return store.Ref{Name: name, Version: p.Version}
		}
	}
	return store.Ref{Name: name}
}

// open gives the object's slot; its lock serialises the first opening.
func (r *Reader) open(_ context.Context, name string) (*object, error) {
	if _, err := format.ParseName(name); err != nil {
		return nil, err
	}
	return r.objects.get(name, func() *object { return &object{} }), nil
}

// ready opens the object at the version expected, once.
func (r *Reader) ready(ctx context.Context, o *object, name string) (*pack.Object, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opened != nil {
		return o.opened, o.proven, nil
	}
	info, err := r.expected(ctx, name)
	if err != nil {
		return nil, false, err
	}
	err = r.openAt(ctx, o, info)
	return o.opened, false, err
}

// expected gives the version to open first, with its size: of one that is placed that is known, and reading it shows whether it is there.
func (r *Reader) expected(ctx context.Context, name string) (store.Info, error) {
	if r.place != nil {
		if p, ok := r.place(name); ok && p.Version != "" {
			return store.Info{Ref: store.Ref{Name: name, Version: p.Version}, Size: p.Size}, nil
		}
	}
	if isPlain(name) {
		if info, err := r.first(ctx, store.Ref{Name: name}); err != nil || info.Size > 0 {
			return info, err
		}
	}
	info, _, err := r.in.Stat(ctx, store.Ref{Name: name})
	return info, err
}

// first reads an object of which nothing is known as one block, so that its size need not be asked for; one that is larger has no size
// then, nor has one whose body breaks off: without a version it cannot be gone on with, as another may be the newest by then.
func (r *Reader) first(ctx context.Context, ref store.Ref) (store.Info, error) {
	b, err := slurp(ctx, r.in, ref, blockSize)
	if errors.Is(err, format.ErrBounds) || store.Retryable(err) {
		return store.Info{}, nil
	}
	if err != nil {
		return store.Info{}, err
	}
	r.blocks.get(blockKey{ref, 0}, func() []byte { return b })
	return store.Info{Ref: ref, Size: int64(len(b))}, nil
}

// relocate pins the object to the version with the right bytes. Where there is none, the versions are not read anew for each frame that
// is asked for, unless the object was put again since.
func (r *Reader) relocate(ctx context.Context, o *object, name string) (*pack.Object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.proven {
		return o.opened, nil
	}
	hint := r.hint(name)
	if o.lost != nil && o.without == hint {
		return nil, o.lost
	}
	info, err := r.Locate(ctx, name)
	if err != nil {
		if errors.Is(err, ErrDamaged) {
			o.lost, o.without = err, hint
		}
		return nil, err
	}
	r.blocks.drop(func(k blockKey) bool { return k.ref.Name == name }) // they may be what was wrong
	r.kept.drop(o.ref)
	r.kept.drop(info.Ref)
	if err := r.openAt(ctx, o, info); err != nil {
		return nil, err
	}
	o.proven = true
	return o.opened, nil
}

func (r *Reader) openAt(ctx context.Context, o *object, info store.Info) error {
	if info.Size > format.MaxPack {
		return fmt.Errorf("object of %d bytes: %w", info.Size, format.ErrBounds)
	}
	ids := r.ids
	if isPlain(info.Name) {
		ids = nil
	} else if len(ids) == 0 {
		return ErrNeedKey
	}
	ref := info.Ref
	opened, err := pack.Open(ctx, info.Size, r.fetcher(ref, info.Size), ids...)
	if err != nil {
		return err
	}
	opened.Reuse(&r.scratch)
	if isPack(ref.Name) {
		opened.Streamed(func(ctx context.Context, off, n int64) (io.ReadCloser, error) { return r.in.Open(ctx, ref, off, n) })
	}
	o.opened, o.ref = opened, ref
	return nil
}

// ErrNeedKey: sealed objects were asked for without any identity.
var ErrNeedKey = errors.New("a key is needed to read this: give --identity FILE (or, for names only, the host key)")

// fetcher reads ranges of one version. Packs are read as asked, since restores plan their ranges; the pages of meta and
// needs objects are small neighbours and come in blocks.
func (r *Reader) fetcher(ref store.Ref, size int64) pack.Fetch {
	direct := func(ctx context.Context, off, n int64) ([]byte, error) {
		buf := r.scratch.Get(n)
		return buf, readFull(ctx, r.in, ref, off, buf)
	}
	if isPack(ref.Name) {
		return direct
	}
	return func(ctx context.Context, off, n int64) ([]byte, error) {
		first, last := off/blockSize, (off+n-1)/blockSize
		if n <= 0 || last-first > 1 {
			return direct(ctx, off, n)
		}
		out := make([]byte, 0, n)
		for b := first; b <= last; b++ {
			block, err := r.block(ctx, ref, b, size)
			if err != nil {
				return nil, err
			}
			from, to := max(off-b*blockSize, 0), min(off+n-b*blockSize, int64(len(block)))
			if from > to {
				return nil, io.ErrUnexpectedEOF
			}
			out = append(out, block[from:to]...)
		}
		if int64(len(out)) != n {
			return nil, io.ErrUnexpectedEOF
		}
		return out, nil
	}
}

func (r *Reader) block(ctx context.Context, ref store.Ref, n, size int64) ([]byte, error) {
	k := blockKey{ref, n}
	if b, ok := r.blocks.peek(k); ok {
		return b, nil
	}
	b := make([]byte, min(blockSize, size-n*blockSize))
	if !r.kept.at(ref, b, n*blockSize) {
		if err := readFull(ctx, r.in, ref, n*blockSize, b); err != nil {
			return nil, err
		}
	}
	return r.blocks.get(k, func() []byte { return b }), nil
}

// otherMayDo reports whether another version of the object may be the right one, and was not looked for yet. A flipped byte in the
// header of a sealed object looks like no key of ours, and a version that always breaks off like a bad connection.
func otherMayDo(ctx context.Context, err error) bool {
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
		return false
	}
	f := Classify(ctx, err)
	return f.Lost() || f == Refused || ctx.Err() == nil && (errors.Is(err, seal.ErrNoKey) || errors.Is(err, io.ErrUnexpectedEOF))
}

// annotate names the object, and calls bytes that stayed wrong what they are.
func annotate(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrWrongBytes):
		return fmt.Errorf("%s: %w (%w)", name, ErrDamaged, err)
	case strings.HasPrefix(err.Error(), name+": "):
		return err // it says so itself
	}
	return fmt.Errorf("%s: %w", name, err)
}
