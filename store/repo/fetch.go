package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/store"
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
	if err != nil && !broke && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, format.ErrBounds) {
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

// locate walks the versions of name, oldest last as the vault lists them, for one whose bytes have the hash sum. Finding
// it under others is reported as tampering: nothing of ours puts a name twice with other bytes, or deletes.
func locate(ctx context.Context, r store.Reader, name string, sum format.Hash, max int64, report Report) (store.Info, error) {
	seen := 0
	for info, err := range r.Versions(ctx, name) {
		if err != nil {
			return store.Info{}, fmt.Errorf("list versions of %s: %w", name, err)
		}
		if info.Name != name {
			break // sorted: only longer names follow
		}
		seen++
		if info.DeleteMarker || info.Size > max {
			continue
		}
		ok, err := hasHash(ctx, r, info, sum)
		if err != nil {
			return store.Info{}, err
		}
		if ok {
			if seen > 1 {
				report.send(Tampered, name, "newer versions or delete markers (%d) lie on top of the right bytes, in version %s", seen-1, info.Version)
			}
			return info, nil
		}
	}
	if seen == 0 {
		return store.Info{}, fmt.Errorf("%s: %w", name, ErrMissing)
	}
	return store.Info{}, fmt.Errorf("%s: %w (%d looked at)", name, ErrDamaged, seen)
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
