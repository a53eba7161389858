package tree

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// at is an entry of a path: a directory if it ends in a slash.
func at(key string) *format.Entry {
	if strings.HasSuffix(key, "/") {
		return &format.Entry{Kind: format.KindDir, Key: key}
	}
	return &format.Entry{Kind: format.KindFile, Key: key}
}

// TestPaths: a path that comes twice is seen, however much stands between its two keys, and nothing else is.
func TestPaths(t *testing.T) {
	for _, c := range []struct {
		keys []string
		bad  []int
	}{
		{[]string{"./", "a", "a/b"}, nil}, // a file in a file: the target of a restore refuses it
		{[]string{"a", "a"}, []int{1}},
		{[]string{"a/", "a/"}, []int{1}},
		{[]string{"a", "a/"}, []int{1}},
		{[]string{"a", "a!", "a!b", "a-", "a.", "a.txt", "a/", "a/b"}, []int{6}},
		{[]string{"a", "a!", "a!/", "a!/x", "a-", "a/", "a/"}, []int{2, 5, 6}},
		{[]string{"a", "ab", "ab/", "b"}, []int{2}},
		{[]string{"a/b", "a/b!", "a/b/", "a/b/c"}, []int{2}},
		{[]string{"a", "aa", "aaa", "aaa/"}, []int{3}},
	} {
		var p Paths
		var bad []int
		for i, k := range c.keys {
			if err := p.See(at(k)); err != nil {
				if bad = append(bad, i); !errors.Is(err, format.ErrMalformed) {
					t.Error(err)
				}
			}
		}
		if !slices.Equal(bad, c.bad) {
			t.Errorf("%q: %v, want %v", c.keys, bad, c.bad)
		}
	}
	var p Paths
	for _, e := range []*format.Entry{{Key: "a"}, {Key: "a"}, at("a"), {Kind: format.KindMarker, Key: "a"}, {Key: "a/"}, {Kind: "volume", Key: "a/"}} {
		if err := p.See(e); err != nil {
			t.Errorf("%+v: %v", e, err) // objects may have any key, and as many versions as they like
		}
	}
}

// TestPathsAgainstASet compares with the plain way, which remembers everything.
func TestPathsAgainstASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.StringMatching(`[a!-](/?[a!-])?/?`), 0, 30).Draw(t, "keys")
		slices.Sort(keys)
		var p Paths
		seen := map[string]bool{}
		for _, k := range keys {
			path := strings.TrimSuffix(k, "/")
			if err := p.See(at(k)); (err != nil) != seen[path] {
				t.Fatalf("%q of %q: %v", k, keys, err)
			}
			seen[path] = true
		}
	})
}
