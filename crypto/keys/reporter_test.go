package keys_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

func reporterKey(t testing.TB) *keys.ReporterKey {
	t.Helper()
	k, err := keys.GenerateReporterKey("web-1", "job")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestReporterKeyFile(t *testing.T) {
	k := reporterKey(t)
	path := filepath.Join(t.TempDir(), "reporter.key")
	if err := keys.WriteReporterKeyFile(path, k); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if err := keys.WriteReporterKeyFile(path, k); err == nil {
		t.Error("it was overwritten")
	}
	got, err := keys.ReadReporterKeyFile(path)
	if err != nil || got.Name != k.Name || got.Role != k.Role || !got.Signing.Equal(k.Signing) {
		t.Fatalf("%v %v", got, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ReadReporterKeyFile(path); err == nil {
		t.Error("a key that others can read was taken")
	}
}

func TestReporterKeyStrict(t *testing.T) {
	text, err := reporterKey(t).MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ParseReporterKey(append([]byte("# made today\n"), text...)); err != nil {
		t.Errorf("with a comment: %v", err)
	}
	s := string(text)
	for name, bad := range map[string]string{
		"empty": "", "cut": s[:len(s)-10], "no line end": strings.TrimSuffix(s, "\n"), "a line more": s + "x\n", "order": strings.Replace(s, "name web-1\nrole job", "role job\nname web-1", 1),
		"spaces": strings.Replace(s, "name ", "name  ", 1), "a name that is none": strings.Replace(s, "web-1", "Web", 1), "a long name": strings.Replace(s, "web-1", strings.Repeat("x", 41), 1),
		"a host key": "holdfast-host-key-1\n" + s[strings.IndexByte(s, '\n')+1:], "large": strings.Repeat("#\n", 3000) + s,
	} {
		if _, err := keys.ParseReporterKey([]byte(bad)); !errors.Is(err, keys.ErrMalformed) && !errors.Is(err, keys.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "Web", "a b", strings.Repeat("x", 41)} {
		if _, err := keys.GenerateReporterKey(name, "job"); err == nil {
			t.Errorf("a reporter %q was made", name)
		}
	}
}

// However it is printed, its secret is not.
func TestReporterKeyIsNotPrinted(t *testing.T) {
	k := reporterKey(t)
	secret := base64.StdEncoding.EncodeToString(k.Signing.Seed())
	j, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v %s %q %x", *k, k, k, k, *k), string(j), k.LogValue().String()} {
		if strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", k.Signing.Seed())) || bytes.Contains([]byte(s), k.Signing.Seed()) {
			t.Errorf("it prints its secret: %s", s)
		}
	}
}

func FuzzParseReporterKey(f *testing.F) {
	text, err := reporterKey(f).MarshalText()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("holdfast-reporter-key-1\nname a\nrole b\nsigning \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := keys.ParseReporterKey(b)
		if err != nil {
			return
		}
		if again, err := k.MarshalText(); err != nil || !bytes.HasSuffix(b, again[len(again)-20:]) {
			t.Fatalf("%q %v", again, err)
		}
	})
}
