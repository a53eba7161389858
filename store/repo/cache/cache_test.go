package cache

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t testing.TB, dir string) *Cache {
	t.Helper()
	c, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func stop(t testing.TB, c *Cache) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func hash(n uint64) format.Hash {
	var h format.Hash
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24), 3})
	_, _ = r.Read(h[:]) // it does not fail
	return h
}

func line(n uint64) format.IndexLine {
	return format.IndexLine{
		ID: hash(n), Pack: hash(n / 32), At: int64(n % 1000), Size: int64(1 + n%1000),
		Frame: format.Frame{Offset: int64(n % (30 << 20)), Length: int64(1 + n%5000), Plain: 2000 + int64(n%1000)},
	}
}

func chunk(l format.IndexLine) format.Chunk {
	return format.Chunk{Pack: l.Pack, Frame: l.Frame, At: l.At, Size: l.Size}
}

func placement(name string, n int64) format.Placement {
	p := format.Placement{Name: name, Version: fmt.Sprint("v", n), Size: n, Mode: "compliance"}
	for i := range n % 3 {
		p.Index = append(p.Index, format.Frame{Offset: i * 100, Length: 100, Plain: 1 + n})
	}
	if n%3 != 0 {
		p.Until = format.At(time.Unix(1_800_000_000+n, n*1000%1e9))
	}
	return p
}

// model is what a cache should know.
type model struct {
	chunks     map[format.Hash]format.Chunk
	placements map[string]map[string]format.Placement
	loaded     map[string]map[string]bool
}

func (m *model) check(t *rapid.T, c *Cache) {
	for n := range uint64(50) {
		got, ok, err := c.Chunks.Get(hash(n))
		want, known := m.chunks[hash(n)]
		if err != nil || ok != known || got != want {
			t.Fatalf("chunk %d: %v %v %v, want %v", n, got, ok, err, want)
		}
	}
	for _, vault := range []string{"a", "ab", ""} {
		for n := range 10 {
			name := fmt.Sprint("packs/", n)
			got, ok, err := c.Places.Get(vault, name)
			want, known := m.placements[vault][name]
			if err != nil || ok != known || !got.Equal(want) {
				t.Fatalf("placement %s of %q: %v %v %v, want %v", name, vault, got, ok, err, want)
			}
			loaded, err := c.Segments.Loaded(vault, name)
			if err != nil || loaded != m.loaded[vault][name] {
				t.Fatalf("segment %s of %q: %v %v", name, vault, loaded, err)
			}
		}
		names := slices.Sorted(maps.Keys(m.placements[vault]))
		for p, err := range c.Places.All(vault) {
			if err != nil || len(names) == 0 || !p.Equal(m.placements[vault][names[0]]) {
				t.Fatalf("listing %q gave %v, %v; left are %v", vault, p, err, names)
			}
			names = names[1:]
		}
		if len(names) > 0 {
			t.Fatalf("listing %q left out %v", vault, names)
		}
	}
}

func TestProperty(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(base, fmt.Sprint(runs))
		disk := vfs.NewMem() // quick, and it keeps what was closed properly
		c, err := open(dir, Options{}, disk)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		m := &model{map[format.Hash]format.Chunk{}, map[string]map[string]format.Placement{"a": {}, "ab": {}, "": {}}, map[string]map[string]bool{"a": {}, "ab": {}, "": {}}}
		vaults := rapid.SampledFrom([]string{"a", "ab", ""})
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"index": func(t *rapid.T) {
				var lines []format.IndexLine
				for range rapid.IntRange(0, 10).Draw(t, "lines") {
					l := line(rapid.Uint64Range(0, 1000).Draw(t, "what"))
					l.ID = hash(rapid.Uint64Range(0, 49).Draw(t, "id"))
					lines = append(lines, l)
					m.chunks[l.ID] = chunk(l)
				}
				must(c.Chunks.Put(lines))
			},
			"placements": func(t *rapid.T) {
				vault := vaults.Draw(t, "vault")
				var ps []format.Placement
				for range rapid.IntRange(0, 10).Draw(t, "placements") {
					p := placement(fmt.Sprint("packs/", rapid.IntRange(0, 9).Draw(t, "name")), rapid.Int64Range(0, 1<<40).Draw(t, "n"))
					ps = append(ps, p)
					m.placements[vault][p.Name] = p
				}
				must(c.Places.Put(vault, ps))
			},
			"loaded": func(t *rapid.T) {
				vault, name := vaults.Draw(t, "vault"), fmt.Sprint("packs/", rapid.IntRange(0, 9).Draw(t, "name"))
				must(c.Segments.MarkLoaded(vault, name))
				m.loaded[vault][name] = true
			},
			"reopen": func(t *rapid.T) {
				must(c.Close())
				c, err = open(dir, Options{}, disk)
				must(err)
			},
			"": func(t *rapid.T) { m.check(t, c) },
		})
	})
}

