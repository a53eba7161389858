package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
	"github.com/holdfast-backup/holdfast/store"
)

// notShown are the parts of a configuration that no key of the file sets by itself, or that are shown otherwise.
func notShown() []string {
	return []string{
		"Warnings",       // said by `config check`, beside its own
		"Sources.Before", // what the text meant to earlier builds
		"Schedule.Named", // which keys the file has; what they say is shown
	}
}

// TestConfigIsShown changes every part of a configuration and looks whether `config check` then prints something else, for people and
// for scripts: a key that is read and not printed cannot be checked by whoever wrote it.
func TestConfigIsShown(t *testing.T) {
	c := wholeConfig(t)
	before, beforeJSON := printedConfig(t, c)
	seen := map[string]bool{}
	forEachPart(reflect.ValueOf(c).Elem(), "", func(path string, v reflect.Value) {
		if slices.ContainsFunc(notShown(), func(not string) bool { return path == not || strings.HasPrefix(path, not+".") }) {
			return
		}
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		if !alter(v) {
			t.Fatalf("%s is a %s, of which this test knows no other value: teach it one", path, v.Type())
		}
		text, machine := printedConfig(t, c)
		seen[path+", printed for people"] = seen[path+", printed for people"] || text != before
		seen[path+", in JSON"] = seen[path+", in JSON"] || machine != beforeJSON
		v.Set(was)
	})
	if text, machine := printedConfig(t, c); text != before || machine != beforeJSON {
		t.Fatal("the test did not put everything back")
	}
	for path, shown := range seen {
		if !shown {
			t.Errorf("config check shows nothing of Config.%s", path)
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d parts were looked at", len(seen)/2)
	}
}

func printedConfig(t *testing.T, c *config.Config) (text, machine string) {
	t.Helper()
	var b bytes.Buffer
	shown := shownConfig(c)
	if err := shown.print(&b); err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), string(j)
}

// forEachPart calls f with every field that is not a struct of the configuration's own; those of lists once for each member.
func forEachPart(v reflect.Value, path string, f func(path string, v reflect.Value)) {
	ours := v.Kind() == reflect.Struct && (strings.HasSuffix(v.Type().PkgPath(), "/config") || v.Type() == reflect.TypeFor[retain.Policy]() || v.Type() == reflect.TypeFor[schedule.Times]())
	switch {
	case ours && v.Type() != reflect.TypeFor[config.Money]():
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Type().Field(i).Anonymous {
				forEachPart(v.Field(i), path, f)
				continue
			}
			forEachPart(v.Field(i), strings.TrimPrefix(path+"."+name, "."), f)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && strings.HasSuffix(v.Type().Elem().PkgPath(), "/config"):
		for i := range v.Len() {
			forEachPart(v.Index(i), path, f)
		}
	default:
		f(path, v)
	}
}

// alter gives v another value that it can have.
func alter(v reflect.Value) bool {
	set := func(x any) bool { v.Set(reflect.ValueOf(x)); return true }
	switch old := v.Interface().(type) {
	case location.Location:
		l, err := location.Parse("s3://another?endpoint=https://elsewhere.example.com&region=r")
		if old.Local() {
			l, err = location.Parse("file:///another")
		}
		return set(l) && err == nil
	case credentials.Ref:
		r, err := credentials.Parse("env:ANOTHER")
		return set(r) && err == nil
	case credentials.Secret:
		s, err := credentials.ParseSecret("env:ANOTHER")
		return set(s) && err == nil
	case []keys.Recipient:
		return set(old[:1])
	case []keys.Owner:
		return set(old[:0])
	case retain.Span:
		return set(retain.Span{Duration: 77 * time.Hour})
	case schedule.When:
		return set(schedule.When{Every: schedule.Weekly, Day: time.Wednesday, At: 77})
	case []schedule.When:
		return set(append(slices.Clone(old), schedule.When{Every: schedule.Daily, At: 77}))
	case schedule.Window:
		return set(schedule.Window{From: 77, To: 99})
	case *schedule.Window:
		return set(&schedule.Window{From: 77, To: 99})
	case config.Money:
		return set(config.Money{Amount: 77, Currency: "EUR"})
	case store.Mode:
		return set(store.Governance)
	case notify.Encryption:
		return set(notify.Plaintext)
	case map[string]string:
		return set(map[string]string{"restore-1": "another"})
	case []string:
		return set(append(slices.Clone(old), "another"))
	case *bool:
		other := old == nil || !*old
		return set(&other)
	case time.Duration:
		return set(old + time.Second)
	}
	switch v.Kind() {
	case reflect.String:
		text := "another"
		if v.String() != "" && strings.Contains(v.String(), "://") {
			text = "https://another.example.com"
		}
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 77<<20)
	default:
		return false
	}
	return true
}

// wholeConfig is a configuration with something of each kind in it.
func wholeConfig(t *testing.T) *config.Config {
	t.Helper()
	var recipients, owners []string
	for range 2 {
		k, err := keys.GenerateIdentity(keys.X25519)
		if err != nil {
			t.Fatal(err)
		}
		recipients, owners = append(recipients, k.Recipient().String()), append(owners, keys.OwnerOf(k).String())
	}
	path := filepath.Join(t.TempDir(), "holdfast.yaml")
	text := strings.NewReplacer("RECIPIENTS", strings.Join(recipients, ", "), "OWNERS", strings.Join(owners, ", ")).Replace(wholeConfigText)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "excludes"), []byte("tmp/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const wholeConfigText = `
vaults:
  - {name: offsite, url: "s3://acme-vault/prod?endpoint=https://s3.example.com&region=eu", credentials: env:WRITER}
  - {name: disk, url: "file:///mnt/vault"}
keys: {recipients: [RECIPIENTS], owners: [OWNERS], host: host.key, reporter: reporter.key}
sources:
  - {name: uploads, url: "s3://acme-uploads?region=eu-west-1", credentials: profile:reader}
  - {name: site, url: "file:///srv/site", exclude_from: excludes, hooks: {before: [snapshot], after: [release]}}
  - {name: db, url: "exec:", command: [pg_dump, shop], entry: shop.sql}
hooks: {before: [mount], after: [umount]}
custody: {restore-1: "the safe"}
notify:
  - webhook: {url: "https://hooks.example.com/x", secret: env:HOOK}
  - webhook: {url: "systemd:hook-url"}
  - mail: {to: [ops@example.com], server: "smtp.example.com:587", credentials: env:SMTP}
  - ping: {url: "https://hc.example.com/x"}
`
