package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/process"
)

// signalled is the cause of a context that a signal ended.
type signalled struct {
	code int
	name string
}

func (s *signalled) Error() string { return "stopped: " + s.name }

// withSignals gives a context that the first SIGINT or SIGTERM cancels, so that the command can stop at a clean point.
// The second one kills, as if nobody had been listening, and programs that were started with it. stop waits until the listener is gone.
func withSignals(parent context.Context, u *ui) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	got := make(chan os.Signal, 2)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case s := <-got:
			cause := &signalled{exitInterrupt, "interrupted"}
			if s == syscall.SIGTERM {
				cause = &signalled{exitTerminate, "terminated"}
			}
			cancel(cause)
			u.remark("Stopping (%s). Nothing half-done counts as done; once more stops at once.", cause.name)
		case <-over:
			return
		}
		select {
		case s := <-got:
			dieOf(s)
		case <-over:
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		cancel(nil)
		close(over)
		<-done
	}
}

// dieOf ends this process by a signal, and what it started with it.
func dieOf(s os.Signal) {
	process.KillAll()
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	if self, err := os.FindProcess(os.Getpid()); err == nil && self.Signal(s) == nil {
		time.Sleep(time.Second) // unless whoever started this one had it ignored
	}
	if s == syscall.SIGTERM {
		os.Exit(exitTerminate)
	}
	os.Exit(exitInterrupt)
}
