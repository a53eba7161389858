// Package awstest runs the in-test servers of EC2 and of the EBS direct APIs behind one address. It is for tests and
// measurements; the program must not link it.
package awstest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// Server is a running one.
type Server struct {
	World *world.World
	EBS   *ebs.Server
	EC2   *ec2.Server
	URL   string // of both APIs

	http *http.Server
	done chan error
}

// Start serves a world on a port of this machine, until Close.
func Start(w *world.World, blocks ebs.Options, control ec2.Options) (*Server, error) {
	return StartAt("127.0.0.1:0", w, blocks, control)
}

// StartAt is Start at an address.
func StartAt(addr string, w *world.World, blocks ebs.Options, control ec2.Options) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{World: w, EBS: ebs.New(w, blocks), EC2: ec2.New(w, control), URL: "http://" + l.Addr().String(), done: make(chan error, 1)}
	s.http = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/snapshots") {
			s.EBS.ServeHTTP(rw, r)
			return
		}
		s.EC2.ServeHTTP(rw, r)
	})}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// Close stops it.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	if serr := <-s.done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}
