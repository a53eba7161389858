package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOnlyPruneRemoves: nothing is handed a way to delete but prune, and nothing calls a driver's.
func TestOnlyPruneRemoves(t *testing.T) {
	may := []string{
		"store/store.go", "store/wrap.go", "store/storetest/", "store/repo/flat/",
		"replicator/prune/", "replicator/lifetest/", "cmd/holdfast/prune.go", "cmd/holdfast/backends.go",
	}
	asks := regexp.MustCompile(`store\.Remover|openRemover|\.Remover\(|\.Remove\(ctx, |RemoveObject`)
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, filepath.FromSlash("../../")))
		if strings.HasPrefix(name, "cmd/internal/") || strings.HasPrefix(name, "cmd/holdfast-demo/") {
			return nil // programs of their own
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if m := asks.Find(text); m != nil {
			found++
			if strings.HasPrefix(driverOf(name), "store/") {
				return nil
			}
			for _, p := range may {
				if strings.HasPrefix(name, p) {
					return nil
				}
			}
			t.Errorf("%s has %q: only prune deletes", name, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 8 {
		t.Errorf("only %d files were recognised", found)
	}
}
