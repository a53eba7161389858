// Package page makes a page of a report, for people: one file of HTML that needs nothing else and runs no script, that prints, and that a
// screen reader can follow.
//
// The package must never say more than the report's figures do, load anything, or put a text from outside into the page unescaped.
package page

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-backup/holdfast/replicator/report"
)

//go:embed *.html
var texts embed.FS

//go:embed page.css
var style string

// maxRows is how many rows a table of the page has; the JSON has all.
const maxRows = 200

// Make writes the page of a report. digest is that of its figures.
func Make(r *report.Report, digest string) ([]byte, error) {
	t, err := template.New("").Funcs(functions(r, digest)).ParseFS(texts, "*.html")
	if err != nil {
		return nil, fmt.Errorf("the page of a report: %w", err)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "page", r); err != nil {
		return nil, fmt.Errorf("the page of a report: %w", err)
	}
	return Visible(b.Bytes()), nil
}

// Visible has a page show, as \u202e and the like, the characters of texts from outside that cannot be seen and could have it read as another
// one: those that turn the direction of what follows, join or hide, or steer a terminal. Templates themselves have none.
func Visible(page []byte) []byte {
	hidden := func(r rune) bool {
		return r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
	}
	if bytes.IndexFunc(page, hidden) < 0 {
		return page
	}
	var b bytes.Buffer
	for _, r := range string(page) {
		if !hidden(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.Bytes()
}

func functions(r *report.Report, digest string) template.FuncMap {
	return template.FuncMap{
		"css": func() template.CSS { return template.CSS(style) }, "figures": func() string { return digest },
		"title": title, "verdict": verdict, "sections": sections, "sectionTitle": sectionTitle, "mappings": mappings, "glossary": glossary,
		"unknowns": unknowns, "sentence": sentence, "num": num, "bytes": size, "span": report.Span, "time": clock, "day": day, "short": short, "list": list,
		"pairs": pairs, "deref": func(n *int64) int64 { return *n }, "yes": yes, "money": func(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) },
		"capped":    func(w []report.Warning) []report.Warning { return w[:min(len(w), maxRows)] },
		"more":      func(w []report.Warning) int { return max(len(w)-maxRows, 0) },
		"rehearsed": rehearsed, "bad": bad, "restoring": restoring, "seconds": seconds, "oldest": oldest, "locksOf": locksOf, "closest": closest, "drilled": drilled, "verified": verified, "count": count, "sampled": func() int { return report.Sampled },
		"noLocks": noLocks, "lock": lock, "configured": configured, "spans": spans, "sizes": sizes, "months": months, "gaps": gaps,
		"rpoPlot": rpoPlot, "pointsPlot": pointsPlot, "storedPlot": storedPlot, "expiryPlot": expiryPlot,
	}
}

func title(r *report.Report) string {
	n := "not numbered"
	if r.Identity.Number > 0 {
		n = fmt.Sprintf("number %d of %s", r.Identity.Number, r.Identity.Reporter)
	}
	return "Report on the off-site copy, " + n + ", " + day(r.Identity.To)
}

func verdict(v report.Verdict) string {
	switch v {
	case report.Well:
		return "Well: nothing that this report looks at is out of the ordinary."
	case report.Alarm:
		return "Alarm: somebody has to look at something."
	case report.Failed:
		return "Not all could be looked at: what is said below is about the rest."
	}
	return "Short: something is lost, not protected, or past its target."
}

// rehearsed says what came of a rehearsal.
func rehearsed(r report.Rehearsal) string {
	switch r.Status {
	case "check_failed":
		return "a check failed"
	case "incomplete":
		return "incomplete"
	}
	return r.Status
}

// bad is how many entries a rehearsal found damaged or lost.
func bad(r report.Rehearsal) int64 { return r.Bad + r.BesideBad + r.Lost }

// restoring says how long a restore of all takes.
func restoring(r report.Rehearsal) string {
	switch {
	case r.Restore == nil:
		return "not known"
	case r.Measured || r.RestoreLow == nil || r.RestoreHigh == nil:
		return seconds(*r.Restore) + ", measured"
	}
	return seconds(*r.Restore) + ", between " + seconds(*r.RestoreLow) + " and " + seconds(*r.RestoreHigh)
}

// seconds writes a time for people; under a minute with a tenth.
func seconds(s float64) string {
	if s < 60 {
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	}
	return report.Span(int64(s))
}

// unknowns gives what is not known and belongs to a section.
func unknowns(r *report.Report, section string) (out []report.Unknown) {
	for _, u := range r.Unknown {
		if u.Section == section {
			out = append(out, u)
		}
	}
	return out
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// num writes a number with thin gaps between thousands.
func num(n any) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	x, i := float64(n), 0
	for (x >= 1024 || x <= -1024) && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", x, units[i])
}

// clock is a time as machines and people read it.
func clock(s string) template.HTML {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return template.HTML(template.HTMLEscapeString(s))
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + t.UTC().Format("2006-01-02 15:04:05") + ` UTC</time>`)
}

