package config

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/notify"
)

// TestNotify: receivers as the documentation shows them, with what is understood where nothing is said.
func TestNotify(t *testing.T) {
	read := func(text string) *Config {
		t.Helper()
		c, err := parse("x.yaml", "/etc/holdfast/x.yaml", []byte("vaults: [{name: v, url: \"file:///v\"}]\nkeys: {recipients: ["+aRecipient(t)+"]}\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := read(`
notify:
  - webhook: {url: https://hooks.example.com/a, secret: env:HOOK_SECRET}     # the variable's name; or file:PATH, systemd:NAME
  - mail: {to: [ops@example.com], server: smtp.example.com:587, credentials: env:SMTP}   # SMTP_USERNAME, SMTP_PASSWORD
  - ping: {url: https://hc.example.com/uuid}
  - webhook: {url: env:HOOK_URL, on: [run, status, run], weekly: true}
metrics: {textfile: metrics/holdfast.prom}
`)
	all := []string{"run", "verify", "drill", "doctor", "renew", "prune", "hold", "watch"}
	w, m, p, other := c.Notify[0], c.Notify[1], c.Notify[2], c.Notify[3]
	if w.Kind != WebhookReceiver || w.URL != "https://hooks.example.com/a" || w.Secret.String() != "env:HOOK_SECRET" || !slices.Equal(w.On, all) || w.Weekly {
		t.Errorf("%+v", w)
	}
	if m.Kind != MailReceiver || !slices.Equal(m.To, []string{"ops@example.com"}) || m.Host != "smtp.example.com" || m.Port != 587 || m.TLS != notify.StartTLS || m.Credentials.String() != "env:SMTP" || !slices.Equal(m.On, all) {
		t.Errorf("%+v", m)
	}
	if p.Kind != PingReceiver || p.URL != "https://hc.example.com/uuid" || !slices.Equal(p.On, []string{"run"}) {
		t.Errorf("%+v", p)
	}
	if other.URL != "" || other.URLIn.String() != "env:HOOK_URL" || !slices.Equal(other.On, []string{"run", "status"}) || !other.Weekly {
		t.Errorf("%+v", other)
	}
	if c.Metrics.Textfile != filepath.FromSlash("/etc/holdfast/metrics/holdfast.prom") || len(c.Warnings) != 0 {
		t.Errorf("%+v, %v", c.Metrics, c.Warnings)
	}
	for server, want := range map[string]notify.Encryption{
		"smtp.example.com:25": notify.StartTLS, "smtp.example.com:465": notify.Implicit, "127.0.0.1:25": notify.Plaintext, "localhost:25": notify.Plaintext,
		"127.0.0.1:587": notify.StartTLS, "'[::1]:2525'": notify.StartTLS, "smtp.example.com:2525, tls: implicit": notify.Implicit, "localhost:2525, tls: none": notify.Plaintext,
	} {
		if got := read("notify: [{mail: {to: [a@b.example], server: " + server + "}}]\n").Notify[0].TLS; got != want {
			t.Errorf("%s: %s", server, got)
		}
	}
	for url, warned := range map[string]bool{"http://hooks.example.com/": true, "http://127.0.0.1:8080/": false, "http://localhost/": false, "https://hooks.example.com/": false} {
		got := read("notify: [{webhook: {url: \"" + url + "\"}}]\n").Warnings
		if (len(got) == 1 && strings.Contains(got[0], "uses http://")) != warned {
			t.Errorf("%s: %v", url, got)
		}
	}
}
