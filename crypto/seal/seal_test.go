package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
)

const chunk = 64 << 10

// plain is the content of all test files: byte i is (i*i + i/251) mod 256.
func plain(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i + i/251)
	}
	return b
}

func vectorKey(t testing.TB, class string) keys.Identity {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "keys", "testdata", class+".key"))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := keys.ParseIdentities(text)
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

func generate(t testing.TB, c keys.Class) keys.Identity {
	t.Helper()
	id, err := keys.GenerateIdentity(c)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func sealed(t testing.TB, content []byte, to ...keys.Recipient) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := seal.Seal(&b, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openStream(src io.Reader, ids ...keys.Identity) ([]byte, error) {
	r, err := seal.Open(src, ids...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func openAt(src io.ReaderAt, size int64, ids ...keys.Identity) ([]byte, error) {
	ra, n, err := seal.OpenAt(src, size, ids...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(ra, 0, n))
}

func TestRoundTrip(t *testing.T) {
	for _, class := range []keys.Class{keys.Hybrid, keys.X25519} {
		a, b := generate(t, class), generate(t, class)
		header, err := seal.HeaderSize(a.Recipient(), b.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2*chunk + 77, 20*chunk + 5} {
			content := plain(n)
			file := sealed(t, content, a.Recipient(), b.Recipient())
			if want := seal.SealedSize(int64(n), header); int64(len(file)) != want {
				t.Errorf("%s %d: %d bytes sealed, SealedSize says %d", class, n, len(file), want)
			}
			for name, id := range map[string]keys.Identity{"first": a, "second": b} {
				if got, err := openStream(bytes.NewReader(file), id); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s %d, stream, %s key: %d bytes, %v", class, n, name, len(got), err)
				}
				if got, err := openAt(bytes.NewReader(file), int64(len(file)), id); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s %d, at random, %s key: %d bytes, %v", class, n, name, len(got), err)
				}
			}
			// A key that does not fit before one that does.
			if got, err := openStream(iotest.OneByteReader(bytes.NewReader(file)), generate(t, class), b); n < 2*chunk && (err != nil || !bytes.Equal(got, content)) {
				t.Errorf("%s %d, byte by byte: %d bytes, %v", class, n, len(got), err)
			}
		}
	}
}

func TestSealRefuses(t *testing.T) {
	h, c := generate(t, keys.Hybrid).Recipient(), generate(t, keys.X25519).Recipient()
	for name, x := range map[string]struct {
		to   []keys.Recipient
		want error
	}{
		"nobody": {nil, keys.ErrNoRecipients},
		"empty":  {[]keys.Recipient{{}}, keys.ErrNoRecipients},
		"mixed":  {[]keys.Recipient{h, c}, keys.ErrMixedClasses},
	} {
		if _, err := seal.Seal(io.Discard, x.to...); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	full := errors.New("full")
	if _, err := seal.Seal(failingWriter{full}, c); !errors.Is(err, full) {
		t.Errorf("a failing writer gave %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestNoKey(t *testing.T) {
	h, c := generate(t, keys.Hybrid), generate(t, keys.X25519)
	for _, x := range []struct {
		to    keys.Identity
		with  []keys.Identity
		class bool // the message speaks of the class
	}{
		{h, []keys.Identity{generate(t, keys.Hybrid)}, false},
		{c, []keys.Identity{generate(t, keys.X25519)}, false},
		{h, []keys.Identity{c}, true},
		{c, []keys.Identity{h}, true},
		{h, nil, false},
		{h, []keys.Identity{{}}, false},
	} {
		file := sealed(t, plain(10), x.to.Recipient())
		_, err1 := seal.Open(bytes.NewReader(file), x.with...)
		_, _, err2 := seal.OpenAt(bytes.NewReader(file), int64(len(file)), x.with...)
		for _, err := range []error{err1, err2} {
			if !errors.Is(err, seal.ErrNoKey) || errors.Is(err, seal.ErrDamaged) {
				t.Errorf("%v with %v: %v", x.to, x.with, err)
			}
			if err != nil && strings.Contains(err.Error(), "class") != x.class {
				t.Errorf("%v with %v: %v", x.to, x.with, err)
			}
		}
	}
}

// TestVectors opens files that the age program made (age 1.3.2).
func TestVectors(t *testing.T) {
	for class, sizes := range map[string][]int{"hybrid": {0, 1, 1000}, "x25519": {0, 1, 1000, chunk, chunk + 1}} {
		id := vectorKey(t, class)
		for _, n := range sizes {
			file, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("%s-%d.age", class, n)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := openStream(bytes.NewReader(file), id); err != nil || !bytes.Equal(got, plain(n)) {
				t.Errorf("%s %d, stream: %d bytes, %v", class, n, len(got), err)
			}
			if got, err := openAt(bytes.NewReader(file), int64(len(file)), id); err != nil || !bytes.Equal(got, plain(n)) {
				t.Errorf("%s %d, at random: %d bytes, %v", class, n, len(got), err)
			}
		}
	}
}

// TestOpenAtEqualsOpen: any range at random is the same bytes as in the stream, by each way of asking.
func TestOpenAtEqualsOpen(t *testing.T) {
	id := vectorKey(t, "x25519")
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(0, 300_000), rapid.SampledFrom([]int{0, 1, chunk, 2 * chunk, 2*chunk + 1, 3*chunk - 1})).Draw(t, "size")
		content := plain(n)
		var b bytes.Buffer
		w, err := seal.Seal(&b, id.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file := b.Bytes()
		stream, err := openStream(bytes.NewReader(file), id)
		if err != nil || !bytes.Equal(stream, content) {
			t.Fatalf("stream: %v", err)
		}
		src := &countingReaderAt{r: bytes.NewReader(file)}
		ra, size, err := seal.OpenAt(src, int64(len(file)), id)
		if err != nil || size != int64(n) {
			t.Fatalf("plain size %d, %v", size, err)
		}
		o, err := seal.Header(bytes.NewReader(file), int64(len(file)), id)
		if err != nil || o.PlainSize() != int64(n) {
			t.Fatalf("plain size %d, %v", o.PlainSize(), err)
		}
		for range 8 {
			off := rapid.IntRange(0, n).Draw(t, "off")
			length := rapid.IntRange(0, n-off).Draw(t, "length")
			want := stream[off : off+length]
			got := make([]byte, length)
			src.reads = nil
			if m, err := ra.ReadAt(got, int64(off)); m != length || (err != nil && err != io.EOF) || !bytes.Equal(got, want) {
				t.Fatalf("ReadAt(%d, %d) = %d, %v", off, length, m, err)
			}
			if len(src.reads) > 1 {
				t.Fatalf("ReadAt(%d, %d) of %d made %d reads: %v", off, length, n, len(src.reads), src.reads)
			}
			for name, cover := range map[string]func(off, n int64) (int64, int64){"Cover": o.Cover, "Fetch": o.Fetch} {
				cOff, cLen := cover(int64(off), int64(length))
				clear(got)
				if err := o.Decrypt(got, file[cOff:cOff+cLen], int64(off)); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("Decrypt(%d, %d) by %s: %v", off, length, name, err)
				}
				if cLen > int64(length)+2*(chunk+16)+32*int64(length/chunk) {
					t.Fatalf("%s(%d, %d) = %d bytes", name, off, length, cLen)
				}
			}
			clear(got)
			if err := o.ReadRange(bytes.NewReader(file), got, int64(off)); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("ReadRange(%d, %d): %v", off, length, err)
			}
		}
	})
}

// countingReaderAt notes each read as offset and length.
type countingReaderAt struct {
	r     io.ReaderAt
	mu    sync.Mutex
	reads [][2]int64
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.reads = append(c.reads, [2]int64{off, int64(len(p))})
	c.mu.Unlock()
	return c.r.ReadAt(p, off)
}

// TestRequests: the first frame of a large file costs two reads and one for itself, each later one a single read.
func TestRequests(t *testing.T) {
	id := vectorKey(t, "hybrid")
	content := plain(8 << 20)
	file := sealed(t, content, id.Recipient())
	src := &countingReaderAt{r: bytes.NewReader(file)}
	ra, _, err := seal.OpenAt(src, int64(len(file)), id)
	if err != nil || len(src.reads) != 2 {
		t.Fatalf("opening made %d reads: %v, %v", len(src.reads), src.reads, err)
	}
	for i := range 5 {
		src.reads = nil
		off := i*1_500_000 + 17
		got := make([]byte, 1_000_000)
		if _, err := ra.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, content[off:off+len(got)]) {
			t.Fatalf("frame %d: %v", i, err)
		}
		if len(src.reads) != 1 || src.reads[0][1] > int64(len(got))+2*(chunk+16)+16*20 {
			t.Errorf("frame %d made %v", i, src.reads)
		}
	}
	// A file that fits the first read needs no other.
	small := sealed(t, content[:50_000], id.Recipient())
	src = &countingReaderAt{r: bytes.NewReader(small)}
	got, err := openAt(src, int64(len(small)), id)
	if err != nil || !bytes.Equal(got, content[:50_000]) || len(src.reads) != 1 {
		t.Errorf("a small file took %v, %v", src.reads, err)
	}
}

