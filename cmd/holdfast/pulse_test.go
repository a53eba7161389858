package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/store/meter"
)

// TestPulse: a sign of life is sent when something moved, and only then.
func TestPulse(t *testing.T) {
	var sent []string
	cpu := time.Duration(0)
	p := &pulse{every: time.Minute, meter: meter.New(meter.Options{}), cpu: func() time.Duration { return cpu }, send: func(s string) { sent = append(sent, s) }}
	beats := func(what string, alive bool, text string) {
		t.Helper()
		p.beat()
		last := sent[len(sent)-1]
		if strings.Contains(last, "WATCHDOG=1") != alive || !strings.HasPrefix(last, "STATUS="+text) {
			t.Errorf("%s: %q", what, last)
		}
	}
	read := &progress.Count{}
	p.copies("site", read)
	beats("nothing moved", false, "copying site: 0 B read")
	read.Done.Add(2048)
	read.Total.Add(4096)
	beats("bytes came", true, "copying site: 2.0 KiB read of 4.0 KiB")
	beats("no more came", false, "copying site: 2.0 KiB")
	cpu += idleCPU / 2
	beats("it idles", false, "copying site")
	cpu += idleCPU
	beats("it works", true, "copying site")
	beats("it stopped working", false, "copying site")
	p.waits("process 7")
	beats("it waits for another", true, "waiting for process 7")
	p.every = 0
	beats("nobody asks", false, "waiting for process 7")
	// A run that nobody watches has no pulse.
	var none *pulse
	none.copies("site", read)
	none.waits("process 7")
	none.begin(t.Context())()
}

// TestNotify: a run under systemd says that it has begun, what it does, and that it ends.
func TestNotify(t *testing.T) {
	d := newDesk(t)
	d.configure("")
	if code, _, errOut := d.run("init"); code != 0 {
		t.Fatal(errOut)
	}
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd, out, errOut := d.command(t.Context(), "run", "--allow-empty", "site")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s%s", err, out, errOut)
	}
	var got []string
	for buf := make([]byte, 4096); !slices.Contains(got, "STOPPING=1"); {
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buf)
		if err != nil {
			t.Fatalf("%q, then %v", got, err)
		}
		got = append(got, string(buf[:n]))
	}
	if got[0] != "READY=1" || !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "STATUS=copying site") }) {
		t.Errorf("%q", got)
	}
}
