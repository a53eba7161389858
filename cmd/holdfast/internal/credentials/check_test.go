package credentials

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

// What is there without asking anybody is looked at; what a profile leads to is not.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir) // the SDK reads it by itself
	write := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("good", "[default]\naws_access_key_id = A\naws_secret_access_key = B\n", 0o600)
	write("open", "[default]\naws_access_key_id = A\naws_secret_access_key = B\n", 0o644)
	write("config", "[profile there]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n[profile base]\nregion = eu-west-1\n", 0o600)
	write("shared", "[base]\naws_access_key_id = A\naws_secret_access_key = B\n", 0o600)
	env := func(name string) (string, bool) {
		v, ok := map[string]string{
			"X_ACCESS_KEY_ID": "a", "X_SECRET_ACCESS_KEY": "b", "Y_ACCESS_KEY_ID": "a",
			"AWS_CONFIG_FILE": filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "shared"),
			"CREDENTIALS_DIRECTORY": dir,
		}[name]
		return v, ok
	}
	for text, want := range map[string]error{
		"env:X": nil, "env:Y": ErrUnset, "env:Z": ErrUnset,
		"file:good": nil, "file:open": keys.ErrFileMode, "file:absent": ErrUnset, "file:good#other": ErrUnset,
		"systemd:good": nil, "systemd:absent": ErrUnset,
		"profile:there": nil, "profile:base": nil, "profile:nope": ErrUnset,
		"default": nil,
	} {
		ref, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(t.Context(), ref, dir, env); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}
