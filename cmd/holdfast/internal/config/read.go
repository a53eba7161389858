package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/stall"
)

// reader fills a Config from the file. at remembers where things stand that are only checked against one another later.
type reader struct {
	*decoder
	config *Config
	dir    string
	before retain.Policy // what the file's retention meant to earlier builds
	at     struct {
		root    ast.Node
		keep    map[string]ast.Node // a source's own retention, by its name
		vaults  map[string]vaultNodes
		sources []sourceNodes
	}
}

type vaultNodes struct{ url, ceiling ast.Node }

type sourceNodes struct {
	url    ast.Node
	vaults []ast.Node
}

func (r *reader) read(n ast.Node) {
	r.at.root, r.at.keep, r.at.vaults = n, map[string]ast.Node{}, map[string]vaultNodes{}
	c := r.config
	c.Retention = retain.Policy{Daily: days(35), Weekly: days(12 * 7), Monthly: retain.Span{Months: 12}}
	r.before = c.Retention
	c.Limits = Limits{Memory: 256 << 20, Connections: 32}
	c.Stall = stall.Default
	c.Reports = Reports{Keep: days(400)}
	c.Schedule = Schedule{Times: schedule.DefaultTimes()}
	c.Guard = Guard{Hold: days(90)}
	var sources ast.Node
	seen := r.object(n, "the configuration",
		field{"vaults", func(n ast.Node) { r.list(n, "vaults", r.vault) }},
		field{"keys", r.keys},
		field{"sources", func(n ast.Node) { sources = n }},
		field{"retention", func(n ast.Node) { r.retention(n, "", &c.Retention, &r.before) }},
		field{"limits", r.limits},
		field{"cache", r.cache},
		field{"progress", r.progress},
		field{"reports", r.reports},
		field{"targets", r.targets},
		field{"verify", func(n ast.Node) { readVerify(r, n) }},
		field{"schedule", schedules{r}.read},
		field{"guard", func(n ast.Node) { readGuard(r, n) }},
		field{"hold_ceiling", func(n ast.Node) { r.span(n, "hold_ceiling", &c.HoldCeiling) }},
		field{"watch", func(n ast.Node) { readWatch(r, n) }},
		field{"budget", func(n ast.Node) { readBudget(r, n) }},
		field{"prices", func(n ast.Node) { readPrices(r, n) }},
		field{"unprotected", func(n ast.Node) { readUnprotected(r, n) }},
		field{"fingerprint", r.fingerprint},
		field{"hooks", func(n ast.Node) { readHooks(r, n, "hooks", &c.Hooks) }},
		field{"custody", func(n ast.Node) { readCustody(r, n) }},
		field{"notify", (&receiverReader{r}).notify},
		field{"metrics", (&receiverReader{r}).metrics},
	)
	if seen == nil {
		return
	}
	// Last, because a source takes over what the file's retention says, wherever that stands.
	if sources != nil {
		r.list(sources, "sources", r.source)
	}
	for _, key := range []string{"vaults", "keys"} {
		if seen[key] == nil {
			r.problem(n, "%s is missing", key)
		}
	}
	if seen["vaults"] != nil && len(c.Vaults) == 0 && len(r.problems) == 0 {
		r.problem(seen["vaults"], "vaults is empty; a copy needs a place to be kept")
	}
	if len(r.problems) == 0 {
		r.together()
	}
}

func days(n int) retain.Span { return retain.Span{Duration: time.Duration(n) * 24 * time.Hour} }

