package process

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// groupScript starts one that does not listen, names both, and waits.
const groupScript = `trap 'exit 0' TERM
(trap '' TERM; echo child; while :; do sleep 0.01; done) &
echo $$ $!
wait`

// dead waits until no process of that number is there.
func dead(t *testing.T, pid string) {
	t.Helper()
	for range 500 {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s lives", pid)
}

// TestGroup: whoever is told to stop takes what it started with it, listening or not.
func TestGroup(t *testing.T) {
	for _, how := range []string{"cancel", "timeout"} {
		t.Run(how, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			began := make(chan string, 1)
			o := sh(groupScript)
			o.grace = 50 * time.Millisecond
			if how == "timeout" {
				o.Timeout = time.Second
			}
			seen := 0
			o.Line = func(s string) {
				if pids := strings.Fields(s); len(pids) == 2 {
					began <- pids[1]
				}
				if seen++; seen == 2 && how == "cancel" {
					cancel()
				}
			}
			err := Run(ctx, o)
			if how == "cancel" && !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			if how == "timeout" && reason(t, err) != "took longer than 1s and was stopped" {
				t.Errorf("%v", err)
			}
			dead(t, <-began)
		})
	}
}

// TestClosed: who stops reading ends the program.
func TestClosed(t *testing.T) {
	defer goleak.VerifyNone(t)
	o := sh(`echo $$; exec sleep 600`)
	o.grace = time.Second
	out, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := out.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(b[:n]))
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	dead(t, pid)

	ctx, cancel := context.WithCancel(t.Context())
	o = sh(`echo $$; exec sleep 600`)
	o.grace = time.Second
	if out, err = Start(ctx, o); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(b); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(out); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Start(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
