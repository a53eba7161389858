package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// fuse counts the requests that go through its proxies, and kills a program at the one it is set to.
type fuse struct {
	proxies []*http.Server
	done    sync.WaitGroup

	mu      sync.Mutex
	victim  *exec.Cmd
	trip    trip
	seen    int
	put     int64  // bytes of bodies of PUTs that were forwarded
	given   int64  // bytes of bodies of answers to GETs
	tripped string // the request it killed at
}

// trip is where a fuse blows; the zero value is never.
type trip struct {
	request int   // at the n-th request, 1 is the first
	after   bool  // when it was done, before it is answered; else before it is forwarded
	put     int64 // or when so many bytes were sent
}

func (t trip) String() string {
	if t.after {
		return fmt.Sprintf("request %d, done and not answered", t.request)
	}
	return fmt.Sprintf("request %d, not yet done", t.request)
}

// before gives the endpoint of a proxy before a server.
func (f *fuse) before(s *servers.Server) (endpoint string, err error) {
	to, err := url.Parse(s.Direct)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	forward := &httputil.ReverseProxy{
		Transport: fused{f, &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.Host = r.In.Host // it is signed
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Header["X-Forwarded-For"] = nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := &http.Server{Handler: forward, ReadHeaderTimeout: time.Minute}
	f.proxies = append(f.proxies, server)
	f.done.Go(func() { _ = server.Serve(l) }) // ends with ErrServerClosed
	return "http://" + l.Addr().String(), nil
}

func (f *fuse) close() error {
	var errs []error
	for _, p := range f.proxies {
		errs = append(errs, p.Close())
	}
	f.done.Wait()
	return errors.Join(errs...)
}

// counts are what went through since the fuse was set.
type counts struct {
	requests   int
	put, given int64
	tripped    string
}

func (f *fuse) counts() counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return counts{f.seen, f.put, f.given, f.tripped}
}

func (f *fuse) set(t trip, victim *exec.Cmd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trip, f.victim, f.seen, f.put, f.given, f.tripped = t, victim, 0, 0, 0, ""
}

// burn counts a request, or bytes, and kills if it is time. It holds up all other requests, as the program must not get an
// answer any more.
func (f *fuse) burn(what string, request bool, n int, put int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put += put
	t := f.trip
	if f.victim == nil || f.tripped != "" || !(request && n == t.request || t.put > 0 && f.put >= t.put) {
		return false
	}
	f.tripped = what
	_ = f.victim.Process.Kill() // if it has ended by itself, that is seen
	return true
}

var errBlown = errors.New("the program was killed here")

// fused is the way through the fuse.
type fused struct {
	f    *fuse
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t fused) RoundTrip(r *http.Request) (*http.Response, error) {
	t.f.mu.Lock()
	t.f.seen++
	n, after := t.f.seen, t.f.trip.after
	t.f.mu.Unlock()
	what := r.Method + " " + r.URL.RequestURI()
	if !after && t.f.burn(what, true, n, 0) {
		return nil, errBlown
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	var put int64
	if r.Method == http.MethodPut && resp.StatusCode < 300 {
		put = max(r.ContentLength, 0)
	}
	if t.f.burn(what, after, n, put) {
		return nil, errors.Join(errBlown, resp.Body.Close())
	}
	if r.Method == http.MethodGet && !r.URL.Query().Has("list-type") && !r.URL.Query().Has("versions") {
		resp.Body = &metered{resp.Body, t.f}
	}
	return resp, nil
}

// metered counts an answer's bytes.
type metered struct {
	io.ReadCloser
	f *fuse
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.f.mu.Lock()
	m.f.given += int64(n)
	m.f.mu.Unlock()
	return n, err
}

// through is a place reached through the fuse's proxy at endpoint.
func through(p place, s *servers.Server, endpoint string) place {
	p.url = strings.NewReplacer(s.Direct, endpoint, url.QueryEscape(s.Direct), url.QueryEscape(endpoint)).Replace(p.url)
	return p
}

// ended is how a program that was to be killed ended.
type ended struct {
	killed bool // else it was done before
	out    []byte
	wall   time.Duration
}

// doomed runs holdfast and kills it: at the fuse's trip, or after a delay that is not negative. f may be nil.
func doomed(ctx context.Context, w *world, dir string, env []string, f *fuse, t trip, delay time.Duration, args ...string) (e ended, err error) {
	cmd := exec.CommandContext(ctx, w.holdfast, args...)
	cmd.Dir, cmd.Env = dir, env
	var out, diag strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &diag
	began := time.Now()
	if f != nil {
		f.mu.Lock() // its first request must not come through before the fuse knows whom to kill
	}
	err = cmd.Start()
	if f != nil {
		f.trip, f.victim, f.seen, f.put, f.given, f.tripped = t, cmd, 0, 0, 0, ""
		f.mu.Unlock()
	}
	if err != nil {
		return e, err
	}
	if delay >= 0 {
		timer := time.AfterFunc(delay, func() { _ = cmd.Process.Kill() }) // it may have ended
		defer timer.Stop()
	}
	err = cmd.Wait()
	e.wall, e.out = time.Since(began), []byte(out.String())
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
		e.killed, err = true, nil
	}
	if f != nil {
		f.mu.Lock()
		f.victim = nil
		f.mu.Unlock()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("holdfast %s: %w\n%s%s", strings.Join(args, " "), err, tail(e.out), tail([]byte(diag.String())))
	}
	return e, err
}
