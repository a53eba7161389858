package part

import (
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestAfter(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "b", "a\xff": "b", "\xff\xff": "", "a/": "a0"} {
		if got := after(in); got != want {
			t.Errorf("after %q: %q, want %q", in, got, want)
		}
	}
}

func TestTake(t *testing.T) {
	const object, dir = format.KindObject, format.KindDir
	for _, c := range []struct {
		part Part
		key  string
		kind format.Kind
		want string // "": not in it
	}{
		{Part{}, "a/b", object, "a/b"},
		{Part{}, "./", dir, "./"},
		{Folder(""), "a", object, "a"},
		{Folder("a"), "a/b", object, "b"},
		{Folder("a/"), "a/b/c", object, "b/c"},
		{Folder("a"), "a/", dir, "./"},
		{Folder("a"), "a/", object, ""}, // stands for the folder
		{Folder("a"), "a/b/", object, "b/"},
		{Folder("a"), "ab", object, ""},
		{Folder("a"), "ab/c", object, ""},
		{Folder("a"), "a", object, ""},
		{Folder("a"), "a-b", object, ""},
		{Folder("a"), "a//b", object, "/b"},
		{Folder("\xff"), "\xff/x", object, "x"},
		{Entry("a/b"), "a/b", object, "b"},
		{Entry("b"), "b", object, "b"},
		{Entry("a/b"), "a/b/c", object, ""},
		{Entry("a/b"), "a/bc", object, ""},
	} {
		e := &format.Entry{Key: c.key, Kind: c.kind}
		switch ok := c.part.Take(e); {
		case !ok && c.want != "":
			t.Errorf("%q leaves out %q", c.part, c.key)
		case ok && e.Key != c.want:
			t.Errorf("%q: %q is %q, want %q", c.part, c.key, e.Key, c.want)
		}
		if c.want == "" || c.want == Root {
			continue
		}
		if got := c.part.Full(c.want); got != c.key {
			t.Errorf("%q: %q in full is %q, want %q", c.part, c.want, got, c.key)
		}
		for n := range len(c.want) + 1 { // every beginning finds it
			from, end := c.part.Range(c.want[:n])
			if c.key < from || end != "" && c.key >= end {
				t.Errorf("%q: %q is not from %q to %q, which is %q", c.part, c.key, from, end, c.want[:n])
			}
		}
	}
	if from, _ := Folder("a").Range("./"); from != "a/" {
		t.Errorf("the folder's own entry is passed by: from %q", from)
	}
	if got := Entry("a/b").Full("x"); got == "a/b" {
		t.Errorf("%q is in a part that does not have it", got)
	}
}
