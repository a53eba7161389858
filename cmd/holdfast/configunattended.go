package main

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
)

// unattendedJSON is what a configuration says of running by itself: when, who is told, what stops it.
type unattendedJSON struct {
	Schedule scheduleJSON   `json:"schedule"`
	Guard    guardKeysJSON  `json:"guard"`
	Watch    watchKeysJSON  `json:"watch"`
	Budget   *budgetJSON    `json:"budget,omitempty"`
	Prices   string         `json:"prices,omitempty"`
	Notify   []receiverJSON `json:"notify"`
	Metrics  string         `json:"metrics_textfile,omitempty"`
	Accepted []acceptedJSON `json:"unprotected,omitempty"`
}

type scheduleJSON struct {
	Run    []string `json:"run"`
	Window string   `json:"window,omitempty"`
	Renew  string   `json:"renew"`
	Verify string   `json:"verify"`
	Drill  string   `json:"drill"`
	Report string   `json:"report"`
	Status string   `json:"status"`
}

type guardKeysJSON struct {
	Hold    string   `json:"hold"`
	KMSKeys []string `json:"kms_keys"`
}

// watchKeysJSON is how holdfast watch looks at the vaults. What is not said is not there.
type watchKeysJSON struct {
	Every string `json:"every,omitempty"`
	Hours string `json:"hours,omitempty"` // any: whenever
}

// acceptedJSON is what needs no source.
type acceptedJSON struct {
	URL    string `json:"url"`
	Reason string `json:"reason"`
}

type budgetJSON struct {
	Run   int64  `json:"run,omitempty"` // bytes
	Month string `json:"month,omitempty"`
}

// receiverJSON is one that is told what commands come to. Of a URL it has the host alone: who knows the rest of it can write there.
type receiverJSON struct {
	Kind        string   `json:"kind"`
	Host        string   `json:"host,omitempty"`
	URLIn       string   `json:"url_in,omitempty"` // where the URL lies
	Secret      string   `json:"secret,omitempty"` // where it lies, as all here
	Credentials string   `json:"credentials,omitempty"`
	To          []string `json:"to,omitempty"`
	From        string   `json:"from,omitempty"`
	TLS         string   `json:"tls,omitempty"`
	On          []string `json:"on"`
	Weekly      bool     `json:"weekly,omitempty"`
}

func shownUnattended(c *config.Config) unattendedJSON {
	t := c.Schedule.Times
	out := unattendedJSON{
		Schedule: scheduleJSON{
			Renew: t.Renew.String(), Verify: t.Verify.String(), Drill: t.Drill.String(), Report: t.Report.String(), Status: t.Status.String(),
		},
		Guard:  guardKeysJSON{Hold: c.Guard.Hold.String(), KMSKeys: append([]string{}, c.Guard.KMSKeys...)},
		Prices: c.Prices, Metrics: c.Metrics.Textfile, Notify: []receiverJSON{},
	}
	for _, w := range t.Run {
		out.Schedule.Run = append(out.Schedule.Run, w.String())
	}
	if t.Window != (schedule.Window{}) {
		out.Schedule.Window = t.Window.String()
	}
	if c.Watch.Every != 0 {
		out.Watch.Every = c.Watch.Every.String()
	}
	if h := c.Watch.Hours; h != nil {
		out.Watch.Hours = "any"
		if *h != (schedule.Window{}) {
			out.Watch.Hours = h.String()
		}
	}
	if b := c.Budget; b != (config.Budget{}) {
		out.Budget = &budgetJSON{Run: b.Run}
		if !b.Month.IsZero() {
			out.Budget.Month = fmt.Sprintf("%g %s", b.Month.Amount, b.Month.Currency)
		}
	}
	for _, x := range c.Unprotected {
		out.Accepted = append(out.Accepted, acceptedJSON(x))
	}
	for _, r := range c.Notify {
		out.Notify = append(out.Notify, shownReceiver(r))
	}
	return out
}

func shownReceiver(r config.Receiver) receiverJSON {
	j := receiverJSON{
		Kind: string(r.Kind), URLIn: r.URLIn.String(), Secret: r.Secret.String(), Credentials: r.Credentials.String(),
		To: r.To, From: r.From, TLS: string(r.TLS), On: r.On, Weekly: r.Weekly,
	}
	if u, err := url.Parse(r.URL); err == nil {
		j.Host = u.Host
	}
	if r.Host != "" {
		j.Host = net.JoinHostPort(r.Host, strconv.Itoa(r.Port))
	}
	return j
}

// print writes it for people, a line at a time.
func (u unattendedJSON) print(line func(what, format string, args ...any)) {
	s := u.Schedule
	line("schedule", "run %s%s", strings.Join(s.Run, ", "), before(s.Window, ", beginning within "))
	line("", "verify %s, drill %s, renew %s, report %s, status %s", s.Verify, s.Drill, s.Renew, s.Report, s.Status)
	line("guard", "holds the last clean point for %s; KMS keys of your own: %s", u.Guard.Hold, cmp.Or(safe(strings.Join(u.Guard.KMSKeys, ", ")), "none named"))
	hours := cmp.Or(before(u.Watch.Hours, "within "), before(s.Window, "within schedule.window, "), "at any time")
	if u.Watch.Hours == "any" {
		hours = "at any time"
	}
	line("watch", "looks every %s; runs store something %s", cmp.Or(u.Watch.Every, "15m"), hours)
	run, month := "none", "none"
	if u.Budget != nil {
		if u.Budget.Run != 0 {
			run = size(u.Budget.Run)
		}
		month = cmp.Or(u.Budget.Month, month)
	}
	line("budget", "run %s, month %s", run, month)
	line("prices", "%s", safe(cmp.Or(u.Prices, "those that ship")))
	for _, x := range u.Accepted {
		line("unprotected", "%s: %s", safe(x.URL), safe(x.Reason))
	}
	for _, r := range u.Notify {
		line("notify "+r.Kind, "%s", r.text())
		line("", "of %s%s", strings.Join(r.On, ", "), map[bool]string{true: "; weekly that all is well"}[r.Weekly])
	}
	if len(u.Notify) == 0 {
		line("notify", "nobody")
	}
	line("metrics", "%s", safe(cmp.Or(u.Metrics, "none are written")))
}

func (r receiverJSON) text() string {
	return safe(cmp.Or(r.Host, "URL from "+r.URLIn) + before(r.TLS, ", TLS: ") + before(strings.Join(r.To, ", "), ", to ") + before(r.From, ", from ") +
		before(r.Secret, ", secret ") + before(r.Credentials, ", credentials "))
}

// before puts something before a text, and nothing before none.
func before(s, what string) string {
	if s == "" {
		return ""
	}
	return what + s
}

// unattended looks at what runs that nobody watches go by: price tables, secrets of receivers, the folder of metrics.
func (k *configCheck) unattended() {
	if _, err := openCharges(k.app, k.c); err != nil {
		k.problem("", err)
	}
	for i, r := range k.c.Notify {
		s := k.notices.subscriber(k.c, r, "localhost")
		for _, made := range []any{s.Receiver, s.Pinger} {
			if b, is := made.(broken); is {
				k.problem(fmt.Sprintf("notify[%d] (%s)", i, b.name), b.err)
			}
		}
	}
	if file := k.c.Metrics.Textfile; file != "" {
		if err := folder(filepath.Dir(file)); err != nil {
			k.problem("metrics.textfile", err)
		}
	}
}
