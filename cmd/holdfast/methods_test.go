package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxMethods  = 25 // of any type, in tests too
	maxExported = 14 // of a type of store/repo, which everything leans on
)

// TestMethods: no type does everything. What shares state shares it by role: see docs/design.md.
func TestMethods(t *testing.T) {
	all, exported := map[string]int{}, map[string]int{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			of := filepath.ToSlash(filepath.Dir(path)) + "." + receiver(fn)
			all[of]++
			if fn.Name.IsExported() && !strings.HasSuffix(path, "_test.go") {
				exported[of]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 300 {
		t.Fatalf("%d types with methods", len(all))
	}
	for of, n := range all {
		if n > maxMethods {
			t.Errorf("%s has %d methods, more than %d", of, n, maxMethods)
		}
		if strings.HasPrefix(of, "../../store/repo") && exported[of] > maxExported {
			t.Errorf("%s has %d exported methods, more than %d", of, exported[of], maxExported)
		}
	}
}

// receiver gives the name of the type that a method is of.
func receiver(fn *ast.FuncDecl) string {
	of := fn.Recv.List[0].Type
	for {
		switch x := of.(type) {
		case *ast.StarExpr:
			of = x.X
		case *ast.IndexExpr:
			of = x.X
		case *ast.IndexListExpr:
			of = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
