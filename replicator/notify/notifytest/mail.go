package notifytest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"sync"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Secure is how a mail server speaks TLS.
type Secure string

// The ways.
const (
	StartTLS Secure = "starttls"
	Implicit Secure = "implicit"
	Open     Secure = "none"
)

// Letter is a mail that came.
type Letter struct {
	From  string
	To    []string
	Text  string // with its headers
	TLS   bool
	Login string // USER:PASSWORD; empty: none
}

// Post is a mail server that keeps what it gets.
type Post struct {
	Addr string
	Root *x509.Certificate // that vouches for it

	server *smtp.Server
	login  string
	wg     sync.WaitGroup
	mu     sync.Mutex
	got    []Letter
}

// StartPost starts one. login is USER:PASSWORD that is asked for; empty: none. The caller closes it.
func StartPost(how Secure, login string) (*Post, error) {
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Post{Addr: l.Addr().String(), Root: cert.Leaf, login: login}
	p.server = smtp.NewServer(p)
	p.server.Domain, p.server.ErrorLog = "mail.test", log.New(io.Discard, "", 0)
	p.server.AllowInsecureAuth = how == Open
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	switch how {
	case StartTLS:
		p.server.TLSConfig = config
	case Implicit:
		l = tls.NewListener(l, config)
	}
	p.wg.Go(func() { _ = p.server.Serve(l) }) // ends with Close
	return p, nil
}

// PEM is Root as a file of certificates.
func (p *Post) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Root.Raw})
}

// Letters gives what came so far.
func (p *Post) Letters() []Letter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Letter{}, p.got...)
}

// Close ends it.
func (p *Post) Close() {
	_ = p.server.Close() // nothing is left to be lost
	p.wg.Wait()
}

// NewSession implements smtp.Backend.
func (p *Post) NewSession(c *smtp.Conn) (smtp.Session, error) {
	_, secure := c.TLSConnectionState()
	return &visit{p, Letter{TLS: secure}}, nil
}

// visit is one connection.
type visit struct {
	post   *Post
	letter Letter
}

func (v *visit) AuthMechanisms() []string {
	if v.post.login == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if v.letter.Login = user + ":" + password; v.letter.Login != v.post.login {
			return errors.New("wrong")
		}
		return nil
	}), nil
}

func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	if v.letter.Login != v.post.login {
		return smtp.ErrAuthRequired
	}
	v.letter.From = from
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	v.letter.To = append(v.letter.To, to)
	return nil
}

func (v *visit) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	v.letter.Text = string(b)
	v.post.mu.Lock()
	defer v.post.mu.Unlock()
	v.post.got = append(v.post.got, v.letter)
	return err
}

func (v *visit) Reset() { v.letter.From, v.letter.To = "", nil }

func (v *visit) Logout() error { return nil }
