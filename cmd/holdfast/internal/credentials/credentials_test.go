package credentials

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

const secret = "hunter2hunter2"

func vars(pairs ...string) Env {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func get(t *testing.T, text, dir string, env Env) (store.Credentials, error) {
	t.Helper()
	ref, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if ref.String() != text {
		t.Errorf("%q is written back as %q", text, ref)
	}
	f, err := Resolve(ref, dir, env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := f(ctx)
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("the error repeats the secret: %v", err)
	}
	return c, err
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", secret, "AKIAIOSFODNN7EXAMPLE", "env:", "env:A-B", "env:1A", "profile:", "profile:-x", "file:", "file:#p", "file:x#",
		"systemd:", "systemd:../x", "systemd:a/b", "default:x", "s3:x", "env:" + strings.Repeat("A", 101), "vault:" + secret} {
		r, err := Parse(text)
		if err == nil {
			t.Errorf("%q taken for %v", text, r)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error repeats what stood there: %v", err)
		}
	}
}

func TestEnv(t *testing.T) {
	c, err := get(t, "env:HF", "", vars("HF_ACCESS_KEY_ID", "AK", "HF_SECRET_ACCESS_KEY", secret, "HF_SESSION_TOKEN", "tok"))
	if err != nil || c != (store.Credentials{AccessKeyID: "AK", SecretAccessKey: secret, SessionToken: "tok"}) {
		t.Errorf("%v, %v", c, err)
	}
	for want, env := range map[string]Env{
		"needs the variables HF_ACCESS_KEY_ID and HF_SECRET_ACCESS_KEY": vars(),
		"HF_SECRET_ACCESS_KEY is not":                                   vars("HF_ACCESS_KEY_ID", "AK"),
		"HF_ACCESS_KEY_ID is not":                                       vars("HF_SECRET_ACCESS_KEY", secret),
		"a line end":                                                    vars("HF_ACCESS_KEY_ID", "AK", "HF_SECRET_ACCESS_KEY", secret+"\n"),
	} {
		if _, err := get(t, "env:HF", "", env); !errors.Is(err, ErrUnset) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func file(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, mode); err != nil {
		t.Fatal(err)
	}
}

const two = "# keys\n[default]\naws_access_key_id = AK1\naws_secret_access_key=" + secret + "\n\n[other]\n AWS_ACCESS_KEY_ID=AK2 \naws_secret_access_key = x=y\naws_session_token = tok\nregion = eu\n"

func TestFile(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, "two", two, 0o600)
	file(t, dir, "one", "[writer]\naws_access_key_id = AK3\naws_secret_access_key = "+secret+"\n", 0o400)
	for text, want := range map[string]store.Credentials{
		"file:two":                   {AccessKeyID: "AK1", SecretAccessKey: secret},
		"file:" + dir + "/two#other": {AccessKeyID: "AK2", SecretAccessKey: "x=y", SessionToken: "tok"},
		"file:one":                   {AccessKeyID: "AK3", SecretAccessKey: secret},
	} {
		if c, err := get(t, text, dir, vars()); err != nil || c != want {
			t.Errorf("%s: %v, %v", text, c, err)
		}
	}
	file(t, dir, "open", two, 0o640)
	if _, err := get(t, "file:open", dir, vars()); !errors.Is(err, keys.ErrFileMode) || errors.Is(err, ErrUnset) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file others can read: %v", err)
	}
	for name, c := range map[string][2]string{
		"nohead":  {"aws_access_key_id = " + secret + "\n", "line 1 stands before the first [profile]"},
		"junk":    {"[default]\n" + secret + "\n", "line 2 is neither"},
		"head":    {"[default\n", "line 1 is not a profile's header"},
		"twice":   {"[a]\n[a]\n", "line 2: a second profile"},
		"half":    {"[a]\naws_access_key_id = AK\n", "profile [a] needs both"},
		"none":    {"# nothing\n", "it has none"},
		"several": {"[b]\naws_access_key_id = AK\n[a]\n", "it has [a], [b]"},
	} {
		file(t, dir, name, c[0], 0o600)
		if _, err := get(t, "file:"+name, dir, vars()); !errors.Is(err, ErrUnset) || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v; want %q", name, err, c[1])
		}
	}
	if _, err := get(t, "file:absent", dir, vars()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// TestFileAgain: keys that were rotated on disk are taken up by the next call.
func TestFileAgain(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, "c", "[a]\naws_access_key_id = OLD\naws_secret_access_key = x\n", 0o600)
	ref, err := Parse("file:c")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Resolve(ref, dir, vars())
	if err != nil {
		t.Fatal(err)
	}
	if c, err := f(t.Context()); err != nil || c.AccessKeyID != "OLD" {
		t.Fatalf("%v, %v", c, err)
	}
	file(t, dir, "c", "[a]\naws_access_key_id = NEW\naws_secret_access_key = x\n", 0o600)
	if c, err := f(t.Context()); err != nil || c.AccessKeyID != "NEW" {
		t.Errorf("%v, %v", c, err)
	}
}

