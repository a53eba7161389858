package main

import (
	"io"
	"net"

	"github.com/rogpeppe/go-internal/testscript"
)

// hang starts a server that takes connections and never answers, sets the variable to its address, and others to
// credentials for it.
func hang(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hang VARIABLE")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, c) // until the client goes
				_ = c.Close()
			}()
		}
	}()
	ts.Defer(func() {
		_ = l.Close()
		<-done
	})
	ts.Setenv(args[0], l.Addr().String())
	ts.Setenv("HANG_ACCESS_KEY_ID", "AKIAHANG")
	ts.Setenv("HANG_SECRET_ACCESS_KEY", "secret-of-hang")
}
