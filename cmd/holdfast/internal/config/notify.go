package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/replicator/notify"
)

// ReceiverKind is a kind of what is told.
type ReceiverKind string

// The kinds of receivers, as the file calls them.
const (
	WebhookReceiver ReceiverKind = "webhook"
	MailReceiver    ReceiverKind = "mail"
	PingReceiver    ReceiverKind = "ping"
)

// Receiver is one that is told what commands come to.
type Receiver struct {
	Kind   ReceiverKind
	URL    string             // of webhooks and pings, as it stands there
	URLIn  credentials.Secret // or where it lies, since it is a secret itself
	Secret credentials.Secret // of a webhook's signature; zero: none
	On     []string           // the commands it is told of
	Weekly bool               // and once a week that all is well

	// Of mail.
	To          []string
	From        string // empty: what the server's user name or this machine's name gives
	Host        string
	Port        int
	TLS         notify.Encryption
	Credentials credentials.Secret // zero: the server asks for none
}

// Metrics is where metrics are written.
type Metrics struct {
	Textfile string // absolute; empty: nowhere
}

// telling lists the commands that receivers can be told of: those that run from timers, and those that change what is kept. What people
// only look at is not among them.
func telling() []string {
	return []string{"run", "verify", "drill", "doctor", "renew", "prune", "hold", "status", "report", "watch"}
}

// toldOf is what a receiver is told of that does not say. A switch stands for one job, so it hears of one command: a
// verification must not pass for a run. And what status and report see, the commands that they look at have told themselves.
func toldOf(k ReceiverKind) []string {
	if k == PingReceiver {
		return []string{"run"}
	}
	return []string{"run", "verify", "drill", "doctor", "renew", "prune", "hold", "watch"}
}

const maxReceivers = 20

// receiverReader reads who is told what commands come to, and where metrics go.
type receiverReader struct{ *reader }

func (r *receiverReader) notify(n ast.Node) {
	r.list(n, "notify", func(i int, n ast.Node) {
		if i == maxReceivers {
			r.problem(n, "notify has more than %d receivers", maxReceivers)
		}
		if i >= maxReceivers {
			return
		}
		what := fmt.Sprintf("notify[%d]", i)
		found := 0
		kind := func(k ReceiverKind, read func(ast.Node, string) (Receiver, bool)) field {
			return field{string(k), func(n ast.Node) {
				found++
				if v, ok := read(n, what+"."+string(k)); ok {
					v.Kind = k
					r.config.Notify = append(r.config.Notify, v)
				}
			}}
		}
		seen := r.object(n, what, kind(WebhookReceiver, r.webhook), kind(MailReceiver, r.mail), kind(PingReceiver, r.ping))
		if seen != nil && found != 1 {
			r.problem(n, "%s must have one of webhook, mail and ping; begin each with a - of its own", what)
		}
	})
}

func (r *receiverReader) webhook(n ast.Node, what string) (Receiver, bool) {
	v := Receiver{On: toldOf(WebhookReceiver)}
	seen := r.object(n, what,
		field{"url", func(n ast.Node) { r.address(n, what+".url", &v) }},
		field{"secret", func(n ast.Node) { v.Secret = r.secret(n, what+".secret") }},
		r.on(what, &v), r.weekly(what, &v),
	)
	return v, r.require(n, what, seen, "url") && r.weeklyOf(n, what, v)
}

func (r *receiverReader) ping(n ast.Node, what string) (Receiver, bool) {
	v := Receiver{On: toldOf(PingReceiver)}
	seen := r.object(n, what, field{"url", func(n ast.Node) { r.address(n, what+".url", &v) }}, r.on(what, &v))
	return v, r.require(n, what, seen, "url")
}

func (r *receiverReader) mail(n ast.Node, what string) (Receiver, bool) {
	v := Receiver{On: toldOf(MailReceiver)}
	var tlsNode ast.Node
	seen := r.object(n, what,
		field{"to", func(n ast.Node) {
			r.list(n, what+".to", func(i int, n ast.Node) { v.To = append(v.To, r.mailbox(n, fmt.Sprintf("%s.to[%d]", what, i))) })
			if len(v.To) == 0 {
				r.problem(n, "%s.to must be a list of mail addresses, such as [ops@example.com]", what)
			}
		}},
		field{"from", func(n ast.Node) { v.From = r.mailbox(n, what+".from") }},
		field{"server", func(n ast.Node) { v.Host, v.Port = r.server(n, what+".server") }},
		field{"tls", func(n ast.Node) {
			tlsNode = n
			v.TLS = notify.Encryption(r.choice(n, what+".tls", string(notify.StartTLS), string(notify.Implicit), string(notify.Plaintext)))
		}},
		field{"credentials", func(n ast.Node) { v.Credentials = r.secret(n, what+".credentials") }},
		r.on(what, &v), r.weekly(what, &v),
	)
	if !r.require(n, what, seen, "to", "server") {
		return v, false
	}
	switch {
	case v.TLS == notify.Plaintext && !notify.Loopback(v.Host):
		r.problem(tlsNode, "%s.tls can be none only for a server on this machine: others would show what is sent to everybody on the way", what)
	case v.TLS != "":
	case v.Port == 465:
		v.TLS = notify.Implicit
	case v.Port == 25 && notify.Loopback(v.Host):
		v.TLS = notify.Plaintext
	default:
		v.TLS = notify.StartTLS
	}
	return v, r.weeklyOf(n, what, v)
}

