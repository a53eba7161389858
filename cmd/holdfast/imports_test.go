package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/holdfast-backup/holdfast/"

// pkg is what `go list` says of a package. Imports and files are those of production code, without tests.
type pkg struct {
	ImportPath string
	Dir        string
	Standard   bool
	Imports    []string
	GoFiles    []string
}

func goList(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Dir,Standard,Imports,GoFiles"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			if len(list) == 0 {
				t.Fatal("go list names no package")
			}
			return list
		case err != nil:
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// layers, from the top: a package may import from its own layer and from those after it.
var layers = []string{"cmd", "replicator", "store", "crypto", "docs"}

// driverFolder is where drivers are: siblings that must not know one another.
var driverFolder = regexp.MustCompile(`^(store/[a-z0-9]+store|replicator/source/[a-z0-9]+)(/|$)`)

// driverOf gives the driver that a package is of, if it is of one.
func driverOf(p string) string {
	m := driverFolder.FindStringSubmatch(p)
	if m == nil || m[1] == "replicator/source/sourcetest" {
		return ""
	}
	return m[1]
}

// bars measure the program beside its tests, with servers and sources of theirs.
const bars = "cmd/internal/bars"

// homes are the only places whose production code may import what is named, by prefix.
var homes = map[string][]string{
	"github.com/minio/minio-go/":              {"store/s3store", "store/storetest/servers", bars},
	"github.com/aws/":                         {"replicator/awsclient", "replicator/source/s3", "replicator/source/ebs", "replicator/source/ec2", "replicator/ebsdirect", "replicator/coverage", "replicator/restore", "cmd/holdfast/internal/credentials"},
	"github.com/klauspost/compress":           {"store/repo/pack"},
	"github.com/cockroachdb/":                 {"store/repo/cache"},
	"github.com/wneessen/go-mail":             {"replicator/notify"},
	"github.com/emersion/":                    {"replicator/notify/notifytest"},
	"github.com/prometheus/":                  {"replicator/metrics"},
	module + "replicator/notify/notifytest":   {"replicator/notify/notifytest"},
	"go.etcd.io/bbolt":                        {"store/repo", "replicator", "cmd"},
	"github.com/goccy/go-yaml":                {"cmd/holdfast/internal/config"},
	"github.com/spf13/cobra":                  {"cmd"},
	"github.com/schollz/progressbar":          {"cmd"},
	"golang.org/x/term":                       {"cmd"},
	"filippo.io/age":                          {"crypto"},
	module + "store/storetest":                {"store/storetest", bars},
	module + "replicator/source/sourcetest":   {"replicator/source/sourcetest"},
	module + "replicator/source/memsource":    {"replicator/source/memsource", "replicator/source/sourcetest", "replicator/lifetest", bars},
	module + "replicator/awstest":             {"replicator/awstest", bars},
	module + "cmd/":                           {"cmd"},
	module + "store/s3store/attacker":         {"cmd"},
	module + "replicator/restore/restoretest": {"replicator/restore/restoretest"},
	"testing":                                 {"store/storetest", "replicator/source/sourcetest", "replicator/restore/restoretest"},
	"github.com/rogpeppe/go-internal/":        {},
	"pgregory.net/rapid":                      {"store/storetest", "replicator/source/sourcetest", "replicator/restore/restoretest"},
	"go.uber.org/goleak":                      {"store/storetest", "replicator/source/sourcetest", "replicator/restore/restoretest"},
	"github.com/PlakarKorp/go-cdc-chunkers":   {"store/repo", "replicator"},
	"github.com/cenkalti/backoff/":            {"store/retry", "replicator"},
	"github.com/aws/aws-sdk-go-v2/service/s3": {"replicator/source/s3", "replicator/coverage", "replicator/restore"},
}

func under(p, dir string) bool {
	dir = strings.TrimSuffix(dir, "/")
	return p == dir || strings.HasPrefix(p, dir+"/")
}

func layer(p string) int {
	for i, l := range layers {
		if under(p, l) {
			return i
		}
	}
	return -1
}

