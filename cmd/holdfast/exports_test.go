package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// product lists the files, without tests, of the packages that the program is built from.
func product(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	for _, p := range goList(t, "-deps", "./cmd/holdfast") {
		if strings.HasPrefix(p.ImportPath, module) {
			for _, f := range p.GoFiles {
				files[p.ImportPath] = append(files[p.ImportPath], filepath.Join(p.Dir, f))
			}
		}
	}
	return files
}

// calledByOthers are methods that other people's packages call, by their interfaces.
var calledByOthers = []string{
	"String", "GoString", "Error", "Unwrap", "Is", "As", "Read", "ReadAt", "ReadFrom", "Write", "WriteAt", "WriteTo", "Seek", "Close", "Len", "Less", "Swap", "Format",
	"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "MarshalYAML", "UnmarshalYAML", "RoundTrip", "Timeout", "Temporary", "LogValue", "Set", "Type",
}

// exported is what is known of the names that packages export.
type exported struct {
	declared map[string]token.Position // by "import/path.Name", and "import/path.Type.Method"
	used     map[string]bool           // likewise
	methods  map[string]bool           // names of methods that are called on anything, or that an interface asks for
}

// declare notes what a file exports.
func (x *exported) declare(in string, at func(token.Pos) token.Position, f *ast.File) {
	name := func(id *ast.Ident, of string) {
		if id.IsExported() {
			x.declared[in+"."+of+id.Name] = at(id.Pos())
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				name(d.Name, "")
				continue
			}
			if of := receiver(d); ast.IsExported(of) {
				name(d.Name, of+".")
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					name(s.Name, "")
				case *ast.ValueSpec:
					for _, id := range s.Names {
						name(id, "")
					}
				}
			}
		}
	}
}

// use notes what a file makes use of.
func (x *exported) use(in string, at func(token.Pos) token.Position, f *ast.File) {
	imports := map[string]string{}
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		n := path.Base(p)
		if i.Name != nil {
			n = i.Name.Name
		}
		imports[n] = p
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			x.methods[n.Sel.Name] = true
			if id, ok := n.X.(*ast.Ident); ok && imports[id.Name] != "" {
				x.used[imports[id.Name]+"."+n.Sel.Name] = true
			}
		case *ast.InterfaceType:
			for _, m := range n.Methods.List {
				for _, id := range m.Names {
					x.methods[id.Name] = true
				}
			}
		case *ast.Ident:
			if of := in + "." + n.Name; x.declared[of] != at(n.Pos()) {
				x.used[of] = true
			}
		}
		return true
	})
}

// TestExports: the program makes use of every name that its packages export. What tests alone need has no place in a package's
// interface.
func TestExports(t *testing.T) {
	set := token.NewFileSet()
	x := exported{declared: map[string]token.Position{}, used: map[string]bool{}, methods: map[string]bool{}}
	packages := map[string][]*ast.File{}
	for in, files := range product(t) {
		for _, name := range files {
			f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			packages[in] = append(packages[in], f)
			x.declare(in, set.Position, f)
		}
	}
	if len(packages) < 30 || len(x.declared) < 1000 {
		t.Fatalf("%d packages with %d exported names", len(packages), len(x.declared))
	}
	for in, files := range packages {
		for _, f := range files {
			x.use(in, set.Position, f)
		}
	}
	var idle []string
	for name := range x.declared {
		local := name[strings.LastIndex(name, "/")+1:]
		parts := strings.Split(local, ".")
		last := parts[len(parts)-1]
		switch {
		case len(parts) == 3 && (x.methods[last] || slices.Contains(calledByOthers, last)):
		case len(parts) == 2 && x.used[name]:
		default:
			idle = append(idle, strings.TrimPrefix(name, module))
		}
	}
	slices.Sort(idle)
	for _, name := range idle {
		t.Errorf("%s is exported, and the program makes no use of it", name)
	}
}
