package restore_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
)

// TestKeysAlone: of a list of keys exactly these come back, all of their versions, wherever pages are cut.
func TestKeysAlone(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{AllVersions: true})
	const many = 1500
	key := func(i int) string { return fmt.Sprintf("k%05d", i) }
	for i := range many {
		src.Put(key(i), []byte("old "+key(i)))
		if i%4 == 0 {
			src.Put(key(i), []byte("new "+key(i)))
		}
	}
	for i := range 60 { // more versions than a page has lines
		src.Put(key(700), fmt.Appendf(nil, "version %d of %s", i, key(700)))
	}
	c := r.Backup(src)
	all := &memory{versions: true}
	run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: all})
	lists := [][]string{{key(0)}, {key(many - 1)}, {key(699), key(700), key(701)}, {key(0), key(700), key(many - 1), "nothing"}, {"a", "z"}, {key(700) + "x"}}
	for i := 0; i < many; i += 50 {
		lists = append(lists, []string{key(i)})
	}
	var some []string
	for i := range many {
		if i%37 == 5 {
			some = append(some, key(i))
		}
	}
	lists = append(lists, some)
	for _, keys := range lists {
		slices.Sort(keys)
		want := map[string][]byte{}
		for _, k := range keys {
			if body, ok := all.got[k]; ok {
				want[k] = body
			}
		}
		m := &memory{versions: true}
		res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m, Keys: keys})
		if equal(t, m.got, want); t.Failed() || res.Failed > 0 {
			t.Fatalf("of %q: %+v", keys, res)
		}
	}
}

// TestKeysAroundWhatIsLost: a page that is lost fails what was asked for of it, and nothing else.
func TestKeysAroundWhatIsLost(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	const many = 300
	key := func(i int) string { return fmt.Sprintf("k%05d", i) }
	for i := range many {
		src.Put(key(i), []byte(key(i)))
	}
	c := r.Backup(src)
	for _, name := range r.Names("meta/") {
		lose(t, r, name)
	}
	for _, keys := range [][]string{{key(5)}, {key(5), key(200), key(299)}} {
		res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: &memory{}, Keys: keys})
		if res.Failed != int64(len(keys)) || res.Entries != 0 {
			t.Errorf("of %q: %+v", keys, res)
		}
	}
}
