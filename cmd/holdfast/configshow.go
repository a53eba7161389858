package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/retain"
)

// configJSON is what a configuration says, defaults included, and what was found wrong with it. Spans and names are written as they
// are in the file.
type configJSON struct {
	File        string            `json:"file"`
	Vaults      []vaultJSON       `json:"vaults"`
	Keys        keysJSON          `json:"keys"`
	Sources     []sourceJSON      `json:"sources"`
	Retention   map[string]string `json:"retention"`
	Limits      limitsJSON        `json:"limits"`
	Stall       string            `json:"stall"`
	Reports     string            `json:"reports_keep"`
	HoldCeiling string            `json:"hold_ceiling"` // 0: each vault's lock.ceiling
	Targets     map[string]string `json:"targets,omitempty"`
	VerifyEvery string            `json:"verify_every,omitempty"`
	Hooks       *hooksJSON        `json:"hooks,omitempty"`
	Custody     map[string]string `json:"custody,omitempty"`
	Cache       string            `json:"cache"` // empty: the user's cache folder
	Fingerprint string            `json:"fingerprint,omitempty"`
	unattendedJSON
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings"`
	Notes    []string `json:"notes,omitempty"`
}

type vaultJSON struct {
	Name        string `json:"name"`
	URL         string `json:"url"`
	Credentials string `json:"credentials,omitempty"`
	Mode        string `json:"mode,omitempty"` // empty: a directory, which cannot lock
	Slack       string `json:"slack,omitempty"`
	Ceiling     string `json:"ceiling,omitempty"`
}

type keysJSON struct {
	Class      string   `json:"class"`
	Recipients []string `json:"recipients"`
	Owners     []string `json:"owners"`
	Host       string   `json:"host"`
	Reporter   string   `json:"reporter,omitempty"`
}

type sourceJSON struct {
	Name        string            `json:"name"`
	URL         string            `json:"url"`
	Credentials string            `json:"credentials,omitempty"`
	Vaults      []string          `json:"vaults"`
	Exclude     []string          `json:"exclude,omitempty"`
	ExcludeFrom string            `json:"exclude_from,omitempty"`
	Listed      []string          `json:"exclude_listed,omitempty"` // what that file lists
	Settings    map[string]string `json:"settings,omitempty"`       // those that its kind has
	Retention   map[string]string `json:"retention"`
	Hooks       *hooksJSON        `json:"hooks,omitempty"`
	Command     []string          `json:"command,omitempty"`
}

type hooksJSON struct {
	Before  []string `json:"before,omitempty"`
	After   []string `json:"after,omitempty"`
	Timeout string   `json:"timeout"`
}

type limitsJSON struct {
	Memory      int64 `json:"memory"`
	Upload      int64 `json:"upload"` // bytes a second; 0: no limit
	Download    int64 `json:"download"`
	Connections int   `json:"connections"`
}

// shownConfig takes a configuration apart for printing.
func shownConfig(c *config.Config) configJSON {
	out := configJSON{
		File: c.Path, Retention: spans(c.Retention), Limits: limitsJSON(c.Limits), Stall: c.Stall.String(), Reports: c.Reports.Keep.String(), HoldCeiling: c.HoldCeiling.String(),
		Hooks: shownHooks(c.Hooks), Custody: c.Custody, Cache: c.Cache, Fingerprint: c.Fingerprint, unattendedJSON: shownUnattended(c), Sources: []sourceJSON{}, Problems: []string{}, Warnings: []string{},
		Keys: keysJSON{Class: string(c.Keys.Recipients[0].Class()), Host: c.Keys.Host, Reporter: c.Keys.Reporter, Owners: []string{}},
	}
	for _, r := range c.Keys.Recipients {
		out.Keys.Recipients = append(out.Keys.Recipients, r.String())
	}
	for _, o := range c.Keys.Owners {
		out.Keys.Owners = append(out.Keys.Owners, o.String())
	}
	for _, v := range c.Vaults {
		j := vaultJSON{Name: v.Name, URL: v.URL.String(), Credentials: v.Credentials.String()}
		if v.URL.Locks() {
			j.Mode, j.Slack, j.Ceiling = string(v.Lock.Mode), v.Lock.Slack.String(), v.Lock.Ceiling.String()
		}
		out.Vaults = append(out.Vaults, j)
	}
	for _, s := range c.Sources {
		out.Sources = append(out.Sources, sourceJSON{
			Name: s.Name, URL: s.URL.String(), Credentials: s.Credentials.String(), Vaults: s.Vaults, Exclude: s.Exclude, ExcludeFrom: s.ExcludeFrom, Listed: s.Listed,
			Settings: settings(s), Retention: spans(s.Retention), Hooks: shownHooks(s.Hooks), Command: s.Command,
		})
	}
	if !c.VerifyEvery.IsZero() {
		out.VerifyEvery = c.VerifyEvery.String()
	}
	for name, t := range map[string]retain.Span{"rpo": c.Targets.RPO, "rto": c.Targets.RTO} {
		if t.IsZero() {
			continue
		}
		if out.Targets == nil {
			out.Targets = map[string]string{}
		}
		out.Targets[name] = t.String()
	}
	return out
}

func shownHooks(h config.Hooks) *hooksJSON {
	if !h.Any() {
		return nil
	}
	return &hooksJSON{h.Before, h.After, h.Timeout.String()}
}

// print writes them for people.
func (h *hooksJSON) print(line func(what, format string, args ...any), what string) {
	if h == nil {
		return
	}
	line(what, "hooks, each for %s at most:", h.Timeout)
	if h.Before != nil {
		line("", "  before %s", argvText(h.Before))
	}
	if h.After != nil {
		line("", "  after %s", argvText(h.After))
	}
}

