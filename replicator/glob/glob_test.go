package glob

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a", "", false}, {"ab", "a", false},
		{"*", "abc", true}, {"*", "", true}, {"*", "a/b", false}, {"*.tmp", "x.tmp", true}, {"*.tmp", "d/x.tmp", false},
		{"a*c", "abbc", true}, {"a*c", "ac", true}, {"a*c", "acb", false}, {"a*b*c", "a-b-b-c", true},
		{"tmp/**", "tmp/", true}, {"tmp/**", "tmp/a/b", true}, {"tmp/**", "tmp", false}, {"tmp/**", "tmpx/a", false},
		{"**/*.tmp", "a.tmp", true}, {"**/*.tmp", "x/y/a.tmp", true}, {"**/*.tmp", "a.tmp/x", false},
		{"**/x", "x", true}, {"**/x", "yx", false}, {"**/x", "a/yx", false}, {"**/x", "a//x", true}, {"**/x", "/x", true},
		{"a/**/b", "a/b", true}, {"a/**/b", "a/x/b", true}, {"a/**/b", "a/x/y/b", true}, {"a/**/b", "ab", false}, {"a/**/b", "a/xb", false},
		{"a**b", "ab", true}, {"a**b", "a/x/b", true}, {"***", "a/b", true}, {"**", "", true},
		{"a**/b", "ab", false}, {"a**/b", "a/b", true}, {"a**/b", "axx/yy/b", true},
		{"?", "a", true}, {"?", "/", false}, {"?", "é", true}, {"?", "\xff", true}, {"??", "é", false}, {"?", "", false},
		{"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]", "d", true}, {"[!a-c]", "a", false}, {"[^a]", "/", false}, {"[.-0]", "/", false},
		{"[]]", "]", true}, {"[a-]", "-", true}, {"[\\]]", "]", true}, {"[à-ü]", "é", true}, {"[!x]", "\xfe", true},
		{"\\*", "*", true}, {"\\*", "a", false}, {"a\\\\b", "a\\b", true}, {"\xff*", "\xffa", true}, {"\xff", "\xfe", false},
		{"tmp/", "tmp/", true}, {"tmp/", "tmp/a/b", true}, {"tmp/", "tmp", false}, {"tmp/", "tmpx/a", false}, {"tmp/", "x/tmp/a", false},
		{"**/tmp/", "tmp/a", true}, {"**/tmp/", "x/tmp/a/b", true}, {"**/tmp/", "xtmp/a", false}, {"*/", "a/b", true}, {"*/", "a", false},
		{"tmp\\/", "tmp/", true}, {"tmp\\/", "tmp/a", false}, {"\\!x", "!x", true}, {"\\/x", "/x", true}, {"a!", "a!", true}, {"a[!b]/", "ac/d", true},
		{"a//b", "a//b", true}, {"a/*/b", "a//b", true}, {"../y", "../y", true},
	} {
		g, err := Parse(c.pattern)
		if err != nil {
			t.Fatalf("Parse(%q): %v", c.pattern, err)
		}
		if got := g.Match(c.key); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.pattern, c.key, got, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, p := range []string{"", "a\\", "[", "[a", "[]", "[!]", "[z-a]", "[a-", "[\\", "!x", "!", "/x", "/", "/tmp/", "**/", strings.Repeat("a", maxPattern+1)} {
		if _, err := Parse(p); err == nil {
			t.Errorf("Parse(%.20q) gave no error", p)
		}
	}
}

