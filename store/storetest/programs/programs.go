// Package programs finds other people's programs that some tests run, and says what to install where one is missing.
//
// Without one a test is skipped, so that `go test ./...` holds on a machine with Go and nothing else; where CI=true is set it
// fails, so that nothing is left out unseen. It is for tests only: production code must never import it.
package programs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// Program is a program that tests run and do not build themselves.
type Program struct {
	Name    string // as it is called
	Package string // Debian's package
	Serves  string // what is left out without it
	At      string // where it is looked for first; may be empty
}

// All are the programs that tests run. The first that is found in At, or in PATH, is taken.
func All() []Program {
	return []Program{
		{Name: "zstd", Package: "zstd", Serves: "opening stored objects with age and zstd alone"},
		{Name: "python3", Package: "python3", Serves: "docs/reader, the second implementation of a reader"},
		{Name: "jq", Package: "jq", Serves: "the README's commands for versitygw"},
		// Debian's: another in PATH may be anybody's.
		{Name: "aws", Package: "awscli", Serves: "the AWS command line against the in-test EC2 and EBS servers", At: "/usr/bin/aws"},
		{Name: "nbdcopy", Package: "libnbd-bin", Serves: "disk images read by other people's network block device clients"},
		{Name: "openssl", Package: "openssl", Serves: "the documented way to check a webhook's signature"},
		{Name: "promtool", Package: "prometheus", Serves: "metrics and alerting rules, checked by Prometheus' own tool"},
		{Name: "qemu-img", Package: "qemu-utils", Serves: "disk images compared through a network block device"},
		{Name: "systemd-analyze", Package: "systemd", Serves: "the units of `holdfast schedule`, as systemd reads and rates them"},
	}
}

// ErrMissing is a program that is not installed.
var ErrMissing = errors.New("missing program")

// Find gives a program's path.
func Find(name string) (string, error) {
	i := slices.IndexFunc(All(), func(p Program) bool { return p.Name == name })
	if i < 0 {
		return "", fmt.Errorf("no test says that it runs %q: add it to this package", name)
	}
	p := All()[i]
	if p.At != "" {
		if _, err := os.Stat(p.At); err == nil {
			return p.At, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: %s (apt-get install %s)", ErrMissing, name, p.Package)
	}
	return path, nil
}

// Demanded reports whether a missing program is an error.
func Demanded() bool { return os.Getenv("CI") == "true" }

// Need gives a program's path; the test is skipped without it, or fails where it is demanded.
func Need(t testing.TB, name string) string {
	t.Helper()
	path, err := Find(name)
	switch {
	case err == nil:
	case Demanded() || !errors.Is(err, ErrMissing):
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return path
}