func TestDecryptRefuses(t *testing.T) {
	id := vectorKey(t, "x25519")
	file := sealed(t, plain(3*chunk), id.Recipient())
	o, err := seal.Header(bytes.NewReader(file), int64(len(file)), id)
	if err != nil {
		t.Fatal(err)
	}
	off, n := o.Cover(0, 2*chunk)
	cipher := file[off : off+n]
	for name, c := range map[string]struct {
		length int
		cipher []byte
		off    int64
	}{
		"past the end":      {1, cipher, 3 * chunk},
		"over the end":      {2, cipher, 3*chunk - 1},
		"before the start":  {1, cipher, -1},
		"far past the end":  {1, cipher, 1 << 62},
		"no ciphertext":     {1, nil, 0},
		"ciphertext short":  {2 * chunk, cipher[:len(cipher)-1], 0},
		"one chunk missing": {2 * chunk, cipher[:chunk+16], 0},
	} {
		if err := o.Decrypt(make([]byte, c.length), c.cipher, c.off); !errors.Is(err, seal.ErrRange) || errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := o.Decrypt(nil, nil, 3*chunk); err != nil {
		t.Errorf("nothing at the end: %v", err)
	}
	if err := o.Decrypt(make([]byte, chunk), cipher[1:], 0); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("ciphertext one byte off: %v", err)
	}
	if err := o.DecryptFrom(make([]byte, chunk), bytes.NewReader(cipher), off+chunk+16, 0); !errors.Is(err, seal.ErrRange) {
		t.Errorf("ciphertext from too late on: %v", err)
	}
	// The final chunk was read when the file was opened.
	if _, n := o.Fetch(2*chunk, chunk); n != 0 {
		t.Errorf("Fetch of the final chunk is %d bytes", n)
	}
	if _, n := o.Fetch(0, 3*chunk); n != 2*(chunk+16) {
		t.Errorf("Fetch of the whole is %d bytes", n)
	}
	for _, c := range [][2]int64{{-1, 5}, {0, 0}, {0, -1}, {3 * chunk, 1}, {1 << 62, 1 << 62}} {
		if _, n := o.Cover(c[0], c[1]); n != 0 {
			t.Errorf("Cover(%d, %d) is %d bytes", c[0], c[1], n)
		}
	}
	if off, n := o.Cover(1, 1<<63-1); off+n != int64(len(file)) {
		t.Errorf("Cover to the end is [%d, %d)", off, off+n)
	}
}

func TestConcurrent(t *testing.T) {
	id := vectorKey(t, "x25519")
	content := plain(6*chunk + 99)
	file := sealed(t, content, id.Recipient())
	ra, _, err := seal.OpenAt(bytes.NewReader(file), int64(len(file)), id)
	if err != nil {
		t.Fatal(err)
	}
	hybrid := vectorKey(t, "hybrid")
	shared := sealed(t, content[:100], hybrid.Recipient())
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 40 {
				off := (g*40_009 + i*7_919) % (len(content) - 1000)
				got := make([]byte, 1000)
				if _, err := ra.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, content[off:off+1000]) {
					t.Errorf("at %d: %v", off, err)
				}
			}
			// One identity and one recipient shared by all.
			if got, err := openStream(bytes.NewReader(shared), hybrid); err != nil || len(got) != 100 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if _, err := seal.HeaderSize(hybrid.Recipient()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
