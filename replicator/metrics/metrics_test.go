package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/storetest/programs"
)

const docs = "../../docs/"

func write(t *testing.T, path string, u Update) {
	t.Helper()
	if err := Write(t.Context(), path, u); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func of(source string) Labels { return Labels{"source": source, "vault": "disk"} }

// TestWrite: a command puts its own series in the place of the old ones and leaves the others.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdfast.prom")
	write(t, path, Update{Samples: []Sample{{"last_run_entries", of("a"), 1}, {"last_run_entries", of("b"), 2}, {"point_missing", of("a"), 0}, {"point_locked_until_timestamp_seconds", of("a"), 5}}})
	write(t, path, Update{
		Samples:  []Sample{{"last_run_entries", of("a"), 3}, {"point_missing", of("a"), 1}},
		Replaces: func(name string, l Labels) bool { return strings.HasPrefix(name, "point_") && l["source"] == "a" },
	})
	want := `# HELP holdfast_last_run_entries Entries of the source in the last run.
# TYPE holdfast_last_run_entries gauge
holdfast_last_run_entries{source="a",vault="disk"} 3
holdfast_last_run_entries{source="b",vault="disk"} 2
# HELP holdfast_point_missing 1 if the vault has no complete point of the source.
# TYPE holdfast_point_missing gauge
holdfast_point_missing{source="a",vault="disk"} 1
`
	if got := content(t, path); got != want {
		t.Errorf("%s", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("node_exporter cannot read it: %v, %v", info.Mode(), err)
	}
	write(t, path, Update{Keep: func(_ string, l Labels) bool { return l["source"] != "b" }})
	if got := content(t, path); strings.Contains(got, `"b"`) || !strings.Contains(got, `"a"`) {
		t.Errorf("%s", got)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
	if err := Write(t.Context(), path, Update{Samples: []Sample{{"other", nil, 1}}}); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// TestNames of sources do not matter: labels are written so that they are read back.
func TestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdfast.prom")
	strange := Labels{"receiver": "a\"b\\c\nd{}\xff"}
	for range 3 {
		write(t, path, Update{Samples: []Sample{{"notification_failing", strange, 1}}})
	}
	if n := strings.Count(content(t, path), "notification_failing{"); n != 1 {
		t.Errorf("%d series:\n%s", n, content(t, path))
	}
}

// TestNoFile: what is there and is no file of metrics is replaced, and said so; without the folder nothing is written.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "holdfast.prom")
	for _, junk := range []string{"not metrics\n", "holdfast_point_missing{", "# TYPE holdfast_point_missing gauge\nholdfast_point_missing 1e999x\n"} {
		if err := os.WriteFile(path, []byte(junk), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Write(t.Context(), path, Update{Samples: []Sample{{"point_missing", of("a"), 1}}}); !errors.Is(err, ErrReplaced) {
			t.Errorf("%q: %v", junk, err)
		}
		if got := content(t, path); !strings.Contains(got, `holdfast_point_missing{source="a",vault="disk"} 1`) {
			t.Errorf("%q: %s", junk, got)
		}
	}
	// What other versions wrote is no junk, and goes.
	if err := os.WriteFile(path, []byte("holdfast_older 1\nother_thing 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, path, Update{Samples: []Sample{{"point_missing", of("a"), 1}}})
	if got := content(t, path); strings.Contains(got, "older") || strings.Contains(got, "other") {
		t.Errorf("%s", got)
	}
	if err := Write(t.Context(), filepath.Join(dir, "no", "holdfast.prom"), Update{}); err == nil || !strings.Contains(err.Error(), "is not there; make it") {
		t.Errorf("%v", err)
	}
}

// TestSideBySide: commands that end at once do not tear each other's series, and no reader sees half a file.
func TestSideBySide(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdfast.prom")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := Write(ctx, path, Update{Samples: []Sample{{"last_run_entries", of(fmt.Sprint(i)), float64(i)}}}); err != nil {
				t.Error(err)
			}
			if _, err := read(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(content(t, path), "last_run_entries{"); n != 20 {
		t.Errorf("%d series", n)
	}
}

// all writes each metric there is.
func all(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "holdfast.prom")
	var samples []Sample
	for name := range help() {
		l := of("a")
		if strings.HasPrefix(name, "notification") {
			l = Labels{"receiver": "webhook hooks.example.com"}
		}
		samples = append(samples, Sample{name, l, 1.5e9})
	}
	write(t, path, Update{Samples: samples})
	return path
}

func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), programs.Need(t, "promtool"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	} else {
		t.Logf("%s", out)
	}
}

// TestPromtool: Prometheus' own tool has nothing to say of names and help, takes the rules, and sees each of them fire and keep quiet.
func TestPromtool(t *testing.T) {
	promtool(t, content(t, all(t)), "check", "metrics")
	promtool(t, "", "check", "rules", docs+"metrics/holdfast.rules.yml")
	promtool(t, "", "test", "rules", "testdata/rules_test.yml")
	fired := content(t, "testdata/rules_test.yml")
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(content(t, docs+"metrics/holdfast.rules.yml"), -1) {
		if !strings.Contains(fired, `alertname="`+m[1]+`"`) {
			t.Errorf("no test makes %s fire", m[1])
		}
	}
}

var used = regexp.MustCompile(`\bholdfast_[a-z_]+`)

// TestDocumented: the rules, the dashboard and docs/operations.md name metrics that exist, and the page names all of them.
func TestDocumented(t *testing.T) {
	page := content(t, docs+"operations.md")
	texts := map[string]string{"operations.md": page}
	for _, name := range []string{"metrics/holdfast.rules.yml", "metrics/dashboard.json"} {
		texts[name] = content(t, docs+name)
	}
	for in, text := range texts {
		n := 0
		for _, name := range used.FindAllString(text, -1) {
			if _, ok := help()[strings.TrimPrefix(name, Prefix)]; !ok {
				t.Errorf("%s names %s, which there is not", in, name)
			}
			n++
		}
		if n < 10 {
			t.Errorf("%s names %d metrics", in, n)
		}
	}
	for name := range help() {
		if !strings.Contains(page, "`"+Prefix+name+"`") {
			t.Errorf("docs/operations.md does not name %s%s", Prefix, name)
		}
	}
}

// TestDashboard: what Grafana needs of a dashboard that is imported, with expressions that Prometheus takes.
func TestDashboard(t *testing.T) {
	var d struct {
		UID, Title    string
		SchemaVersion int
		Templating    struct{ List []struct{ Name, Type string } }
		Panels        []struct {
			ID          int
			Type, Title string
			Datasource  struct{ Type, UID string }
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(content(t, docs+"metrics/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Panels) < 5 || len(d.Templating.List) != 2 {
		t.Errorf("%+v", d)
	}
	var ids []int
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for _, p := range d.Panels {
		g := p.GridPos
		if slices.Contains(ids, p.ID) || p.Title == "" || p.Datasource.UID != "${datasource}" || g.W < 1 || g.H < 1 || g.X+g.W > 24 || len(p.Targets) == 0 {
			t.Errorf("%+v", p)
		}
		ids = append(ids, p.ID)
		for _, x := range p.Targets {
			rules += fmt.Sprintf("  - record: panel%d:%s\n    expr: %q\n", p.ID, x.RefID, strings.ReplaceAll(x.Expr, "$instance", ".*"))
		}
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", path)
}
