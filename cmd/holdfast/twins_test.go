package main

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// decoded marshals a line as every command does and reads it again.
func decoded(t *testing.T, v any) map[string]any {
	t.Helper()
	line, err := marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(line, &out); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return out
}

// Every text of an entry that is not UTF-8 can be had back, byte for byte: each header too.
func TestEveryTextOfAnEntryHasATwin(t *testing.T) {
	var e entryJSON
	want := map[string]string{}
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if v.Field(i).Kind() == reflect.String && !strings.HasSuffix(name, "_b64") {
			want[name] = "\xff\xfe " + name + " \ufffd"
			v.Field(i).SetString(want[name])
		}
	}
	if len(want) < 20 || want["content_disposition"] == "" {
		t.Fatalf("only %d texts", len(want))
	}
	hit := hitJSON{Point: "p", entryJSON: e}
	change := changeJSON{Change: "changed", Key: "k", What: []string{"headers"}, Old: &e, New: &e}
	for name, object := range map[string]any{
		"ls": decoded(t, e), "find": decoded(t, hit), "diff": decoded(t, change)["new"], "diff, old": decoded(t, &change)["old"],
	} {
		for member, text := range want {
			got, _ := object.(map[string]any)[member+"_b64"].(string)
			if b, err := base64.StdEncoding.DecodeString(got); err != nil || string(b) != text {
				t.Errorf("%s: %s_b64 is %q, %v", name, member, b, err)
			}
		}
	}
}

// What is UTF-8 has none, also with U+FFFD or the text of its escape in it; numbers stay as they are.
func TestNoTwinOfPlainText(t *testing.T) {
	for _, key := range []string{"plain", "\ufffd", `\ufffd`, "é"} {
		out, err := marshal(entryJSON{Key: key, Size: 1 << 62})
		if err != nil || strings.Contains(string(out), "_b64") || !strings.Contains(string(out), "4611686018427387904") {
			t.Errorf("%s %v", out, err)
		}
	}
}

// Other lines: lists, warnings, what failed in a restore, objects by name and version.
func TestTwinsOfOtherLines(t *testing.T) {
	line := restoredJSON{Notes: []string{"plain", "\xff"}, Failures: []failureJSON{{Key: "a"}, {Key: "\xfe", KeyB64: b64("\xfe"), VersionID: "v\xff", Error: "e\xff"}}}
	got := decoded(t, line)
	if list, _ := got["notes_b64"].([]any); len(list) != 2 || list[1] != "/w==" {
		t.Errorf("notes: %v", got["notes_b64"])
	}
	failures, _ := got["failures"].([]any)
	second, _ := failures[1].(map[string]any)
	if second["version_id_b64"] != "dv8=" || second["error_b64"] != "Zf8=" || second["key_b64"] != "/g==" {
		t.Errorf("%v", second)
	}
	if first, _ := failures[0].(map[string]any); len(first) != 3 {
		t.Errorf("%v", first)
	}
	if got := decoded(t, map[string]string{"warning": "w\xff"}); got["warning_b64"] != "d/8=" {
		t.Errorf("%v", got)
	}
}
