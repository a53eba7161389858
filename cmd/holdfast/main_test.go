package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// waiter stands for a command that runs until it is stopped; with "stubborn" it does not stop by itself either.
func waiter() {
	a := (&app{ui: newUI(os.Stdout, os.Stderr), now: time.Now}).share()
	ctx, stop := withSignals(context.Background(), a.ui)
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("cancelled")
	if len(os.Args) > 1 {
		time.Sleep(time.Minute)
	}
	code, name := exitOf(ctx, fmt.Errorf("reading: %w", ctx.Err()))
	stop()
	fmt.Println(name)
	os.Exit(code)
}

// TestSignals: the first signal ends the context and gives the code, the second kills.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		twice  bool
		code   int
		name   string
	}{
		{syscall.SIGINT, false, exitInterrupt, "interrupted"},
		{syscall.SIGTERM, false, exitTerminate, "terminated"},
		{syscall.SIGINT, true, -1, ""},
	} {
		t.Run(fmt.Sprintf("%v twice=%v", c.signal, c.twice), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			args := []string{}
			if c.twice {
				args = append(args, "stubborn")
			}
			cmd := exec.CommandContext(ctx, "waiter", args...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			expect := func(want string) {
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("read %q, %v; want %q", lines.Text(), lines.Err(), want)
				}
			}
			signal := func() {
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			expect("ready")
			signal()
			expect("cancelled")
			if c.twice {
				signal()
			} else {
				expect(c.name)
			}
			err = cmd.Wait()
			var e *exec.ExitError
			if !errors.As(err, &e) || e.ExitCode() != c.code {
				t.Fatalf("%v; want exit code %d", err, c.code)
			}
			if status, ok := e.Sys().(syscall.WaitStatus); c.twice && (!ok || status.Signal() != c.signal) {
				t.Fatalf("ended by %v instead of the second signal", e)
			}
			if !c.twice && !strings.Contains(stderr.String(), "Stopping ("+c.name+")") {
				t.Errorf("standard error: %q", stderr.String())
			}
		})
	}
}
