package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/holdfast-backup/holdfast/store/storetest/schematest"
)

// schema reads what is published.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	return schematest.Closed(t, "../../docs/notify.schema.json")
}

// TestMessagesKeepToTheirSchema: each kind of message, as it is sent.
func TestMessagesKeepToTheirSchema(t *testing.T) {
	s := schema(t)
	x := newTeller(t, true)
	full := result("site", "disk", Incomplete, "incomplete", "an alarm")
	full.Point, full.RetainUntil, full.LockedUntil, full.Counts = strings.Repeat("0a", 32), at(noon), at(noon), map[string]int64{"entries": 7}
	r := run(3, "incomplete", full)
	r.Scope, r.Next = []string{"site"}, []string{"look"}
	x.tell(0, fine)
	x.box.down = errors.New("refused")
	x.tell(time.Hour, r)
	x.box.down = nil
	x.tell(time.Hour, r)
	x.tell(24*time.Hour, r)
	x.tell(time.Hour, run(0, "", result("site", "disk", Well, "")))
	x.tell(time.Hour, run(130, "interrupted"))
	n := New(x.o)
	if _, err := n.Test(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.UnitFailed(t.Context(), Unit{Name: "x.service", Result: "signal", ExitCode: "killed", ExitStatus: "KILL"}, ""); err != nil {
		t.Fatal(err)
	}
	kinds := map[Kind]bool{}
	for _, m := range x.box.got {
		kinds[m.Kind] = true
		body, err := marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, k := range []Kind{KindProblem, KindStill, KindRecovered, KindWell, KindUnitFailed, KindTest} {
		if !kinds[k] {
			t.Errorf("no message of kind %s was looked at", k)
		}
	}
	var wrong map[string]any
	body, err := marshal(x.last())
	if err == nil {
		err = json.Unmarshal(body, &wrong)
	}
	if err != nil {
		t.Fatal(err)
	}
	wrong["kind"] = "other"
	if s.Validate(wrong) == nil {
		t.Error("the schema takes anything")
	}
}

// TestNoSecretIsSent: neither to receivers nor to switches, whatever stands in errors, alarms, names or the log.
func TestNoSecretIsSent(t *testing.T) {
	secrets := []string{"hunter2hunter2", "s3cr3tpass", "AGE-SECRET-KEY-PQ-1QQQQQQQQQQQQQQQQQQ", "deadbeefsignature", "Bearer abcdefgh", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "MIIEpAIBAAKCAQEA"}
	dirty := "got hunter2hunter2 from https://ops:s3cr3tpass@example.com/x and https://b.example.com/k?X-Amz-Signature=deadbeefsignature&x=1 " +
		"with AGE-SECRET-KEY-PQ-1QQQQQQQQQQQQQQQQQQ\nAuthorization: Bearer abcdefgh\nAKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY\n" +
		"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----\nand more"
	x := newTeller(t, false)
	var pinged []string
	x.o.Subscribers = append(x.o.Subscribers, Subscriber{ID: "p", On: []string{"run"}, Pinger: pingFunc(func(_ context.Context, e Event, text string) error {
		pinged = append(pinged, text)
		return errors.New("of https://ops:s3cr3tpass@example.com")
	})})
	x.o.Hide = func(s string) string { return strings.ReplaceAll(s, "hunter2hunter2", "[hidden]") }
	r := run(1, "failed", result("site", "disk", Failed, dirty, dirty))
	r.Errors, r.Next, r.Log = []string{dirty}, []string{dirty}, strings.Repeat("x\n", 10_000)+dirty
	r.Results[0].Code = "failed"
	x.tell(0, r)
	body, err := marshal(x.last())
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.ReadFile(x.o.Memory + "/" + memoryFile)
	if err != nil {
		t.Fatal(err)
	}
	all := string(body) + strings.Join(pinged, "") + string(memory) + x.fail[0].Err.Error()
	for _, s := range secrets {
		if strings.Contains(all, s) {
			t.Errorf("%q is sent", s)
		}
	}
	if !strings.Contains(all, "and more") || !strings.Contains(all, "x=1") {
		t.Error("too much is taken out")
	}
	if n := len(pinged[0]); n < maxLog-200 || n > maxLog+200 {
		t.Errorf("the log's end has %d bytes", n)
	}
}

type pingFunc func(ctx context.Context, e Event, text string) error

func (p pingFunc) Name() string { return "ping hc.example.com" }

func (p pingFunc) Ping(ctx context.Context, e Event, _, text string) error { return p(ctx, e, text) }

// TestHostileTexts: what others may have chosen neither steers a terminal nor makes a message too large.
func TestHostileTexts(t *testing.T) {
	x := newTeller(t, false)
	x.o.Patience = time.Minute // of a machine that looks for races
	nasty := "a\x1b[31m\r\nBcc: x@example.com\x00\xff" + strings.Repeat("é", 100_000)
	var alarms []string
	for range 1000 {
		alarms = append(alarms, nasty)
	}
	r := run(4, "alarm", result(nasty, nasty, Well, "", alarms...))
	for range 1000 {
		r.Results = append(r.Results, result(nasty, "disk", Failed, nasty, alarms...))
	}
	x.tell(0, r)
	m := x.last()
	body, err := marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 1<<20 || strings.ContainsAny(string(body)+m.Text, "\x1b\x00\r") || strings.Contains(m.Title, "\n") || len(m.Problems) > maxProblems || len(m.Results) > maxResults {
		t.Errorf("%d bytes, title %.200q", len(body), m.Title)
	}
}
