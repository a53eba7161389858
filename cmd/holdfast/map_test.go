package main

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// onlyForTests are packages that the map of the code leaves out, as it says below the picture.
var onlyForTests = regexp.MustCompile(`test(/|$)|/memsource$`)

// TestMap: every package stands in the picture at the head of docs/design.md, and every name there is a package's.
func TestMap(t *testing.T) {
	text, err := os.ReadFile("../../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## The way of the data")
	all, _, found := strings.Cut(rest, "Imports go down this picture")
	picture, _, beside := strings.Cut(all, "Beside them stand")
	if !found || !beside {
		t.Fatal("docs/design.md has no picture of the code")
	}
	// A word is what has no other letter or slash beside it.
	has := func(in, word string) bool {
		return regexp.MustCompile(`(^|[^a-z0-9/])` + word + `/?([^a-z0-9]|$)`).MatchString(in)
	}
	var folders []string
	for _, p := range goList(t, "./...") {
		local := strings.TrimPrefix(p.ImportPath, module)
		folders = append(folders, path.Base(local))
		in := picture
		if strings.HasPrefix(local, "cmd/internal/") {
			in = all
		}
		if !onlyForTests.MatchString(local) && !has(in, path.Base(local)) && !has(in, local) {
			t.Errorf("%s does not stand in the picture", local)
		}
	}
	// What stands two spaces apart are names of packages.
	for _, line := range strings.Split(picture, "\n") {
		cells := strings.Split(strings.Trim(line, " |"), "  ")
		for _, c := range cells[:len(cells)-1] { // the last one is what is said of them
			c = strings.TrimSpace(c)
			if _, after, ok := strings.Cut(c, ": "); ok {
				c = after
			}
			if c == "" || strings.ContainsAny(c, " /") {
				continue
			}
			if !slices.Contains(folders, c) {
				t.Errorf("%s stands in the picture, and there is no such package", c)
			}
		}
	}
}
