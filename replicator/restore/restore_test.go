package restore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	g := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = g.Read(b)
	return b
}

// memory is a target that keeps what it is given.
type memory struct {
	ordered, versions, discard bool
	there                      map[string]bool
	onRestore                  func(key string) error

	mu    sync.Mutex
	got   map[string][]byte
	order []string
	busy  int
	most  int
	ended []string
}

func (m *memory) Begin(context.Context, restore.Job) error { return nil }
func (m *memory) Finish(context.Context) error             { m.ended = append(m.ended, "finish"); return nil }
func (m *memory) Close() error                             { m.ended = append(m.ended, "close"); return nil }
func (m *memory) KeepsVersions() bool                      { return m.versions }
func (m *memory) InOrder() bool                            { return m.ordered }
func (m *memory) Notes() []string                          { return nil }

func (m *memory) Accept(_ context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	if m.there[versions[0].Key] {
		return nil, restore.Skip, nil
	}
	return m, restore.Take, nil
}

func (m *memory) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	m.mu.Lock()
	m.busy++
	m.most = max(m.most, m.busy)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.busy--
		m.mu.Unlock()
	}()
	if m.onRestore != nil {
		if err := m.onRestore(e.Key); err != nil {
			return err
		}
	}
	var b []byte
	for p, err := range c.Pieces(ctx) {
		if err != nil {
			return err
		}
		if !m.discard {
			b = append(append(b, p.Data...), make([]byte, p.Hole)...)
		}
	}
	if w, ok := c.Whole(); ok && !bytes.Equal(w, b) {
		return errors.New("whole and pieces differ")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.got == nil {
		m.got = map[string][]byte{}
	}
	if e.Kind == format.KindMarker {
		b = []byte("MARKER")
	}
	m.got[e.Key] = append(m.got[e.Key], b...)
	m.order = append(m.order, e.Key)
	return nil
}

func run(t *testing.T, o restore.Options) restore.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := restore.Run(ctx, o)
	if err != nil {
		t.Fatalf("%+v: %v", res, err)
	}
	return res
}

func equal(t *testing.T, got, want map[string][]byte) {
	t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok || !bytes.Equal(g, v) {
			t.Errorf("%q: %d bytes (%v), want %d", k, len(g), ok, len(v))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}

// mixed fills a source with objects of all sizes.
func mixed(src *memsource.Source) map[string][]byte {
	want := map[string][]byte{}
	sizes := []int{0, 1, 100, 3000, 70_000, 1 << 20, 3 << 20, 5 << 20, 9 << 20}
	for i := range 350 {
		n := sizes[i%5]
		switch {
		case i%40 == 39:
			n = sizes[5+i/40%4]
		case i%7 == 3:
			n = 3000 // equal content
		}
		b := random(uint64(n), n)
		if i%2 == 0 && n > 100 {
			b = bytes.Repeat([]byte("abcdefgh"), n/8+1)[:n]
		}
		k := fmt.Sprintf("%02x/%d", i%13, i)
		want[k] = b
		src.Put(k, b)
	}
	return want
}

func TestEverythingComesBack(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	want := mixed(src)
	c := r.Backup(src)
	for _, ordered := range []bool{false, true} {
		for _, conc := range []int{1, 16} {
			m := &memory{ordered: ordered}
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m, Memory: 64 << 20, Concurrency: conc})
			if res.Failed != 0 || res.Entries != c.Entries || res.Bytes != c.Bytes {
				t.Errorf("%+v", res)
			}
			equal(t, m.got, want)
			if ordered && (m.most > 1 || !slices.IsSorted(m.order)) {
				t.Errorf("%d at once; sorted: %v", m.most, slices.IsSorted(m.order))
			}
			if !slices.Equal(m.ended, []string{"finish", "close"}) {
				t.Errorf("ended %v", m.ended)
			}
		}
	}
}

