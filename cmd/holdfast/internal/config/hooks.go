package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Hooks are programs that are run before and after something is read: a snapshot that is taken and removed, a database that is
// told to hold still. Each is a program and its arguments; empty: none.
type Hooks struct {
	Before, After []string
	Timeout       time.Duration // of each
}

// Any reports whether there is one.
func (h Hooks) Any() bool { return len(h.Before) > 0 || len(h.After) > 0 }

// hookTimeout is how long a hook may take where nothing is said.
const hookTimeout = 10 * time.Minute

// maxTimeout is the longest that a program may be given: a run waits for it.
const maxTimeout = 7 * 24 * time.Hour

func readHooks(r *reader, n ast.Node, what string, to *Hooks) {
	h := Hooks{Timeout: hookTimeout}
	seen := r.object(n, what,
		field{"before", func(n ast.Node) { h.Before = readCommand(r, n, what+".before") }},
		field{"after", func(n ast.Node) { h.After = readCommand(r, n, what+".after") }},
		field{"timeout", func(n ast.Node) { readTimeout(r, n, what+".timeout", &h.Timeout) }},
	)
	if seen != nil && seen["before"] == nil && seen["after"] == nil {
		r.problem(n, "%s needs before or after: a program and its arguments, as a list", what)
	}
	*to = h
}

// readCommand reads a program and its arguments. There is no shell, so that what looks like several words is one.
func readCommand(r *reader, n ast.Node, what string) []string {
	if _, is := n.(*ast.SequenceNode); !is {
		r.problem(n, "%s", unusable(n, what+" must be a list of the program and its arguments, such as [/usr/local/bin/snapshot, create]; no shell reads it, and for one write [sh, -c, \"..\"]"))
		return nil
	}
	var out []string
	r.list(n, what, func(i int, n ast.Node) {
		// Numbers are arguments like any other; truth values and nothing are quoted on purpose.
		if _, number := n.(*ast.IntegerNode); number {
			s, _ := scalarText(n)
			out = append(out, s)
			return
		}
		s, ok := r.str(n, fmt.Sprintf("%s[%d]", what, i))
		if ok && strings.ContainsRune(s, 0) {
			r.problem(n, "%s[%d]: an argument cannot hold a NUL", what, i)
		}
		out = append(out, s)
	})
	if len(out) == 0 || strings.TrimSpace(out[0]) == "" {
		r.problem(n, "%s names no program", what)
		return nil
	}
	return out
}

func readTimeout(r *reader, n ast.Node, what string, to *time.Duration) {
	s, ok := r.text(n, what)
	if !ok {
		return
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second || d > maxTimeout {
		r.problem(n, "%s is a time from 1s to 168h, such as 90s, 10m or 2h", what)
		return
	}
	*to = d
}
