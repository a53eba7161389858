package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
)

// Open implements store.Reader. Servers clamp a range that reaches past the end: then the bytes there are come first, and
// io.ErrUnexpectedEOF, which no repetition cures, after them. A range that begins past the end is that error at once. A
// connection that breaks early gives io.ErrUnexpectedEOF and store.ErrTransient.
func (s *Store) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	key, err := s.key(ref.Name)
	if err != nil {
		return nil, s.fail(ctx, "open", ref, err)
	}
	if off < 0 {
		return nil, s.fail(ctx, "open", ref, fmt.Errorf("offset %d", off))
	}
	if n == 0 {
		// HTTP has no empty range; the object must be there all the same.
		if _, _, err := s.Stat(ctx, ref); err != nil {
			return nil, err
		}
		return http.NoBody, nil
	}
	opts := minio.GetObjectOptions{VersionID: ref.Version}
	switch {
	case n > 0:
		opts.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	case off > 0:
		opts.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	rc, info, header, err := s.client.GetObject(forContent(ctx), s.loc.Bucket, key, opts)
	if err != nil {
		if off > 0 && n < 0 && minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return s.openAtEnd(ctx, ref, off, err)
		}
		return nil, s.fail(ctx, "open", ref, err)
	}
	b := &body{ctx: ctx, s: s, ref: ref, rc: rc, promised: info.Size, wanted: n}
	if opts.Header().Get("Range") != "" {
		if err := checkRange(header, off); err != nil {
			return nil, errors.Join(s.fail(ctx, "open", ref, err), rc.Close())
		}
	}
	return b, nil
}

// openAtEnd: reading to the end from exactly the end is empty, not an error.
func (s *Store) openAtEnd(ctx context.Context, ref store.Ref, off int64, cause error) (io.ReadCloser, error) {
	info, _, err := s.Stat(ctx, ref)
	if err != nil {
		return nil, err
	}
	if info.Size == off {
		return http.NoBody, nil
	}
	return nil, s.fail(ctx, "open", ref, cause)
}

// checkRange refuses an answer that begins elsewhere: a server that ignores Range would otherwise deliver other bytes.
func checkRange(h http.Header, off int64) error {
	cr := h.Get("Content-Range")
	first, _, ok := strings.Cut(strings.TrimPrefix(cr, "bytes "), "-")
	if at, err := strconv.ParseInt(first, 10, 64); ok && err == nil && at == off {
		return nil
	}
	if cr == "" && off == 0 {
		return nil // the whole object; the body stops where it was asked to
	}
	return fmt.Errorf("the server answered a range from byte %d with %q", off, cr)
}

// body delivers at most what was asked for and tells a short answer from a finished one.
type body struct {
	ctx      context.Context // of the Open call: the stream ends with it
	s        *Store
	ref      store.Ref
	rc       io.ReadCloser
	promised int64 // Content-Length; -1: unknown
	wanted   int64 // -1: all
	got      int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.wanted >= 0 {
		if b.got == b.wanted {
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), b.wanted-b.got)]
	}
	n, err := b.rc.Read(p)
	b.got += int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return n, b.end()
	}
	return n, b.s.fail(b.ctx, "open", b.ref, &wireError{err: err})
}

// end says what the server's end of stream means.
func (b *body) end() error {
	switch {
	case b.promised >= 0 && b.got < b.promised && (b.wanted < 0 || b.got < b.wanted):
		return b.s.fail(b.ctx, "open", b.ref, &wireError{err: io.ErrUnexpectedEOF})
	case b.wanted >= 0 && b.got < b.wanted:
		return b.s.fail(b.ctx, "open", b.ref, fmt.Errorf("object ends %d bytes before the range does: %w", b.wanted-b.got, io.ErrUnexpectedEOF))
	}
	return io.EOF
}

// Close gives the connection back if all was read, and else closes it.
func (b *body) Close() error { return b.rc.Close() }

// Stat implements store.Reader with a HEAD, whose headers carry the lock. Where they do not and a version is named, the
// lock is asked for.
func (s *Store) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	var none store.Retention
	key, err := s.key(ref.Name)
	if err != nil {
		return store.Info{}, none, s.fail(ctx, "stat", ref, err)
	}
	oi, err := s.client.StatObject(ctx, s.loc.Bucket, key, minio.StatObjectOptions{VersionID: ref.Version})
	if err != nil {
		return store.Info{}, none, s.fail(ctx, "stat", ref, s.reason(ctx, key, ref.Version, err))
	}
	if oi.Size < 0 {
		return store.Info{}, none, s.fail(ctx, "stat", ref, errors.New("the server did not say how large the object is"))
	}
	if ref.Version != "" && oi.VersionID != "" && oi.VersionID != ref.Version {
		return store.Info{}, none, s.fail(ctx, "stat", ref, fmt.Errorf("the server answered for version %s", oi.VersionID))
	}
	version := oi.VersionID
	if version == "" {
		version = ref.Version
	}
	lock, err := lockFrom(oi.Metadata)
	if err == nil && lock.Mode == store.ModeNone && ref.Version != "" {
		lock, err = s.lockByRequest(ctx, key, ref.Version)
	}
	if err != nil {
		return store.Info{}, none, s.fail(ctx, "stat", ref, err)
	}
	info := store.Info{Ref: store.Ref{Name: ref.Name, Version: version}, Size: oi.Size, Modified: oi.LastModified.UTC()}
	return info, lock, nil
}

// reason finds out why a HEAD was refused: its answer has no body, and so no code, and an expired session token is 400 like
// much else. One byte is asked for instead, whose refusal says it.
func (s *Store) reason(ctx context.Context, key, version string, cause error) error {
	if status := minio.ToErrorResponse(cause).StatusCode; status != http.StatusBadRequest && status != http.StatusForbidden {
		return cause
	}
	opts := minio.GetObjectOptions{VersionID: version}
	opts.Set("Range", "bytes=0-0")
	rc, _, _, err := s.client.GetObject(ctx, s.loc.Bucket, key, opts)
	if err != nil {
		if minio.ToErrorResponse(err).StatusCode == minio.ToErrorResponse(cause).StatusCode {
			return err
		}
		return cause
	}
	_ = rc.Close() // it was only asked for to be refused
	return cause
}

// lockFrom reads the lock headers. No header is no lock; half a lock, or one that cannot be read, is an error.
func lockFrom(h http.Header) (store.Retention, error) {
	mode, until := h.Get("X-Amz-Object-Lock-Mode"), h.Get("X-Amz-Object-Lock-Retain-Until-Date")
	r := store.Retention{LegalHold: strings.EqualFold(h.Get("X-Amz-Object-Lock-Legal-Hold"), "ON")}
	if mode == "" && until == "" {
		return r, nil
	}
	t, err := time.Parse(time.RFC3339, until)
	if err != nil {
		return r, fmt.Errorf("retain-until %q with mode %q cannot be read", until, mode)
	}
	switch strings.ToUpper(mode) {
	case "COMPLIANCE":
		r.Mode = store.Compliance
	case "GOVERNANCE":
		r.Mode = store.Governance
	default:
		return r, fmt.Errorf("lock mode %q cannot be read", mode)
	}
	r.Until = t.UTC()
	return r, nil
}
