package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a configuration file. Its text never repeats a secret.
type Problem struct {
	File    string
	Line    int // from 1; 0 where the problem is the file as a whole
	Column  int // from 1, in characters
	Message string
}

// String reads "holdfast.yaml:7:5: what is wrong".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Error is all that is wrong with a configuration, in the order of the file.
type Error struct{ Problems []Problem }

// Error gives a line a problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func newError(problems []Problem) *Error {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{slices.Compact(problems)}
}

// nearest gives the candidate that takes the fewest edits to reach from s.
func nearest(s string, candidates []string) string {
	best, fewest := "", 1<<30
	for _, c := range candidates {
		if d := distance(s, c); d < fewest {
			best, fewest = c, d
		}
	}
	return best
}

// distance is the number of letters to add, drop, change or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	if len(a) > 100 {
		a = a[:100]
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