func (r *reader) vault(i int, n ast.Node) {
	what := fmt.Sprintf("vaults[%d]", i)
	v := Vault{Lock: DefaultLock()}
	nodes := vaultNodes{}
	var refNode, lockNode ast.Node
	seen := r.object(n, what,
		field{"name", func(n ast.Node) { v.Name = r.name(n, what+".name") }},
		field{"url", func(n ast.Node) { nodes.url = n; v.URL = r.url(n, what+".url") }},
		field{"credentials", func(n ast.Node) { refNode = n; v.Credentials = r.ref(n, what+".credentials", credentials.ParseVault) }},
		field{"lock", func(n ast.Node) { lockNode, nodes.ceiling = n, n; r.lock(n, what+".lock", &v.Lock, &nodes) }},
	)
	if !r.require(n, what, seen, "name", "url") {
		return
	}
	switch at := v.URL; {
	case at.Kind == "": // said where it was read
	case !at.Vault():
		r.problem(n, "%s: %s:// is what sources are; a vault is a bucket (s3://) or a directory (file://)", what, at.Kind)
	case at.Local() && refNode != nil:
		r.problem(refNode, "%s is a directory and takes no credentials", what)
	case !at.Local() && seen["credentials"] == nil:
		r.problem(n, "%s needs credentials: env:PREFIX, profile:NAME, file:PATH or systemd:NAME", what)
	case v.Credentials.IsDefault():
		r.problem(refNode, "%s.credentials cannot be default: that is what sources find by themselves, and a vault's must be another's; name them", what)
	}
	switch {
	case v.URL.Locks() && v.Lock.Mode == store.ModeNone:
		v.Lock.Mode = store.Compliance
	case v.URL.Vault() && !v.URL.Locks() && lockNode != nil:
		r.problem(lockNode, "%s is a directory, which cannot lock what is in it; leave lock out", what)
	}
	if v.Name == "" {
		return
	}
	if _, twice := r.at.vaults[v.Name]; twice {
		r.problem(seen["name"], "two vaults are named %q", v.Name)
		return
	}
	if nodes.ceiling == nil {
		nodes.ceiling = n
	}
	r.at.vaults[v.Name] = nodes
	r.config.Vaults = append(r.config.Vaults, v)
}

func (r *reader) lock(n ast.Node, what string, l *Lock, nodes *vaultNodes) {
	r.object(n, what,
		field{"mode", func(n ast.Node) {
			l.Mode = store.Mode(r.choice(n, what+".mode", string(store.Compliance), string(store.Governance)))
		}},
		field{"slack", func(n ast.Node) { r.span(n, what+".slack", &l.Slack) }},
		field{"ceiling", func(n ast.Node) {
			nodes.ceiling = n
			r.span(n, what+".ceiling", &l.Ceiling)
			if l.Ceiling.IsZero() {
				r.problem(n, "%s.ceiling cannot be 0: every lock would be refused", what)
			}
		}},
	)
}

func (r *reader) keys(n ast.Node) {
	var texts []string
	var list ast.Node
	good := true
	seen := r.object(n, "keys",
		field{"recipients", func(n ast.Node) {
			list = n
			r.list(n, "keys.recipients", func(i int, n ast.Node) {
				s, ok := r.str(n, fmt.Sprintf("keys.recipients[%d]", i))
				if _, err := keys.ParseRecipient(s); ok && err != nil {
					r.problem(n, "keys.recipients[%d]: %v", i, err)
					ok = false
				}
				good, texts = good && ok, append(texts, s)
			})
		}},
		field{"owners", func(n ast.Node) { r.config.Keys.Owners = r.owners(n) }},
		field{"host", func(n ast.Node) { r.config.Keys.Host = r.keyFile(n, "keys.host", "host key") }},
		field{"reporter", func(n ast.Node) { r.config.Keys.Reporter = r.keyFile(n, "keys.reporter", "reporter's key") }},
	)
	if seen == nil {
		return
	}
	if !r.require(n, "keys", seen, "recipients") {
		return
	}
	if seen["host"] == nil {
		r.config.Keys.Host = filepath.Join(r.dir, "host.key")
	}
	if !good {
		return
	}
	recipients, err := keys.ParseRecipients(texts)
	if err != nil {
		r.problem(list, "keys.recipients: %v", err)
	}
	r.config.Keys.Recipients = recipients
}

// owners reads the list of owner keys.
func (r *reader) owners(list ast.Node) []keys.Owner {
	var texts []string
	good := true
	r.list(list, "keys.owners", func(i int, n ast.Node) {
		s, ok := r.str(n, fmt.Sprintf("keys.owners[%d]", i))
		if _, err := keys.ParseOwner(s); ok && err != nil {
			r.problem(n, "keys.owners[%d]: %v", i, err)
			ok = false
		}
		good, texts = good && ok, append(texts, s)
	})
	if !good {
		return nil
	}
	owners, err := keys.ParseOwners(texts)
	if err != nil {
		r.problem(list, "keys.owners: %v", err)
	}
	return owners
}

// keyFile reads where a secret key lies.
func (r *reader) keyFile(n ast.Node, what, key string) string {
	s, ok := r.str(n, what)
	switch {
	case !ok:
		return ""
	case strings.HasPrefix(s, "systemd:"):
		if ref, err := credentials.Parse(s); err != nil {
			r.problem(n, "%s: %v", what, err)
		} else {
			return ref.String()
		}
		return ""
	case s == "" || strings.Contains(s, "://"):
		r.problem(n, "%s must be the path of the %s file, or systemd:NAME", what, key)
		return ""
	}
	return r.absolute(s)
}

