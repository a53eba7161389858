package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/notify/notifytest"
	"github.com/holdfast-backup/holdfast/store/storetest/programs"
)

func newHook(t *testing.T, secure bool) *notifytest.Hook {
	t.Helper()
	h := notifytest.StartHook(secure)
	t.Cleanup(h.Close)
	return h
}

func webhook(t *testing.T, to string) *Webhook {
	t.Helper()
	w, err := NewWebhook(to, []byte("hook secret"), "holdfast/test", func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	w.poster.pause = time.Millisecond
	return w
}

func testMessage() *Message {
	return New(Options{Host: "web-1"}).message(KindTest, Well, noon).written()
}

// TestWebhook: JSON over TLS, with a signature that docs/operations.md tells how to check.
func TestWebhook(t *testing.T) {
	h := newHook(t, true)
	w := webhook(t, h.URL+"/services/T000/B000?room=7")
	if err := w.Send(t.Context(), testMessage()); err == nil || len(h.Requests()) != 0 {
		t.Fatalf("a certificate that nobody vouches for is taken: %v", err)
	}
	trust(t, w.poster, h.Server)
	if err := w.Send(t.Context(), testMessage()); err != nil {
		t.Fatal(err)
	}
	r := h.Requests()[0]
	if r.Path != "/services/T000/B000" || r.Query != "room=7" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") != "holdfast/test" {
		t.Errorf("%+v", r)
	}
	signature := r.Header.Get(SignatureHeader)
	if !strings.HasPrefix(signature, fmt.Sprintf("t=%d,v1=", noon.Unix())) {
		t.Errorf("%s", signature)
	}
	t.Run("as documented", func(t *testing.T) { checkByHand(t, r.Body, signature) })
}

// checkByHand runs the lines of docs/operations.md.
func checkByHand(t *testing.T, body, signature string) {
	programs.Need(t, "openssl")
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```sh signature\n(.*?)```").FindSubmatch(text)
	if m == nil {
		t.Fatal("docs/operations.md does not say how a signature is checked")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "body"), []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(now time.Time, secret, signature string) error {
		script := strings.ReplaceAll(string(m[1]), "$(date +%s)", fmt.Sprint(now.Unix()))
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOOK_SECRET=" + secret, "SIGNATURE=" + signature}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if err := check(noon.Add(time.Minute), "hook secret", signature); err != nil {
		t.Error(err)
	}
	if check(noon.Add(time.Hour), "hook secret", signature) == nil {
		t.Error("an old message is taken")
	}
	if check(noon, "another", signature) == nil || check(noon, "hook secret", strings.Replace(signature, "v1=", "v1=0", 1)) == nil {
		t.Error("a wrong signature is taken")
	}
}

