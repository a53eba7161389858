package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// What a run stores last the next one reads first: the commit object, pages of the manifest and of the lists. So a session keeps
// their bytes on its machine, and those of the descriptors, and reads them there as long as the vault lists the very version that
// they are of, with its size. A vault that lost it or has another is noticed as without: by its listing. That bytes went bad under
// the same version is for a verification to find, as it is for packs, which no run reads.

// kept are the objects that are kept of one vault.
type kept struct {
	in    *cache.Kept // nil: none
	vault string
}

// of reports whether a version can be kept: not where a vault has no versions.
func (h kept) of(ref store.Ref) bool { return h.in != nil && flat.Place(ref).Version != "" }

// put keeps what was stored, if it is of a kind that runs read again.
func (h kept) put(ref store.Ref, body []byte) {
	for _, kind := range []string{format.PrefixMeta, format.PrefixNeeds, format.PrefixPoints, format.PrefixDescriptors} {
		if strings.HasPrefix(ref.Name, kind) && h.of(ref) {
			h.in.Put(h.vault, ref, body)
		}
	}
}

// whole gives a small object as it was listed, or nil.
func (h kept) whole(info store.Info, sum format.Hash) []byte {
	if !h.of(info.Ref) || info.Size > format.MaxDescriptor {
		return nil
	}
	b, ok := h.in.Whole(h.vault, info.Ref, info.Size)
	if !ok || int64(len(b)) != info.Size || sha256.Sum256(b) != sum {
		return nil
	}
	return b
}

// at reads a part of an object that is placed. It is proved by what refers to it.
func (h kept) at(ref store.Ref, p []byte, off int64) bool {
	return h.of(ref) && h.in.ReadAt(h.vault, ref, p, off)
}

// drop forgets a version whose bytes turned out to be others.
func (h kept) drop(ref store.Ref) {
	if h.in != nil {
		h.in.Drop(h.vault, ref)
	}
}

// atHand is a vault with one whole object that need not be asked for.
type atHand struct {
	store.Reader
	ref  store.Ref
	body []byte
}

// Open implements store.Reader.
func (r atHand) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if ref == r.ref && off == 0 && n < 0 {
		return io.NopCloser(bytes.NewReader(r.body)), nil
	}
	return r.Reader.Open(ctx, ref, off, n)
}

// commit is Repository.Commit of a point that a vault lists, or whose commit object this machine has.
func (k *keeper) commit(ctx context.Context, r *Repository, p Point) (*format.Commit, error) {
	in := k.vault.Read
	for _, info := range p.versions {
		if info.Version == p.Version {
			if b := k.kept.whole(info, p.ID); b != nil {
				in = atHand{in, store.Ref{Name: p.Name, Version: p.Version}, b}
			}
		}
	}
	return r.Commit(ctx, in, p, k.report)
}

// keptDescriptors is a vault whose descriptors are kept when they are read.
type keptDescriptors struct {
	store.Reader
	kept

	mu     sync.Mutex
	listed map[store.Ref]int64 // sizes
}

// maxListedDescriptors bounds the memory of the sizes; a chain has a few.
const maxListedDescriptors = 1000

// Versions implements store.Reader.
func (r *keptDescriptors) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range r.Reader.Versions(ctx, prefix, after) {
			if err == nil && strings.HasPrefix(info.Name, format.PrefixDescriptors) && r.of(info.Ref) {
				r.mu.Lock()
				if r.listed == nil {
					r.listed = map[store.Ref]int64{}
				}
				if len(r.listed) < maxListedDescriptors {
					r.listed[info.Ref] = info.Size
				}
				r.mu.Unlock()
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// Open implements store.Reader.
func (r *keptDescriptors) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	r.mu.Lock()
	size, ok := r.listed[ref]
	r.mu.Unlock()
	sum, err := format.ParseName(ref.Name)
	if !ok || err != nil || off != 0 || n >= 0 {
		return r.Reader.Open(ctx, ref, off, n)
	}
	if b := r.whole(store.Info{Ref: ref, Size: size}, sum); b != nil {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	body, err := r.Reader.Open(ctx, ref, off, n)
	if err != nil {
		return nil, err
	}
	return &keeping{ReadCloser: body, max: size, done: func(b []byte) {
		if sha256.Sum256(b) == sum {
			r.put(ref, b)
		}
	}}, nil
}

// keeping has what was read of a body as soon as it is closed.
type keeping struct {
	io.ReadCloser
	max  int64
	read []byte
	done func([]byte)
}

// Read implements io.Reader.
func (b *keeping) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if int64(len(b.read)+n) <= min(b.max, format.MaxDescriptor) {
		b.read = append(b.read, p[:n]...)
	}
	return n, err
}

// Close implements io.Closer.
func (b *keeping) Close() error {
	b.done(b.read)
	return b.ReadCloser.Close()
}