func (r *reader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(r.dir, path)
}

func (r *reader) source(i int, n ast.Node) {
	what := fmt.Sprintf("sources[%d]", i)
	c := r.config
	s := Source{Tags: Tags{MaxAge: days(7)}, Archived: ArchivedRecord, Unsettled: UnsettledStore, Retention: c.Retention, Before: r.before}
	var nodes sourceNodes
	var refNode, keep ast.Node
	only := map[string]ast.Node{}   // keys that only a bucket takes
	folder := map[string]ast.Node{} // keys that only a directory takes
	seen := r.object(n, what, append([]field{
		{"name", func(n ast.Node) { s.Name = r.name(n, what+".name") }},
		{"url", func(n ast.Node) { nodes.url = n; s.URL = r.url(n, what+".url") }},
		{"credentials", func(n ast.Node) { refNode = n; s.Credentials = r.ref(n, what+".credentials", credentials.Parse) }},
		{"versions", func(n ast.Node) {
			only["versions"] = n
			s.AllVersions = r.choice(n, what+".versions", "current", "all") == "all"
		}},
		{"exclude", func(n ast.Node) {
			r.list(n, what+".exclude", func(i int, n ast.Node) {
				s.Exclude = append(s.Exclude, r.glob(n, fmt.Sprintf("%s.exclude[%d]", what, i)))
			})
		}},
		{"exclude_from", func(n ast.Node) { readExcludes(r, n, what+".exclude_from", &s) }},
		{"tags", func(n ast.Node) { only["tags"] = n; s.Tags = r.tags(n, what+".tags") }},
		{"archived", func(n ast.Node) {
			only["archived"] = n
			s.Archived = Archived(r.choice(n, what+".archived", string(ArchivedRecord), string(ArchivedFail)))
		}},
		{"etag", func(n ast.Node) { only["etag"] = n; s.ETag = r.choice(n, what+".etag", "md5", "opaque") }},
		{"if_match", func(n ast.Node) { only["if_match"] = n; s.IfMatch = r.truth(n, what+".if_match") }},
		{"requester_pays", func(n ast.Node) { only["requester_pays"] = n; s.RequesterPays = r.truth(n, what+".requester_pays") }},
		{"unsettled", func(n ast.Node) {
			folder["unsettled"] = n
			s.Unsettled = Unsettled(r.choice(n, what+".unsettled", string(UnsettledStore), string(UnsettledMissing)))
		}},
		{"one_file_system", func(n ast.Node) {
			folder["one_file_system"] = n
			if v := r.truth(n, what+".one_file_system"); v != nil {
				s.OneFileSystem = *v
			}
		}},
		{"vaults", func(n ast.Node) {
			r.list(n, what+".vaults", func(i int, n ast.Node) {
				if v, ok := r.str(n, fmt.Sprintf("%s.vaults[%d]", what, i)); ok {
					s.Vaults, nodes.vaults = append(s.Vaults, v), append(nodes.vaults, n)
				}
			})
			if len(s.Vaults) == 0 {
				r.problem(n, "%s.vaults is empty; leave it out to mean all", what)
			}
		}},
		{"retention", func(n ast.Node) { keep = n; r.retention(n, what+".", &s.Retention, &s.Before) }},
		{"hooks", func(n ast.Node) { readHooks(r, n, what+".hooks", &s.Hooks) }},
	}, commandFields(r, what, &s)...)...)
	if !r.require(n, what, seen, "name", "url") {
		return
	}
	this := string(s.URL.Kind) + "://"
	switch {
	case s.URL.Kind == "": // said where it was read
		only, folder = nil, nil
	case s.URL.Local():
		this = "a directory"
		if refNode != nil {
			r.problem(refNode, "%s is a directory and takes no credentials", what)
		}
	case s.URL.Program():
		this = "what a program writes"
	case seen["credentials"] == nil:
		r.problem(n, "%s needs credentials: env:PREFIX, profile:NAME, file:PATH, systemd:NAME or default", what)
	}
	checkCommand(r, n, what, seen, &s)
	for key, n := range only {
		if s.URL.Kind != location.S3 {
			r.problem(n, "%s.%s means something for buckets only, and this is %s", what, key, this)
		}
	}
	for key, n := range folder {
		if !s.URL.Local() {
			r.problem(n, "%s.%s means something for directories only, and this is %s", what, key, this)
		}
	}
	for _, o := range c.Sources {
		if o.Name == s.Name && s.Name != "" {
			r.problem(seen["name"], "two sources are named %q", s.Name)
		}
	}
	if keep != nil {
		r.at.keep[s.Name] = keep
	}
	c.Sources, r.at.sources = append(c.Sources, s), append(r.at.sources, nodes)
}

