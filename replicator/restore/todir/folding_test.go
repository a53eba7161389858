package todir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// on is a Target that takes its file system for another kind than it is.
type on struct {
	*Target
	manner manner
}

func (o on) Begin(ctx context.Context, job restore.Job) error {
	err := o.Target.Begin(ctx, job)
	if o.root != nil {
		o.root.manner = o.manner
	}
	return err
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// bring restores objects with these keys and gives the keys that were refused, in order.
func bring(t *testing.T, m manner, root string, keys ...string) (refused []string) {
	t.Helper()
	r := restoretest.New(t)
	slices.Sort(keys)
	var entries []*format.Entry
	for _, k := range keys {
		if strings.HasSuffix(k, "/") {
			entries = append(entries, restoretest.Object(k, nil))
			continue
		}
		entries = append(entries, restoretest.Object(k, []byte(k), r.Pack([]byte(k))...))
	}
	target, err := New(Options{Root: root})
	must(t, err)
	res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: r.Point(64, entries...), Target: on{target, m}, Failed: func(f restore.Failure) {
		if !errors.Is(f, restore.ErrRefused) || !strings.Contains(f.Error(), "--to -") {
			t.Errorf("%q: %v", f.Key, f.Err)
		}
		refused = append(refused, f.Key)
	}})
	must(t, err)
	if int(res.Entries) != len(keys)-len(refused) {
		t.Errorf("%+v", res)
	}
	for _, k := range keys {
		b, err := os.ReadFile(filepath.Join(root, k))
		if !slices.Contains(refused, k) && !strings.HasSuffix(k, "/") && (err != nil || string(b) != k) {
			t.Errorf("%q: %q %v", k, b, err)
		}
	}
	slices.Sort(refused)
	return refused
}

// Of keys that a folding file system takes for one, the first is restored and the others are refused by name.
func TestClashesAreRefused(t *testing.T) {
	keys := []string{
		"A", "a", "B/x", "b/y", "b/z", "caf\u00e9", "cafe\u0301", "stra\u00dfe", "STRASSE", "soft\u00adhyphen", "softhyphen", "dot.", "dot", "only/A", "only/b",
		"\xff", "\xfe", "F", "f/", "in/Q", "in/q/r", "x", "x-1", "x/y",
	}
	got := bring(t, manner{folds: true}, t.TempDir(), keys...)
	want := []string{"STRASSE", "softhyphen", "dot.", "a", "b/y", "b/z", "caf\u00e9", "f/", "in/q/r", "x/y"}
	// In order of bytes the first of each is another.
	want[0], want[1] = "stra\u00dfe", "soft\u00adhyphen"
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("refused %q\n   want %q", got, want)
	}
	if got := bring(t, manner{}, t.TempDir(), keys...); !slices.Equal(got, []string{"x/y"}) {
		t.Errorf("a file system that tells them apart: refused %q", got)
	}
}

// Where Windows reads what is restored, names that it takes for devices, changes or cannot hold are refused.
func TestWindowsNames(t *testing.T) {
	bad := []string{"CON", "con", "d/NUL.txt", "aux.c", "com1", "LPT9.x.y", "COM\u00b2", "nul ", "ends.", "ends ", "a:b", "a\\b", "q?", "st*r", "<x>", "pi|pe", "\"q\"", "tab\tx", "prn/x", "dir./x"}
	good := []string{"console", "com", "com10", "nulls/x", "auxiliary.c", ".hidden", "a.b.c", "\u65e5\u672c"}
	if got := bring(t, manner{folds: true, windows: true}, t.TempDir(), append(slices.Clone(bad), good...)...); !slices.Equal(got, slices.Sorted(slices.Values(bad))) {
		t.Errorf("refused %q\n   want %q", got, slices.Sorted(slices.Values(bad)))
	}
	if got := bring(t, manner{}, t.TempDir(), append(slices.Clone(bad), good...)...); len(got) > 0 {
		t.Errorf("elsewhere they are names like others: refused %q", got)
	}
}

func TestFold(t *testing.T) {
	for _, same := range [][]string{
		{"readme", "README", "ReadMe"}, {"\u00c4rger", "\u00e4rger", "A\u0308rger", "a\u0308rger"}, {"\u03a3", "\u03c3", "\u03c2"}, {"stra\u00dfe", "strasse", "STRASSE", "stra\u1e9ee"},
		{"\u212b", "\u00c5", "a\u030a"}, {"a\u200db", "ab", "a\ufe0fb", "\ufeffab"}, {"x", "x.", "x. .", "x "}, {"\u1100\u1161", "\uac00"},
	} {
		for _, s := range same[1:] {
			if fold(s) != fold(same[0]) {
				t.Errorf("%q and %q are told apart: %q, %q", same[0], s, fold(same[0]), fold(s))
			}
		}
	}
	for _, apart := range [][2]string{{"a", "b"}, {"a b", "ab"}, {"a.b", "ab"}, {"\xff", "\xfe"}, {"\u00e9", "e"}, {".a", "a"}, {"I", "\u0131"}} {
		if fold(apart[0]) == fold(apart[1]) {
			t.Errorf("%q and %q are taken for one", apart[0], apart[1])
		}
	}
}

// A link is only ever made to what this restore put there, or found right: never to an older file under the first name.
func TestNoLinkToWhatWasNotRestored(t *testing.T) {
	r := restoretest.New(t)
	file := func(key string, body []byte, chunks ...format.Chunk) *format.Entry {
		e := restoretest.Object(key, body, chunks...)
		e.SHA256 = chunks[0].Sum
		e.Kind, e.File = format.KindFile, &format.File{Mode: 0o600, Links: 2, Inode: 7, Device: 1, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
		return e
	}
	good := r.Pack([]byte("right"))
	bad := slices.Clone(good)
	bad[0].Sum[0] ^= 1
	for _, c := range []struct {
		name   string
		chunks []format.Chunk
		failed int64
		second string
	}{{"damaged", bad, 2, "older two"}, {"whole", good, 0, "right"}} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			must(t, os.WriteFile(filepath.Join(root, "one"), []byte("older one"), 0o600), os.WriteFile(filepath.Join(root, "two"), []byte("older two"), 0o600))
			target, err := New(Options{Root: root})
			must(t, err)
			commit := r.Point(64, file("one", []byte("right"), c.chunks...), file("two", []byte("right"), c.chunks...))
			res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: commit, Target: target, Overwrite: restore.Always})
			must(t, err)
			b, err := os.ReadFile(filepath.Join(root, "two"))
			must(t, err)
			if res.Failed != c.failed || string(b) != c.second {
				t.Errorf("%+v; the second name has %q", res, b)
			}
		})
	}
}
