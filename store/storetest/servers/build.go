package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/holdfast-backup/holdfast/store/lockfile"
)

// program is a Go program that tests run, at the one version they run it at.
type program struct{ name, pkg, version string }

// programs are pinned here and nowhere else.
func programs() []program {
	return []program{
		{"versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"},
		{"minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"},
		{"mc", "github.com/minio/mc", "v0.0.0-20250313080218-cf909e1063a9"},
		{"gofakes3", "github.com/johannesboyne/gofakes3/cmd/gofakes3", "v1.2.0"},
		{"age", "filippo.io/age/cmd/age", "v1.3.2"},
		{"rclone", "github.com/rclone/rclone", "v1.76.0"},
	}
}

// Warm builds the named programs, or those every test run needs, so that tests need not wait for a compiler.
func Warm(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		names = []string{"gofakes3", "age", "versitygw", "mc", "minio"}
	}
	for _, n := range names {
		if _, err := Binary(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// Binary gives the path of a program of the pinned list (versitygw, minio, mc, gofakes3, age, rclone), building it if no
// test before has. Several processes at once build it once.
func Binary(ctx context.Context, name string) (string, error) {
	for _, p := range programs() {
		if p.name == name {
			return p.build(ctx)
		}
	}
	return "", fmt.Errorf("no pinned program %q", name)
}

func (p program) build(ctx context.Context) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, fmt.Sprintf("%s-%s-%s", p.name, p.version, runtime.Version()))
	if isProgram(bin) {
		return bin, nil
	}
	unlock, err := lockfile.Take(ctx, bin+".lock", 0o600)
	if err != nil {
		return "", fmt.Errorf("build %s %s: %w", p.name, p.version, err)
	}
	defer unlock()
	if isProgram(bin) {
		return bin, nil // built while we waited
	}
	if err := p.install(ctx, dir, bin); err != nil {
		return "", fmt.Errorf("build %s %s: %w", p.name, p.version, err)
	}
	return bin, nil
}

// install builds into a folder of its own beside bin and renames.
func (p program) install(ctx context.Context, dir, bin string) (err error) {
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	cmd := exec.CommandContext(ctx, "go", "install", p.pkg+"@"+p.version)
	cmd.Dir = tmp // outside this module, whose flags and workspace must not matter
	for _, kv := range os.Environ() {
		switch k, _, _ := strings.Cut(kv, "="); k {
		case "GOFLAGS", "GOBIN", "GOOS", "GOARCH", "GOWORK", "GO111MODULE", "GOEXPERIMENT", "GOCOVERDIR":
		default:
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "GOBIN="+tmp, "GOWORK=off", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out[max(0, len(out)-4096):])
	}
	return os.Rename(filepath.Join(tmp, filepath.Base(p.pkg)), bin)
}

func isProgram(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o100 != 0
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = filepath.Join(os.TempDir(), fmt.Sprintf("cache-%d", os.Getuid()))
	}
	dir := filepath.Join(base, "holdfast-test", "bin")
	return dir, os.MkdirAll(dir, 0o700)
}
