package image_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/image"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// spy counts what is asked of a reader, and can fail.
type spy struct {
	image.Reader
	mu      sync.Mutex
	calls   int
	frames  []format.Frame
	extents int
	plain   int64
	fail    func(name string, f format.Frame) error
	hold    chan struct{}
}

func (s *spy) Frames(ctx context.Context, name string, frames []format.Frame, visit func(int, []byte) error) error {
	s.mu.Lock()
	s.calls++
	s.frames = append(s.frames, frames...)
	for _, f := range frames {
		s.plain += f.Plain
		if s.fail != nil {
			if err := s.fail(name, f); err != nil {
				s.mu.Unlock()
				return err
			}
		}
	}
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Reader.Frames(ctx, name, frames, visit)
}

func (s *spy) Extent(ctx context.Context, x format.Extent) ([]byte, error) {
	s.mu.Lock()
	s.extents++
	s.mu.Unlock()
	return s.Reader.Extent(ctx, x)
}

func open(t *testing.T, in image.Reader, e *format.Entry) *image.Image {
	t.Helper()
	m, err := image.New(in, e, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// check reads at random and at the edges and compares.
func check(t *testing.T, m *image.Image, want []byte, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	reads := [][2]int{{0, len(want)}, {0, 1}, {len(want) - 1, 1}, {len(want), 0}}
	for range n {
		k := r.IntN(min(len(want), 3<<20))
		reads = append(reads, [2]int{r.IntN(len(want) - k), k})
	}
	for _, x := range reads {
		got := bytes.Repeat([]byte{0xee}, x[1])
		if err := m.ReadAt(t.Context(), got, int64(x[0])); err != nil {
			t.Fatalf("%d bytes at %d: %v", x[1], x[0], err)
		}
		if !bytes.Equal(got, want[x[0]:][:x[1]]) {
			t.Fatalf("%d bytes at %d are wrong", x[1], x[0])
		}
	}
}

// disk is content with data and holes, as the engine stores it.
func disk() []byte {
	b := make([]byte, 40<<20)
	copy(b[1<<20:], noise(1, 9<<20))
	copy(b[30<<20:], noise(2, 3<<20))
	copy(b[39<<20+5:], noise(3, 1000))
	return b
}

func TestBackedUp(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	want := disk()
	src.Put("disk.raw", want)
	src.Put("small.txt", []byte("a few bytes"))
	src.Put("empty", nil)
	commit := r.Backup(src)
	in := r.Reader(nil)
	for e, err := range browse.List(t.Context(), in, commit, "") {
		if err != nil {
			t.Fatal(err)
		}
		s := &spy{Reader: in}
		m := open(t, s, e)
		switch e.Key {
		case "small.txt":
			check(t, m, []byte("a few bytes"), 10)
		case "empty":
			if err := m.ReadAt(t.Context(), nil, 0); err != nil || m.Size() != 0 || s.calls != 0 {
				t.Errorf("%d bytes, %d calls, %v", m.Size(), s.calls, err)
			}
		case "disk.raw":
			check(t, m, want, 60)
			holes(t, m, want)
		}
	}
}

// holes holds Status against the content: what is a hole is zeros, and there are some.
func holes(t *testing.T, m *image.Image, want []byte) {
	t.Helper()
	var hole int64
	for off := int64(0); off < m.Size(); {
		spans, err := m.Status(t.Context(), off, m.Size()-off, 3)
		if err != nil || len(spans) == 0 {
			t.Fatalf("status at %d: %v, %v", off, spans, err)
		}
		for i, s := range spans {
			if i > 0 && s.Hole == spans[i-1].Hole {
				t.Errorf("two spans of a kind at %d", off)
			}
			if s.Hole {
				hole += s.Len
				if len(bytes.Trim(want[off:][:s.Len], "\x00")) > 0 {
					t.Errorf("data in the hole at %d", off)
				}
			}
			off += s.Len
		}
	}
	if hole < 12<<20 {
		t.Errorf("%d bytes of holes", hole)
	}
}

// Reading costs what is asked for: no chunk twice, none that is not needed, and neighbours together.
func TestOnlyWhatIsAskedFor(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	want := disk()
	src.Put("disk.raw", want)
	commit := r.Backup(src)
	in := r.Reader(nil)
	for e, err := range browse.List(t.Context(), in, commit, "disk") {
		if err != nil {
			t.Fatal(err)
		}
		s := &spy{Reader: in}
		m := open(t, s, e)
		buf := make([]byte, 4096)
		if err := m.ReadAt(t.Context(), buf, 20<<20); err != nil || s.calls != 0 {
			t.Errorf("a hole: %d calls, %v", s.calls, err)
		}
		if err := m.ReadAt(t.Context(), buf, 2<<20); err != nil || len(s.frames) != 1 {
			t.Errorf("one block: %d frames, %v", len(s.frames), err)
		}
		for range 3 {
			if err := m.ReadAt(t.Context(), buf, 2<<20+100); err != nil || len(s.frames) != 1 {
				t.Errorf("again: %d frames, %v", len(s.frames), err)
			}
		}
		s.frames, s.calls = nil, 0
		if err := m.ReadAt(t.Context(), make([]byte, 6<<20), 3<<20); err != nil || s.calls > 2 || len(s.frames) < 4 {
			t.Errorf("6 MiB: %d calls for %d frames, %v", s.calls, len(s.frames), err)
		}
		seen := map[format.Frame]bool{}
		for _, f := range s.frames {
			if seen[f] {
				t.Errorf("frame %v twice", f)
			}
			seen[f] = true
		}
	}
}

// Those who want the same chunk at once share one fetch, and one who goes away does not take it from the others.
func TestShared(t *testing.T) {
	r := restoretest.New(t)
	body := noise(4, 500<<10)
	chunks := r.Pack(body)
	s := &spy{Reader: r.Reader(nil), hold: make(chan struct{})}
	m := open(t, s, restoretest.Object("k", body, chunks...))
	first, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.ReadAt(first, make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("the one who went away: %v", err)
		}
	})
	for s.count() == 0 {
		cancelSoon(t)
	}
	for i := range 20 {
		wg.Go(func() {
			got := make([]byte, 1000)
			if err := m.ReadAt(t.Context(), got, int64(i)*1000); err != nil || !bytes.Equal(got, body[i*1000:][:1000]) {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	cancel()
	for s.count() < 2 {
		cancelSoon(t)
	}
	close(s.hold)
	wg.Wait()
	if s.calls > 4 { // two, unless some came while none was fetching
		t.Errorf("%d fetches", s.calls)
	}
}

func (s *spy) count() int { s.mu.Lock(); defer s.mu.Unlock(); return s.calls }

func cancelSoon(t *testing.T) {
	t.Helper()
	if t.Context().Err() != nil {
		t.Fatal("the test is over")
	}
}

// crafted is an entry in extents: chunks of 64 KiB, of which four share a frame, and holes.
func crafted(t *testing.T, r *restoretest.Repo, inner bool) (*format.Entry, []byte) {
	t.Helper()
	const block = 512 << 10
	var want []byte
	e := &format.Entry{Kind: format.KindImage, Key: "vol-1", Size: 3 << 30, SHA256: sha256.Sum256([]byte("any"))}
	var frames [][]byte
	for i := range 6 {
		frames = append(frames, noise(byte(10+i), 2*block))
	}
	packed := r.Pack(frames...)
	var pages []byte
	for i := range int64(3) {
		x := format.Extent{From: i << 30, Size: 1 << 30}
		if i == 1 {
			x.Hole = true
			e.Extents = append(e.Extents, x)
			continue
		}
		var page []byte
		add := func(c format.Chunk) {
			var err error
			if page, err = c.AppendLine(page); err != nil {
				t.Fatal(err)
			}
		}
		add(format.Chunk{Hole: true, Size: 4 * block})
		for k := range 3 {
			c := packed[3*int(i/2)+k]
			plain := frames[3*int(i/2)+k]
			for _, at := range []int64{0, block} {
				part := c
				part.At, part.Size, part.Sum = at, block, sha256.Sum256(plain[at:][:block])
				add(part)
			}
		}
		add(format.Chunk{Hole: true, Size: 1<<30 - 10*block})
		x.Object, x.Frame, x.Sum = r.Page(page)
		x.Content = sha256.Sum256(page)
		e.Extents = append(e.Extents, x)
	}
	want = append(want, bytes.Join(frames[3:], nil)...)
	if inner {
		for _, x := range e.Extents {
			var err error
			if pages, err = x.AppendLine(pages); err != nil {
				t.Fatal(err)
			}
		}
		top := format.Extent{Level: 1, Size: e.Size}
		top.Object, top.Frame, top.Sum = r.Page(pages)
		e.Extents = []format.Extent{top}
	}
	if _, err := e.AppendLine(nil); err != nil {
		t.Fatal(err)
	}
	return e, want
}

func TestExtents(t *testing.T) {
	for _, inner := range []bool{false, true} {
		r := restoretest.New(t)
		e, want := crafted(t, r, inner)
		s := &spy{Reader: r.Reader(nil)}
		m := open(t, s, e)
		got := make([]byte, len(want)+2)
		if err := m.ReadAt(t.Context(), got, 2<<30+2<<20-1); err != nil {
			t.Fatal(err)
		}
		if got[0] != 0 || got[len(got)-1] != 0 || !bytes.Equal(got[1:len(got)-1], want) {
			t.Error("wrong bytes")
		}
		if pages := 1; inner && s.extents != pages+1 || !inner && s.extents != pages {
			t.Errorf("%d pages read", s.extents)
		}
		if s.calls != 1 || len(s.frames) != 6 {
			t.Errorf("%d calls for %d frames", s.calls, len(s.frames))
		}
		// Half a frame brings the other half along.
		s.calls = 0
		small := make([]byte, 10)
		for _, off := range []int64{2 << 20, 2<<20 + 512<<10} {
			if err := m.ReadAt(t.Context(), small, off); err != nil {
				t.Fatal(err)
			}
		}
		if s.calls != 1 {
			t.Errorf("%d calls", s.calls)
		}
		s.calls = 0
		other := open(t, s, e)
		for _, off := range []int64{1536 << 10, 1024 << 10} { // the second half first
			if err := other.ReadAt(t.Context(), small, 2<<30+2<<20+off); err != nil || !bytes.Equal(small, want[off:][:10]) {
				t.Fatal(err)
			}
		}
		if s.calls != 1 {
			t.Errorf("%d calls, the second half first", s.calls)
		}
		spans, err := m.Status(t.Context(), 0, e.Size, 100)
		if err != nil || len(spans) != 5 || spans[2].Len != 2<<30-5<<20+2<<20 || !spans[2].Hole {
			t.Errorf("%+v, %v", spans, err)
		}
	}
}

// What could not be read of an image is an error to whoever asks for it, and no hole; its neighbours can be read.
func TestUnread(t *testing.T) {
	r := restoretest.New(t)
	e, want := crafted(t, r, false)
	at := int64(2<<30 + 2<<20) // its data
	e.Unread = []format.Unread{{From: 1 << 20, Size: format.ImageBlock, Reason: "refused"}, {From: at, Size: format.ImageBlock, Reason: "refused"}}
	m := open(t, r.Reader(nil), e)
	got := make([]byte, 100)
	for _, off := range []int64{1 << 20, 1<<20 - 99, 1<<20 + format.ImageBlock - 1, at, at - 1} {
		if err := m.ReadAt(t.Context(), got, off); !errors.Is(err, image.ErrUnread) {
			t.Errorf("at %d: %v", off, err)
		}
	}
	for _, off := range []int64{0, 1<<20 - 100, 1<<20 + format.ImageBlock, at - 100} {
		if err := m.ReadAt(t.Context(), got, off); err != nil || len(bytes.Trim(got, "\x00")) > 0 {
			t.Errorf("at %d: %v", off, err)
		}
	}
	if err := m.ReadAt(t.Context(), got, at+format.ImageBlock); err != nil || !bytes.Equal(got, want[format.ImageBlock:format.ImageBlock+100]) {
		t.Errorf("what was read: %v", err)
	}
	spans, err := m.Status(t.Context(), 0, 2<<20, 10)
	holes := []image.Span{{Len: 1 << 20, Hole: true}, {Len: format.ImageBlock}, {Len: 1<<20 - format.ImageBlock, Hole: true}}
	if err != nil || !slices.Equal(spans, holes) {
		t.Errorf("%+v, %v: what could not be read is no hole", spans, err)
	}
}

func TestOutside(t *testing.T) {
	r := restoretest.New(t)
	body := []byte("content")
	m := open(t, r.Reader(nil), restoretest.Object("k", body, r.Pack(body)...))
	for _, x := range []struct{ off, n int64 }{{-1, 1}, {0, 8}, {7, 1}, {1 << 62, 1}} {
		if err := m.ReadAt(t.Context(), make([]byte, x.n), x.off); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%+v: %v", x, err)
		}
		if _, err := m.Status(t.Context(), x.off, x.n, 1); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("status %+v: %v", x, err)
		}
	}
	for _, e := range []*format.Entry{{Kind: format.KindDir, Key: "d/"}, {Key: "gone", Size: 5, Missing: "archived"}, {Kind: format.KindMarker, Key: "m"}} {
		if _, err := image.New(r.Reader(nil), e, image.Options{}); !errors.Is(err, image.ErrNoContent) {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

// What is damaged fails alone, by name, and every time; the rest can be read. Under a cover of other bytes the right version is
// found.
func TestDamage(t *testing.T) {
	r := restoretest.New(t)
	a, b := noise(5, 600<<10), noise(6, 600<<10)
	chunks := r.Pack(a, b)
	wrong := chunks[1]
	wrong.Sum[0] ^= 1
	m := open(t, r.Reader(nil), restoretest.Object("k", append(bytes.Clone(a), b...), chunks[0], wrong))
	for range 2 {
		err := m.ReadAt(t.Context(), make([]byte, 1200<<10), 0)
		if !errors.Is(err, repo.ErrDamaged) {
			t.Errorf("damage gave %v", err)
		}
		got := make([]byte, len(a))
		if err := m.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, a) {
			t.Errorf("the part that is whole: %v", err)
		}
	}
	other := restoretest.New(t)
	chunks = other.Pack(a, b)
	name := format.PackName(chunks[0].Pack)
	cover := other.Bytes(name)
	cover[len(cover)-100] ^= 1
	cover[500] ^= 1
	other.Cover(name, cover)
	check(t, open(t, other.Reader(nil), restoretest.Object("k", append(bytes.Clone(a), b...), chunks...)), append(bytes.Clone(a), b...), 5)
	if len(other.Findings()) == 0 {
		t.Error("nobody was told of the cover")
	}
}
