package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/notify/notifytest"
)

// TestTurn: a second run says who runs since when; one that waits begins when the first is killed, whose lock is in nobody's way.
func TestTurn(t *testing.T) {
	d := newDesk(t)
	if err := os.WriteFile(d.path("data/big"), noise(8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d.configure("")
	if code, _, errOut := d.run("init"); code != 0 {
		t.Fatal(errOut)
	}
	hook := notifytest.StartHook(false)
	defer hook.Close()
	told := fmt.Sprintf("notify: [{webhook: {url: %[1]q}}, {ping: {url: %[1]q}}]\nmetrics: {textfile: m.prom}\n", hook.URL)
	d.configure("limits: {upload: 64KiB}\n" + told)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	first, _, _ := d.command(ctx, "run")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	d.awaitCache(ctx)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	says := regexp.MustCompile(fmt.Sprintf(`already running: process %d on "%s", since 20[0-9T:-]+Z, runs this configuration`, first.Process.Pid, regexp.QuoteMeta(host)))
	code, out, errOut := d.run("run")
	if code != 1 || !says.MatchString(errOut) || out != "" || strings.Contains(errOut, "failed") {
		t.Errorf("a second run: exit code %d: %s%s", code, out, errOut)
	}
	// It is no failure: nobody is told, and nothing is measured.
	if n := len(hook.Requests()); n > 1 || n == 1 && hook.Requests()[0].Path != "/start" {
		t.Errorf("told: %+v", hook.Requests())
	}
	if _, err := os.Stat(d.path("m.prom")); err == nil {
		t.Error("measured")
	}
	d.configure("") // for the one that waits, which need not be slow
	second, out2, _ := d.command(ctx, "run", "--wait")
	second.Stderr = nil
	says2, err := second.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	// It says that it waits, and only then there is nothing more to wait for.
	waits := fmt.Sprintf("Waiting for the run of process %d", first.Process.Pid)
	lines, heard := bufio.NewScanner(says2), ""
	for !strings.Contains(heard, waits) && lines.Scan() {
		heard += lines.Text() + "\n"
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	for lines.Scan() {
		heard += lines.Text() + "\n"
	}
	if code := d.code(second.Wait()); code != 0 || !strings.Contains(out2.String(), "complete point") || !strings.Contains(heard, waits) {
		t.Errorf("the one that waited: exit code %d: %s%s", code, out2, heard)
	}
	// What the killed run left says nothing to the next one.
	if code, out, errOut := d.run("run"); code != 0 {
		t.Errorf("the run after: exit code %d: %s%s", code, out, errOut)
	}
}
