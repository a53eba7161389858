package tobucket

import (
	"context"
	"crypto/md5" //nolint:gosec // what servers give as ETag
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"iter"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/restore"
)

// body is an entry's content as a request body. A try that failed is repeated by fetching it again, so nothing is kept.
type body struct {
	ctx  context.Context
	c    restore.Content
	size int64

	mu   sync.Mutex
	at   int64 // as Seek left it
	next func() (restore.Piece, error, bool)
	end  func()
	rest restore.Piece
	err  error // of the content: no try can succeed
	sum  hash.Hash
}

// newBody makes one; sums says that its MD5 will be asked for.
func newBody(ctx context.Context, c restore.Content, size int64, sums bool) *body {
	b := &body{ctx: ctx, c: c, size: size}
	if sums {
		b.sum = md5.New() //nolint:gosec // what servers give as ETag
	}
	return b
}

// md5 gives the sum of all that was read, in hex, "" if it was not taken.
func (b *body) md5() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sum == nil || b.at != b.size {
		return ""
	}
	return hex.EncodeToString(b.sum.Sum(nil))
}

var errSeek = errors.New("a restored object is only read from its start")

// Seek implements io.Seeker for what a client needs: the size, and the start again.
func (b *body) Seek(off int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	switch {
	case whence == io.SeekCurrent && off == 0:
	case whence == io.SeekEnd && off == 0:
		b.reset(b.size)
	case whence == io.SeekStart && (off == 0 || off == b.size):
		if off != b.at {
			b.reset(off)
		}
	default:
		return 0, errSeek
	}
	return b.at, nil
}

// reset lets go of the fetch and stands at off.
func (b *body) reset(off int64) {
	if b.end != nil {
		b.end()
	}
	b.next, b.end, b.rest = nil, nil, restore.Piece{}
	if b.sum != nil && off == 0 {
		b.sum.Reset()
	}
	b.at = off
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.next == nil {
		if b.at == b.size {
			return 0, io.EOF
		}
		b.next, b.end = iter.Pull2(b.c.Pieces(b.ctx))
	}
	for b.rest.Len() == 0 {
		piece, err, ok := b.next()
		if err != nil {
			b.err = err
			return 0, err
		}
		if !ok {
			return 0, io.EOF
		}
		b.rest = piece
	}
	n := min(int64(len(p)), b.rest.Len())
	if b.rest.Hole > 0 {
		clear(p[:n])
		b.rest.Hole -= n
	} else {
		copy(p, b.rest.Data[:n])
		b.rest.Data = b.rest.Data[n:]
	}
	b.at += n
	if b.sum != nil {
		_, _ = b.sum.Write(p[:n]) // never fails
	}
	// The last byte is only given when the whole is known to be right.
	if b.at == b.size && b.rest.Len() == 0 {
		if _, err, _ := b.next(); err != nil {
			b.err = err
			return 0, err
		}
	}
	return int(n), nil
}

// failed gives the content's error, if that is why a request failed.
func (b *body) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// stop lets go of the fetch; whoever still reads gets nothing more.
func (b *body) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reset(b.at)
	if b.err == nil {
		b.err = io.ErrClosedPipe
	}
}
