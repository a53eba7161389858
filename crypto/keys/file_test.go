package keys_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

func TestReadSecretFileModes(t *testing.T) {
	for _, c := range []struct {
		mode       fs.FileMode
		plain      bool // taken anywhere
		credential bool // taken below $CREDENTIALS_DIRECTORY
	}{
		{0o600, true, true}, {0o400, true, true}, {0o440, false, true}, {0o640, false, true}, {0o460, false, false},
		{0o644, false, false}, {0o604, false, false}, {0o601, false, false}, {0o620, false, false}, {0o666, false, false}, {0o700, false, false},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "it's secret")
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		check := func(where string, want bool) {
			t.Helper()
			b, err := keys.ReadSecretFile(path, 10)
			if want {
				if err != nil || string(b) != "x" {
					t.Errorf("%04o %s: %q, %v", c.mode, where, b, err)
				}
				return
			}
			if !errors.Is(err, keys.ErrFileMode) || b != nil {
				t.Fatalf("%04o %s: %q, %v", c.mode, where, b, err)
			}
			if !strings.Contains(err.Error(), `chmod 600 '`+dir+`/it'\''s secret'`) {
				t.Errorf("the error does not give the command: %v", err)
			}
		}
		t.Setenv("CREDENTIALS_DIRECTORY", "")
		check("anywhere", c.plain)
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		check("as a credential", c.credential)
		t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(dir, "beside"))
		check("beside the credentials", c.plain)
		t.Setenv("CREDENTIALS_DIRECTORY", dir+"x")
		check("in a folder whose name starts alike", c.plain)
	}
}

func TestReadSecretFileBounds(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, n int) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("s", n)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if b, err := keys.ReadSecretFile(write("fits", 10), 10); err != nil || len(b) != 10 {
		t.Errorf("10 of 10 bytes: %q, %v", b, err)
	}
	if _, err := keys.ReadSecretFile(write("large", 11), 10); !errors.Is(err, keys.ErrTooLarge) || strings.Contains(err.Error(), "sss") {
		t.Errorf("11 of 10 bytes: %v", err)
	}
	if _, err := keys.ReadSecretFile(write("empty", 0), 10); !errors.Is(err, keys.ErrEmpty) {
		t.Errorf("no bytes: %v", err)
	}
	if _, err := keys.ReadSecretFile(filepath.Join(dir, "missing"), 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := keys.ReadSecretFile(dir, 10); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "fits"), link); err != nil {
		t.Fatal(err)
	}
	if b, err := keys.ReadSecretFile(link, 10); err != nil || len(b) != 10 {
		t.Errorf("through a link: %q, %v", b, err)
	}
}

// TestKeyFileModes: the rule holds for both kinds of key file, which go through ReadSecretFile.
func TestKeyFileModes(t *testing.T) {
	dir := t.TempDir()
	idFile, hostFile := filepath.Join(dir, "restore.key"), filepath.Join(dir, "host.key")
	if err := keys.WriteIdentityFile(idFile, generate(t, keys.X25519), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := keys.WriteHostKeyFile(hostFile, generateHost(t, keys.X25519)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{idFile, hostFile} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keys.ReadSecretFile(idFile, 1<<20); !errors.Is(err, keys.ErrFileMode) || !strings.Contains(err.Error(), "chmod 600 "+idFile) {
		t.Errorf("identity file: %v", err)
	}
	if _, err := keys.ReadHostKeyFile(hostFile); !errors.Is(err, keys.ErrFileMode) || !strings.Contains(err.Error(), "chmod 600 "+hostFile) {
		t.Errorf("host key file: %v", err)
	}
}

func TestReadSecretPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("from a pipe"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	name := filepath.Join("/dev/fd", itoa(r.Fd()))
	if _, err := os.Stat(name); err != nil {
		t.Logf("no %s here: %v", name, err)
		return
	}
	if b, err := keys.ReadSecretFile(name, 100); err != nil || string(b) != "from a pipe" {
		t.Errorf("%q, %v", b, err)
	}
}

func itoa(n uintptr) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
