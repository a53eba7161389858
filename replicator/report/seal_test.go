package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/report"
	"github.com/holdfast-backup/holdfast/replicator/report/page"
	"github.com/holdfast-backup/holdfast/store/storetest/schematest"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// full is a report of so many sources in two vaults, one of which cannot be read.
func full(sources int) *report.Report {
	r := report.New(report.Options{Now: now, From: now.AddDate(-1, 0, 0), To: now, Identity: report.Identity{Host: "<script>alert(1)</script>", Command: "holdfast report"},
		Targets: report.Targets{RPO: 93600, Allowed: 93600, Basis: "targets.rpo"}})
	age, worst, met := int64(3600), int64(100000), true
	v := report.Vault{Name: "disk", Kind: "s3", Fingerprint: strings.Repeat("ab", 32), Pinned: true, Immutability: report.Immutability{Locks: true, Mode: "compliance", ObjectLock: "on", Versioning: "on", Sampled: 1, Population: 1}}
	at := now.Format(time.RFC3339)
	for i := range sources {
		s := report.Source{Source: fmt.Sprintf("source-%d", i), Configured: true, Point: strings.Repeat("0c", 32), TakenAt: at, Age: &age, RPOMet: &met, Achieved: &worst, JudgedFrom: at, GapCount: 99, Protected: at, RetainTo: at}
		for range 10 {
			s.Gaps = append(s.Gaps, report.Gap{From: at, To: at, Seconds: 100000})
		}
		v.Sources = append(v.Sources, s)
		r.Scope.Sources = append(r.Scope.Sources, report.Scoped{Name: s.Source, URL: "file:///x", Configured: true})
	}
	for i := range 120 {
		v.Points.Months = append(v.Points.Months, report.Month{Month: now.AddDate(0, i-120, 0).Format("2006-01"), Complete: 80, Incomplete: 1})
	}
	v.Points.Total = 10_000
	for range 100 {
		v.Marks = append(v.Marks, report.Mark{Source: "source-0", Point: strings.Repeat("0d", 32), SignedAt: at, State: "open", Reason: "<b>fine</b>"})
		v.Evidence.Findings = append(v.Evidence.Findings, report.ChainFinding{Kind: "missing", Name: "reports/x", Detail: "gone"})
	}
	v.Checks.Verifications = []report.Verification{{At: at, Level: "bytes", Status: "ok", Sample: 100, Budget: "200GB", Days: 9, Covered: 87.5, Oldest: at}}
	r.Scope.Accepted = []report.Accepted{{URL: "s3://scratch", Reason: "<b>rebuilt</b>"}}
	r.Scope.Coverage = &report.Coverage{At: at, Reporter: "web-1", Resources: 9, Protected: 7, Accepted: 1, Unprotected: 1, Unseen: 1}
	r.Scope.Custody = []report.Custody{{Key: "restore-1", Kept: "safe \u202eA\x1b[2J\u200b"}}
	v.Checks.Drills = []report.Drill{{At: at, Status: "held", Counts: map[string]int{"ok": 3}}}
	took := 147600.0
	v.Checks.Rehearsals = []report.Rehearsal{{At: at, Status: "ok", Source: "source-0", Point: strings.Repeat("0c", 32), Entries: 2_104_331, BoundOf: 2_104_330, Compared: 1000, Beside: 9, Most: 0.3, Confidence: 95, Restore: &took, RestoreLow: &took, RestoreHigh: &took, Checks: 1, Seed: "7", Statement: []string{"<b>none bad</b>"}}}
	v.Checks.Diagnoses = []report.Diagnosis{{At: at, Status: "ok"}}
	v.Checks.Attacks = []report.Attack{{Check: "delete", Status: 403, RequestID: "R1", At: at}}
	v.Holds = []report.Hold{{Source: "source-0", Until: at}}
	v.Evidence.Reports = []report.Made{{Reporter: "web-1", At: at, Line: report.Line{Number: 6, Figures: strings.Repeat("1f", 32), To: now.AddDate(-2, 0, 0).Format(time.RFC3339), Verdict: report.Well}}}
	v.Evidence.Series = []report.Series{{Reporter: "web-1", Series: at, At: at, SHA256: strings.Repeat("1a", 32)}}
	v.Stored = &report.Stored{Arrived: []report.Sum{{Month: "2026-10", Bytes: 5, Total: 5}, {Month: "2026-11", Bytes: 5, Total: 10}}, Expiring: []report.Sum{{Month: "2027-01", Bytes: 3, Total: 7}}, Cost: &report.Cost{Amount: 1.5, Currency: "USD", PricesOf: "x"}}
	r.Vaults = []report.Vault{v, {Name: "away", Error: "it does not answer"}}
	return r
}

