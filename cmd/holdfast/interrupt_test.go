package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// desk is a folder with a configuration, a restore key and a data directory, and the program run in it.
type desk struct {
	*testing.T
	dir string
}

func newDesk(t *testing.T) *desk {
	d := &desk{t, t.TempDir()}
	if err := os.Mkdir(d.path("data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := d.run("keygen", "--classic", "--out", "restore.key"); code != 0 {
		t.Fatal(errOut)
	}
	return d
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

// configure writes the configuration with more at its end.
func (d *desk) configure(more string) {
	d.Helper()
	key, err := os.ReadFile(d.path("restore.key"))
	if err != nil {
		d.Fatal(err)
	}
	_, recipient, _ := strings.Cut(string(key), "# public key: ")
	recipient, _, _ = strings.Cut(recipient, "\n")
	text := fmt.Sprintf("vaults: [{name: disk, url: %q}]\nkeys: {recipients: [%q], host: host.key}\nsources: [{name: site, url: %q}]\ncache: cache\n%s",
		"file://"+d.path("vault"), recipient, "file://"+d.path("data"), more)
	if err := os.WriteFile(d.path("holdfast.yaml"), []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) command(ctx context.Context, args ...string) (cmd *exec.Cmd, out, errOut *bytes.Buffer) {
	cmd = exec.CommandContext(ctx, "holdfast", args...)
	out, errOut = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, out, errOut
	cmd.Env = append(os.Environ(), "HOME="+d.dir, "XDG_CACHE_HOME="+d.path("cache"), "XDG_CONFIG_HOME="+d.path("xdg"))
	return cmd, out, errOut
}

func (d *desk) run(args ...string) (code int, out, errOut string) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	cmd, o, e := d.command(ctx, args...)
	return d.code(cmd.Run()), o.String(), e.String()
}

func (d *desk) code(err error) int {
	d.Helper()
	var e *exec.ExitError
	if err != nil && !errors.As(err, &e) {
		d.Fatal(err)
	}
	if e != nil {
		return e.ExitCode()
	}
	return 0
}

// TestInterrupt: while a run is busy another, and a change of keys, is refused; a signal ends it within two seconds, with its exit code, and
// leaves no point; the next run finds what was stored and goes on.
func TestInterrupt(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		code   int
		name   string
	}{
		{syscall.SIGINT, 130, "interrupted"},
		{syscall.SIGTERM, 143, "terminated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			if err := os.WriteFile(d.path("data/big"), noise(8<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			d.configure("")
			if code, _, errOut := d.run("init"); code != 0 {
				t.Fatal(errOut)
			}
			d.configure("limits: {upload: 256KiB}")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			busy, out, errOut := d.command(ctx, "run", "--json")
			if err := busy.Start(); err != nil {
				t.Fatal(err)
			}
			d.awaitCache(ctx)
			if code, out, errOut := d.run("run", "--json"); code != 1 || !strings.Contains(errOut, "already running") ||
				!strings.Contains(errOut, `"code":"already_running"`) || out != "" {
				t.Errorf("a second run: exit code %d: %s%s", code, out, errOut)
			}
			if code, _, errOut := d.run("key", "rotate", "--identity", "restore.key"); code != 1 || !strings.Contains(errOut, "already running") {
				t.Errorf("a rotation meanwhile: exit code %d: %s", code, errOut)
			}
			began := time.Now()
			if err := busy.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if code, took := d.code(busy.Wait()), time.Since(began); code != c.code || took > 2*time.Second || !strings.Contains(errOut.String(), "source site: stopped: "+c.name) ||
				strings.Contains(errOut.String()+out.String(), "context canceled") || strings.Contains(errOut.String(), "source site: source site") {
				t.Errorf("exit code %d after %v: %s%s", code, took, out, errOut)
			}
			if code, out, errOut := d.run("points", "--json"); code != 0 || out != "" {
				t.Errorf("points: exit code %d: %s%s", code, out, errOut)
			}
			d.configure("")
			if code, out, errOut := d.run("run", "--json"); code != 0 || !strings.Contains(out, `"status":"complete"`) {
				t.Errorf("the next run: exit code %d: %s%s", code, out, errOut)
			}
			if code, out, errOut := d.run("verify", "--identity", "restore.key", "--json"); code != 0 {
				t.Errorf("verify: exit code %d: %s%s", code, out, errOut)
			}
		})
	}
}

// noise is bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// awaitCache waits until the run holds its cache, which is what a second one stumbles over.
func (d *desk) awaitCache(ctx context.Context) {
	d.Helper()
	for {
		if held, err := filepath.Glob(d.path("cache/*/index/LOCK")); err == nil && len(held) > 0 {
			time.Sleep(300 * time.Millisecond)
			return
		}
		select {
		case <-ctx.Done():
			d.Fatal("the run never began")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestSecondSignal: it ends the program at once, and leaves nothing behind that the first one did not end.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.configure("hooks: {before: [sh, -c, \"trap '' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.1; done\"]}")
	if code, _, errOut := d.run("init"); code != 0 {
		t.Fatal(errOut)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	busy, _, errOut := d.command(ctx, "run")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	var pid []byte
	for pid == nil && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
		pid, _ = os.ReadFile(d.path("pid")) // not there yet
	}
	began := time.Now()
	for range 2 {
		if err := busy.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // two at once are one
	}
	err := busy.Wait()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %v: %s", time.Since(began), err, errOut)
	}
	for ctx.Err() == nil {
		b, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the hook lives")
}
