package notify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// post is a mail server that keeps what it gets.
type post struct {
	addr string
	root *x509.Certificate

	mu    sync.Mutex
	got   []letter
	login string // USER:PASSWORD that is asked for; empty: none
}

type letter struct {
	from  string
	to    []string
	text  string
	tls   bool
	login string
}

// newPost starts a server: with STARTTLS, with TLS from the beginning, or with neither.
func newPost(t *testing.T, how Encryption, login string) *post {
	t.Helper()
	p := &post{login: login}
	cert := certificate(t)
	p.root = cert.Leaf
	s := smtp.NewServer(p)
	s.Domain, s.ErrorLog = "mail.test", log.New(io.Discard, "", 0)
	s.AllowInsecureAuth = how == Plaintext
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if how == StartTLS {
		s.TLSConfig = config
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	if how == Implicit {
		l = tls.NewListener(l, config)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
	return p
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// NewSession implements smtp.Backend.
func (p *post) NewSession(c *smtp.Conn) (smtp.Session, error) {
	_, secure := c.TLSConnectionState()
	return &visit{post: p, letter: letter{tls: secure}}, nil
}

type visit struct {
	post *post
	letter
}

func (v *visit) AuthMechanisms() []string {
	if v.post.login == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if v.login = user + ":" + password; v.login != v.post.login {
			return errors.New("wrong")
		}
		return nil
	}), nil
}

func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	if v.login != v.post.login {
		return smtp.ErrAuthRequired
	}
	v.from = from
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error { v.to = append(v.to, to); return nil }

func (v *visit) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	v.text = string(b)
	v.post.mu.Lock()
	defer v.post.mu.Unlock()
	v.post.got = append(v.post.got, v.letter)
	return err
}

func (v *visit) Reset()        {}
func (v *visit) Logout() error { return nil }

func mailTo(t *testing.T, addr string, how Encryption) *Mail {
	t.Helper()
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMail(MailOptions{To: []string{"ops@example.com", "boss@example.com"}, From: "holdfast@example.com", Host: host, Port: port, TLS: how})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestMail: STARTTLS, TLS, and none on this machine, with a login and without.
func TestMail(t *testing.T) {
	for _, how := range []Encryption{StartTLS, Implicit, Plaintext} {
		for _, login := range []string{"", "me@example.com:a password"} {
			if how == Plaintext && login != "" {
				continue // no server takes one there, see below
			}
			t.Run(string(how)+" "+login, func(t *testing.T) {
				p := newPost(t, how, login)
				m := mailTo(t, p.addr, how)
				m.o.Username, m.o.Password, _ = strings.Cut(login, ":")
				if how != Plaintext {
					if err := m.Send(within(t), testMessage()); err == nil || len(p.got) != 0 {
						t.Fatalf("a certificate that nobody vouches for is taken: %v", err)
					}
				}
				m.roots = x509.NewCertPool()
				m.roots.AddCert(p.root)
				if err := m.Send(within(t), testMessage()); err != nil {
					t.Fatal(err)
				}
				l := p.got[0]
				if l.from != "holdfast@example.com" || strings.Join(l.to, " ") != "ops@example.com boss@example.com" || l.tls != (how != Plaintext) || l.login != login {
					t.Errorf("%+v", l)
				}
				msg, err := mail.ReadMessage(strings.NewReader(l.text))
				if err != nil {
					t.Fatal(err)
				}
				if msg.Header.Get("Subject") != "Holdfast on web-1: a test message" || msg.Header.Get("Auto-Submitted") != "auto-generated" || msg.Header.Get("Holdfast-Kind") != "test" {
					t.Errorf("%v", msg.Header)
				}
				body, err := io.ReadAll(msg.Body)
				if err != nil || !bytes.Contains(body, []byte("Nothing is wrong")) {
					t.Errorf("%s, %v", body, err)
				}
				if login != "" {
					m.o.Password = "another password"
					if err := m.Send(within(t), testMessage()); err == nil || strings.Contains(err.Error(), "another password") {
						t.Errorf("a wrong password: %v", err)
					}
				}
			})
		}
	}
}

// TestMailIsNeverOpen: without STARTTLS nothing is sent, no login either, and none goes to another machine without TLS.
func TestMailIsNeverOpen(t *testing.T) {
	p := newPost(t, Plaintext, "me:password1")
	m := mailTo(t, p.addr, StartTLS)
	m.o.Username, m.o.Password = "me", "password1"
	if err := m.Send(within(t), testMessage()); err == nil || !strings.Contains(err.Error(), "offers no STARTTLS") || len(p.got) != 0 {
		t.Errorf("%v", err)
	}
	m = mailTo(t, p.addr, Plaintext)
	m.o.Username, m.o.Password = "me", "password1"
	if err := m.Send(within(t), testMessage()); err == nil || len(p.got) != 0 {
		t.Errorf("a password was sent in the open: %v", err)
	}
	for host, ok := range map[string]bool{"127.0.0.1": true, "::1": true, "localhost": true, "192.0.2.1": false, "localhost.example.com": false} {
		if _, err := NewMail(MailOptions{To: []string{"a@b.example"}, From: "a@b.example", Host: host, TLS: Plaintext}); (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestHeadersAreNotBegun by what a source, a host or a unit is called.
func TestHeadersAreNotBegun(t *testing.T) {
	p := newPost(t, Plaintext, "")
	m := mailTo(t, p.addr, Plaintext)
	x := New(Options{Host: "web\r\nBcc: thief@example.com\r\n\r\nbody"}).message(KindUnitFailed, Failed, noon)
	x.Unit = &Unit{Name: "a\r\nReply-To: thief@example.com", Result: "x\n.\nMAIL FROM:<thief@example.com>"}
	if err := m.Send(within(t), x.written()); err != nil {
		t.Fatal(err)
	}
	msg, err := mail.ReadMessage(strings.NewReader(p.got[0].text))
	if err != nil || len(p.got) != 1 {
		t.Fatal(err)
	}
	for _, h := range []string{"Bcc", "Reply-To", "Cc"} {
		if v := msg.Header.Get(h); v != "" {
			t.Errorf("%s: %s", h, v)
		}
	}
	for _, bad := range []string{"", "ops", "Ops <ops@example.com>", "ops@example.com\r\nBcc: x@y.example", "a@b.example, c@d.example"} {
		if CheckAddress(bad) == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}