func (r *reader) tags(n ast.Node, what string) Tags {
	s, ok := r.text(n, what)
	switch {
	case !ok || s == "always":
		return Tags{}
	case s == "never":
		return Tags{Never: true}
	}
	v, err := retain.Parse(s)
	if err != nil {
		r.problem(n, "%s must be always, never, or how old read tags may be: %v", what, err)
	}
	return Tags{MaxAge: v}
}

// retention reads a map of spans. Those it does not name are 0: whoever names a week wants no lock of a year. before is what
// the map meant to earlier builds, which took them from what was said before.
func (r *reader) retention(n ast.Node, source string, to, before *retain.Policy) {
	what := source + "retention"
	var p retain.Policy
	was, wrong := *before, len(r.problems)
	if r.object(n, what,
		field{"hourly", func(n ast.Node) { r.span(n, what+".hourly", &p.Hourly); was.Hourly = p.Hourly }},
		field{"daily", func(n ast.Node) { r.span(n, what+".daily", &p.Daily); was.Daily = p.Daily }},
		field{"weekly", func(n ast.Node) { r.span(n, what+".weekly", &p.Weekly); was.Weekly = p.Weekly }},
		field{"monthly", func(n ast.Node) { r.span(n, what+".monthly", &p.Monthly); was.Monthly = p.Monthly }},
		field{"yearly", func(n ast.Node) { r.span(n, what+".yearly", &p.Yearly); was.Yearly = p.Yearly }},
	) == nil {
		return
	}
	*to, *before = p, was
	if p == (retain.Policy{}) && len(r.problems) == wrong {
		r.problem(n, "%s keeps nothing: hourly, daily, weekly, monthly and yearly are all 0, which a span that is left out is as well", what)
	}
}

// minMemory is what a run needs whatever it is told: a pack being built and one being sent, and the caches.
const minMemory = 64 << 20

func (r *reader) limits(n ast.Node) {
	l := &r.config.Limits
	r.object(n, "limits",
		field{"memory", func(n ast.Node) {
			r.size(n, "limits.memory", &l.Memory)
			if l.Memory < minMemory {
				r.problem(n, "limits.memory must be at least 64MiB")
			}
		}},
		field{"upload", func(n ast.Node) { r.size(n, "limits.upload", &l.Upload) }},
		field{"download", func(n ast.Node) { r.size(n, "limits.download", &l.Download) }},
		field{"connections", func(n ast.Node) { r.whole(n, "limits.connections", 1, 1000, &l.Connections) }},
	)
}

// minStall and maxStall are what progress.stall may be: shorter than that, a healthy vault's pauses would count.
const (
	minStall = 5 * time.Second
	maxStall = time.Hour
)

func (r *reader) progress(n ast.Node) {
	r.object(n, "progress", field{"stall", func(n ast.Node) {
		s, ok := r.text(n, "progress.stall")
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < minStall || d > maxStall {
			r.problem(n, "progress.stall is a time from 5s to 1h, such as 60s or 2m")
			return
		}
		r.config.Stall = d
	}})
}

func (r *reader) reports(n ast.Node) {
	r.object(n, "reports", field{"keep", func(n ast.Node) {
		r.span(n, "reports.keep", &r.config.Reports.Keep)
		if r.config.Reports.Keep.IsZero() {
			r.problem(n, "reports.keep cannot be 0: a record that is not locked shows nothing")
		}
	}})
}

func readGuard(r *reader, n ast.Node) {
	r.object(n, "guard",
		field{"hold", func(n ast.Node) { r.span(n, "guard.hold", &r.config.Guard.Hold) }},
		field{"kms_keys", func(n ast.Node) {
			r.list(n, "guard.kms_keys", func(i int, n ast.Node) {
				s, ok := r.str(n, fmt.Sprintf("guard.kms_keys[%d]", i))
				switch {
				case !ok:
				case s == "" || strings.ContainsAny(s, " \t\n"):
					r.problem(n, "guard.kms_keys[%d]: %q is no key: write its ARN, or its ID", i, clip(s))
				default:
					r.config.Guard.KMSKeys = append(r.config.Guard.KMSKeys, s)
				}
			})
		}},
	)
}

