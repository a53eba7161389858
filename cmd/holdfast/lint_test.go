package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const maxLines = 600

// unfinished are words of code that is not done. They are put together here so that this file does not contain them.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b|not imple` + `mented`)

// sourceFile is one parsed Go file of the tree.
type sourceFile struct {
	path string // relative to the module's root
	text string
	ast  *ast.File
}

func sourceFiles(t *testing.T, fset *token.FileSet) []sourceFile {
	t.Helper()
	var files []sourceFile
	err := filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("../..", p)
		if err != nil {
			return err
		}
		files = append(files, sourceFile{filepath.ToSlash(rel), string(text), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found %d files only", len(files))
	}
	return files
}

// TestLint holds the tree to the rules that no tool knows.
func TestLint(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range sourceFiles(t, token.NewFileSet()) {
		dir, test := filepath.ToSlash(filepath.Dir(f.path)), strings.HasSuffix(f.path, "_test.go")
		if n := strings.Count(f.text, "\n"); n > maxLines {
			t.Errorf("%s has %d lines; at most %d", f.path, n, maxLines)
		}
		if m := unfinished.FindString(f.text); m != "" {
			t.Errorf("%s contains %q", f.path, m)
		}
		if !test {
			documented[dir] = documented[dir] || f.ast.Doc != nil
			lintProduction(t, f, dir)
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", f.path)
			}
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

// lintProduction: libraries do not print, exit or panic. Those under cmd and those for tests may.
func lintProduction(t *testing.T, f sourceFile, dir string) {
	if under(dir, "cmd") || under(dir, "store/storetest") || under(dir, "replicator/source/sourcetest") || under(dir, "replicator/restore/restoretest") ||
		under(dir, "replicator/awstest") {
		return
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fn := call.Fun.(type) {
		case *ast.Ident:
			if fn.Name == "panic" || fn.Name == "println" || fn.Name == "print" {
				t.Errorf("%s calls %s", f.path, fn.Name)
			}
		case *ast.SelectorExpr:
			x, ok := fn.X.(*ast.Ident)
			if !ok {
				break
			}
			name := x.Name + "." + fn.Sel.Name
			switch {
			case name == "os.Exit", strings.HasPrefix(name, "fmt.Print"):
				t.Errorf("%s calls %s", f.path, name)
			}
		}
		return true
	})
}

// TestRaceLeavesOutWhatIsThere: a pattern of .ci/race-left-out that no test has any more leaves out nothing, and nobody notices.
func TestRaceLeavesOutWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("../../.ci/race-left-out")
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	for _, f := range sourceFiles(t, token.NewFileSet()) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Test") {
				tests = append(tests, fn.Name.Name)
			}
		}
	}
	for line := range strings.Lines(string(text)) {
		pattern, _, _ := strings.Cut(strings.TrimSpace(line), "/")
		if pattern == "" || strings.HasPrefix(pattern, "#") {
			continue
		}
		if !slices.ContainsFunc(tests, regexp.MustCompile("^"+pattern+"$").MatchString) {
			t.Errorf(".ci/race-left-out: no test is called %s", pattern)
		}
	}
}