// trust makes a server's certificate one that is known.
func trust(t *testing.T, p *poster, s *httptest.Server) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	p.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// TestAnswers: what counts as delivered, what is tried again, and that nothing goes to where a redirect leads.
func TestAnswers(t *testing.T) {
	other := newHook(t, false)
	status := func(codes ...int) func(int, http.ResponseWriter) {
		return func(n int, w http.ResponseWriter) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(codes[min(n, len(codes))-1])
		}
	}
	for name, c := range map[string]struct {
		answer func(int, http.ResponseWriter)
		tries  int
		want   string
	}{
		"accepted":       {status(202), 1, ""},
		"not found":      {status(404), 1, "it answers 404 Not Found"},
		"a redirect":     {status(307), 1, "redirects are not followed"},
		"busy, then not": {status(503, 200), 2, ""},
		"too many":       {status(429, 429), 2, "it answers 429"},
		"broken":         {status(500), 2, "it answers 500"},
		"it hangs up":    {func(int, http.ResponseWriter) { panic(http.ErrAbortHandler) }, 2, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t, false)
			h.Answer(c.answer)
			err := webhook(t, h.URL+"/secretpath?key=secretquery").Send(t.Context(), testMessage())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the URL is told: %v", err)
			}
			if n := len(h.Requests()); n != c.tries {
				t.Errorf("%d tries", n)
			}
		})
	}
	if len(other.Requests()) != 0 {
		t.Error("a redirect was followed")
	}
	if err := webhook(t, "http://127.0.0.1:1/secretpath").Send(t.Context(), testMessage()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("refused: %v", err)
	}
	for _, bad := range []string{"", "hooks.example.net", "ftp://h/x", "https://u:p@h/x", "https:///x", "https://h/x#y", "https://h/\x00"} {
		if _, err := NewWebhook(bad, nil, "", nil); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestPing: start, success and fail, with one run's ID, the exit code and the log.
func TestPing(t *testing.T) {
	h := newHook(t, false)
	p, err := NewPing(h.URL+"/base/uuid?create=1", "holdfast/test")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Now: func() time.Time { return noon }, Subscribers: []Subscriber{{Pinger: p, ID: "p", On: []string{"run"}}}}
	end := func(r Report) {
		t.Helper()
		n := New(o)
		n.Begin(t.Context(), r.Command)
		if r.Command == "run" { // the start is on its way while the command works
			for len(h.Requests())%2 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if failures, err := n.End(t.Context(), r); len(failures) != 0 || err != nil {
			t.Errorf("%v, %v", failures, err)
		}
	}
	end(run(0, ""))
	r := run(3, "incomplete")
	r.Log = "site: a/b could not be read\n"
	end(r)
	end(Report{Command: "verify", Exit: 5})
	got := h.Requests()
	var paths []string
	for _, r := range got {
		paths = append(paths, r.Path)
	}
	if strings.Join(paths, " ") != "/base/uuid/start /base/uuid /base/uuid/start /base/uuid/fail" {
		t.Fatalf("%q", paths)
	}
	if got[0].Query != got[1].Query || got[1].Query == got[2].Query || !regexp.MustCompile(`^create=1&rid=[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(got[0].Query) {
		t.Errorf("%q %q %q", got[0].Query, got[1].Query, got[2].Query)
	}
	if got[3].Body != "holdfast run: exit code 3 (incomplete)\n\nsite: a/b could not be read\n" {
		t.Errorf("%q", got[3].Body)
	}
	if _, err := New(o).Test(t.Context()); err != nil || h.Requests()[4].Path != "/base/uuid/log" {
		t.Errorf("a test starts or ends something: %v", err)
	}
	h.Answer(func(_ int, w http.ResponseWriter) { _, _ = io.WriteString(w, "OK (not found)") })
	if err := p.Ping(t.Context(), Succeeded, "x", ""); err == nil {
		t.Error("a switch that is not there is taken for one")
	}
}

func slow(t *testing.T, drip string) string {
	t.Helper()
	s, err := notifytest.StartSlow(drip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Addr
}

// TestNobodyIsWaitedFor: whatever receivers do, a command ends at most 5 s later, and each of them is said to have failed.
func TestNobodyIsWaitedFor(t *testing.T) {
	if DefaultPatience+DefaultPatience/8 > 4600*time.Millisecond {
		t.Error("that is more than 5 s, with a quarter of a second for metrics")
	}
	hang, drip, dripMail := slow(t, ""), slow(t, "HTTP/1.1 200 OK\r\nA: aaaaaaaaaaaaa"), slow(t, "220-mail\r\n220-a")
	var o Options
	o.Now, o.Patience, o.Memory = time.Now, 300*time.Millisecond, filepath.Join(t.TempDir(), "m")
	add := func(s Subscriber) {
		s.ID, s.On = fmt.Sprint(len(o.Subscribers)), []string{"run"}
		o.Subscribers = append(o.Subscribers, s)
	}
	for _, to := range []string{hang, drip, "127.0.0.1:1"} {
		p, err := NewPing("http://"+to+"/uuid", "")
		if err != nil {
			t.Fatal(err)
		}
		add(Subscriber{Pinger: p})
		add(Subscriber{Receiver: webhook(t, "http://"+to+"/")})
		add(Subscriber{Receiver: webhook(t, "https://"+to+"/")})
	}
	// Hosts that no name server knows, or that none says anything of.
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	asking := &asked{of: silent.LocalAddr().String()}
	defer asking.end()
	for _, dial := range []func(context.Context, string, string) (net.Conn, error){
		func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no name server") },
		asking.dial,
	} {
		unresolved := (&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: dial}}).DialContext
		p, err := NewPing("https://nowhere.example.com/uuid", "")
		if err != nil {
			t.Fatal(err)
		}
		w := webhook(t, "https://nowhere.example.com/")
		for _, x := range []*poster{p.poster, w.poster} {
			x.client.Transport.(*http.Transport).DialContext = unresolved
			x.client.Transport.(*http.Transport).Proxy = nil
		}
		add(Subscriber{Pinger: p})
		add(Subscriber{Receiver: w})
	}
	for _, to := range []string{hang, dripMail, "127.0.0.1:1"} {
		for _, how := range []Encryption{StartTLS, Implicit, Plaintext} {
			add(Subscriber{Receiver: mailTo(t, to, how)})
		}
	}
	n := New(o)
	n.Begin(t.Context(), "run")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("a signal")) // which is no reason not to tell
	began := time.Now()
	failures, err := n.End(ended, away)
	if took := time.Since(began); took > 10*o.Patience { // the machine may be busy; without a bound it would be for ever
		t.Errorf("that took %s", took)
	}
	if err != nil || len(failures) != len(o.Subscribers) {
		t.Errorf("%d of %d failed; %v", len(failures), len(o.Subscribers), err)
	}
}

// asked is a name server that is asked and says nothing. A transport goes on dialling, and a resolver asking, when nobody waits for it
// any more: end ends that.
type asked struct {
	of    string
	mu    sync.Mutex
	conns []net.Conn
	over  bool
}

func (a *asked) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return nil, errors.New("no name server")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", a.of)
	if err == nil {
		a.conns = append(a.conns, c)
	}
	return c, err
}

func (a *asked) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	for _, c := range a.conns {
		_ = c.Close() // what reads from it ends
	}
}
