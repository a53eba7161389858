package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo"
)

func testUI() (u *ui, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	s := &stickyWriter{to: out}
	return &ui{out: s, sticky: s, err: err}, out, err
}

func TestWhereThingsGo(t *testing.T) {
	for _, c := range []struct {
		name                 string
		json, quiet, verbose bool
		want                 string
	}{
		{"plain", false, false, false, "remark\nholdfast: warning: warning\nholdfast: one\nholdfast: two\nholdfast: what to do: the other thing.\n"},
		{"verbose", false, false, true, "remark\ndetail\nholdfast: warning: warning\nholdfast: one\nholdfast: two\nholdfast: what to do: the other thing.\n"},
		{"quiet", false, true, true, "holdfast: warning: warning\nholdfast: one\nholdfast: two\nholdfast: what to do: the other thing.\n"},
		{"json", true, false, true, `{"warning":"warning"}` + "\n" + `{"error":"one\ntwo","code":"failed","next":["the other thing"]}` + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, out, err := testUI()
			u.json, u.quiet, u.verbose = c.json, c.quiet, c.verbose
			u.settle()
			u.remark("remark")
			u.detail("detail")
			u.warn("warning")
			u.fail(errors.New("one\ntwo"), "failed", []string{"the other thing"})
			if err.String() != c.want {
				t.Errorf("standard error: %q, want %q", err, c.want)
			}
			if out.Len() != 0 {
				t.Errorf("standard output: %q", out)
			}
		})
	}
}

func TestObject(t *testing.T) {
	u, out, _ := testUI()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := u.object(map[string]string{"a": strings.Repeat("b", 500)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Fatalf("not an object: %q", line)
		}
		n++
	}
	if n != 400 {
		t.Errorf("%d lines", n)
	}
}

// TestFullDisk: results that could not be written must not end in success.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		full = closedFile(t)
	}
	defer full.Close()
	var stderr bytes.Buffer
	s := &stickyWriter{to: full}
	a := (&app{ui: &ui{out: s, sticky: s, err: &stderr}, env: os.LookupEnv, now: time.Now}).share()
	if code := a.run(t.Context(), []string{"completion", "bash"}); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(stderr.String(), "writing to standard output") {
		t.Errorf("standard error: %q", stderr.String())
	}
}

func closedFile(t *testing.T) *os.File {
	f, err := os.CreateTemp(t.TempDir(), "closed")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	return f
}

func TestProgress(t *testing.T) {
	u, _, err := testUI()
	var none *bar
	none.add(1)
	none.expect(2)
	if b := u.progress("reading", 100, true); b != nil {
		t.Error("a bar in a pipe")
	}
	u.terminal = true
	for _, flag := range []*bool{&u.quiet, &u.json, &u.noProgress} {
		*flag = true
		if b := u.progress("reading", 100, true); b != nil {
			t.Error("a bar that was not wanted")
		}
		*flag = false
	}
	if err.Len() != 0 {
		t.Errorf("drawn: %q", err)
	}
	b := u.progress("reading", 100, true)
	b.expect(200 << 20)
	b.add(100 << 20)
	if !strings.Contains(err.String(), "reading") || !strings.Contains(err.String(), "50%") {
		t.Errorf("drawn: %q", err)
	}
	err.Reset()
	u.warn("careful")
	if got := err.String(); !strings.HasSuffix(got, "\rholdfast: warning: careful\n") {
		t.Errorf("the bar is not wiped before a line: %q", got)
	}
	u.endProgress()
	err.Reset()
	b.add(1)
	if err.Len() != 0 {
		t.Errorf("drawn after its end: %q", err)
	}
}

func TestLoadConfig(t *testing.T) {
	u, _, stderr := testUI()
	a := (&app{ui: u, env: os.LookupEnv, now: time.Now, configFile: "internal/config/testdata/least.yaml"}).share()
	c, err := a.loadConfig()
	if err != nil || len(c.Vaults) != 1 || stderr.Len() != 0 {
		t.Errorf("%+v, %v, %q", c, err, stderr)
	}
	a.configFile = "internal/config/testdata/errors/units.yaml"
	_, err = a.loadConfig()
	if code, name := exitOf(t.Context(), err); code != exitUsage || name != "config" {
		t.Errorf("%v: %d %s", err, code, name)
	}
}

// However much junk a thief lays, what is lost is told, and first.
func TestJunkHidesNoLoss(t *testing.T) {
	var f findings
	for i := range 3 * maxFindings {
		f.add(repo.Finding{Kind: repo.Tampered, Name: fmt.Sprintf("points/~%d", i)})
	}
	f.add(repo.Finding{Kind: repo.Missing, Name: "packs/x"})
	f.add(repo.Finding{Kind: repo.Missing, Name: "packs/x"})
	u, _, _ := testUI()
	lines, count, gone := f.tell(u)
	if !gone || count != 3*maxFindings+1 || !strings.Contains(lines[0].Text, "packs/x") || len(lines) != maxFindings+1 {
		t.Errorf("%d lines of %d findings, lost %v: %q", len(lines), count, gone, lines[0].Text)
	}
}
