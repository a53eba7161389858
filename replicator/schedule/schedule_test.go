package schedule

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/storetest/programs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// setups are configurations of all sorts, by name. What they give stands in testdata, where the module kubernetestest reads it.
func setups() map[string]Setup {
	base := func() Setup {
		return Setup{
			Program: "/usr/local/bin/holdfast", Config: "/etc/holdfast/holdfast.yaml", Text: "vaults: []\n", User: "holdfast", Secrets: "/etc/holdfast", Times: DefaultTimes(),
			Stall: time.Minute, Memory: 256 << 20, Host: Secret{Credential, "host.key"}, Image: "registry.example.com/holdfast:1",
			Vaults: []Place{{
				Name: "offsite", Locks: true, Secret: Secret{Credential, "vault-writer"}, Peers: []Peer{{"s3.example.com", 9000}},
			}},
			Sources: []Place{{Name: "uploads", Secret: Secret{Credential, "source-reader"}, Peers: []Peer{{"amazonaws.com", 443}}}},
		}
	}
	all := map[string]Setup{"bucket": base()}
	s := base()
	s.Reporter = Secret{Credential, "reporter.key"}
	s.Times.Window = Window{2 * 60, 6 * 60}
	s.Times.Renew = When{}
	s.Times.Run = append(s.Times.Run, When{Every: Daily, At: 5*60 + 55})
	s.Vaults = append(s.Vaults, Place{Name: "second_one", Locks: true, Secret: Secret{Environment, "SECOND"}, Peers: []Peer{{"192.0.2.7", 443}, {"2001:db8::1", 443}}})
	s.Sources = append(s.Sources, Place{Name: "disks", Secret: Secret{Kind: Ambient}, Peers: []Peer{{"amazonaws.com", 443}}, Patient: true})
	s.Receivers = []Place{
		{Name: "webhook", Secret: Secret{Credential, "hook-secret"}, Peers: []Peer{{"hooks.example.com", 8443}}},
		{Name: "mail", Secret: Secret{Credential, "smtp"}, Peers: []Peer{{"192.0.2.25", 587}}},
		{Name: "ping", Secret: Secret{Credential, "ping.url"}, Peers: []Peer{{"", 443}}},
	}
	s.Textfile = "/var/lib/node_exporter/holdfast.prom"
	all["several"] = s
	s = base()
	s.Vaults = append(s.Vaults, Place{Name: "copy", Folder: "/mnt/a copy"})
	s.Sources = []Place{{Name: "site", Folder: "/srv/site"}, {Name: "odd", Folder: `/srv/100% "odd" $HOME \x`}}
	s.Times.Run = []When{{Every: Hourly}}
	all["folders"] = s
	return all
}

// homely is a configuration that no pod can run: files in home folders, a cache of its own.
func homely() Setup {
	s := setups()["folders"]
	s.Host, s.Vaults[0].Secret = Secret{InFile, "/home/me/host.key"}, Secret{Profile, "writer"}
	s.Program, s.Config, s.Cache = "/home/me/go/bin/holdfast", "/home/me/holdfast.yaml", "/tmp/cache"
	s.Sources = []Place{{Name: "all", Folder: "/"}}
	return s
}

func text(files []File) string {
	var b strings.Builder
	for _, f := range files {
		b.WriteString("# " + f.Name + "\n" + f.Text)
	}
	return b.String()
}

// TestGolden holds every text to its golden file: what runs unseen for years is reviewed like code.
func TestGolden(t *testing.T) {
	for name, s := range setups() {
		for kind, plan := range map[string]func(Setup) (Plan, error){"systemd": Systemd, "cron": Cron, "yaml": Kubernetes} {
			if kind == "cron" && name == "folders" {
				continue // its paths are not for cron
			}
			golden(t, name+"."+kind, s, plan)
		}
	}
	golden(t, "homely.systemd", homely(), Systemd)
}

func golden(t *testing.T, name string, s Setup, plan func(Setup) (Plan, error)) {
	t.Helper()
	p, err := plan(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got, file := text(p.Files), filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not as in testdata; got\n%s", name, got)
	}
}

// maxExposure is the most that `systemd-analyze security` may give a unit, of 10.
const maxExposure = 2.0

var exposure = regexp.MustCompile(`(?m)Overall exposure level for \S+: ([0-9.]+)`)

// TestUnits: systemd finds nothing to say of the units, and each is closed far enough.
func TestUnits(t *testing.T) {
	analyze := programs.Need(t, "systemd-analyze")
	all := setups()
	all["homely"] = homely()
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			s.Program = "/bin/true" // verify wants it to be there
			p, err := Systemd(s)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if _, err := Install(dir, p.Files, IsUnit); err != nil {
				t.Fatal(err)
			}
			var paths []string
			for _, f := range p.Files {
				paths = append(paths, filepath.Join(dir, f.Name))
			}
			out, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no"}, paths...)...).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			for _, path := range paths {
				if !strings.HasSuffix(path, ".service") {
					continue
				}
				out, err := exec.CommandContext(t.Context(), analyze, "security", "--no-pager", "--offline=true", path).CombinedOutput()
				m := exposure.FindSubmatch(out)
				if err != nil || m == nil {
					t.Fatalf("systemd-analyze security: %v\n%s", err, out)
				}
				if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level > maxExposure {
					t.Errorf("%s: exposure %s, over %.1f", path, m[1], maxExposure)
				}
			}
		})
	}
}

