package attacktest

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of attacks in docs/threat-model.md anew")

const (
	docs       = "../../docs/threat-model.md"
	tableBegin = "<!-- attacks: written by go test ./replicator/attacktest -run TestTable -update -->\n"
	tableEnd   = "<!-- end of attacks -->\n"
)

// TestTable holds the tables in docs/threat-model.md against the attacks, and the numbers that are promised against both.
func TestTable(t *testing.T) {
	writer, broad, admin, stolen, primary := writerAttacks(), broadAttacks(), adminAttacks(), stolenAttacks(), primaryAttacks()
	if len(writer) < 40 || len(primary) < 10 {
		t.Errorf("%d attacks by the writer's key, %d by the primary's administrator", len(writer), len(primary))
	}
	var b strings.Builder
	seen := map[string]bool{}
	line := func(name, what, comes string) {
		if seen[name] {
			t.Errorf("%s stands twice", name)
		}
		seen[name] = true
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, what, comes)
	}
	list := func(title, where string, rows []attack) {
		fmt.Fprintf(&b, "\n### %s: %d attacks\n\n| `TestAttacks/SERVER/%s/..` | what is tried | outcome |\n| --- | --- | --- |\n", title, len(rows), where)
		for _, x := range rows {
			line(x.name, x.what, string(x.expect))
		}
	}
	list("With the vault writer's key", "writer", writer)
	list("With a key that may also hide (as `writeFiles` at Backblaze)", "hiding", broad)
	list("By the vault's administrator, who has every right there, in compliance mode", "admin", admin)
	list("With the whole machine: the writer's key and the host key", "stolen", stolen)
	fmt.Fprintf(&b, "\n### By the primary's administrator: %d attacks\n\n| `TestAttacks/SERVER/primary/..` | what is done | what the next run comes to |\n| --- | --- | --- |\n", len(primary))
	for _, x := range primary {
		line(x.name, x.what, x.seen)
	}
	trust := func(title, test string, rows []row) {
		fmt.Fprintf(&b, "\n### %s: %d attacks\n\n| `%s/SERVER/..` | what is done | what it comes to |\n| --- | --- | --- |\n", title, len(rows), test)
		for _, x := range rows {
			line(x.name, x.what, x.comes)
		}
	}
	hostile, theft := hostileRows(), theftRows()
	if len(hostile)+len(theft) < 25 {
		t.Errorf("%d attacks upon trust", len(hostile)+len(theft))
	}
	trust("By whoever controls one of two vaults, with its content and its times, and no key", "TestHostileVault", hostile)
	trust("Upon keys, points and names, each at a repository of its own", "TestKeysAndNames", theft)
	b.WriteString("\n")
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), tableBegin)
	_, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the tables", docs)
	}
	want := head + tableBegin + b.String() + tableEnd + tail
	if *update {
		if err := os.WriteFile(docs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("the tables in %s are not those of the attacks: go test ./replicator/attacktest -run TestTable -update", docs)
	}
}

// TestNamedTests: every test that docs/threat-model.md names is there, and where it says which package has it, in that one.
func TestNamedTests(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	all := allTests(t)
	n := 0
	for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune("` \n,|/().", r) }) {
		if isTest(word) {
			n++
			if len(all[word]) == 0 {
				t.Errorf("docs/threat-model.md names %s, and there is no such test", word)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d tests are named", n)
	}
	for _, m := range regexp.MustCompile(`(?:\| |; )((?:cmd|crypto|store|replicator)/[\w/]+)((?:,? `+"`Test[^`]*`"+`(?: \([^)]*\))?)+)`).FindAllStringSubmatch(string(text), -1) {
		for _, name := range strings.FieldsFunc(m[2], func(r rune) bool { return strings.ContainsRune("`/ ,()", r) }) {
			n++
			if isTest(name) && !slices.Contains(all[name], m[1]) {
				t.Errorf("docs/threat-model.md says that %s has %s; that is in %v", m[1], name, all[name])
			}
		}
	}
	for _, path := range regexp.MustCompile(`\.ci/parts/\w+`).FindAllString(string(text), -1) {
		if _, err := os.Stat("../../" + path); err != nil {
			t.Errorf("docs/threat-model.md names %s: %v", path, err)
		}
	}
	for _, script := range regexp.MustCompile(`[\w-]+\.txtar`).FindAllString(string(text), -1) {
		if found, err := filepath.Glob("../../cmd/holdfast/testdata/*/" + script); err != nil || len(found) == 0 {
			t.Errorf("docs/threat-model.md names %s, and there is no such script (%v)", script, err)
		}
	}
	if n < 100 {
		t.Errorf("of few tests it is said which package has them: %d", n)
	}
}

func isTest(word string) bool {
	return len(word) > 4 && strings.HasPrefix(word, "Test") && word[4] >= 'A' && word[4] <= 'Z'
}

// allTests gives the names of all tests in the tree, each with the folders of its packages.
func allTests(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "func Test"); ok {
				name, _, _ := strings.Cut(rest, "(")
				dir, _ := filepath.Rel("../..", filepath.Dir(path))
				out["Test"+name] = append(out["Test"+name], filepath.ToSlash(dir))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
