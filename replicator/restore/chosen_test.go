package restore

import (
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestChosen: a page is handed on where it may hold a key that was asked for, and what went wrong always is, in its place.
func TestChosen(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		keys, pages, want []string // "!" is an error
	}{
		{nil, []string{"a", "c"}, []string{"a", "c"}},
		{[]string{"b"}, []string{"a", "c", "e"}, []string{"a"}},
		{[]string{"c"}, []string{"a", "c", "e"}, []string{"a", "c"}}, // versions of c may begin on the first
		{[]string{"f"}, []string{"a", "c", "e"}, []string{"e"}},
		{[]string{"A"}, []string{"a", "c"}, nil},
		{[]string{"b", "f"}, []string{"a", "!", "c", "e"}, []string{"a", "!", "e"}},
		{[]string{"z"}, []string{"a", "!", "c"}, []string{"a", "!", "c"}},
		{[]string{"a"}, []string{"!"}, []string{"!"}},
	} {
		w := walker{run: &run{o: Options{Keys: c.keys}}}
		var pages iter.Seq2[format.PageRef, error] = func(yield func(format.PageRef, error) bool) {
			for _, p := range c.pages {
				err := error(nil)
				if p == "!" {
					err = bad
				}
				if !yield(format.PageRef{First: p}, err) {
					return
				}
			}
		}
		var got []string
		for leaf, err := range w.chosen(pages) {
			if (leaf.First == "!") != (err != nil) {
				t.Fatal(leaf, err)
			}
			got = append(got, leaf.First)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v of %v: %v instead of %v", c.keys, c.pages, got, c.want)
		}
		for range w.chosen(pages) { // who stops is not called again
			break
		}
	}
}
