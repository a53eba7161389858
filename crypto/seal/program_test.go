package seal_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
)

// ageProgram installs the age program of the version that go.mod pins. It cannot be built inside this module: it needs modules
// that the library does not, and that go.sum does not list.
func ageProgram(t *testing.T, dir string) string {
	t.Helper()
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "filippo.io/age").Output()
	if err != nil {
		t.Fatalf("asking for age's version: %v", err)
	}
	install := exec.Command("go", "install", "filippo.io/age/cmd/age@"+strings.TrimSpace(string(version)))
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("installing age: %v\n%s", err, out)
	}
	return filepath.Join(dir, "age")
}

// TestAgeProgram: the age program opens what Seal writes with a key file that package keys wrote, and Open opens what the
// age program writes.
func TestAgeProgram(t *testing.T) {
	dir := t.TempDir()
	program := ageProgram(t, dir)
	for _, class := range []keys.Class{keys.Hybrid, keys.X25519} {
		id := generate(t, class)
		keyFile := filepath.Join(dir, string(class)+".key")
		if err := keys.WriteIdentityFile(keyFile, id, time.Now()); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, chunk, 3*chunk + 5} {
			path := filepath.Join(dir, "sealed.age")
			if err := os.WriteFile(path, sealed(t, plain(n), generate(t, class).Recipient(), id.Recipient()), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(program, "-d", "-i", keyFile, path).Output()
			if err != nil || !bytes.Equal(out, plain(n)) {
				t.Errorf("%s %d: age gave %d bytes, %v", class, n, len(out), err)
			}
			encrypt := exec.Command(program, "-r", id.Recipient().String())
			encrypt.Stdin = bytes.NewReader(plain(n))
			if out, err = encrypt.Output(); err != nil {
				t.Fatal(err)
			}
			if got, err := openStream(bytes.NewReader(out), id); err != nil || !bytes.Equal(got, plain(n)) {
				t.Errorf("%s %d: age's file gave %d bytes, %v", class, n, len(got), err)
			}
			if _, err := seal.Header(bytes.NewReader(out), int64(len(out)), id); err != nil {
				t.Errorf("%s %d: %v", class, n, err)
			}
		}
	}
}
