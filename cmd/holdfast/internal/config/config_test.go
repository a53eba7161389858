package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
	"github.com/holdfast-backup/holdfast/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestErrors holds every message to its golden file: what users see is reviewed like code.
func TestErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("found %d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parse("holdfast.yaml", "/etc/holdfast/holdfast.yaml", text)
			if err == nil {
				t.Fatal("no error")
			}
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Fatalf("a %T without problems", err)
			}
			for _, secret := range []string{"hunter2", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI", "GFPYYSJZ", "00ff"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the message repeats a secret: %v", err)
				}
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, rerr := os.ReadFile(golden)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if got := err.Error() + "\n"; got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestFull(t *testing.T) {
	c := load(t, "testdata/full.yaml")
	dir := filepath.Dir(c.Path)
	v := c.Vaults[0]
	if v.Name != "offsite" || v.URL.S3.Bucket != "acme-vault" || v.Credentials.String() != "env:HOLDFAST_VAULT" ||
		v.Lock.Mode != store.Compliance || v.Lock.Slack.String() != "10d" || v.Lock.Ceiling.String() != "400d" {
		t.Errorf("vault: %+v", v)
	}
	if len(c.Keys.Recipients) != 2 || c.Keys.Host != filepath.Join(dir, "host.key") {
		t.Errorf("keys: %+v", c.Keys)
	}
	s := c.Sources[0]
	if s.AllVersions || s.Archived != ArchivedRecord || s.Tags.MaxAge.String() != "7d" || len(s.Exclude) != 1 || len(s.Vaults) != 1 {
		t.Errorf("source: %+v", s)
	}
	if s := c.Sources[1]; s.URL.Path != "/srv/site" || len(s.Vaults) != 1 || s.Vaults[0] != "offsite" || s.Retention.Monthly.Months != 12 {
		t.Errorf("second source: %+v", s)
	}
	if c.Keys.Reporter != "" || c.Reports.Keep.String() != "400d" {
		t.Errorf("records: %q %v", c.Keys.Reporter, c.Reports.Keep)
	}
	if c.Limits != (Limits{Memory: 256 << 20, Connections: 32}) || c.Cache != "" || len(c.Warnings) != 0 {
		t.Errorf("limits %+v, cache %q, warnings %v", c.Limits, c.Cache, c.Warnings)
	}
}

func TestDefaults(t *testing.T) {
	c := load(t, "testdata/least.yaml")
	full := load(t, "testdata/full.yaml")
	if c.Retention != full.Retention || c.Limits != full.Limits {
		t.Errorf("defaults differ from what the documentation shows: %+v %+v", c.Retention, c.Limits)
	}
	if c.Vaults[0].Lock.Mode != store.ModeNone {
		t.Errorf("a directory is said to lock: %+v", c.Vaults[0].Lock)
	}
}