// argvText writes a program and its arguments for people: what could be taken for several words is quoted.
func argvText(argv []string) string {
	var out []string
	for _, a := range argv {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\") {
			a = strconv.Quote(a)
		} else {
			a = safe(a)
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// retentionNames are the spans of a retention in the order in which people read them.
func retentionNames() []string { return []string{"hourly", "daily", "weekly", "monthly", "yearly"} }

func spans(p retain.Policy) map[string]string {
	return map[string]string{
		"hourly": p.Hourly.String(), "daily": p.Daily.String(), "weekly": p.Weekly.String(), "monthly": p.Monthly.String(), "yearly": p.Yearly.String(),
	}
}

// settings are what a source's kind can be told.
func settings(s config.Source) map[string]string {
	switch {
	case s.URL.Local():
		return map[string]string{"unsettled": string(s.Unsettled), "one_file_system": fmt.Sprint(s.OneFileSystem)}
	case s.URL.Program():
		return map[string]string{"entry": s.Entry, "timeout": s.Timeout.String()}
	case s.URL.Kind != location.S3:
		return nil
	}
	out := map[string]string{"versions": "current", "archived": string(s.Archived), "tags": s.Tags.MaxAge.String()}
	if s.AllVersions {
		out["versions"] = "all"
	}
	switch {
	case s.Tags.Never:
		out["tags"] = "never"
	case s.Tags.MaxAge.IsZero():
		out["tags"] = "always"
	}
	out["etag"] = cmp.Or(s.ETag, "found out")
	for name, is := range map[string]*bool{"if_match": s.IfMatch, "requester_pays": s.RequesterPays} {
		out[name] = "found out"
		if is != nil {
			out[name] = fmt.Sprint(*is)
		}
	}
	return out
}

// print writes it for people, in the order of the file.
func (c configJSON) print(w io.Writer) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	line("file", "%s", safe(c.File))
	for _, v := range c.Vaults {
		line("vault "+v.Name, "%s%s", safe(v.URL), with(v.Credentials))
		if v.Mode == "" {
			line("", "no locks: it is a directory")
		} else {
			line("", "locks: %s, %s longer than needed, never over %s", v.Mode, v.Slack, v.Ceiling)
		}
	}
	line("restore keys", "%s, class %s", plural(len(c.Keys.Recipients), "key", "keys"), c.Keys.Class)
	for _, r := range c.Keys.Recipients {
		line("", "%s", keys.Brief(r))
	}
	line("owner keys", "%s", cmp.Or(strings.Join(c.Keys.Owners, ", "), "none"))
	line("host key", "%s", safe(c.Keys.Host))
	line("reporter's key", "%s", safe(cmp.Or(c.Keys.Reporter, "none: no records are made")))
	for _, s := range c.Sources {
		line("source "+s.Name, "%s%s", safe(s.URL), with(s.Credentials))
		line("", "to %s; kept: %s", strings.Join(s.Vaults, ", "), kept(s.Retention))
		if s.Command != nil {
			line("", "command: %s", argvText(s.Command))
		}
		for _, x := range s.Exclude {
			line("", "without %s", safe(x))
		}
		if s.ExcludeFrom != "" {
			line("", "without %s in %s", plural(len(s.Listed), "pattern", "patterns"), safe(s.ExcludeFrom))
		}
		for _, name := range []string{"versions", "tags", "archived", "etag", "if_match", "requester_pays", "unsettled", "one_file_system", "entry", "timeout"} {
			if v := s.Settings[name]; v != "" {
				line("", "%s: %s", name, safe(v))
			}
		}
		s.Hooks.print(line, "")
	}
	c.Hooks.print(line, "the whole run")
	line("retention", "%s, where a source says nothing else", kept(c.Retention))
	line("limits", "memory %s, upload %s, download %s, %d connections", size(c.Limits.Memory), rate(c.Limits.Upload), rate(c.Limits.Download), c.Limits.Connections)
	line("a vault is left behind", "after %s without progress", c.Stall)
	line("hold_ceiling", "%s", map[bool]string{true: "0: a hold reaches no further than lock.ceiling", false: c.HoldCeiling}[c.HoldCeiling == "0"])
	line("records are kept", "%s", c.Reports)
	line("targets", "rpo %s, rto %s", cmp.Or(c.Targets["rpo"], "none"), cmp.Or(c.Targets["rto"], "none"))
	line("all is read again within", "%s", cmp.Or(c.VerifyEvery, "no time: verify.every says nothing"))
	c.unattendedJSON.print(line)
	line("cache", "%s", safe(cmp.Or(c.Cache, "the user's cache folder")))
	for _, name := range slices.Sorted(maps.Keys(c.Custody)) {
		line("custody", "%s: %s", safe(name), safe(c.Custody[name]))
	}
	line("fingerprint", "%s", cmp.Or(c.Fingerprint, "as the host key's file says"))
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func with(credentials string) string {
	if credentials == "" {
		return ""
	}
	return ", credentials " + safe(credentials)
}

// kept writes a retention for people.
func kept(r map[string]string) string {
	var out []string
	for _, name := range retentionNames() {
		if r[name] != "0" {
			out = append(out, name+" "+r[name])
		}
	}
	return strings.Join(out, ", ")
}

// rate writes a limit of bytes a second.
func rate(n int64) string {
	if n == 0 {
		return "without limit"
	}
	return size(n) + "/s"
}