func day(s string) string { return s[:min(len(s), len("2006-01-02"))] }

func short(s string) string { return s[:min(len(s), 12)] }

func list(s []string) string { return strings.Join(s, ", ") }

func pairs(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+": "+m[k])
	}
	return cmp.Or(strings.Join(out, "; "), "-")
}

func yes(b *bool) string {
	switch {
	case b == nil:
		return "no RPO"
	case *b:
		return "yes"
	}
	return "no"
}

// oldest is the greatest age of a newest complete point.
func oldest(v report.Vault) string {
	out, worst := "no point", int64(-1)
	for _, s := range v.Sources {
		if s.Configured && s.Age != nil && *s.Age > worst {
			worst = *s.Age
			out = report.Span(worst) + " (" + s.Source + ")"
		}
	}
	return out
}

func noLocks(locks bool) string {
	if locks {
		return "none read back"
	}
	return "none: a directory"
}

func locksOf(v report.Vault) string {
	return cmp.Or(v.Immutability.Mode, noLocks(v.Immutability.Locks))
}

// lock is the end of a lock, or that there is none.
func lock(s string) template.HTML {
	switch s {
	case "":
		return "the vault keeps no locks"
	case "none":
		return "not locked"
	}
	return clock(s)
}

// closest is the closest look that held last.
func closest(v report.Vault) string {
	for _, level := range []string{"content", "bytes", "locks"} {
		for _, s := range v.Sources {
			if at := s.Verified[level]; at != "" {
				return day(at) + " (" + level + ")"
			}
		}
	}
	return "no record of one"
}

func verified(v report.Vault, level string) template.HTML {
	for _, s := range v.Sources {
		if at := s.Verified[level]; at != "" {
			return clock(at)
		}
	}
	return `<span class="unknown">not known: no record of one</span>`
}

func drilled(v report.Vault) string {
	for _, s := range v.Sources {
		if s.DrilledAt != "" {
			return day(s.DrilledAt)
		}
	}
	return "no record of one"
}

func count(m map[string]int, names ...string) (n int) {
	for _, name := range names {
		n += m[name]
	}
	return n
}

func configured(all []report.Scoped) (out []report.Scoped) {
	for _, s := range all {
		if s.Configured {
			out = append(out, s)
		}
	}
	return out
}

func spans(m map[string]string) []string {
	return []string{m["hourly"], m["daily"], m["weekly"], m["monthly"], m["yearly"]}
}

type sized struct {
	What string
	report.Size
}

func sizes(s *report.Stored) []sized {
	return []sized{
		{"stored: everything in the vault", s.Stored}, {"needed by kept points", s.Needed}, {"of that, by the newest points, without an end", s.Newest},
		{"unneeded: of points that are over, and what runs use", s.Unneeded}, {"records and reports of drills", s.Records}, {"other: versions on top, and what is not of this repository", s.Other},
		{"needed and not listed", s.Missing},
	}
}

// monthly is one month of the figures behind the plots.
type monthly struct{ Month, Came, Sum, Ends, Left string }

func months(s *report.Stored) []monthly {
	all := map[string]*monthly{}
	at := func(m string) *monthly {
		if all[m] == nil {
			all[m] = &monthly{m, "-", "-", "-", "-"}
		}
		return all[m]
	}
	for _, x := range s.Arrived {
		at(x.Month).Came, at(x.Month).Sum = size(x.Bytes), size(x.Total)
	}
	for _, x := range s.Expiring {
		at(x.Month).Ends, at(x.Month).Left = size(x.Bytes), size(x.Total)
	}
	var out []monthly
	for _, m := range slices.Sorted(maps.Keys(all)) {
		out = append(out, *all[m])
	}
	return out
}

type sourceGap struct {
	Source string
	report.Gap
}

// gaps are the longest of a vault.
func gaps(v report.Vault) (out []sourceGap) {
	for _, s := range v.Sources {
		for _, g := range s.Gaps {
			out = append(out, sourceGap{s.Source, g})
		}
	}
	slices.SortStableFunc(out, func(a, b sourceGap) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return out[:min(len(out), 30)]
}