// TestRetention: what a map does not name is 0, not the default; no map is the default.
func TestRetention(t *testing.T) {
	weeks := retain.Policy{Daily: days(35), Weekly: days(84), Monthly: retain.Span{Months: 12}}
	for _, c := range []struct {
		file, source string
		want, before retain.Policy
	}{
		{"", "", weeks, weeks},
		{"retention: {daily: 7d}", "", retain.Policy{Daily: days(7)}, retain.Policy{Daily: days(7), Weekly: days(84), Monthly: retain.Span{Months: 12}}},
		{"", "retention: {daily: 7d}", retain.Policy{Daily: days(7)}, retain.Policy{Daily: days(7), Weekly: days(84), Monthly: retain.Span{Months: 12}}},
		{"retention: {monthly: 2mo}", "retention: {daily: 7d, weekly: 0}", retain.Policy{Daily: days(7)}, retain.Policy{Daily: days(7), Monthly: retain.Span{Months: 2}}},
		{"retention: {hourly: 48h, daily: 7d, weekly: 0, monthly: 0}", "", retain.Policy{Hourly: days(2), Daily: days(7)}, retain.Policy{Hourly: days(2), Daily: days(7)}},
		{"retention: {hourly: 48h, daily: 9d}", "retention: {daily: 7d}", retain.Policy{Daily: days(7)}, retain.Policy{Hourly: days(2), Daily: days(7), Weekly: days(84), Monthly: retain.Span{Months: 12}}},
		{"", "retention: {hourly: 48h}", retain.Policy{Hourly: days(2)}, retain.Policy{Hourly: days(2), Daily: days(35), Weekly: days(84), Monthly: retain.Span{Months: 12}}},
		{"retention: {yearly: 1y}", "", retain.Policy{Yearly: retain.Span{Months: 12}}, retain.Policy{Daily: days(35), Weekly: days(84), Monthly: retain.Span{Months: 12}, Yearly: retain.Span{Months: 12}}},
	} {
		text := "vaults: [{name: v, url: \"file:///v\"}]\nkeys: {recipients: [" + aRecipient(t) + "]}\n" + c.file +
			"\nsources:\n  - {name: s, url: \"file:///s\"" + strings.TrimSuffix(", "+c.source, ", ") + "}\n"
		got, err := parse("x.yaml", "/x.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if s := got.Sources[0]; s.Retention != c.want || s.Before != c.before {
			t.Errorf("%q and %q: %+v and before %+v", c.file, c.source, s.Retention, s.Before)
		}
	}
	for _, bad := range []string{"{}", "{daily: 0}", "{weekly: 0, yearly: 0}", "{hourly: 0}"} {
		for _, where := range []string{"retention: " + bad + "\nsources: []", "sources:\n  - {name: s, url: \"file:///s\", retention: " + bad + "}"} {
			text := "vaults: [{name: v, url: \"file:///v\"}]\nkeys: {recipients: [" + aRecipient(t) + "]}\n" + where + "\n"
			if _, err := parse("x.yaml", "/x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "keeps nothing") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

func aRecipient(t *testing.T) string {
	t.Helper()
	id, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String()
}

// TestOrder: a source takes over the file's retention wherever in the file that stands.
func TestOrder(t *testing.T) {
	text := read(t, "testdata/full.yaml")
	text = strings.Replace(text, "daily: 35d", "daily: 9d", 1)
	text = strings.Replace(text, "    vaults: [offsite]", "    retention: {weekly: 20w}", 1)
	c, err := parse("x.yaml", "/x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Sources[0].Retention; r != (retain.Policy{Weekly: days(140)}) {
		t.Errorf("retention of the source: %+v", r)
	}
	if r := c.Sources[0].Before; r.Daily.String() != "9d" || r.Weekly.String() != "140d" || r.Monthly.String() != "1y" {
		t.Errorf("what it meant before: %+v", r)
	}
}

func TestWarnings(t *testing.T) {
	text := strings.Replace(read(t, "testdata/full.yaml"), "https://s3.eu", "http://s3.eu", 1)
	c, err := parse("x.yaml", "/x.yaml", []byte(text))
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "vaults[0].url uses http://") {
		t.Errorf("%v, %v", c, err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	env := func(vars map[string]string) func(string) (string, bool) {
		return func(n string) (string, bool) { v, ok := vars[n]; return v, ok }
	}
	xdg := filepath.Join(dir, "xdg", "holdfast", "holdfast.yaml")
	write(t, xdg)
	home := filepath.Join(dir, "home", ".config", "holdfast", "holdfast.yaml")
	write(t, home)

	system := filepath.Join(dir, "etc")
	check := func(want, flag string, vars map[string]string) {
		t.Helper()
		if got, err := Find(flag, env(vars), system); err != nil || got != want {
			t.Errorf("found %q, %v; want %q", got, err, want)
		}
	}
	check("named.yaml", "named.yaml", nil)
	check(xdg, "", map[string]string{"XDG_CONFIG_HOME": filepath.Join(dir, "xdg"), "HOME": filepath.Join(dir, "home")})
	check(home, "", map[string]string{"HOME": filepath.Join(dir, "home")})
	if _, err := Find("", env(nil), system); !errors.Is(err, ErrNone) {
		t.Errorf("nothing anywhere: %v", err)
	}
	write(t, filepath.Join(system, "holdfast.yaml"))
	check(filepath.Join(system, "holdfast.yaml"), "", nil)
	check(home, "", map[string]string{"HOME": filepath.Join(dir, "home")})
	write(t, "holdfast.yaml")
	check("holdfast.yaml", "", map[string]string{"XDG_CONFIG_HOME": filepath.Join(dir, "xdg")})
	if _, err := Load("absent.yaml"); !errors.Is(err, ErrNone) {
		t.Errorf("absent file: %v", err)
	}
}

// TestExcludeFrom: patterns of a file beside the configuration come behind those that stand in it; one that cannot be used is told with
// its line, and what stands there is not repeated.
func TestExcludeFrom(t *testing.T) {
	dir := t.TempDir()
	parsed := func(list string) (*Config, error) {
		if err := os.WriteFile(filepath.Join(dir, "list"), []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(read(t, "testdata/full.yaml"), "    exclude: [\"tmp/**\"]", "    exclude: [\"tmp/**\"]\n    exclude_from: list", 1)
		return parse("holdfast.yaml", filepath.Join(dir, "holdfast.yaml"), []byte(text))
	}
	c, err := parsed("# caches\n**/cache/\n")
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Sources[0]; s.ExcludeFrom != filepath.Join(dir, "list") || !slices.Equal(s.Excluded(), []string{"tmp/**", "**/cache/"}) || len(s.Exclude) != 1 {
		t.Errorf("%+v", s)
	}
	for list, want := range map[string]string{
		"a\n!hunter2\n":            "line 2: ",
		"AGE-SECRET-KEY-HUNTER2\n": "looks like a secret age key",
		strings.Repeat("hunter2\n", 1<<20/len("hunter2\n")+1): "larger than 1048576 bytes",
	} {
		_, err := parsed(list)
		if err == nil || !strings.Contains(err.Error(), "sources[0].exclude_from: ") || !strings.Contains(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), "hunter2") {
			t.Errorf("%.30q: %v", list, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "list")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "list"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(read(t, "testdata/full.yaml"), "    tags: 7d", "    exclude_from: list\n    tags: 7d", 1)
	if _, err := parse("holdfast.yaml", filepath.Join(dir, "holdfast.yaml"), []byte(text)); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := parse("holdfast.yaml", filepath.Join(dir, "below", "holdfast.yaml"), []byte(text)); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("none: %v", err)
	}
}

func TestHostKeyPath(t *testing.T) {
	env := func(n string) (string, bool) { return map[string]string{"CREDENTIALS_DIRECTORY": "/run/c"}[n], true }
	c := &Config{Keys: Keys{Host: "systemd:host"}}
	if p, err := c.HostKeyPath(env); err != nil || p != "/run/c/host" {
		t.Errorf("%q, %v", p, err)
	}
	c.Keys.Reporter = "systemd:reporter"
	if p, err := c.ReporterKeyPath(env); err != nil || p != "/run/c/reporter" {
		t.Errorf("%q, %v", p, err)
	}
	if _, err := c.HostKeyPath(func(string) (string, bool) { return "", false }); err == nil {
		t.Error("no credentials directory, and no error")
	}
	// A host key that is written is kept: not in a folder that goes with the unit.
	c.Path = "/etc/holdfast/holdfast.yaml"
	if p, err := c.WritableHostKeyPath(env); err == nil || !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY=/etc/holdfast") {
		t.Errorf("%q, %v", p, err)
	}
	own := func(string) (string, bool) { return "/etc/holdfast", true }
	if p, err := c.WritableHostKeyPath(own); err != nil || p != "/etc/holdfast/host" {
		t.Errorf("%q, %v", p, err)
	}
	c.Keys.Host = "/run/by/path"
	if p, err := c.WritableHostKeyPath(env); err != nil || p != "/run/by/path" {
		t.Errorf("%q, %v", p, err)
	}
}

func TestLongestDays(t *testing.T) {
	for text, want := range map[string]int{"1mo": 31, "2mo": 62, "12mo": 366, "1y": 366, "4y": 1461, "7y": 2557, "25h": 2, "1d": 1, "0": 0} {
		if s, err := retain.Parse(text); err != nil || longestDays(s.AddTo) != want {
			t.Errorf("%s lasts up to %d days, want %d; %v", text, longestDays(s.AddTo), want, err)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1B": 1, "64MiB": 64 << 20, "10GB": 10e9, "1.5GiB": 3 << 29, "2TiB": 2 << 40, "7KB": 7000} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "-1B", "1mb", "1 MB", "1M", "1PB", "999999999TiB", "1e3MB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q taken for %d", text, got)
		}
	}
}

func TestSecretIn(t *testing.T) {
	for _, text := range []string{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzTESTKEY1", "age-secret-key-pq-1abc",
		"-----BEGIN OPENSSH PRIVATE KEY-----", "https://a:b@c", "s3://b?secret=x", "holdfast-host-key-1"} {
		if secretIn(text) == "" {
			t.Errorf("%q is not seen as a secret", text)
		}
	}
	for _, text := range []string{"", "s3://acme-vault/prod?endpoint=https://s3.eu-central-1.example.com:9000&region=eu", "tmp/**", "profile:backup-reader",
		"/srv/Backups/2024/customers/uploads/imag1", "file:/etc/holdfast/credentials#writer", "12mo", "docs/Projects2024/archive/photos/holiday"} {
		if what := secretIn(text); what != "" {
			t.Errorf("%q is taken for %s", text, what)
		}
	}
}

// FuzzParse: whatever stands in the file, reading it ends in a configuration or in problems, never in a panic.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "testdata/full.yaml", "testdata/least.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse("f.yaml", "/f.yaml", text)
		if (c == nil) == (err == nil) {
			t.Errorf("%v and %v", c, err)
		}
	})
}

func load(t *testing.T, path string) *Config {
	t.Helper()
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestVendorsWays: what says how a source's vendor differs from AWS, and that nothing is assumed where it is absent.
func TestVendorsWays(t *testing.T) {
	text := read(t, "testdata/full.yaml")
	c, err := parse("x.yaml", "/x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Sources[0]; s.ETag != "" || s.IfMatch != nil || s.RequesterPays != nil {
		t.Errorf("absent: %+v", s)
	}
	text = strings.Replace(text, "    archived: record", "    etag: opaque\n    if_match: false\n    requester_pays: true", 1)
	if c, err = parse("x.yaml", "/x.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	if s := c.Sources[0]; s.ETag != "opaque" || s.IfMatch == nil || *s.IfMatch || s.RequesterPays == nil || !*s.RequesterPays {
		t.Errorf("%+v", s)
	}
}

// TestDirectorysWays: settings that mean something for directories only.
func TestDirectorysWays(t *testing.T) {
	text := read(t, "testdata/full.yaml")
	c, err := parse("x.yaml", "/x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	site := slices.IndexFunc(c.Sources, func(s Source) bool { return s.URL.Kind == location.File })
	if s := c.Sources[site]; s.Unsettled != UnsettledStore || s.OneFileSystem {
		t.Errorf("absent: %+v", s)
	}
	url := "url: " + c.Sources[site].URL.String()
	with := func(lines string) string { return strings.Replace(text, url, url+"\n    "+lines, 1) }
	if c, err = parse("x.yaml", "/x.yaml", []byte(with("unsettled: missing\n    one_file_system: true"))); err != nil {
		t.Fatal(err)
	}
	if s := c.Sources[site]; s.Unsettled != UnsettledMissing || !s.OneFileSystem {
		t.Errorf("%+v", s)
	}
	for lines, want := range map[string]string{
		"unsettled: drop":          "the nearest valid value is",
		"one_file_system: perhaps": "one_file_system",
	} {
		if _, err := parse("x.yaml", "/x.yaml", []byte(with(lines))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", lines, err)
		}
	}
	bucket := strings.Replace(text, "    archived: record", "    one_file_system: true\n    unsettled: store", 1)
	if _, err := parse("x.yaml", "/x.yaml", []byte(bucket)); err == nil || !strings.Contains(err.Error(), "means something for directories only") {
		t.Errorf("of a bucket: %v", err)
	}
}

// TestSchedule: what a file does not name keeps its default, and a window may go over midnight.
func TestSchedule(t *testing.T) {
	text, err := os.ReadFile("testdata/least.yaml")
	if err != nil {
		t.Fatal(err)
	}
	read := func(more string) Schedule {
		t.Helper()
		c, err := parse("holdfast.yaml", "/etc/holdfast/holdfast.yaml", append(slices.Clone(text), more...))
		if err != nil {
			t.Fatal(err)
		}
		return c.Schedule
	}
	if got := read(""); !reflect.DeepEqual(got, Schedule{Times: schedule.DefaultTimes()}) {
		t.Errorf("by default: %+v", got)
	}
	// As it stands in the contract with users' scripts.
	want := schedule.DefaultTimes()
	want.Window = schedule.Window{From: 2 * 60, To: 6 * 60}
	got := read("\nschedule: {run: \"02:30\", verify: weekly, drill: monthly, report: monthly, window: \"02:00-06:00\"}\n")
	if !reflect.DeepEqual(got.Times, want) || !slices.Equal(got.Named, []string{"drill", "report", "run", "verify", "window"}) {
		t.Errorf("%+v", got)
	}
	got = read("\nschedule: {run: [\"23:30\", \"01:00\"], status: hourly, renew: never, window: \"23:00-02:00\"}\n")
	if len(got.Run) != 2 || got.Status.Every != schedule.Hourly || got.Renew.Every != schedule.Never {
		t.Errorf("%+v", got)
	}
}
