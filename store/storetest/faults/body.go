package faults

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"
)

// Body gives a stream its fault. broken is what a Reset ends it with. What is read is kept in memory whole.
func (p *Plan) Body(ctx context.Context, w Way, rc io.ReadCloser, broken error) (io.ReadCloser, error) {
	all, err := io.ReadAll(rc)
	if cerr := rc.Close(); err == nil {
		err = cerr
	}
	b := &body{ctx: ctx, r: bytes.NewReader(all), end: io.EOF}
	if err != nil {
		b.end = err // comes after the bytes that came before it
	}
	switch w {
	case Reset:
		b.r, b.end = bytes.NewReader(all[:len(all)/2]), broken
	case Truncated:
		b.r, b.end = bytes.NewReader(all[:len(all)/2]), io.ErrUnexpectedEOF
	case Flipped:
		flip(all)
	case Slow:
		b.pause, b.most = p.pause(), max(len(all)/8, 1)
	}
	return b, nil
}

// flip changes one bit in the middle.
func flip(b []byte) {
	if len(b) > 0 {
		b[len(b)/2] ^= 0x10
	}
}

type body struct {
	ctx   context.Context // of the call that opened it
	r     *bytes.Reader
	end   error
	pause time.Duration
	most  int // bytes at a time; 0: as asked
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.most > 0 {
		time.Sleep(b.pause)
		p = p[:min(len(p), b.most)]
	}
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.end
	}
	return n, err
}

func (b *body) Close() error { return nil }
