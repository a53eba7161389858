package restore_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/part"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
)

// A part of a point is restored as if it were all of it: keys and globs count from there.
func TestAPart(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{AllVersions: true})
	for _, key := range []string{"a", "a-b", "a/", "a/1", "a/2/x", "a/2/y", "a0", "ab/1", "b"} {
		src.Put(key, []byte("old "+key))
		src.Put(key, []byte("new "+key))
	}
	src.Delete("a/2/y")
	for i := range 500 { // pages before and behind
		src.Put(fmt.Sprintf("A/%03d", i), nil)
		src.Put(fmt.Sprintf("z/%03d", i), nil)
	}
	c := r.Backup(src)
	both := func(key, more string) []byte { return []byte("old " + key + "new " + key + more) }
	for _, x := range []struct {
		o        restore.Options
		versions bool
		want     map[string][]byte
	}{
		{restore.Options{Part: part.Folder("a")}, false, map[string][]byte{"1": []byte("new a/1"), "2/x": []byte("new a/2/x")}},
		{restore.Options{Part: part.Folder("a/")}, true, map[string][]byte{"1": both("a/1", ""), "2/x": both("a/2/x", ""), "2/y": both("a/2/y", "MARKER")}},
		{restore.Options{Part: part.Folder("a/2"), Include: []string{"x"}}, true, map[string][]byte{"x": both("a/2/x", "")}},
		{restore.Options{Part: part.Folder("a"), Include: []string{"2/*", "1"}, Exclude: []string{"**/x"}}, false, map[string][]byte{"1": []byte("new a/1")}},
		{restore.Options{Part: part.Folder("a"), Include: []string{"a/1"}}, false, nil},
		{restore.Options{Part: part.Entry("a")}, true, map[string][]byte{"a": both("a", "")}},
		{restore.Options{Part: part.Entry("a/2/x")}, false, map[string][]byte{"x": []byte("new a/2/x")}},
		{restore.Options{Part: part.Entry("a/2/x"), Include: []string{"x"}}, false, map[string][]byte{"x": []byte("new a/2/x")}},
	} {
		m := &memory{versions: x.versions}
		x.o.Reader, x.o.Commit, x.o.Target = r.Reader(nil), c, m
		run(t, x.o)
		if equal(t, m.got, x.want); t.Failed() {
			t.Fatalf("of %q, include %q: %q", x.o.Part, x.o.Include, m.got)
		}
	}
}
