package backup_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// body makes content: repeatable, half of it compressible.
func body(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // it does not fail
	if seed%2 == 1 {
		for i := 64; i < n; i += copy(b[i:], b[:64]) {
		}
	}
	return b
}

func TestRunsFollowTheSource(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := map[string][]byte{}
	put := func(key string, b []byte) { src.Put(key, b); want[key] = b }
	for i := range 3000 {
		put(fmt.Sprintf("dir%02d/file%05d", i%17, i), body(uint64(i), 10+i%3000))
	}
	put("empty", nil)
	put("middle", body(2, 700_000))
	put("large", body(4, 9<<20))
	put("zeros", make([]byte, 12<<20))
	r.clock = r.clock.Add(time.Hour)

	first := r.run()
	if first.Status != format.StatusComplete || first.Added != int64(len(want)) {
		t.Fatalf("%+v", first)
	}
	equal(t, r.contents(0, first.Point), want)
	was := maps.Clone(want)

	r.clock = r.clock.Add(24 * time.Hour)
	second := r.run()
	if second.BytesRead != 0 || second.Added+second.Changed+second.Deleted != 0 {
		t.Fatalf("unchanged run: %+v", second)
	}
	if n := second.Vaults[0].Objects; n >= 10 {
		t.Errorf("unchanged run stored %d objects", n)
	}
	equal(t, r.contents(0, second.Point), want)

	for i := 0; i < 3000; i += 61 {
		put(fmt.Sprintf("dir%02d/file%05d", i%17, i), body(uint64(i+100_000), 500))
	}
	for i := range 50 {
		put(fmt.Sprintf("dir99/new%d", i), body(uint64(i+200_000), 1500))
	}
	for i := 7; i < 3000; i += 200 {
		key := fmt.Sprintf("dir%02d/file%05d", i%17, i)
		src.Delete(key)
		delete(want, key)
	}
	r.clock = r.clock.Add(24 * time.Hour)
	third := r.run()
	if third.Added != 50 || third.Changed != 50 || third.Deleted != 15 {
		t.Fatalf("third run: %+v", third)
	}
	equal(t, r.contents(0, third.Point), want)
	equal(t, r.contents(0, first.Point), was)
	equal(t, r.contents(0, second.Point), was)
}