func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	file(t, dir, "vault", two, 0o440) // as systemd hands it out
	c, err := get(t, "systemd:vault", "", vars("CREDENTIALS_DIRECTORY", dir))
	if err != nil || c.AccessKeyID != "AK1" {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := get(t, "systemd:vault", "", vars()); !errors.Is(err, ErrUnset) || !strings.Contains(err.Error(), "LoadCredential=vault:") {
		t.Errorf("outside a unit: %v", err)
	}
}

// TestProfile: a profile's own keys win over keys in the environment, which may be the vault's.
func TestProfile(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, "credentials", two, 0o600)
	file(t, dir, "config", "[profile empty]\nregion = eu-west-1\n", 0o600)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "y")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if c, err := get(t, "profile:other", "", vars()); err != nil || c.AccessKeyID != "AK2" || c.SessionToken != "tok" || !c.Expires.IsZero() {
		t.Errorf("%v, %v", c, err)
	}
	if c, err := get(t, "default", "", vars()); err != nil || c.AccessKeyID != "ENVIRONMENT" {
		t.Errorf("default: %v, %v", c, err)
	}
	for _, name := range []string{"absent", "empty"} {
		if c, err := get(t, "profile:"+name, "", vars()); !errors.Is(err, ErrUnset) || !strings.Contains(err.Error(), "profile:"+name) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func TestSameAccessKey(t *testing.T) {
	static := func(id string) store.CredentialsFunc {
		return fixed.Credentials(store.Credentials{AccessKeyID: id, SecretAccessKey: "x"})
	}
	if same, err := SameAccessKey(t.Context(), static("A"), static("A")); err != nil || !same {
		t.Errorf("%v, %v", same, err)
	}
	if same, err := SameAccessKey(t.Context(), static("A"), static("B")); err != nil || same {
		t.Errorf("%v, %v", same, err)
	}
	failing := func(context.Context) (store.Credentials, error) { return store.Credentials{}, ErrUnset }
	if _, err := SameAccessKey(t.Context(), static("A"), failing); !errors.Is(err, ErrUnset) {
		t.Errorf("%v", err)
	}
}

// FuzzShared: no file ends in a panic or in half a key.
func FuzzShared(f *testing.F) {
	f.Add([]byte(two), "other")
	f.Add([]byte("[a]\nx"), "")
	f.Fuzz(func(t *testing.T, text []byte, profile string) {
		c, err := parseShared(text, profile)
		if err == nil && (c.AccessKeyID == "" || c.SecretAccessKey == "") {
			t.Error("half a key taken for whole")
		}
	})
}

// TestSecret: where a secret and a login lie, and that no error repeats one.
func TestSecret(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, "hook", "\n"+secret+" \n", 0o600)
	file(t, dir, "smtp", "# mail\nusername = me@example.com\nPassword="+secret+"=x\n", 0o600)
	file(t, dir, "open", secret, 0o644)
	file(t, dir, "empty", "\n", 0o600)
	env := vars("HOOK", secret, "NONE", " ", "SMTP_USERNAME", "me", "SMTP_PASSWORD", secret, "HALF_USERNAME", "me", "CREDENTIALS_DIRECTORY", dir)
	for text, want := range map[string]string{
		"env:HOOK": secret, "file:hook": secret, "file:" + dir + "/hook": secret, "systemd:hook": secret,
		"env:OTHER": "is not set", "env:NONE": "is not set", "file:empty": "is not set, or empty", "file:absent": "no such file", "file:open": "chmod 600",
	} {
		s, err := ParseSecret(text)
		if err != nil || s.String() != text {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := s.Read(dir, env)
		if err == nil && string(got) != want || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret)) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"env:SMTP": "me " + secret, "file:smtp": "me@example.com " + secret + "=x", "systemd:smtp": "me@example.com " + secret + "=x",
		"env:HALF": "HALF_PASSWORD", "file:hook": "a line `password", "file:absent": "no such file",
	} {
		s, err := ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		user, password, err := s.Login(dir, env)
		if err == nil && user+" "+password != want || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret)) {
			t.Errorf("%s: %q %q, %v", text, user, password, err)
		}
	}
	if _, err := (Secret{Ref{scheme: schemeSystemd, name: "x"}}).Read(dir, vars()); err == nil || !strings.Contains(err.Error(), "LoadCredential=x:") {
		t.Errorf("outside a unit: %v", err)
	}
	for _, bad := range []string{"", secret, "env:", "profile:x", "default", "file:x#y", "systemd:../x"} {
		if s, err := ParseSecret(bad); err == nil || bad == secret && strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v, %v", bad, s, err)
		}
	}
}
