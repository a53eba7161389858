package guard_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/store/storetest/programs"
)

// modules are real ones with the releases that follow one another: what people do to their files in earnest.
var modules = map[string]string{
	"github.com/spf13/cobra":      "v1.0.0 v1.1.1 v1.1.3 v1.2.1 v1.3.0 v1.4.0 v1.5.0 v1.6.0 v1.6.1 v1.7.0 v1.8.0 v1.8.1 v1.9.1 v1.10.0 v1.10.1 v1.10.2",
	"github.com/spf13/pflag":      "v1.0.0 v1.0.1 v1.0.2 v1.0.3 v1.0.4 v1.0.5 v1.0.6 v1.0.7 v1.0.8 v1.0.9 v1.0.10",
	"github.com/gorilla/mux":      "v1.4.0 v1.6.2 v1.7.0 v1.7.1 v1.7.2 v1.7.3 v1.7.4 v1.8.0 v1.8.1",
	"github.com/BurntSushi/toml":  "v0.3.1 v0.4.1 v1.0.0 v1.1.0 v1.2.0 v1.2.1 v1.3.0 v1.3.2 v1.4.0 v1.5.0",
	"github.com/sirupsen/logrus":  "v1.0.1 v1.0.4 v1.0.5 v1.0.6 v1.1.1 v1.2.0 v1.3.0 v1.4.0 v1.4.1 v1.4.2 v1.5.0 v1.6.0 v1.7.0 v1.8.1 v1.8.3 v1.9.0 v1.9.3",
	"github.com/stretchr/testify": "v1.1.1 v1.1.4 v1.2.0 v1.2.2 v1.3.0 v1.4.0 v1.5.1 v1.6.0 v1.6.1 v1.7.0 v1.7.1 v1.8.0 v1.8.1 v1.8.4 v1.9.0 v1.10.0 v1.11.0 v1.11.1",
}

// unpacked are the folders of releases that were asked for already.
var unpacked sync.Map

// releases gives the folders of a module's releases, from the module cache or the module proxy.
func releases(t testing.TB, module string) (dirs []string) {
	t.Helper()
	if known, ok := unpacked.Load(module); ok {
		return known.([]string)
	}
	args := []string{"mod", "download", "-json"}
	for _, v := range strings.Fields(modules[module]) {
		args = append(args, module+"@"+v)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = t.TempDir() // outside of this module, whose go.mod must not change
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	for d := json.NewDecoder(bytes.NewReader(out)); err == nil && d.More(); {
		var m struct{ Dir, Error string }
		if err = d.Decode(&m); err == nil {
			dirs = append(dirs, m.Dir)
		}
	}
	if err != nil {
		if programs.Demanded() {
			t.Fatalf("releases of %s: %v: %s", module, err, stderr.String())
		}
		t.Skipf("missing program: the module proxy does not give %s: %v", module, err)
	}
	unpacked.Store(module, dirs)
	return dirs
}

// ofReleases is a history in which each day brings the next release.
func ofReleases(t testing.TB, module string) history {
	dirs := releases(t, module)
	next := 0
	take := func(w *world) {
		if next == len(dirs) {
			return
		}
		seen := map[string]bool{}
		err := filepath.WalkDir(dirs[next], func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dirs[next], p)
			if err != nil {
				return err
			}
			body, err := os.ReadFile(p)
			seen[rel] = true
			if f := w.files[rel]; err == nil && (f == nil || !bytes.Equal(f.body, body)) {
				w.put(rel, body)
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, n := range w.names(func(n string) bool { return !seen[n] }) {
			delete(w.files, n)
		}
		next++
	}
	return history{name: "releases of " + module, days: len(dirs), quiet: true, begin: take, step: func(w *world, _ int) { take(w) }}
}
