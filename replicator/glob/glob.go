// Package glob matches keys against the patterns of exclude and include lists.
//
// A pattern is compared with the whole key. `*` stands for any run of characters without "/", `**` for any run at all,
// "**/" at the start or after a "/" also for nothing (so "**/*.tmp" matches "a.tmp"), `?` for one character other than
// "/", and `[a-z]`, `[!a-z]` or `[^a-z]` for one character of a set, never "/". A backslash takes the next character as it
// is. A pattern that ends in "/" is a folder and everything below it: "tmp/" is "tmp/**". The other forms of .gitignore that
// mean something else there, "/tmp" and "!tmp", are refused; a backslash before them takes them as they are. Characters are UTF-8; a byte that is not valid UTF-8 is a character of its own, so every key can be matched.
// Matching takes time proportional to pattern times key, whatever the pattern. The package does no I/O and must never
// clean, fold or otherwise change a key.
package glob

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// ErrPattern is wrapped by the errors of Parse.
var ErrPattern = errors.New("bad pattern")

// maxPattern bounds a pattern's length in bytes.
const maxPattern = 4096

type op uint8

const (
	opChar   op = iota // exactly lo
	opAny              // one character but "/"
	opSet              // one character of set, or not of it
	opStar             // any run without "/"
	opDeep             // any run
	opDeepSl           // "**/": nothing, or any run that ends in "/"
)

type span struct{ lo, hi rune }

type token struct {
	op  op
	c   rune
	set []span
	not bool
}

// Glob is a parsed pattern. The zero value matches the empty key only.
type Glob struct {
	text   string
	prefix string // literal start, for a quick no
	tokens []token
}

// rawByte turns an invalid UTF-8 byte into a value no valid character has.
func rawByte(b byte) rune { return utf8.MaxRune + 1 + rune(b) }

// next gives the first character of s and its length.
func next(s string) (rune, int) {
	if s[0] < utf8.RuneSelf {
		return rune(s[0]), 1
	}
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 {
		return rawByte(s[0]), 1
	}
	return r, n
}

// Parse reads a pattern. Its errors say what is wrong with it.
func Parse(pattern string) (Glob, error) {
	g, err := parse(pattern)
	switch {
	case err == nil:
		return g, nil
	case pattern == "" || len(pattern) > maxPattern:
		return Glob{}, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	return Glob{}, fmt.Errorf("%w %q: %w", ErrPattern, pattern, err)
}

func parse(pattern string) (Glob, error) {
	if pattern == "" {
		return Glob{}, errors.New("it is empty")
	}
	if len(pattern) > maxPattern {
		return Glob{}, fmt.Errorf("longer than %d bytes", maxPattern)
	}
	if err := foreign(pattern); err != nil {
		return Glob{}, err
	}
	g := Glob{text: pattern}
	literal := true
	for i := 0; i < len(pattern); {
		t, n, err := parseToken(pattern, i)
		if err != nil {
			return Glob{}, err
		}
		literal = literal && t.op == opChar
		if literal {
			g.prefix += char(t.c)
		}
		g.tokens = append(g.tokens, t)
		i += n
		if i == len(pattern) && n == 1 && t.op == opChar && t.c == '/' { // a folder; "\/" is a character
			g.tokens = append(g.tokens, token{op: opDeep})
		}
	}
	return g, nil
}

// foreign refuses what means something in .gitignore and the like, and would silently mean something else here.
func foreign(pattern string) error {
	switch {
	case pattern[0] == '!':
		return errors.New("a pattern cannot be taken back with !; write \\! for keys that begin with one")
	case pattern[0] == '/':
		return errors.New("patterns match the whole key, and keys of a directory do not begin with /: leave it out; for keys that do, write \\/")
	case pattern == "**/":
		return errors.New("it would match everything; write ** if that is meant")
	}
	return nil
}

func char(c rune) string {
	if c > utf8.MaxRune {
		return string([]byte{byte(c - utf8.MaxRune - 1)}) //nolint:gosec // made by rawByte
	}
	return string(c)
}

// parseToken reads the token at i and gives its length in bytes.
func parseToken(p string, i int) (token, int, error) {
	c, n := next(p[i:])
	switch c {
	case '*':
		if !strings.HasPrefix(p[i:], "**") {
			return token{op: opStar}, 1, nil
		}
		run := len(p[i:]) - len(strings.TrimLeft(p[i:], "*"))
		if (i == 0 || p[i-1] == '/') && strings.HasPrefix(p[i+run:], "/") {
			return token{op: opDeepSl}, run + 1, nil
		}
		return token{op: opDeep}, run, nil
	case '?':
		return token{op: opAny}, 1, nil
	case '[':
		return parseSet(p[i:])
	case '\\':
		if i+1 == len(p) {
			return token{}, 0, errors.New("it ends in a backslash")
		}
		c, n = next(p[i+1:])
		return token{op: opChar, c: c}, n + 1, nil
	}
	return token{op: opChar, c: c}, n, nil
}

// parseSet reads "[...]" at the start of p.
func parseSet(p string) (token, int, error) {
	t := token{op: opSet}
	i := 1
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		t.not = true
		i++
	}
	member := func() (rune, error) {
		if i < len(p) && p[i] == '\\' {
			i++
		}
		if i >= len(p) {
			return 0, errors.New("a [ is not closed")
		}
		c, n := next(p[i:])
		i += n
		return c, nil
	}
	for first := true; ; first = false {
		if i < len(p) && p[i] == ']' && !first {
			return t, i + 1, nil
		}
		lo, err := member()
		if err != nil {
			return t, 0, err
		}
		hi := lo
		if i+1 < len(p) && p[i] == '-' && p[i+1] != ']' {
			i++
			if hi, err = member(); err != nil {
				return t, 0, err
			}
		}
		if hi < lo {
			return t, 0, errors.New("a range in [] runs backwards")
		}
		t.set = append(t.set, span{lo, hi})
	}
}

