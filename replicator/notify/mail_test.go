package notify

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/mail"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/notify/notifytest"
)

func newPost(t *testing.T, how Encryption, login string) *notifytest.Post {
	t.Helper()
	p, err := notifytest.StartPost(notifytest.Secure(how), login)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

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
				m := mailTo(t, p.Addr, how)
				m.o.Username, m.o.Password, _ = strings.Cut(login, ":")
				if how != Plaintext {
					if err := m.Send(within(t), testMessage()); err == nil || len(p.Letters()) != 0 {
						t.Fatalf("a certificate that nobody vouches for is taken: %v", err)
					}
				}
				m.roots = x509.NewCertPool()
				m.roots.AddCert(p.Root)
				if err := m.Send(within(t), testMessage()); err != nil {
					t.Fatal(err)
				}
				l := p.Letters()[0]
				if l.From != "holdfast@example.com" || strings.Join(l.To, " ") != "ops@example.com boss@example.com" || l.TLS != (how != Plaintext) || l.Login != login {
					t.Errorf("%+v", l)
				}
				msg, err := mail.ReadMessage(strings.NewReader(l.Text))
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
	m := mailTo(t, p.Addr, StartTLS)
	m.o.Username, m.o.Password = "me", "password1"
	if err := m.Send(within(t), testMessage()); err == nil || !strings.Contains(err.Error(), "offers no STARTTLS") || len(p.Letters()) != 0 {
		t.Errorf("%v", err)
	}
	m = mailTo(t, p.Addr, Plaintext)
	m.o.Username, m.o.Password = "me", "password1"
	if err := m.Send(within(t), testMessage()); err == nil || len(p.Letters()) != 0 {
		t.Errorf("a password was sent in the open: %v", err)
	}
	for host, ok := range map[string]bool{"127.0.0.1": true, "::1": true, "localhost": true, "192.0.2.1": false, "localhost.example.com": false} {
		if _, err := NewMail(MailOptions{To: []string{"a@b.example"}, From: "a@b.example", Host: host, TLS: Plaintext}); (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestBounded: whatever deadline a library sets, the end of all stays where it is.
func TestBounded(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c := &bounded{a, time.Now().Add(20 * time.Millisecond)}
	for _, set := range []func(time.Time) error{c.SetDeadline, c.SetReadDeadline} {
		for _, at := range []time.Time{{}, time.Now().Add(time.Hour)} {
			if err := set(at); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v", err)
			}
		}
	}
	if err := c.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestHeadersAreNotBegun by what a source, a host or a unit is called.
func TestHeadersAreNotBegun(t *testing.T) {
	p := newPost(t, Plaintext, "")
	m := mailTo(t, p.Addr, Plaintext)
	x := New(Options{Host: "web\r\nBcc: thief@example.com\r\n\r\nbody"}).message(KindUnitFailed, Failed, noon)
	x.Unit = &Unit{Name: "a\r\nReply-To: thief@example.com", Result: "x\n.\nMAIL FROM:<thief@example.com>"}
	if err := m.Send(within(t), x.written()); err != nil {
		t.Fatal(err)
	}
	msg, err := mail.ReadMessage(strings.NewReader(p.Letters()[0].Text))
	if err != nil || len(p.Letters()) != 1 {
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
