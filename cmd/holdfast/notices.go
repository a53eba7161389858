package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/metrics"
	"github.com/holdfast-backup/holdfast/replicator/notify"
)

// notices tells receivers and metrics what a command came to. A command that does so says that it is to be expected before it
// reads the configuration; what comes of it is gathered on the way, and told by app.run when all else is done and said. It changes
// neither what the command prints nor its exit code: what goes wrong here is a warning.
type notices struct {
	takes    *taking
	measures *measuring
	commands *notifying

	*app
	began    time.Time
	when     string // --notify
	command  string // empty: nothing is told of this one
	scope    []string
	config   *config.Config // nil: not read yet
	later    bool           // that the command starts is told by start
	notifier *notify.Notifier
	results  []notify.Result
	samples  []metrics.Sample
	owned    []metrics.Labels // sources and vaults of which samples say all there is to say of their points
}

// taking gathers what commands say of themselves.
type taking struct{ *notices }

// share makes the roles.
func (n *notices) share() *notices {
	n.takes, n.measures, n.commands = &taking{n}, &measuring{n}, &notifying{n}
	return n
}

// What --notify takes.
const (
	notifyAuto   = "auto"
	notifyAlways = "always"
	notifyNever  = "never"
)

// flag adds --notify to a command that tells what it came to.
func (n *notices) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.when, "notify", notifyAuto, "`WHEN` to tell the receivers of the configuration: auto (not at a terminal), always or never")
	complete(cmd, "notify", oneOf(notifyAuto, notifyAlways, notifyNever))
}

// expect says that this command is one that tells.
func (n *notices) expect(command string, scope ...string) { n.command, n.scope = command, scope }

// expectVault is expect for a command that works on a vault of the configuration, or on any other, of which nobody is told.
func (n *notices) expectVault(command, vault string, scope ...string) {
	if strings.Contains(vault, "://") {
		return
	}
	if vault != "" {
		scope = append(scope, vault)
	}
	n.expect(command, scope...)
}

// begin takes the configuration, and tells the switches that the command starts.
func (n *notices) begin(c *config.Config) {
	if n.command == "" || n.config != nil {
		return
	}
	n.config = c
	if !n.later {
		n.start()
	}
}

// start tells the switches that the command starts.
func (n *notices) start() {
	if n.config != nil && !n.quietly() {
		n.open(n.config).Begin(context.Background(), n.command)
	}
}

// hush: nothing is told of this command. It neither did anything nor failed to.
func (n *notices) hush() { n.command, n.config = "", nil }

// quietly: nobody is told. Who sits at a terminal sees what comes of a command, and tries things.
func (n *notices) quietly() bool {
	return len(n.config.Notify) == 0 || n.when == notifyNever || n.when == notifyAuto && n.ui.terminal
}

// badWhen is what is wrong with --notify.
func (n *notices) badWhen() error {
	if slices.Contains([]string{"", notifyAuto, notifyAlways, notifyNever}, n.when) {
		return nil
	}
	return usage(fmt.Errorf("--notify %s: use auto, always or never", safe(n.when)))
}

// open makes the notifier of a configuration, once.
func (n *notices) open(c *config.Config) *notify.Notifier {
	if n.notifier != nil {
		return n.notifier
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	o := notify.Options{Host: host, Program: userAgent(), Hide: n.ui.hidden, Now: n.now}
	for _, r := range c.Notify {
		o.Subscribers = append(o.Subscribers, n.subscriber(c, r, host))
	}
	if o.Memory, err = n.memory(c); err != nil {
		n.ui.warn("what receivers were told cannot be remembered, so that they are told again: %v", err)
	}
	n.notifier = notify.New(o)
	return n.notifier
}

// memory is the folder of what receivers were told: one for each configuration, beside the cache. Who could write there could
// silence messages, so it must be nobody else's.
func (n *notices) memory(c *config.Config) (string, error) {
	base, err := n.cacheBase(c)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(c.Path))
	dir := filepath.Join(base, fmt.Sprintf("notify-%x", sum[:8]))
	if err := n.trusts.me().Folder(dir); err != nil {
		return "", err
	}
	return dir, nil
}