func key(t *testing.T) *keys.ReporterKey {
	t.Helper()
	k, err := keys.GenerateReporterKey("web-1", "job")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealed makes both files.
func sealed(t *testing.T, r *report.Report, k *keys.ReporterKey) report.Sealed {
	t.Helper()
	if k != nil {
		r.Next(k.Name)
	}
	r.Conclude()
	figures, digest, err := report.Figures(r)
	if err != nil {
		t.Fatal(err)
	}
	html, err := page.Make(r, digest)
	if err != nil {
		t.Fatal(err)
	}
	s, err := report.SealUp(r, strings.Repeat("5e", 32), figures, html, k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEveryFlipIsFound: one bit of any byte of a file, signed or not; all of a small report's JSON, and a part of the page.
func TestEveryFlipIsFound(t *testing.T) {
	for _, k := range []*keys.ReporterKey{key(t), nil} {
		s := sealed(t, full(1), k)
		for form, file := range map[string][]byte{"json": s.JSON, "html": s.HTML} {
			c, err := report.Check(file)
			if err != nil || c.Form != form || (c.Public != nil) != (k != nil) || c.Seal != s.Seal {
				t.Fatalf("%s: %+v, %v", form, c.Seal, err)
			}
			for at := range file {
				if at%97 != 0 && at < len(file)-800 { // the seal in full
					continue
				}
				file[at] ^= 1 << (at % 8)
				if _, err := report.Check(file); err == nil {
					t.Errorf("%s: a flip at %d of %d is not found", form, at, len(file))
				}
				file[at] ^= 1 << (at % 8)
			}
			for _, other := range [][]byte{append(bytes.Clone(file), '\n'), append([]byte(" "), file...), file[:len(file)-1], nil} {
				if _, err := report.Check(other); !errors.Is(err, report.ErrChanged) && !errors.Is(err, report.ErrNotReport) {
					t.Errorf("%s: another file is taken: %v", form, err)
				}
			}
		}
	}
}

// TestNumbering: after the newest of the reporter, wherever that lies, with what no report covers.
func TestNumbering(t *testing.T) {
	r := full(1)
	r.Next("web-1")
	if id := r.Identity; id.Number != 7 || id.Previous == nil || id.Previous.Number != 6 || id.Uncovered <= 0 {
		t.Errorf("%+v", id)
	}
	r.Next("other")
	if r.Identity.Number != 1 {
		t.Errorf("%+v", r.Identity)
	}
}

// TestJSONKeepsToItsSchema: a full report and an empty one, with no member that the schema does not know.
func TestJSONKeepsToItsSchema(t *testing.T) {
	schema := schematest.Closed(t, "../../docs/report.schema.json")
	empty := report.New(report.Options{Now: now, From: now.AddDate(-1, 0, 0), To: now})
	for _, s := range []report.Sealed{sealed(t, full(3), key(t)), sealed(t, empty, nil)} {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(s.JSON))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Error(err)
		}
	}
	var wrong map[string]any
	if err := json.Unmarshal(sealed(t, full(1), nil).JSON, &wrong); err != nil {
		t.Fatal(err)
	}
	wrong["report"].(map[string]any)["verdict"] = "fine"
	if schema.Validate(wrong) == nil {
		t.Error("the schema takes anything")
	}
}

// TestPage: a report of 50 sources is small, names what is wrong first, loads nothing, and takes no text for markup.
func TestPage(t *testing.T) {
	s := sealed(t, full(50), key(t))
	if len(s.HTML) > 5<<20 || len(s.JSON) > 5<<20 {
		t.Errorf("%d and %d bytes", len(s.HTML), len(s.JSON))
	}
	text := string(s.HTML)
	for _, bad := range []string{"<script", "<b>fine", "http://", "https://", "src=", "@import", "url(", "compliant with", "<no value>", "%!"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(text, `safe \u202eA\x1b[2J\u200b</td>`) || strings.ContainsAny(text, "\u202e\x1b\u200b") {
		t.Error("a character that cannot be seen is not shown")
	}
	if strings.Index(text, `id="summary"`) > strings.Index(text, `id="identity"`) || !strings.Contains(text, "it does not answer") || !strings.Contains(text, "Not known") {
		t.Error("what is wrong does not stand first, or is left out")
	}
	if n := strings.Count(text, "<table"); n != strings.Count(text, "<caption>") || n < 20 {
		t.Errorf("%d tables, %d captions", n, strings.Count(text, "<caption>"))
	}
	for id := range strings.SplitSeq(text, `href="#`) {
		name, _, _ := strings.Cut(id, `"`)
		if len(name) < 20 && !strings.Contains(text, `id="`+name+`"`) {
			t.Errorf("nothing is called %s", name)
		}
	}
}
