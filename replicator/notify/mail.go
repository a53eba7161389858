package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Encryption is how the way to a mail server is kept private.
type Encryption string

// The ways.
const (
	StartTLS  Encryption = "starttls" // begun in the open, and ended if the server does not go on under TLS
	Implicit  Encryption = "implicit" // TLS from the first byte
	Plaintext Encryption = "none"     // for this machine's own server only
)

// MailOptions say where mail goes.
type MailOptions struct {
	To                 []string // plain addresses
	From               string   // a plain address
	Host               string
	Port               int
	TLS                Encryption
	Username, Password string // empty: the server asks for none
}

// Mail sends messages by mail.
type Mail struct {
	o     MailOptions
	roots *x509.CertPool // nil: the system's
}

// NewMail checks the addresses. Plaintext is refused for any server but this machine's own.
func NewMail(o MailOptions) (*Mail, error) {
	for _, a := range append([]string{o.From}, o.To...) {
		if err := CheckAddress(a); err != nil {
			return nil, fmt.Errorf("mail: %w", err)
		}
	}
	if o.TLS == Plaintext && !Loopback(o.Host) {
		return nil, errors.New("mail: without TLS only this machine's own server may be used")
	}
	return &Mail{o: o}, nil
}

// CheckAddress takes a plain mail address, without a name beside it.
func CheckAddress(a string) error {
	p, err := mail.ParseAddress(a)
	if err != nil || p.Address != a || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r == 127 }) {
		return fmt.Errorf("%.60q is no mail address such as ops@example.com", a)
	}
	return nil
}

// Loopback reports whether a host is this machine, without asking anybody for its address.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Name implements Receiver.
func (m *Mail) Name() string { return "mail " + m.o.Host }

// Send implements Receiver.
func (m *Mail) Send(ctx context.Context, x *Message) error {
	msg, err := m.compose(x)
	if err != nil {
		return err
	}
	client, err := m.client(ctx)
	if err != nil {
		return err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return m.plain(ctx, err)
	}
	err = client.Send(msg)
	_ = client.Close() // what counts is what the server said of the message
	if err != nil {
		return m.plain(ctx, err)
	}
	return nil
}

// plain says what went wrong in the words of people.
func (m *Mail) plain(ctx context.Context, err error) error {
	late, isNet := errors.AsType[net.Error](err)
	switch {
	case ctx.Err() != nil, isNet && late.Timeout():
		return errors.New("no answer within the time there is")
	case m.o.TLS == StartTLS && strings.Contains(err.Error(), "STARTTLS"):
		return fmt.Errorf("the server offers no STARTTLS, and nothing is sent without it: %w", err)
	}
	return err
}

func (m *Mail) client(ctx context.Context) (*gomail.Client, error) {
	end, _ := ctx.Deadline()
	config := &tls.Config{ServerName: m.o.Host, RootCAs: m.roots, MinVersion: tls.VersionTLS12}
	options := []gomail.Option{
		gomail.WithPort(m.o.Port), gomail.WithTLSConfig(config), gomail.WithoutNoop(),
		gomail.WithTimeout(max(time.Until(end), time.Millisecond)),
		gomail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			c = &bounded{c, end}
			if err := c.SetDeadline(end); err != nil || m.o.TLS != Implicit {
				return c, err
			}
			return tls.Client(c, config), nil
		}),
	}
	switch m.o.TLS {
	case StartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case Implicit:
		options = append(options, gomail.WithSSL())
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if m.o.Username != "" {
		options = append(options, gomail.WithUsername(m.o.Username), gomail.WithPassword(m.o.Password))
		if m.o.TLS == Plaintext { // what shows no password on the way
			options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover))
		} else {
			options = append(options, gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthCramMD5))
		}
	}
	return gomail.NewClient(m.o.Host, options...)
}

// bounded is a connection whose deadline nobody moves beyond the end: a server that drips must not take more time.
type bounded struct {
	net.Conn
	end time.Time
}

func (b *bounded) cut(t time.Time) time.Time {
	if !b.end.IsZero() && (t.IsZero() || t.After(b.end)) {
		return b.end
	}
	return t
}

func (b *bounded) SetDeadline(t time.Time) error      { return b.Conn.SetDeadline(b.cut(t)) }
func (b *bounded) SetReadDeadline(t time.Time) error  { return b.Conn.SetReadDeadline(b.cut(t)) }
func (b *bounded) SetWriteDeadline(t time.Time) error { return b.Conn.SetWriteDeadline(b.cut(t)) }

func (m *Mail) compose(x *Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := errors.Join(msg.From(m.o.From), msg.To(m.o.To...)); err != nil {
		return nil, err
	}
	// One line: nothing that a source or a vault is called begins a header of its own.
	msg.Subject(oneLine(x.Title))
	sent, err := time.Parse(time.RFC3339, x.Time)
	if err != nil {
		return nil, err
	}
	msg.SetDateWithValue(sent)
	_, domain, _ := strings.Cut(m.o.From, "@")
	msg.SetMessageIDWithValue("holdfast-" + x.ID + "@" + domain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("Holdfast-Kind", string(x.Kind))
	msg.SetGenHeader("Holdfast-Severity", string(x.Severity))
	if x.Severity != Well && x.Kind == KindProblem {
		msg.SetImportance(gomail.ImportanceHigh)
	}
	msg.SetBodyString(gomail.TypeTextPlain, clean(x.Text))
	return msg, nil
}