func TestSomeOfIt(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	want := mixed(src)
	c := r.Backup(src)
	m := &memory{there: map[string]bool{"05/5": true}}
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m, Include: []string{"05/**", "0[67]/*1"}, Exclude: []string{"**/*8"}})
	maps.DeleteFunc(want, func(k string, _ []byte) bool {
		in := strings.HasPrefix(k, "05/") || (strings.HasPrefix(k, "06/") || strings.HasPrefix(k, "07/")) && strings.HasSuffix(k, "1")
		return !in || strings.HasSuffix(k, "8") || k == "05/5"
	})
	equal(t, m.got, want)
	if res.Skipped != 1 || res.Entries != int64(len(want)) {
		t.Errorf("%+v", res)
	}
	m = &memory{}
	res = run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m, DryRun: true})
	if res.Entries != c.Entries || res.Bytes != c.Bytes || len(m.got) != 0 || !slices.Equal(m.ended, []string{"close"}) {
		t.Errorf("dry run: %+v, %d restored, %v", res, len(m.got), m.ended)
	}
}

func TestVersionsInOrder(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{AllVersions: true})
	want, current := map[string][]byte{}, map[string][]byte{}
	for i := range 12 {
		for _, k := range []string{"a", "b", "c"} {
			n := []int{10, 5 << 20, 3000}[i%3]
			b := random(uint64(i), n)
			src.Put(k, b)
			want[k], current[k] = append(want[k], b...), b
		}
	}
	src.Delete("b")
	want["b"] = append(want["b"], "MARKER"...)
	delete(current, "b")
	c := r.Backup(src)
	for _, conc := range []int{2, 16} {
		m := &memory{versions: true}
		run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m, Memory: 64 << 20, Concurrency: conc})
		equal(t, m.got, want)
	}
	m := &memory{}
	run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m})
	equal(t, m.got, current)
}

// A stolen writer's key can put anything on top; the right bytes are still found, and it is told.
func TestCoveredObjectsAreFound(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	want := mixed(src)
	c := r.Backup(src)
	packs := r.Names("packs/")
	names := append(packs[:len(packs):len(packs)], r.Names("meta/")...)
	for i, n := range names {
		switch i % 3 {
		case 0:
			r.Cover(n, random(1, 100_000))
		case 1:
			r.Cover(n, nil)
		case 2: // well formed, and another's
			var b bytes.Buffer
			body, err := r.Store.Open(t.Context(), store.Ref{Name: names[0]}, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(&b, body); err != nil {
				t.Fatal(err)
			}
			_ = body.Close()
			r.Cover(n, b.Bytes())
		}
	}
	m := &memory{}
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m})
	if res.Failed != 0 {
		t.Errorf("%+v", res)
	}
	equal(t, m.got, want)
	told := map[string]bool{}
	for _, f := range r.Findings() {
		if f.Kind == repo.Tampered {
			told[f.Name] = true
		}
	}
	for _, n := range append(packs, c.Manifest.Object) {
		if !told[n] {
			t.Errorf("nothing was said of %s", n)
		}
	}
}

// broken answers wrongly for some objects.
type broken struct {
	store.Reader
	open func(name string) error
	flip func(name string) bool

	whole *atomic.Int64 // how often an object was read from one end to the other
}

func (b broken) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if b.whole != nil && off == 0 && n < 0 {
		b.whole.Add(1)
	}
	if b.open != nil {
		if err := b.open(ref.Name); err != nil {
			return nil, err
		}
	}
	rc, err := b.Reader.Open(ctx, ref, off, n)
	if err == nil && b.flip != nil && b.flip(ref.Name) {
		all, err := io.ReadAll(rc)
		if len(all) > 0 {
			all[len(all)/2] ^= 1
		}
		return io.NopCloser(bytes.NewReader(all)), err
	}
	return rc, err
}

func TestOneLostPackFailsWhatWasInIt(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	for i := range 60 {
		src.Put(fmt.Sprintf("%03d", i), random(uint64(i), 900<<10))
	}
	want := r.Backup(src)
	packs := r.Names("packs/")
	if len(packs) < 2 {
		t.Fatalf("%d packs", len(packs))
	}
	m := &memory{}
	var heard int
	var whole atomic.Int64
	res := run(t, restore.Options{
		Reader: r.Reader(broken{Reader: r.Store, flip: func(n string) bool { return n == packs[0] }, whole: &whole}), Commit: want, Target: m,
		Failed: func(f restore.Failure) {
			heard++
			if !errors.Is(f, repo.ErrDamaged) || !strings.Contains(f.Error(), packs[0]) {
				t.Errorf("%v", f)
			}
		},
	})
	if res.Failed == 0 || res.Entries == 0 || res.Failed+res.Entries != 60 || heard != int(res.Failed) || len(m.got) != int(res.Entries) {
		t.Errorf("%+v", res)
	}
	if n := whole.Load(); n > 2 { // the pack, and perhaps an object of few bytes
		t.Errorf("%d objects read whole for %d entries", n, res.Failed)
	}
}