// address reads a receiver's URL, or where it lies.
func (r *receiverReader) address(n ast.Node, what string, v *Receiver) {
	s, ok := r.str(n, what)
	if !ok {
		return
	}
	if !strings.Contains(s, "://") {
		var err error
		if v.URLIn, err = credentials.ParseSecret(s); err != nil {
			r.problem(n, "%s must be a URL such as https://hooks.example.com/path, or where it lies if it is a secret: env:NAME, file:PATH or systemd:NAME", what)
		}
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		r.problem(n, "%s must be a URL such as https://hooks.example.com/path", what)
	case u.User != nil || u.Fragment != "":
		r.problem(n, "%s must be without user, password and #", what)
	case u.Scheme == "http" && !notify.Loopback(u.Hostname()):
		r.config.Warnings = append(r.config.Warnings, fmt.Sprintf("%s uses http://, so what is sent, and the URL itself, can be read on the way; use https:// if the receiver has it", what))
	}
	v.URL = s
}

func (r *receiverReader) secret(n ast.Node, what string) credentials.Secret {
	s, ok := r.str(n, what)
	if !ok {
		return credentials.Secret{}
	}
	ref, err := credentials.ParseSecret(s)
	if err != nil {
		r.problem(n, "%s %v; no secret may stand in this file", what, err)
	}
	return ref
}

func (r *receiverReader) mailbox(n ast.Node, what string) string {
	s, ok := r.str(n, what)
	if !ok {
		return ""
	}
	if err := notify.CheckAddress(s); err != nil {
		r.problem(n, "%s: %q is no mail address such as ops@example.com", what, clip(s))
		return ""
	}
	return s
}

func (r *receiverReader) server(n ast.Node, what string) (host string, port int) {
	s, ok := r.str(n, what)
	if !ok {
		return "", 0
	}
	host, text, err := net.SplitHostPort(s)
	port, perr := strconv.Atoi(text)
	if err != nil || perr != nil || host == "" || port < 1 || port > 65535 || strings.ContainsAny(host, "/@ ") {
		r.problem(n, "%s must be HOST:PORT, such as smtp.example.com:587 (STARTTLS) or :465 (TLS)", what)
		return "", 0
	}
	return host, port
}

func (r *receiverReader) on(what string, v *Receiver) field {
	return field{"on", func(n ast.Node) {
		v.On = nil
		named := 0
		r.list(n, what+".on", func(i int, n ast.Node) {
			named++
			word := r.choice(n, fmt.Sprintf("%s.on[%d]", what, i), telling()...)
			if word != "" && !slices.Contains(v.On, word) {
				v.On = append(v.On, word)
			}
		})
		if _, list := n.(*ast.SequenceNode); list && named == 0 {
			r.problem(n, "%s.on is empty; leave the receiver out, or name commands: %s", what, strings.Join(telling(), ", "))
		}
	}}
}

func (r *receiverReader) weekly(what string, v *Receiver) field {
	return field{"weekly", func(n ast.Node) {
		if b := r.truth(n, what+".weekly"); b != nil {
			v.Weekly = *b
		}
	}}
}

// weeklyOf: that all is well is told by a run.
func (r *receiverReader) weeklyOf(n ast.Node, what string, v Receiver) bool {
	if v.Weekly && !slices.Contains(v.On, "run") {
		r.problem(n, "%s.weekly needs run in %s.on: it is a run that says that all is well", what, what)
	}
	return true
}

func (r *receiverReader) metrics(n ast.Node) {
	seen := r.object(n, "metrics", field{"textfile", func(n ast.Node) {
		s, ok := r.str(n, "metrics.textfile")
		if !ok {
			return
		}
		// node_exporter reads no others.
		if filepath.Ext(s) != ".prom" || strings.HasPrefix(filepath.Base(s), ".") {
			r.problem(n, "metrics.textfile must be the path of a file whose name ends in .prom, in the folder that node_exporter reads")
			return
		}
		r.config.Metrics.Textfile = r.absolute(s)
	}})
	r.require(n, "metrics", seen, "textfile")
}
