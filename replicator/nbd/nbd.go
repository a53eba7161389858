// Package nbd serves content read-only as network block devices, in the protocol's fixed newstyle: what a recovery point
// holds can be mounted, or copied by any client, without restoring it first.
//
// The protocol is specified in https://github.com/NetworkBlockDevice/nbd/blob/174ad5513a3f/doc/proto.md; comments name its
// sections. There is no encryption and no password in it as it is spoken here: whoever reaches the listener reads the
// content. Everything a client says is bounded before it is acted on. The package must never write to an export, never
// outlive the context it was given, and never know what an export is made of.
package nbd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Export is what is served under a name. It is used concurrently.
type Export interface {
	Size() int64
	// ReadAt fills p with the content from off on; both lie within it.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// Status says what the content from off on is made of, without reading it: at most most spans, which may end before n
	// bytes, and at least one.
	Status(ctx context.Context, off, n int64, most int) ([]Span, error)
}

// Span is a stretch of content that is all data, or all hole: then it reads as zeros.
type Span struct {
	Len  int64
	Hole bool
}

// Options of a server.
type Options struct {
	// Name is what the export is listed as; it is served under the empty name, too, which is what clients ask for that were
	// given none. A name that is not UTF-8 or longer than 4,096 bytes is not listed.
	Name   string
	Export Export
	// Connections is how many clients are served at once; more are hung up on. Default 64.
	Connections int
	// Memory bounds the replies in flight, of all clients together, in bytes. Default 64 MiB.
	Memory int64
	// Failed is told of every read that could not be answered. May be nil; it is called concurrently.
	Failed func(off, n int64, err error)
	// Dropped is told why a client was hung up on that did not keep to the protocol. May be nil; it is called concurrently.
	Dropped func(client string, err error)
}

const (
	defaultConnections = 64
	defaultMemory      = 64 << 20
	handshakeTime      = 30 * time.Second // for all of the haggling
	sendTime           = 2 * time.Minute  // for a client to take one reply
	linger             = 2 * time.Second  // for replies in flight when the server is stopped
)

// Counts is what a server did.
type Counts struct {
	Clients, Reads, Bytes, Errors int64
}

// Server serves one export. It is used once.
type Server struct {
	o      Options
	memory *room
	counts struct{ clients, reads, bytes, errors atomic.Int64 }
}

// New makes a server.
func New(o Options) (*Server, error) {
	if o.Export == nil {
		return nil, errors.New("nbd: an export is needed")
	}
	if o.Connections <= 0 {
		o.Connections = defaultConnections
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	return &Server{o: o, memory: newRoom(o.Memory)}, nil
}

// Counts gives what was done so far.
func (s *Server) Counts() Counts {
	return Counts{s.counts.clients.Load(), s.counts.reads.Load(), s.counts.bytes.Load(), s.counts.errors.Load()}
}

// Serve answers clients of l until ctx ends, which is no error, or l fails. It closes l, and when it returns every
// connection is closed and no goroutine of its is left.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // Accept then fails, which says it
	defer stop()
	slots := make(chan struct{}, s.o.Connections)
	var err error
	for {
		var c net.Conn
		if c, err = l.Accept(); err != nil {
			if ctx.Err() == nil && passing(err) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			break
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = c.Close()
			s.dropped(c, fmt.Errorf("more than %d clients at once", s.o.Connections))
			continue
		}
		g.Go(func() error {
			defer func() { <-slots }()
			s.client(ctx, c)
			return nil
		})
	}
	ended := ctx.Err() != nil
	cancel()
	_ = g.Wait()
	_ = l.Close()
	if ended || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("nbd: %w", err)
}

// passing reports whether err says nothing of the listener: this machine is out of file descriptors for a while, or a client
// went away before it was let in.
func passing(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED)
}

// client serves one connection from greeting to goodbye.
func (s *Server) client(ctx context.Context, c net.Conn) {
	defer c.Close()
	s.counts.clients.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Whoever waits for this client is woken when the server stops; replies under way get a moment.
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetReadDeadline(time.Now())
		_ = c.SetWriteDeadline(time.Now().Add(linger))
	})
	defer stop()
	err := s.converse(ctx, c)
	if err != nil && ctx.Err() == nil {
		s.dropped(c, err)
	}
}

func (s *Server) converse(ctx context.Context, c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil // or the deadline that ends it is the one that was just moved
	}
	h := &handshake{rw: c, name: s.o.Name, size: s.o.Export.Size()}
	terms, err := h.run()
	if err != nil || terms == nil {
		return err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	t := &transmission{server: s, conn: c, terms: *terms}
	return t.run(ctx)
}

func (s *Server) dropped(c net.Conn, err error) {
	if s.o.Dropped != nil {
		s.o.Dropped(c.RemoteAddr().String(), err)
	}
}

func (s *Server) failed(off, n int64, err error) {
	s.counts.errors.Add(1)
	if s.o.Failed != nil {
		s.o.Failed(off, n, err)
	}
}