// Of a vault that cannot be reached nothing is said of its objects: the restore ends, and does not report each entry as damaged. So it is
// where connections break in the middle of a body, and where the bucket has gone.
func TestAVaultOutOfReachEndsTheRun(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	for i := range 1000 {
		src.Put(fmt.Sprintf("%04d", i), random(uint64(i), 10))
	}
	c := r.Backup(src)
	for _, off := range []*store.Error{
		{Op: "open", Kind: store.ErrTransient},
		{Op: "open", Kind: store.ErrTransient, Err: io.ErrUnexpectedEOF},
		{Op: "open", Kind: store.ErrNoBucket, Code: "NoSuchBucket"},
	} {
		res, err := restore.Run(t.Context(), restore.Options{
			Reader: r.Reader(broken{Reader: r.Store, open: func(n string) error {
				if strings.HasPrefix(n, "packs/") {
					return off
				}
				return nil
			}}), Commit: c, Target: &memory{},
		})
		if !errors.Is(err, restore.ErrStop) || !errors.Is(err, off.Kind) || errors.Is(err, repo.ErrDamaged) {
			t.Errorf("error is %v", err)
		}
		if at := res.Failed; off.Kind == store.ErrNoBucket && at > 100 {
			t.Errorf("%d entries were tried", at)
		}
	}
}

// What a stolen host key could sign: each lie fails by name, and nothing else does.
func TestLiesInTheManifest(t *testing.T) {
	r := restoretest.New(t)
	small, other := random(1, 5000), random(2, 3000)
	big := random(3, 12<<20)
	p := r.Pack(append(append([]byte{}, small...), other...), big[:4<<20], big[4<<20:8<<20], big[8<<20:])
	part := func(at, size int64, b []byte) format.Chunk {
		c := p[0]
		c.At, c.Size, c.Sum = at, size, sha256.Sum256(b)
		return c
	}
	good := restoretest.Object("b good", small, part(0, 5000, small))
	page := func(lines ...format.Chunk) format.Extent {
		var b []byte
		for _, c := range lines {
			var err error
			if b, err = c.AppendLine(b); err != nil {
				t.Fatal(err)
			}
		}
		o, f, sum := r.Page(b)
		return format.Extent{Object: o, Frame: f, Sum: sum, Size: 12 << 20}
	}
	bigger := func(key string, x format.Extent) *format.Entry {
		e := restoretest.Object(key, big)
		e.Extents = []format.Extent{x}
		return e
	}
	wrongPage := page(p[1:]...)
	wrongPage.Sum[0] ^= 1
	beyond := p[1]
	beyond.Frame.Offset = 40 << 20
	size := part(0, 5000, small)
	size.Frame.Plain = 7_000_000
	length := part(0, 5000, small)
	length.Frame.Length /= 2
	nowhere := part(0, 5000, small)
	nowhere.Pack = sha256.Sum256([]byte("nowhere"))
	hash := restoretest.Object("e sum of two", append(slices.Clone(small), other...), part(0, 5000, small), part(5000, 3000, other))
	hash.SHA256[0] ^= 1
	whole := restoretest.Object("f whole", big, p[1:]...)
	whole.SHA256[0] ^= 1
	entries := []*format.Entry{
		restoretest.Object("a chunk of another place", small, part(1, 5000, small)),
		good, hash, whole,
		restoretest.Object("g nowhere", small, nowhere),
		restoretest.Object("h beyond the pack", big[:4<<20], beyond),
		restoretest.Object("i frame says more", small, size),
		restoretest.Object("j frame is cut", small, length),
		bigger("k good extents", page(p[1:]...)),
		bigger("l page of another hash", wrongPage),
		bigger("m page holds less", page(p[1:3]...)),
		bigger("n page holds more", page(p[1], p[2], p[3], p[1])),
		bigger("o page in another order", page(p[2], p[1], p[3])),
		restoretest.Object("p good again", other, part(5000, 3000, other)),
	}
	c := r.Point(64, entries...)
	for _, ordered := range []bool{false, true} {
		m := &memory{ordered: ordered}
		res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m})
		equal(t, m.got, map[string][]byte{"b good": small, "k good extents": big, "p good again": other})
		if res.Entries != 3 || res.Failed != int64(len(entries))-3 || len(res.Failures) != len(entries)-3 {
			t.Errorf("%+v", res)
		}
	}
}

