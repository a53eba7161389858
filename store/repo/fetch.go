package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// readRange reads exactly n bytes of ref from off. n was bounded by the caller.
func readRange(ctx context.Context, r store.Reader, ref store.Ref, off, n int64) ([]byte, error) {
	buf := make([]byte, n)
	return buf, readFull(ctx, r, ref, off, buf)
}

// readFull fills buf with the bytes of ref from off.
func readFull(ctx context.Context, r store.Reader, ref store.Ref, off int64, buf []byte) error {
	body, err := r.Open(ctx, ref, off, int64(len(buf)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(body, buf)
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// whole reads a small object (at most max bytes) whose name or ID holds the hash of its bytes. It tries hint, or the
// newest version, with one request, and walks the versions for the right bytes when those are wrong. The Info it gives
// has the size, and the version as far as it was known or found.
func whole(ctx context.Context, r store.Reader, hint store.Ref, sum format.Hash, max int64, report Report) ([]byte, store.Info, error) {
	b, err := slurp(ctx, r, hint, max)
	if err == nil && sha256.Sum256(b) == sum {
		return b, store.Info{Ref: hint, Size: int64(len(b))}, nil
	}
	// A stream without a version that breaks is not taken up again below here, as another object may be the newest by then.
	broke := hint.Version == "" && store.Retryable(err)
	if err != nil && !broke && !errors.Is(err, format.ErrBounds) && !errors.Is(err, io.ErrUnexpectedEOF) && !Unreadable(ctx, err) {
		return nil, store.Info{}, err
	}
	info, err := locate(ctx, r, hint.Name, sum, max, report)
	if err != nil {
		return nil, info, err
	}
	b, err = slurp(ctx, r, info.Ref, max)
	if err == nil && sha256.Sum256(b) != sum {
		err = fmt.Errorf("%s: %w", hint.Name, ErrDamaged)
	}
	return b, info, err
}

// Unreadable reports whether err may be about one version alone: it is gone, or whoever put it there saw to it that nobody
// else can read it (encrypted with a key of his own, or moved into an archive). Another version of that name may do. What
// would fail for any version alike, such as credentials or a network, is not.
func Unreadable(ctx context.Context, err error) bool {
	return Classify(ctx, err).OfObject() && (errors.Is(err, store.ErrNotFound) || errors.As(err, new(*store.Error)))
}

// slurp reads an object of at most max bytes.
func slurp(ctx context.Context, r store.Reader, ref store.Ref, max int64) ([]byte, error) {
	body, err := r.Open(ctx, ref, 0, -1)
	if err != nil {
		return nil, err
	}
	b, err := readAll(body, max)
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	return b, err
}

// maxOldest is how many versions of a name are remembered while it is listed, the oldest ones.
const maxOldest = 64

// locate walks the versions of name for one whose bytes have the hash sum: the newest, then the others from the oldest on,
// since what was put on top, a thousand times perhaps, came later. Finding it under others is reported as tampering: nothing
// of ours puts a name twice with other bytes, or deletes.
func locate(ctx context.Context, r store.Reader, name string, sum format.Hash, max int64, report Report) (store.Info, error) {
	l := look{ctx: ctx, r: r, name: name, sum: sum, max: max}
	newest := ""
	var oldest []placed // the newest of them first, as listed
	err := l.each(func(info store.Info) (bool, error) {
		l.seen++
		if info.DeleteMarker {
			return true, nil
		}
		if l.seen == 1 {
			newest = info.Version
			if ok, err := l.right(info); ok || err != nil {
				return false, err
			}
		}
		if len(oldest) == maxOldest {
			oldest = append(oldest[:0], oldest[1:]...)
		}
		oldest = append(oldest, placed{info, l.seen - 1})
		return true, nil
	})
	if err == nil && l.seen == 0 {
		err = l.unlisted()
	}
	if err != nil || l.found != nil {
		return l.result(err, nil)
	}
	looked := map[string]bool{newest: true}
	for _, v := range slices.Backward(oldest) {
		if looked[v.info.Version] {
			continue
		}
		looked[v.info.Version], l.above = true, v.above
		if ok, err := l.right(v.info); ok || err != nil {
			return l.result(err, report)
		}
	}
	if l.seen <= maxOldest {
		return l.result(nil, nil)
	}
	l.above = -1
	err = l.each(func(info store.Info) (bool, error) { // the newest of very many are left
		l.above++
		if info.DeleteMarker || looked[info.Version] {
			return true, nil
		}
		ok, err := l.right(info)
		return !ok, err
	})
	return l.result(err, report)
}

// placed is a version with how many others lie on top of it.
type placed struct {
	info  store.Info
	above int
}

// look is one search among the versions of a name.
type look struct {
	ctx   context.Context
	r     store.Reader
	name  string
	sum   format.Hash
	max   int64
	seen  int
	found *store.Info
	above int   // versions and delete markers on top of the one looked at
	why   error // the first version's that could not be read
}

// unlisted asks for a name that the listing leaves out: MinIO lists nothing below an object of a folder's name.
func (l *look) unlisted() error {
	info, _, err := l.r.Stat(l.ctx, store.Ref{Name: l.name})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		l.seen = 1
		_, err = l.right(info)
	}
	return err
}

// each gives the versions of the name, the newest first, as long as visit wants more.
func (l *look) each(visit func(store.Info) (bool, error)) error {
	for info, err := range l.r.Versions(l.ctx, l.name, "") {
		if err != nil {
			return fmt.Errorf("list versions of %s: %w", l.name, err)
		}
		if info.Name != l.name {
			return nil // sorted: only longer names follow
		}
		if more, err := visit(info); err != nil || !more {
			return err
		}
	}
	return nil
}

func (l *look) right(info store.Info) (bool, error) {
	if info.Size > l.max {
		return false, nil
	}
	ok, err := hasHash(l.ctx, l.r, info, l.sum)
	if Unreadable(l.ctx, err) {
		l.why = cmp.Or(l.why, err)
		return false, nil
	}
	if ok {
		l.found = &info
	}
	return ok, err
}

// result words what the search came to; report is nil where the right version is the newest.
func (l *look) result(err error, report Report) (store.Info, error) {
	switch {
	case err != nil:
		return store.Info{}, err
	case l.found != nil:
		report.send(Tampered, l.name, "newer versions or delete markers (%d) lie on top of the right bytes, in %s", l.above, flat.Describe(l.found.Ref))
		return *l.found, nil
	case l.seen == 0:
		return store.Info{}, fmt.Errorf("%s: %w", l.name, ErrMissing)
	case l.why != nil && !errors.Is(l.why, store.ErrNotFound):
		return store.Info{}, l.why
	}
	return store.Info{}, fmt.Errorf("%s: %w (%d looked at)", l.name, ErrDamaged, l.seen)
}

// hasHash streams one version and compares its hash. A version that ends early has not.
func hasHash(ctx context.Context, r store.Reader, info store.Info, sum format.Hash) (bool, error) {
	body, err := r.Open(ctx, info.Ref, 0, -1)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(body, info.Size+1)); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		return false, err
	}
	return bytes.Equal(h.Sum(nil), sum[:]), nil
}

// readAll reads at most max bytes.
func readAll(r io.Reader, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(b)) > max {
		err = format.ErrBounds
	}
	return b, err
}
