package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// room is memory that replies share.
type room struct {
	all int64
	sem *semaphore.Weighted
}

func newRoom(n int64) *room { return &room{n, semaphore.NewWeighted(n)} }

func (r *room) take(ctx context.Context, n int64) (give func(), err error) {
	n = min(n, r.all)
	if err := r.sem.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { r.sem.Release(n) }, nil
}

// transmission is what follows the handshake with one client.
type transmission struct {
	server *Server
	conn   net.Conn
	terms  terms

	mu     sync.Mutex // one reply at a time
	broken error      // a reply was not taken: none will be
}

// run answers requests until the client goes, breaks the protocol, or ctx ends.
func (t *transmission) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxAtOnce)
	in := bufio.NewReaderSize(t.conn, 64<<10)
	err := t.read(ctx, g, in)
	werr := g.Wait()
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		err = werr
	}
	return err
}

// read takes requests and starts answering them. nil: the client said goodbye.
func (t *transmission) read(ctx context.Context, g *errgroup.Group, in *bufio.Reader) error {
	// A reply that cannot be sent ends the conversation, which may be waiting for the client.
	stop := context.AfterFunc(ctx, func() { _ = t.conn.SetReadDeadline(time.Now()) })
	defer stop()
	for {
		var b [requestSize]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return err
		}
		r, err := parseRequest(&b)
		if err != nil {
			return err
		}
		switch r.kind {
		case cmdDisconnect:
			return nil
		case cmdWrite:
			// Its data follows in any case.
			if r.length > maxRead {
				return fmt.Errorf("a write of %d bytes", r.length)
			}
			if _, err := io.CopyN(io.Discard, in, int64(r.length)); err != nil {
				return err
			}
		}
		g.Go(func() error { return t.answer(ctx, r) })
	}
}

// answer does one request. An error ends the conversation.
func (t *transmission) answer(ctx context.Context, r request) error {
	switch r.kind {
	case cmdRead:
		if r.flags&^cmdFlagDF != 0 || r.flags&cmdFlagDF != 0 && !t.terms.structured || r.length == 0 || r.length > maxRead || !t.within(r) {
			return t.refuse(ctx, r, errnoInvalid, "a read outside the export, of nothing, of too much, or with flags that do not belong")
		}
		return t.readReply(ctx, r)
	case cmdBlockStatus:
		if !t.terms.status || r.flags&^cmdFlagOne != 0 || r.length == 0 || !t.within(r) {
			return t.refuse(ctx, r, errnoInvalid, "no such range, or no context was negotiated")
		}
		return t.statusReply(ctx, r)
	case cmdWrite, cmdTrim, cmdWriteZeroes:
		return t.refuse(ctx, r, errnoPermission, "this export is read-only")
	case cmdFlush, cmdCache:
		// Not offered; there is nothing to flush, and nothing is read before it is wanted.
		return t.refuse(ctx, r, errnoUnsupported, "not offered")
	}
	return t.refuse(ctx, r, errnoInvalid, "no such request")
}

// within reports whether the range lies in the export.
func (t *transmission) within(r request) bool {
	size := uint64(t.server.o.Export.Size())
	return r.off <= size && uint64(r.length) <= size-r.off
}

// readReply reads and sends content: at once, or with structured replies its holes without their zeros.
func (t *transmission) readReply(ctx context.Context, r request) error {
	off, n := int64(r.off), int64(r.length)
	give, err := t.server.memory.take(ctx, n)
	if err != nil {
		return err
	}
	defer give()
	x := t.server.o.Export
	spans := []Span{{Len: n}}
	if t.terms.structured && r.flags&cmdFlagDF == 0 {
		found, err := x.Status(ctx, off, n, maxSpans)
		if err != nil {
			return t.lost(ctx, r, err)
		}
		spans = whole(found, n)
	}
	// All of it is read before any of it is sent, so that an error is one.
	buf := make([]byte, n)
	at := int64(0)
	for _, s := range spans {
		if !s.Hole {
			if err := x.ReadAt(ctx, buf[at:at+s.Len], off+at); err != nil {
				return t.lost(ctx, r, err)
			}
		}
		at += s.Len
	}
	t.server.counts.reads.Add(1)
	t.server.counts.bytes.Add(n)
	if !t.terms.structured {
		return t.send(ctx, simple(r.cookie, 0), buf)
	}
	var parts [][]byte
	at = 0
	for i, s := range spans {
		flags := uint16(0)
		if i == len(spans)-1 {
			flags = chunkDone
		}
		if s.Hole {
			b := chunk(flags, chunkHole, r.cookie, 12)
			b = binary.BigEndian.AppendUint64(b, uint64(off+at))
			parts = append(parts, binary.BigEndian.AppendUint32(b, uint32(s.Len)))
		} else {
			b := chunk(flags, chunkData, r.cookie, uint32(8+s.Len))
			parts = append(parts, binary.BigEndian.AppendUint64(b, uint64(off+at)), buf[at:at+s.Len])
		}
		at += s.Len
	}
	return t.send(ctx, parts...)
}

