package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signalled is the cause of a context that a signal ended.
type signalled struct {
	code int
	name string
}

func (s *signalled) Error() string { return "stopped: " + s.name }

// withSignals gives a context that the first SIGINT or SIGTERM cancels, so that the command can stop at a clean point.
// The second one kills, as if nobody had been listening. stop waits until the listener is gone.
func withSignals(parent context.Context, u *ui) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	got := make(chan os.Signal, 1)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case s := <-got:
			signal.Reset(os.Interrupt, syscall.SIGTERM)
			cause := &signalled{exitInterrupt, "interrupted"}
			if s == syscall.SIGTERM {
				cause = &signalled{exitTerminate, "terminated"}
			}
			cancel(cause)
			u.remark("Stopping (%s). Nothing half-done counts as done; once more stops at once.", cause.name)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		cancel(nil)
		<-done
	}
}
