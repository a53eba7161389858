package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
)

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "packs/ab/" + strings.Repeat("0", 64) + ".age": true, ".hidden/...": true, "a=b+c,d(e)": true,
		strings.Repeat("n", 255): true, strings.Repeat("n", 256): false, strings.Repeat("ab/", 299) + "x": true, strings.Repeat("ab/", 300) + "x": false,
		"": false, "/a": false, "a/": false, "a//b": false, ".": false, "a/../b": false, "a/.": false, "a b": false, "a\\b": false,
		"ü": false, "a\x00": false, "a\x7f": false, "a?b": false, "a*": false, "a%2f": false, "a\"b": false,
	} {
		if err := store.CheckName(name); (err == nil) != good || err != nil && !errors.Is(err, store.ErrName) {
			t.Errorf("%q: %v; good is %t", name, err, good)
		}
	}
}
