package drill

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/page.html anew")

// TestPage: the report for people, to the byte. Whatever a vault answers is text on it.
func TestPage(t *testing.T) {
	at := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	r := &Report{
		ID: "0123abcd", Vault: "offsite", URL: "s3://acme/site?endpoint=https://s3.example&region=eu", Program: "holdfast/1.0", Began: at, Ended: at.Add(time.Minute),
		Status: Weak, Canaries: "canary/0123abcd/",
		Attacks: []Attack{
			{Check: "delete-locked", Severity: "ok", Seen: "refused", Evidence: []Evidence{
				{Request: "DELETE canary/0123abcd/1?versionId=v", Status: 403, Code: "AccessDenied", Message: `it's <b>locked</b> & "kept"`, RequestID: "R1", Time: "2026-11-23T02:00:01Z"},
				{Request: "DELETE canary/0123abcd/2", Error: "connection reset"},
			}},
			{Check: "governance-bypass", Severity: "not tested", Seen: "no lock of that mode"},
			{Check: "overwrite", Severity: "warning", Seen: "taken\xff</td>", Mend: "deny s3:PutObject <script>", Evidence: []Evidence{{Request: "PUT x", Status: 200}}},
		},
	}
	got := page(r)
	const golden = "testdata/page.html"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the page is\n%s", got)
	}
	if strings.Contains(string(got), "<script>") || strings.Contains(string(got), "<b>locked") {
		t.Error("what a vault answered is markup")
	}
	if empty := page(&Report{}); !bytes.Contains(empty, []byte("</html>")) {
		t.Errorf("of an empty report:\n%s", empty)
	}
}