// TestTimers: systemd reads each rhythm as it is meant.
func TestTimers(t *testing.T) {
	analyze := programs.Need(t, "systemd-analyze")
	for text, next := range map[string]string{
		"hourly": "2026-11-30 13:00:00", "02:30": "2026-12-01 02:30:00", "sun 04:30": "2026-12-06 04:30:00", "monthly 06:00": "2026-12-01 06:00:00",
	} {
		w, err := ParseWhen(text, When{})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), analyze, "calendar", "--base-time=2026-11-30 12:30:00 UTC", w.calendar())
		cmd.Env = append(os.Environ(), "TZ=UTC")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), next) {
			t.Errorf("%s: %v, no %s in\n%s", text, err, next, out)
		}
	}
}

// TestLeast: a unit is given the credentials of what it reaches and of who is told, and no others; only runs read sources.
func TestLeast(t *testing.T) {
	p, err := Systemd(setups()["several"])
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"holdfast.service":                   {"host.key", "reporter.key", "vault-writer", "source-reader", "hook-secret", "smtp", "ping.url", "holdfast.env"},
		"holdfast-verify-offsite.service":    {"host.key", "reporter.key", "vault-writer", "hook-secret", "smtp", "ping.url"},
		"holdfast-verify-second_one.service": {"host.key", "reporter.key", "hook-secret", "smtp", "ping.url", "holdfast.env"},
		"holdfast-status.service":            {"host.key", "vault-writer", "hook-secret", "smtp", "ping.url", "holdfast.env"},
		"holdfast-failed@.service":           {"hook-secret", "smtp", "ping.url"},
	} {
		i := slices.IndexFunc(p.Files, func(f File) bool { return f.Name == name })
		if i < 0 {
			t.Fatalf("no %s among %q", name, Names(p.Files))
		}
		var got []string
		for _, m := range regexp.MustCompile(`(?m)^(?:LoadCredential=\S+?:|EnvironmentFile=-?)/etc/holdfast/(\S+)$`).FindAllStringSubmatch(p.Files[i].Text, -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q instead of %q", name, got, want)
		}
	}
	for _, f := range p.Files {
		if strings.Contains(f.Text, "prune") {
			t.Errorf("%s speaks of prune", f.Name)
		}
	}
}

// TestCannot: what no scheduler can be told safely is refused, with what to do.
func TestCannot(t *testing.T) {
	change := func(do func(*Setup)) Setup {
		s := setups()["bucket"]
		do(&s)
		return s
	}
	for name, c := range map[string]struct {
		s    Setup
		plan func(Setup) (Plan, error)
		says string
	}{
		"a line end in a path": {change(func(s *Setup) { s.Sources[0].Folder = "/srv/a\nUser=root" }), Systemd, "control character"},
		"a user":               {change(func(s *Setup) { s.User = "a b" }), Systemd, "no user's name"},
		"a credential":         {change(func(s *Setup) { s.Host.Name = "a:b" }), Systemd, "systemd:a:b"},
		"nothing to run":       {change(func(s *Setup) { s.Times = Times{Run: []When{{}}} }), Systemd, "nothing is left"},
		"a relative path":      {change(func(s *Setup) { s.Program = "holdfast" }), Cron, "not absolute"},
		"a quote for cron":     {setups()["folders"].with(`/etc/o'dd/holdfast.yaml`), Cron, "without quotes"},
		"a file in a pod":      {change(func(s *Setup) { s.Host = Secret{InFile, "/etc/holdfast/host.key"} }), Kubernetes, "write systemd:host.key"},
		"a profile in a pod":   {change(func(s *Setup) { s.Sources[0].Secret = Secret{Profile, "reader"} }), Kubernetes, "has no profile reader"},
		"a cache in a pod":     {change(func(s *Setup) { s.Cache = "/var/cache/mine" }), Kubernetes, "leave `cache` out"},
		"an image":             {change(func(s *Setup) { s.Image = "a b" }), Kubernetes, "no name of an image"},
		"a namespace":          {change(func(s *Setup) { s.Namespace = "A B" }), Kubernetes, "no name of a namespace"},
		"a namespace's end":    {change(func(s *Setup) { s.Namespace = "backups-" }), Kubernetes, "no name of a namespace"},
		"a long namespace":     {change(func(s *Setup) { s.Namespace = strings.Repeat("a", 64) }), Kubernetes, "no name of a namespace"},
		"two of one name": {change(func(s *Setup) {
			s.Vaults = append(s.Vaults, Place{Name: "a_b", Locks: true}, Place{Name: "a-b", Locks: true})
		}), Kubernetes, "rename one"},
	} {
		if p, err := c.plan(c.s); !errors.Is(err, ErrCannot) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %d files", name, err, len(p.Files))
		}
	}
}

func (s Setup) with(config string) Setup {
	s.Config = config
	return s
}