func TestPagesOutOfOrderAndDamaged(t *testing.T) {
	r := restoretest.New(t)
	b := []byte("x")
	p := r.Pack(b)
	var entries []*format.Entry
	for _, k := range []string{"a", "d", "b", "c", "e", "f"} {
		entries = append(entries, restoretest.Object(k, b, p...))
	}
	c := r.Point(2, entries...) // a d | b c | e f
	m := &memory{}
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m})
	equal(t, m.got, map[string][]byte{"a": b, "d": b, "e": b, "f": b})
	if res.Failed != 2 {
		t.Errorf("%+v", res)
	}
	// A leaf whose hash is not its reference's: the others are read.
	c = r.Point(2, entries[0], entries[2], entries[4], entries[5])
	meta := c.Manifest.Object
	m = &memory{}
	res = run(t, restore.Options{Reader: r.Reader(broken{Reader: r.Store, flip: func(n string) bool { return n != meta && strings.HasPrefix(n, "meta/") }}), Commit: c, Target: m})
	if res.Failed+res.Entries != 4 || res.Failed == 0 {
		t.Errorf("%+v", res)
	}
}

func TestMissingInThePoint(t *testing.T) {
	r := restoretest.New(t)
	b := []byte("x")
	gone := &format.Entry{Key: "b", Size: 9, Missing: "archived (GLACIER)"}
	c := r.Point(64, restoretest.Object("a", b, r.Pack(b)...), gone)
	m := &memory{}
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m})
	if res.Missing != 1 || res.Failed != 0 || res.Entries != 1 || len(res.Failures) != 1 || !errors.Is(res.Failures[0], restore.ErrNotInPoint) {
		t.Errorf("%+v", res)
	}
}

func TestCancelIsHeardAtOnce(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	mixed(src)
	c := r.Backup(src)
	for _, ordered := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		m := &memory{ordered: ordered}
		var mu sync.Mutex
		m.onRestore = func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n == 60 {
				cancel()
			}
			return nil
		}
		start := time.Now()
		_, err := restore.Run(ctx, restore.Options{Reader: r.Reader(nil), Commit: c, Target: m, Memory: 64 << 20})
		cancel()
		if !errors.Is(err, context.Canceled) || !slices.Equal(m.ended, []string{"close"}) || time.Since(start) > 20*time.Second {
			t.Errorf("%v after %s, ended %v", err, time.Since(start), m.ended)
		}
	}
}

// The whole of a large entry is never in memory.
func TestMemoryIsBounded(t *testing.T) {
	r := restoretest.New(t)
	frame := random(1, 4<<20)
	p := r.Pack(frame, random(2, 4<<20))
	sum := sha256.New()
	var lines []byte
	const n = 64 // 256 MiB
	for range n {
		lines, _ = p[0].AppendLine(lines)
		sum.Write(frame)
	}
	o, f, psum := r.Page(lines)
	e := &format.Entry{Key: "big", Size: n * 4 << 20, SHA256: format.Hash(sum.Sum(nil)), Extents: []format.Extent{{Size: n * 4 << 20, Object: o, Frame: f, Sum: psum}}}
	c := r.Point(64, e)
	var before, most runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapInuse > most.HeapInuse {
				most = m
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: &memory{discard: true}})
	close(stop)
	<-stopped
	if res.Entries != 1 || res.Bytes != e.Size {
		t.Errorf("%+v", res)
	}
	if grown := int64(most.HeapInuse) - int64(before.HeapInuse); grown > 200<<20 {
		t.Errorf("took %d MiB", grown>>20)
	} else {
		t.Logf("took %d MiB", grown>>20)
	}
}
