// Package notifytest has the servers that tests of notifications send to: a real mail server, one for webhooks and pings, and one
// that never answers. It is for tests only: production code must never import it.
package notifytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// Request is what a Hook was sent.
type Request struct {
	Path, Query, Body string
	Header            http.Header
}

// Hook is a server for webhooks and pings: it keeps what it gets, and answers as it is told.
type Hook struct {
	*httptest.Server

	mu     sync.Mutex
	got    []Request
	answer func(n int, w http.ResponseWriter)
}

// StartHook starts one, with TLS or without. The caller closes it.
func StartHook(secure bool) *Hook {
	h := &Hook{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h.mu.Lock()
		h.got = append(h.got, Request{r.URL.Path, r.URL.RawQuery, string(body), r.Header})
		n, answer := len(h.got), h.answer
		h.mu.Unlock()
		if answer != nil {
			answer(n, w)
		}
	})
	h.Server = httptest.NewUnstartedServer(handler)
	if secure {
		h.Server.StartTLS()
	} else {
		h.Server.Start()
	}
	return h
}

// Answer decides what the n-th request, from 1, is answered; nil: 200.
func (h *Hook) Answer(answer func(n int, w http.ResponseWriter)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// Requests gives what came so far.
func (h *Hook) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Request{}, h.got...)
}

// Slow is a server that accepts connections and then hangs, or sends a byte now and then for ever.
type Slow struct {
	Addr string

	listener net.Listener
	stop     chan struct{}
	wg       sync.WaitGroup
}

// StartSlow starts one. drip is what it sends, a byte each 10 ms, the last one for ever; empty: nothing. The caller closes it.
func StartSlow(drip string) (*Slow, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Slow{Addr: l.Addr().String(), listener: l, stop: make(chan struct{})}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.drip(c, drip) })
		}
	})
	return s, nil
}

func (s *Slow) drip(c net.Conn, drip string) {
	defer c.Close()
	for i := 0; ; i++ {
		select {
		case <-s.stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
		if drip == "" {
			continue
		}
		if _, err := c.Write([]byte{drip[min(i, len(drip)-1)]}); err != nil {
			return
		}
	}
}

// Close ends it.
func (s *Slow) Close() {
	close(s.stop)
	_ = s.listener.Close() // nothing is left to be lost
	s.wg.Wait()
}

// certificate makes one for 127.0.0.1 that vouches for itself.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