func TestBounds(t *testing.T) {
	c := start(t, t.TempDir())
	good := line(7)
	for name, change := range map[string]func(*format.IndexLine){
		"offset": func(l *format.IndexLine) { l.Frame.Offset = -1 }, "length": func(l *format.IndexLine) { l.Frame.Length = 0 },
		"plain": func(l *format.IndexLine) { l.Frame.Plain = format.MaxFrame + 1 }, "at": func(l *format.IndexLine) { l.At = -1 },
		"size": func(l *format.IndexLine) { l.Size = l.Frame.Plain + 1 }, "at and size": func(l *format.IndexLine) { l.At = l.Frame.Plain },
	} {
		l := good
		change(&l)
		if err := c.Chunks.Put([]format.IndexLine{l}); !errors.Is(err, format.ErrBounds) {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := strings.Repeat("x", 300)
	for name, p := range map[string]format.Placement{
		"size": {Name: "n", Size: -1}, "mode": {Name: "n", Mode: long}, "version": {Name: "n", Version: strings.Repeat("x", 5000)},
		"name": {Name: strings.Repeat("x", format.MaxKey+1)},
	} {
		if err := c.Places.Put("v", []format.Placement{p}); !errors.Is(err, format.ErrBounds) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Places.Put(long, []format.Placement{{Name: "n"}}); !errors.Is(err, format.ErrBounds) {
		t.Errorf("vault: %v", err)
	}
	if err := c.Segments.MarkLoaded(long, "s"); !errors.Is(err, format.ErrBounds) {
		t.Errorf("vault: %v", err)
	}
	if _, err := c.Counter(long); !errors.Is(err, format.ErrBounds) {
		t.Errorf("counter: %v", err)
	}
	// What was refused left nothing behind.
	for p, err := range c.Places.All("v") {
		t.Errorf("%v %v", p, err)
	}
}

func TestClosed(t *testing.T) {
	dir := t.TempDir()
	c := start(t, dir)
	n, err := c.Counter("n")
	if err != nil {
		t.Fatal(err)
	}
	stop(t, c)
	stop(t, c)
	_, _, e1 := c.Chunks.Get(hash(1))
	_, _, e2 := c.Places.Get("v", "n")
	_, e3 := c.Segments.Loaded("v", "n")
	_, e4 := c.Counter("m")
	for i, err := range []error{
		e1, e2, e3, e4, c.Chunks.Put([]format.IndexLine{line(1)}), c.Places.Put("v", nil), c.Segments.MarkLoaded("v", "s"), c.Sync(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
	for _, err := range n.All() {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("counter: %v", err)
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestConcurrent(t *testing.T) {
	c := start(t, t.TempDir())
	n, err := c.Counter("shared")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			for i := range uint64(200) {
				l := line(g*1000 + i)
				err := errors.Join(c.Chunks.Put([]format.IndexLine{l}), n.Add(fmt.Sprint("key", i%10), 1))
				got, ok, err2 := c.Chunks.Get(l.ID)
				if err != nil || err2 != nil || !ok || got != chunk(l) {
					t.Errorf("%v %v %v", err, err2, ok)
				}
			}
		})
	}
	wg.Wait()
	keys := 0
	for i, err := range n.All() {
		keys++
		if err != nil || i.Sum != 160 {
			t.Errorf("%v %v", i, err)
		}
	}
	if keys != 10 {
		t.Errorf("%d keys", keys)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cache")
	start(t, dir)
	for _, p := range []string{dir, filepath.Join(dir, dbDir)} {
		i, err := os.Stat(p)
		if err != nil || i.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", p, i.Mode(), err)
		}
	}
}

func TestDropForgetsWhatIsNamed(t *testing.T) {
	c := start(t, t.TempDir())
	put := []format.Placement{{Name: "meta/aa/1", Size: 1}, {Name: "meta/ab/2", Size: 2}, {Name: "packs/aa/3", Size: 3}}
	for _, vault := range []string{"v", "w"} {
		if err := c.Places.Put(vault, put); err != nil {
			t.Fatal(err)
		}
		if err := c.Segments.MarkLoaded(vault, "meta/aa/1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Places.Drop("v", "meta/aa/1", "never/there"); err != nil {
		t.Fatal(err)
	}
	under := func(vault, prefix string) (out []string) {
		for p, err := range c.Places.Under(vault, prefix) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, p.Name)
		}
		return out
	}
	if got := under("v", "meta/"); !slices.Equal(got, []string{"meta/ab/2"}) {
		t.Errorf("under meta/ %q is left", got)
	}
	if got := under("w", "meta/a"); !slices.Equal(got, []string{"meta/aa/1", "meta/ab/2"}) {
		t.Errorf("the other vault has %q", got)
	}
	for vault, want := range map[string]bool{"v": false, "w": true} {
		if got, err := c.Segments.Loaded(vault, "meta/aa/1"); err != nil || got != want {
			t.Errorf("%s: loaded %t, %v", vault, got, err)
		}
	}
}

func TestDoubtsAreKeptUntilSettled(t *testing.T) {
	dir := t.TempDir()
	name := format.PackName(format.Hash{1})
	if err := Doubt(dir, "v", []string{name, name, "junk"}); err != nil {
		t.Fatal(err)
	}
	if err := Doubt(dir, "../v", nil); err == nil {
		t.Error("a name that leaves the folder was taken")
	}
	c := start(t, dir)
	for range 2 { // not settled: still there
		if names, _, err := c.Notes.Doubts("v"); err != nil || !slices.Equal(names, []string{name}) {
			t.Fatalf("%q, %v", names, err)
		}
	}
	if err := Doubt(dir, "v", []string{format.PackName(format.Hash{2})}); err != nil { // meanwhile
		t.Fatal(err)
	}
	_, settled, err := c.Notes.Doubts("v")
	if err != nil {
		t.Fatal(err)
	}
	if err := settled(); err != nil {
		t.Fatal(err)
	}
	if names, _, err := c.Notes.Doubts("v"); err != nil || !slices.Equal(names, []string{format.PackName(format.Hash{2})}) {
		t.Errorf("%q, %v", names, err)
	}
	if names, settled, err := c.Notes.Doubts("w"); err != nil || names != nil || settled() != nil {
		t.Errorf("%q, %v", names, err)
	}
}
