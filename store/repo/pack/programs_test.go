package pack_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/storetest/programs"
)

const ageVersion = "v1.3.2"

// installAge builds the real age program; only the first time on a machine takes more than a moment.
func installAge(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "install", "filippo.io/age/cmd/age@"+ageVersion)
	cmd.Dir = bin
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("installing age: %v\n%s", err, out)
	}
	return filepath.Join(bin, "age")
}

func run(t *testing.T, stdin []byte, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, errs.String())
	}
	return out
}

// With `age -d` and `zstd -d` alone every byte comes back, in order.
func TestOpensWithAgeAndZstd(t *testing.T) {
	zstd := programs.Need(t, "zstd")
	age := installAge(t)
	plains := [][]byte{text(1, 1<<20), noise(2, 1<<20), nil, make([]byte, 300_000), noise(3, 1), noise(4, 200), noise(5, 70_000), text(6, 4<<20), noise(7, 3<<20)}
	want := bytes.Join(plains, nil)
	for _, class := range []keys.Class{keys.X25519, keys.Hybrid} {
		id := identity(t, class)
		file := filepath.Join(t.TempDir(), "key")
		if err := keys.WriteIdentityFile(file, id, time.Now()); err != nil {
			t.Fatal(err)
		}
		v, _ := build(t, []keys.Recipient{identity(t, class).Recipient(), id.Recipient()}, plains...)
		if got := run(t, run(t, v.body, age, "-d", "-i", file), zstd, "-dc"); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes came out, not the %d that went in", class, len(got), len(want))
		}
	}
	v, _ := build(t, nil, plains...)
	if got := run(t, v.body, zstd, "-dc"); !bytes.Equal(got, want) {
		t.Error("plain: other bytes came out")
	}
}