func (t *token) takes(c rune) bool {
	switch t.op {
	case opChar:
		return c == t.c
	case opAny, opStar:
		return c != '/'
	case opSet:
		if c == '/' {
			return false
		}
		for _, s := range t.set {
			if c >= s.lo && c <= s.hi {
				return !t.not
			}
		}
		return t.not
	default:
		return true
	}
}

// String gives the pattern as it was parsed.
func (g Glob) String() string { return g.text }

// Match reports whether the whole key matches.
func (g Glob) Match(key string) bool {
	if !strings.HasPrefix(key, g.prefix) {
		return false
	}
	// A set of states, advanced a character at a time: no backtracking, so no pattern is slow. State i: tokens before
	// i are matched. A second bit per state says that a "**/" is inside a run and may leave it only after a "/".
	n := len(g.tokens)
	buf := make([]state, 2*(n+1))
	cur, nxt := buf[:n+1], buf[n+1:]
	g.enter(cur, 0)
	for i := 0; i < len(key); {
		c, w := next(key[i:])
		i += w
		clear(nxt)
		alive := false
		for s := range n {
			if cur[s] == 0 {
				continue
			}
			t := &g.tokens[s]
			if !t.takes(c) {
				continue
			}
			alive = true
			switch t.op {
			case opStar, opDeep:
				g.enter(nxt, s)
			case opDeepSl:
				nxt[s] |= inside
				if c == '/' {
					g.enter(nxt, s+1)
				}
			default:
				g.enter(nxt, s+1)
			}
		}
		if !alive {
			return false
		}
		cur, nxt = nxt, cur
	}
	return cur[n] != 0
}

type state uint8

const (
	at     state = 1 // at the start of the token
	inside state = 2 // in the run of a "**/"
)

// enter marks state s and those reachable from it without a character.
func (g Glob) enter(set []state, s int) {
	for {
		if set[s]&at != 0 {
			return
		}
		set[s] |= at
		if s == len(g.tokens) {
			return
		}
		switch g.tokens[s].op {
		case opStar, opDeep, opDeepSl:
			s++
		default:
			return
		}
	}
}

// Covers reports whether certainly every key that begins with prefix matches, so that a folder can be left out whole.
func (g Glob) Covers(prefix string) bool {
	return len(g.tokens) > 0 && g.tokens[len(g.tokens)-1].op == opDeep && g.Match(prefix)
}

// Lines reads a list of patterns, a line each. Space around a pattern, empty lines and lines that begin with # say nothing: a pattern
// that begins with # is written \#, and a space at its end [ ]. An error names the line and does not repeat it: who names the wrong
// file may have named one with a secret in it.
func Lines(text string) ([]string, error) {
	var out []string
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) { // some editors begin a file with it
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
			return nil, fmt.Errorf("line %d: %w: it is no text", n, ErrPattern)
		}
		if _, err := parse(line); err != nil {
			return nil, fmt.Errorf("line %d: %w: %w", n, ErrPattern, err)
		}
		out = append(out, line)
	}
	return out, nil
}

// Set is a list of patterns; a key matches if any does. The zero value matches nothing. It remembers which of its patterns
// matched anything: copies share that. It is safe for concurrent use.
type Set struct {
	globs []Glob
	used  []atomic.Bool // by pattern
}

// ParseSet parses every pattern.
func ParseSet(patterns []string) (Set, error) {
	var s Set
	for _, p := range patterns {
		g, err := Parse(p)
		if err != nil {
			return Set{}, err
		}
		s.globs = append(s.globs, g)
	}
	s.used = make([]atomic.Bool, len(s.globs))
	return s, nil
}

// Empty reports whether the set has no pattern.
func (s Set) Empty() bool { return len(s.globs) == 0 }

// Match reports whether any pattern matches key.
func (s Set) Match(key string) bool {
	matched := false
	for i := range s.globs {
		if matched && s.used[i].Load() {
			continue
		}
		if s.globs[i].Match(key) {
			matched = true
			s.used[i].Store(true)
		}
	}
	return matched
}

// Covers reports whether some pattern certainly matches every key that begins with prefix. Who leaves these out does not
// learn what other patterns would have matched below, so they are taken to be of use as well.
func (s Set) Covers(prefix string) bool {
	covered := false
	for i := range s.globs {
		if s.globs[i].Covers(prefix) {
			covered = true
			s.used[i].Store(true)
		}
	}
	if covered {
		for i := range s.globs {
			if p := s.globs[i].prefix; strings.HasPrefix(p, prefix) || strings.HasPrefix(prefix, p) {
				s.used[i].Store(true)
			}
		}
	}
	return covered
}

// Unused gives the patterns that matched nothing so far.
func (s Set) Unused() []string {
	var out []string
	for i := range s.globs {
		if !s.used[i].Load() {
			out = append(out, s.globs[i].text)
		}
	}
	return out
}