// TestLines: a pattern a line, and what is wrong by its line, not by what stands there.
func TestLines(t *testing.T) {
	got, err := Lines("# scratch\n\n tmp/ \r\n**/*.tmp\n\\#saved\n\t\nlast[ ]")
	if want := []string{"tmp/", "**/*.tmp", "\\#saved", "last[ ]"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if got, err := Lines("\ufeffsecret/\r\n"); err != nil || !slices.Equal(got, []string{"secret/"}) {
		t.Errorf("behind a byte order mark: %q, %v", got, err)
	}
	if got, err := Lines(""); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	for text, want := range map[string]string{
		"a\n\n/hunter2": "line 3: ",
		"!hunter2":      "line 1: ",
		"hunter2[":      "line 1: ",
		"hunter2\xff":   "line 1: ",
		"hunter2\x00":   "line 1: ",
		"**/":           "line 1: ",
		strings.Repeat("hunter2", maxPattern/7+1): "line 1: ",
	} {
		_, err := Lines(text)
		if !errors.Is(err, ErrPattern) || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestSet(t *testing.T) {
	s, err := ParseSet([]string{"tmp/**", "**/*.bak"})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Match("a/b.bak") || !s.Match("tmp/x") || s.Match("x") || s.Empty() {
		t.Error("Set.Match is wrong")
	}
	if !s.Covers("tmp/") || !s.Covers("tmp/a/") || s.Covers("x.bak") || s.Covers("tm") {
		t.Error("Set.Covers is wrong")
	}
	if _, err := ParseSet([]string{"a", "["}); err == nil {
		t.Error("a bad pattern passed")
	}
	if (Set{}).Match("") || !(Set{}).Empty() {
		t.Error("the empty set matches")
	}
}

// TestUnused: which patterns matched nothing, the later ones of several that match the same included.
func TestUnused(t *testing.T) {
	s, err := ParseSet([]string{"tmp/", "**/*.bak", "tmp/cache/**", "no", "n?", "tmq/**", "x.bak"})
	if err != nil {
		t.Fatal(err)
	}
	copied := s
	unused := func(want ...string) {
		t.Helper()
		if got := copied.Unused(); !slices.Equal(got, want) {
			t.Errorf("unused %q, want %q", got, want)
		}
	}
	unused("tmp/", "**/*.bak", "tmp/cache/**", "no", "n?", "tmq/**", "x.bak")
	s.Match("x.bak") // two match
	unused("tmp/", "tmp/cache/**", "no", "n?", "tmq/**")
	s.Match("y")
	s.Covers("other/")
	unused("tmp/", "tmp/cache/**", "no", "n?", "tmq/**")
	s.Covers("tmp/") // the folder is not entered: what else is below is not known
	unused("no", "n?", "tmq/**")
	s.Match("na")
	unused("no", "tmq/**")
}

// TestLinear would run for hours with backtracking.
func TestLinear(t *testing.T) {
	g, err := Parse(strings.Repeat("**a*", 200) + "b")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if g.Match(strings.Repeat("a", 4096)) {
		t.Error("matches")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

// asRegexp translates a parsed pattern, as an independent opinion.
func asRegexp(g Glob) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, t := range g.tokens {
		switch t.op {
		case opChar:
			b.WriteString(regexp.QuoteMeta(string(t.c)))
		case opAny:
			b.WriteString(`[^/]`)
		case opStar:
			b.WriteString(`[^/]*`)
		case opDeep:
			b.WriteString(`.*`)
		case opDeepSl:
			b.WriteString(`(?:.*/)?`)
		case opSet:
			return ""
		}
	}
	return b.String() + `\z`
}

func FuzzMatch(f *testing.F) {
	f.Add("a/**/b*", "a/x/bc")
	f.Add("**/?[a-z]\\*", "q/xy*")
	f.Add("[!\xff]", "\xfe")
	f.Fuzz(func(t *testing.T, pattern, key string) {
		if len(key) > 4096 {
			return
		}
		g, err := Parse(pattern)
		if err != nil {
			return
		}
		got := g.Match(key)
		if g.Covers(key) && !g.Match(key+"/anything") {
			t.Fatalf("%q covers %q but does not match below it", pattern, key)
		}
		if !utf8.ValidString(pattern) || !utf8.ValidString(key) || len(pattern) > 200 {
			return
		}
		expr := asRegexp(g)
		if expr == "" {
			return
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		if want := re.MatchString(key); want != got {
			t.Fatalf("%q on %q: %v, regexp %q says %v", pattern, key, got, expr, want)
		}
	})
}