func importFault(from, to string) string {
	for what, allowed := range homes {
		inside := false
		for _, a := range allowed {
			inside = inside || under(from, a)
		}
		if under(to, what) && !inside {
			return "only " + strings.Join(allowed, ", ") + " may"
		}
	}
	if to == "log" && !under(from, "store/storetest") && from != bars && from != "replicator/notify/notifytest" {
		return "libraries return errors; they do not log"
	}
	local, ok := strings.CutPrefix(to, module)
	if !ok {
		return ""
	}
	if layer(from) > layer(local) {
		return "imports go from " + strings.Join(layers, " to ") + " only"
	}
	a, b := driverOf(from), driverOf(local)
	switch {
	case a != "" && b != "" && a != b:
		return "drivers must not know one another"
	case strings.HasPrefix(a, "store/") && under(local, "store/repo"):
		return "a driver knows nothing of the repository"
	}
	return ""
}

// TestImports holds every package of the module to the directions and homes above.
func TestImports(t *testing.T) {
	for _, p := range goList(t, "./...") {
		from := strings.TrimPrefix(p.ImportPath, module)
		if layer(from) < 0 {
			t.Errorf("%s lies outside the layers %v", from, layers)
		}
		for _, to := range p.Imports {
			if why := importFault(from, to); why != "" {
				t.Errorf("%s imports %s: %s", from, to, why)
			}
		}
	}
}

// TestImportFault proves that the rules catch what they are for.
func TestImportFault(t *testing.T) {
	for _, c := range []struct {
		from, to string
		bad      bool
	}{
		{"cmd/holdfast", module + "replicator/backup", false},
		{"replicator/backup", module + "store/repo", false},
		{"store/repo", module + "crypto/seal", false},
		{"store/repo", module + "replicator/backup", true},
		{"crypto/seal", module + "store", true},
		{"replicator/backup", module + "cmd/holdfast/internal/config", true},
		{"store/s3store", module + "store/dirstore", true},
		{"replicator/backup", module + "store/s3store/attacker", true},
		{"cmd/holdfast", module + "store/s3store/attacker", false},
		{"store/dirstore", module + "store/repo/format", true},
		{"replicator/source/s3", module + "replicator/source/dir", true},
		{"replicator/source/new", module + "replicator/source/s3/internal", true},
		{"store/newstore", module + "store/s3store", true},
		{"store/newstore", module + "store/repo/format", true},
		{"store/newstore/internal", module + "store/newstore", false},
		{"replicator/source/sourcetest", module + "replicator/source/memsource", false},
		{"replicator/source/s3", module + "replicator/source", false},
		{"store/s3store", "github.com/minio/minio-go/v7", false},
		{"replicator/backup", "github.com/minio/minio-go/v7", true},
		{"replicator/restore/bucket", "github.com/aws/aws-sdk-go-v2/service/s3", false},
		{"store/s3store", "github.com/aws/aws-sdk-go-v2/aws", true},
		{"store/repo/format", "github.com/klauspost/compress/zstd", true},
		{"replicator/verify", module + "store/storetest", true},
		{"replicator/verify", "testing", true},
		{"replicator/verify", "log", true},
		{"replicator/verify", "log/slog", false},
	} {
		if why := importFault(c.from, c.to); (why != "") != c.bad {
			t.Errorf("%s imports %s: %q", c.from, c.to, why)
		}
	}
}

// TestProductionBinary: what is linked into holdfast has no test server, no test package and no second S3 stack.
func TestProductionBinary(t *testing.T) {
	forbidden := []string{
		"testing", "net/http/httptest", "net/http/pprof",
		module + "replicator/restore/restoretest",
		module + "store/storetest", module + "store/memstore", module + "replicator/source/sourcetest", module + "replicator/source/memsource",
		"github.com/versity", "github.com/minio/minio", "github.com/johannesboyne", "github.com/rclone",
		"github.com/rogpeppe/go-internal/testscript", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/aws/aws-sdk-go",
	}
	for _, p := range goList(t, "-deps", "./cmd/holdfast") {
		for _, f := range forbidden {
			if under(p.ImportPath, f) {
				t.Errorf("the program links %s", p.ImportPath)
			}
		}
	}
}
