package config

import (
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// commandTimeout is how long the program of a source may take where nothing is said.
const commandTimeout = 24 * time.Hour

// commandFields are the keys that only a source has that is what a program writes.
func commandFields(r *reader, what string, s *Source) []field {
	return []field{
		{"command", func(n ast.Node) { s.Command = readCommand(r, n, what+".command") }},
		{"entry", func(n ast.Node) { s.Entry = readEntry(r, n, what+".entry") }},
		{"timeout", func(n ast.Node) { readTimeout(r, n, what+".timeout", &s.Timeout) }},
	}
}

// readEntry reads the name of an entry: a path as a file of a directory source has it.
func readEntry(r *reader, n ast.Node, what string) string {
	s, ok := r.text(n, what)
	if !ok {
		return ""
	}
	bad := len(s) > 1024 || strings.ContainsRune(s, 0)
	for part := range strings.SplitSeq(s, "/") {
		bad = bad || part == "" || part == "." || part == ".." || len(part) > 255
	}
	if bad {
		r.problem(n, "%s cannot be %q; it is the name that the output has in the points, such as dump.sql or db/orders.sql: a relative path without empty, . or .. parts", what, clip(s))
		return ""
	}
	return s
}

// checkCommand sees to it that a source has what its kind needs, and nothing of another's.
func checkCommand(r *reader, n ast.Node, what string, seen map[string]ast.Node, s *Source) {
	if s.URL.Kind == "" {
		return // said where it was read
	}
	if !s.URL.Program() {
		for _, key := range []string{"command", "entry", "timeout"} {
			if seen[key] != nil {
				r.problem(seen[key], "%s.%s means something for url: \"exec:\" only; a program around another source is one of its hooks", what, key)
			}
		}
		return
	}
	r.require(n, what, seen, "command", "entry")
	for key, why := range map[string]string{
		"credentials": "the program finds its own", "exclude": "it is one entry", "exclude_from": "it is one entry",
	} {
		if seen[key] != nil {
			r.problem(seen[key], "%s.%s means nothing for what a program writes: %s", what, key, why)
		}
	}
	if seen["timeout"] == nil {
		s.Timeout = commandTimeout
	}
}
