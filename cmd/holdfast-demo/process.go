package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// server is a running S3 server, a process of its own.
type server struct {
	name  string
	url   string
	root  account // its administrator
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
	log   string
}

// startServer starts one and waits until it answers its administrator. Its data are in dir.
func startServer(ctx context.Context, name, dir string, users ...account) (*server, error) {
	var errs []error
	for range 3 { // another process may take the port in between
		s, err := tryServer(ctx, name, dir, users)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("start the %s server: %w", name, errors.Join(errs...))
}

func tryServer(ctx context.Context, name, dir string, users []account) (s *server, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s = &server{name: name, url: "http://" + addr, root: newAccount(name + "-admin"), ended: make(chan struct{}), log: filepath.Join(dir, "log")}
	spec, err := json.Marshal(serverSpec{Dir: dir, Addr: addr, Root: s.root, Users: users})
	if err != nil {
		return nil, err
	}
	out, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	s.cmd = exec.Command(self, serveArgument)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, out, out
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = in
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // it is killed in the end: its status says nothing
	}()
	if _, err = in.Write(spec); err == nil {
		err = s.ready(ctx)
	}
	if err != nil {
		s.stop()
	}
	return s, err
}

// ready waits until the server answers, to its own administrator: on that port it could be anybody.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c := s.client(s.root)
	for {
		_, err := c.ListBuckets(ctx, &s3.ListBucketsInput{})
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			text, _ := os.ReadFile(s.log)
			return fmt.Errorf("it ended:\n%s", text[max(0, len(text)-4096):])
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the process and waits for it.
func (s *server) stop() {
	_ = s.stdin.Close()
	_ = s.cmd.Process.Kill()
	<-s.ended
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// newAccount makes up a key that exists nowhere else.
func newAccount(name string) account {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	return account{ID: name, Secret: hex.EncodeToString(b[:])}
}