func (r *reader) targets(n ast.Node) {
	target := func(name string, to *retain.Span) field {
		return field{name, func(n ast.Node) {
			if r.span(n, "targets."+name, to) && to.IsZero() {
				r.problem(n, "targets.%s cannot be 0: leave it out if nothing is to be held against it", name)
			}
		}}
	}
	r.object(n, "targets", target("rpo", &r.config.Targets.RPO), target("rto", &r.config.Targets.RTO))
}

func readBudget(r *reader, n ast.Node) {
	b := &r.config.Budget
	r.object(n, "budget",
		field{"run", func(n ast.Node) {
			before := len(r.problems)
			r.size(n, "budget.run", &b.Run)
			if b.Run == 0 && len(r.problems) == before {
				r.problem(n, "budget.run cannot be 0: nothing could be stored; leave it out for no limit")
			}
		}},
		field{"month", func(n ast.Node) {
			s, ok := r.text(n, "budget.month")
			if !ok {
				return
			}
			var err error
			if b.Month, err = ParseMoney(s); err != nil {
				r.problem(n, "budget.month: %v", err)
			}
		}},
	)
}

func readPrices(r *reader, n ast.Node) {
	s, ok := r.str(n, "prices")
	switch {
	case !ok:
	case s == "" || strings.Contains(s, "://"):
		r.problem(n, "prices must be the path of a file of price tables")
	default:
		r.config.Prices = r.absolute(s)
	}
}

func (r *reader) cache(n ast.Node) {
	if s, ok := r.str(n, "cache"); ok && s != "" {
		r.config.Cache = r.absolute(s)
	}
}

// fingerprint takes the digits as they are read off a paper, in groups.
func (r *reader) fingerprint(n ast.Node) {
	s, ok := r.text(n, "fingerprint")
	if !ok {
		return
	}
	pin, ok := ParsePin(s)
	if !ok {
		r.problem(n, "fingerprint "+WantPin)
		return
	}
	r.config.Fingerprint = pin
}

// WantPin says what ParsePin takes.
const WantPin = "takes 32 to 64 hexadecimal digits, as `holdfast init` printed them"

// ParsePin reads a fingerprint, or its beginning, as it is read off a paper: in groups, in either case.
func ParsePin(s string) (pin string, ok bool) {
	s = strings.ToLower(strings.NewReplacer(" ", "", "-", "").Replace(s))
	return s, len(s) >= 32 && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func (r *reader) name(n ast.Node, what string) string {
	s, ok := r.text(n, what)
	if ok && !format.ValidName(s) {
		r.problem(n, "%s cannot be %q; it takes lower-case letters, digits, - and _, at most 40", what, clip(s))
		return ""
	}
	return s
}

func (r *reader) url(n ast.Node, what string) location.Location {
	s, ok := r.str(n, what)
	if !ok {
		return location.Location{}
	}
	l, err := location.Parse(s)
	if err != nil {
		r.problem(n, "%s: %v", what, err)
		return location.Location{}
	}
	if l.Insecure() {
		r.config.Warnings = append(r.config.Warnings, fmt.Sprintf("%s uses http://, so names and metadata can be read on the way; use https:// if the server has it", what))
	}
	return l
}

func (r *reader) ref(n ast.Node, what string, parse func(string) (credentials.Ref, error)) credentials.Ref {
	s, ok := r.str(n, what)
	if !ok {
		return credentials.Ref{}
	}
	ref, err := parse(s)
	if err != nil {
		r.problem(n, "%s: %v; no secret may stand in this file", what, err)
	}
	return ref
}

func (r *reader) glob(n ast.Node, what string) string {
	s, ok := r.str(n, what)
	if !ok {
		return ""
	}
	if _, err := glob.Parse(s); err != nil {
		r.problem(n, "%s: %v", what, err)
	}
	return s
}

// require reports keys that are missing, and whether n was a mapping with all of them.
func (r *reader) require(n ast.Node, what string, seen map[string]ast.Node, names ...string) bool {
	if seen == nil {
		return false
	}
	whole := true
	for _, name := range names {
		if seen[name] == nil {
			r.problem(n, "%s needs %s", what, name)
			whole = false
		}
	}
	return whole
}