// whole makes spans cover exactly n bytes: what they do not reach is read as data.
func whole(spans []Span, n int64) []Span {
	var out []Span
	for _, s := range spans {
		if s.Len = min(s.Len, n); s.Len > 0 {
			out = append(out, s)
			n -= s.Len
		}
	}
	if n > 0 {
		out = append(out, Span{Len: n})
	}
	return out
}

// statusReply tells data from holes.
func (t *transmission) statusReply(ctx context.Context, r request) error {
	most := maxSpans
	if r.flags&cmdFlagOne != 0 {
		most = 1
	}
	spans, err := t.server.o.Export.Status(ctx, int64(r.off), int64(r.length), most)
	if err != nil {
		return t.lost(ctx, r, err)
	}
	if len(spans) == 0 {
		return t.lost(ctx, r, errors.New("no status"))
	}
	b := chunk(chunkDone, chunkStatus, r.cookie, uint32(4+8*len(spans)))
	b = binary.BigEndian.AppendUint32(b, contextID)
	for _, s := range spans {
		state := uint32(0)
		if s.Hole {
			state = stateHole | stateZero
		}
		b = binary.BigEndian.AppendUint32(b, uint32(s.Len)) // at most what was asked for, which has 32 bits
		b = binary.BigEndian.AppendUint32(b, state)
	}
	return t.send(ctx, b)
}

// lost answers that the content cannot be had. Why is told here, not to the client, who may be anybody.
func (t *transmission) lost(ctx context.Context, r request, err error) error {
	if ctx.Err() != nil {
		return t.refuse(ctx, r, errnoShutdown, "the server is stopping")
	}
	t.server.failed(int64(r.off), int64(r.length), err)
	return t.refuse(ctx, r, errnoIO, "this part of the content cannot be read; the server says why")
}

// refuse answers with an error.
func (t *transmission) refuse(ctx context.Context, r request, errno uint32, why string) error {
	if !t.terms.structured {
		return t.send(ctx, simple(r.cookie, errno))
	}
	b := chunk(chunkDone, chunkError, r.cookie, uint32(6+len(why)))
	b = binary.BigEndian.AppendUint32(b, errno)
	b = binary.BigEndian.AppendUint16(b, uint16(len(why)))
	return t.send(ctx, append(b, why...))
}

func simple(cookie uint64, errno uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, magicSimple)
	b = binary.BigEndian.AppendUint32(b, errno)
	return binary.BigEndian.AppendUint64(b, cookie)
}

// chunk begins a chunk of a structured reply.
func chunk(flags, kind uint16, cookie uint64, length uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, magicChunk)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, cookie)
	return binary.BigEndian.AppendUint32(b, length)
}

// send writes one reply. A client that does not take it in time is hung up on.
func (t *transmission) send(ctx context.Context, parts ...[]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken != nil {
		return t.broken
	}
	err := t.conn.SetWriteDeadline(time.Now().Add(sendTime))
	if err == nil && ctx.Err() != nil {
		err = t.conn.SetWriteDeadline(time.Now().Add(linger))
	}
	if err == nil {
		all := net.Buffers(parts)
		_, err = all.WriteTo(t.conn)
	}
	t.broken = err
	return err
}
