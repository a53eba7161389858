package servers

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Request is one request as it was seen, and how it was answered.
type Request struct {
	Time   time.Time
	Method string
	Path   string // as sent, escaped
	Query  string // as sent
	Header http.Header
	Length int64 // of the body; -1: unknown
	Status int
}

// proxy forwards requests unchanged, so that their signatures stay valid, and records them.
type proxy struct {
	url    string
	server *http.Server
	done   chan struct{}
	next   *http.Transport

	mu  sync.Mutex
	log []Request
}

// filter may answer a request itself; it returns false if it has.
type filter func(w http.ResponseWriter, r *http.Request) bool

func newProxy(backend string, f filter) (*proxy, error) {
	to, err := url.Parse(backend)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{
		url:  "http://" + l.Addr().String(),
		done: make(chan struct{}),
		next: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10},
	}
	silent := log.New(io.Discard, "", 0)
	forward := &httputil.ReverseProxy{
		Transport: p.next,
		ErrorLog:  silent,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.Host = r.In.Host // it is signed
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Header["X-Forwarded-For"] = nil
		},
		BufferPool: pool{},
	}
	p.server = &http.Server{ErrorLog: silent, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w}
		entry := Request{
			Time: time.Now(), Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
			Header: r.Header.Clone(), Length: r.ContentLength,
		}
		defer func() {
			entry.Status = sw.status
			p.mu.Lock()
			defer p.mu.Unlock()
			p.log = append(p.log, entry)
		}()
		if f == nil || f(sw, r) {
			forward.ServeHTTP(sw, r)
		}
	})}
	go func() {
		defer close(p.done)
		_ = p.server.Serve(l) // ends with ErrServerClosed
	}()
	return p, nil
}

func (p *proxy) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := p.server.Shutdown(ctx); err != nil {
		if err := p.server.Close(); err != nil {
			return err
		}
	}
	<-p.done
	p.next.CloseIdleConnections()
	return nil
}

func (p *proxy) requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = nil
}

// statusWriter remembers the status that was sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) {
	if w.status == 0 && code >= 200 {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// pool gives large buffers: the default of 32 KiB costs system calls. Each is garbage after its request.
type pool struct{}

func (pool) Get() []byte { return make([]byte, 128<<10) }
func (pool) Put([]byte)  {}