// subscriber makes a receiver. One whose secret is not there is a receiver too, which nothing reaches: so it is said like any other
// failure, where and when there is something to tell.
func (n *notices) subscriber(c *config.Config, r config.Receiver, host string) notify.Subscriber {
	dir := filepath.Dir(c.Path)
	s := notify.Subscriber{On: r.On, Weekly: r.Weekly}
	address := r.URL
	var err error
	if !r.URLIn.IsZero() {
		var text []byte
		if text, err = r.URLIn.Read(dir, n.env); err == nil {
			address = string(text)
			n.ui.alsoHide(address)
			if u, uerr := url.Parse(address); uerr == nil && u.Scheme == "http" && !notify.Loopback(u.Hostname()) {
				n.ui.warn("the URL of %s begins with http://, so what is sent, and the URL itself, can be read on the way; use https:// if the receiver has it", r.URLIn)
			}
		}
	}
	id := address
	switch {
	case err != nil:
		id = r.URLIn.String()
	case r.Kind == config.PingReceiver:
		s.Pinger, err = notify.NewPing(address, userAgent())
	case r.Kind == config.WebhookReceiver:
		var secret []byte
		if !r.Secret.IsZero() {
			if secret, err = r.Secret.Read(dir, n.env); err != nil {
				break
			}
			n.ui.alsoHide(string(secret))
		}
		s.Receiver, err = notify.NewWebhook(address, secret, userAgent(), n.now)
	case r.Kind == config.MailReceiver:
		id = fmt.Sprintf("%s:%d %s", r.Host, r.Port, strings.Join(r.To, ","))
		s.Receiver, err = n.mail(dir, r, host)
	}
	s.ID = fmt.Sprintf("%s-%x", r.Kind, sha256.Sum256([]byte(id)))[:len(r.Kind)+17]
	if err != nil {
		b := broken{strings.TrimSpace(string(r.Kind) + " " + hostOf(r)), err}
		if s.Pinger, s.Receiver = nil, nil; r.Kind == config.PingReceiver {
			s.Pinger = b
		} else {
			s.Receiver = b
		}
	}
	return s
}

// hostOf is the host of a receiver, as far as the configuration says it.
func hostOf(r config.Receiver) string {
	if u, err := url.Parse(r.URL); err == nil && u.Host != "" {
		return u.Host
	}
	return cmp.Or(r.Host, r.URLIn.String())
}

func (n *notices) mail(dir string, r config.Receiver, host string) (notify.Receiver, error) {
	o := notify.MailOptions{To: r.To, From: r.From, Host: r.Host, Port: r.Port, TLS: r.TLS}
	if !r.Credentials.IsZero() {
		var err error
		if o.Username, o.Password, err = r.Credentials.Login(dir, n.env); err != nil {
			return nil, err
		}
		n.ui.alsoHide(o.Password)
	}
	switch {
	case o.From != "":
	case notify.CheckAddress(o.Username) == nil:
		o.From = o.Username // servers that ask for a login take mail from that address, most often from no other
	default:
		o.From = "holdfast@" + host
	}
	return notify.NewMail(o)
}

// broken is a receiver that cannot be used.
type broken struct {
	name string
	err  error
}

func (b broken) Name() string                                             { return b.name }
func (b broken) Send(context.Context, *notify.Message) error              { return b.err }
func (b broken) Ping(context.Context, notify.Event, string, string) error { return b.err }

// end tells what the command came to.
func (n *notices) end(ctx context.Context, code int, name string, err error) {
	if n.config == nil {
		return
	}
	ended := n.now()
	if !n.quietly() {
		n.tell(ctx, notify.Report{
			Command: n.command, Scope: n.scope, Began: n.began, Ended: ended, Exit: code, Code: name, Errors: linesOf(err), Next: nextOf(ctx, err),
			Results: n.results, Log: n.ui.end(), Invocation: n.invocation("INVOCATION_ID"),
		})
	}
	if n.config.Metrics.Textfile != "" {
		n.measures.writeMetrics(ctx, code, ended)
	}
}

func (n *notices) invocation(name string) string {
	id, _ := n.env(name)
	return id
}

func linesOf(err error) (out []string) {
	if err == nil {
		return nil
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return distinct(out)
}

func (n *notices) tell(ctx context.Context, r notify.Report) {
	to := n.open(n.config) // a run that was refused before it had its turn was never begun
	failures, err := to.End(ctx, r)
	n.warn(failures, err)
	for _, s := range to.Standings() {
		if text := heldBack(s); text != "" {
			n.ui.remark("%s", text)
		}
	}
}

// heldBack says that a receiver was not told everything yet; empty: it was.
func heldBack(s notify.Standing) string {
	if s.Held == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s held back, because many came within an hour; the next one says so, and `holdfast notify test` lists what is not told yet",
		s.Receiver, plural(s.Held, "message is", "messages are"))
}

// warn says what did not get there. What the command came to stays as it is.
func (n *notices) warn(failures []notify.Failure, err error) {
	for _, f := range failures {
		since := ""
		if n.now().Sub(f.Since) > time.Minute {
			since = ", as since " + f.Since.UTC().Format(timeForm)
		}
		n.ui.warn("%s: the message did not get there%s: %v; `holdfast notify test` tries it", f.Receiver, since, f.Err)
	}
	if err != nil {
		n.ui.warn("%v", err)
	}
}

// warnFailing says which receivers got nothing lately.
func (n *notices) warnFailing() {
	if n.config == nil || len(n.config.Notify) == 0 {
		return
	}
	for _, s := range n.open(n.config).Standings() {
		if !s.Failing.IsZero() {
			n.ui.warn("%s: messages do not get there, since %s: %s; `holdfast notify test` tries it", s.Receiver, s.Failing.UTC().Format(timeForm), s.Error)
		}
		if text := heldBack(s); text != "" {
			n.ui.warn("%s", text)
		}
	}
}
