package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
)

// TestTamper flips a bit in every region of a file. Nothing wrong may come out, and the error must say what is the matter: the
// header may then look sealed to someone else, the rest is damage.
func TestTamper(t *testing.T) {
	for _, class := range []keys.Class{keys.Hybrid, keys.X25519} {
		id := vectorKey(t, string(class))
		content := plain(3*chunk + 1000)
		file := sealed(t, content, id.Recipient())
		header, err := seal.HeaderSize(id.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		var places []int
		for i := 0; i < int(header); i += 1 + int(header)/150 {
			places = append(places, i)
		}
		for i := range 4 {
			start := int(header) + i*(chunk+16)
			places = append(places, start, start+500, min(start+chunk+15, len(file)-1))
		}
		for _, at := range places {
			bad := bytes.Clone(file)
			bad[at] ^= 4
			inHeader := at < int(header)-16
			got1, err1 := openStream(bytes.NewReader(bad), id)
			got2, err2 := openAt(bytes.NewReader(bad), int64(len(bad)), id)
			for way, err := range map[string]error{"stream": err1, "at random": err2} {
				if !errors.Is(err, seal.ErrDamaged) && !(inHeader && errors.Is(err, seal.ErrNoKey)) {
					t.Errorf("%s, byte %d of %d, %s: %v", class, at, len(file), way, err)
				}
			}
			if !bytes.HasPrefix(content, got1) || !bytes.HasPrefix(content, got2) {
				t.Errorf("%s, byte %d: wrong bytes came out", class, at)
			}
		}
	}
}

// TestTamperBehindHeader: an Opened never gives out a byte of a chunk that was changed, moved or taken from another file.
func TestTamperBehindHeader(t *testing.T) {
	id := vectorKey(t, "x25519")
	file, other := sealed(t, plain(4*chunk), id.Recipient()), sealed(t, plain(4*chunk), id.Recipient())
	o, err := seal.Header(bytes.NewReader(file), int64(len(file)), id)
	if err != nil {
		t.Fatal(err)
	}
	off, n := o.Cover(chunk, chunk)
	next, _ := o.Cover(2*chunk, chunk)
	flipped := bytes.Clone(file[off : off+n])
	flipped[0] ^= 1
	for name, cipher := range map[string][]byte{"flipped": flipped, "another chunk": file[next : next+n], "another file": other[off : off+n]} {
		dst := make([]byte, chunk)
		if err := o.Decrypt(dst, cipher, chunk); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(dst, make([]byte, chunk)) {
			t.Errorf("%s: bytes came out", name)
		}
	}
	if err := o.Decrypt(make([]byte, chunk), file[off:off+n], chunk); err != nil {
		t.Errorf("after the bad ones: %v", err)
	}
}

func TestTruncated(t *testing.T) {
	for _, class := range []keys.Class{keys.Hybrid, keys.X25519} {
		id := vectorKey(t, string(class))
		content := plain(2*chunk + 50)
		file := sealed(t, content, id.Recipient())
		header, err := seal.HeaderSize(id.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		h := int(header)
		for _, n := range []int{0, 1, 21, 22, 30, h / 2, h - 17, h - 16, h - 1, h, h + 1, h + 15, h + 16, h + 17, h + chunk + 15, h + chunk + 16,
			h + chunk + 17, h + chunk + 32, h + 2*(chunk+16), h + 2*(chunk+16) + 16, len(file) - 1} {
			cut := file[:n]
			if got, err := openStream(bytes.NewReader(cut), id); !errors.Is(err, seal.ErrDamaged) || !bytes.HasPrefix(content, got) {
				t.Errorf("%s cut to %d, stream: %d bytes, %v", class, n, len(got), err)
			}
			if _, _, err := seal.OpenAt(bytes.NewReader(cut), int64(n), id); !errors.Is(err, seal.ErrDamaged) {
				t.Errorf("%s cut to %d, at random: %v", class, n, err)
			}
			if _, _, err := seal.OpenAt(bytes.NewReader(cut), int64(len(file)), id); !errors.Is(err, seal.ErrDamaged) {
				t.Errorf("%s cut to %d of the stated size: %v", class, n, err)
			}
		}
		longer := append(bytes.Clone(file), 0)
		if _, err := openStream(bytes.NewReader(longer), id); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s with a byte more, stream: %v", class, err)
		}
		if _, _, err := seal.OpenAt(bytes.NewReader(longer), int64(len(longer)), id); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s with a byte more, at random: %v", class, err)
		}
		for _, size := range []int64{-1, math.MinInt64, math.MaxInt64, 1 << 50} {
			if _, _, err := seal.OpenAt(bytes.NewReader(file), size, id); !errors.Is(err, seal.ErrDamaged) {
				t.Errorf("%s with size %d: %v", class, size, err)
			}
		}
	}
}

// TestLongHeader: a header without end is given up at its bound, by both ways, and not read on.
func TestLongHeader(t *testing.T) {
	id := vectorKey(t, "x25519")
	stanza := "-> X25519 " + strings.Repeat("A", 43) + "\n" + strings.Repeat("A", 43) + "\n"
	for name, text := range map[string]string{
		"one line":   "age-encryption.org/v1\n-> X25519 " + strings.Repeat("A", 4<<20),
		"one stanza": "age-encryption.org/v1\n-> x y\n" + strings.Repeat(strings.Repeat("A", 64)+"\n", 64<<10),
		"stanzas":    "age-encryption.org/v1\n" + strings.Repeat(stanza, 40<<10),
		"intro":      strings.Repeat("a", 4<<20),
	} {
		in := strings.NewReader(text)
		if _, err := seal.Open(in, id); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s, stream: %v", name, err)
		}
		if read := len(text) - in.Len(); read > seal.MaxHeader+16 {
			t.Errorf("%s: %d bytes were read", name, read)
		}
		src := &countingReaderAt{r: strings.NewReader(text)}
		if _, _, err := seal.OpenAt(src, int64(len(text)), id); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s, at random: %v", name, err)
		}
		if len(src.reads) != 1 || src.reads[0][1] > seal.MaxHeader+16 {
			t.Errorf("%s: reads %v", name, src.reads)
		}
	}
	// The bound is wide enough for more recipients than anybody has.
	var many []keys.Recipient
	for range 40 {
		many = append(many, vectorKey(t, "hybrid").Recipient())
	}
	file := sealed(t, plain(5), many...)
	if _, err := openStream(bytes.NewReader(file), vectorKey(t, "hybrid")); err != nil {
		t.Errorf("40 hybrid recipients, header about %d bytes: %v", len(file), err)
	}
	if _, err := openAt(bytes.NewReader(file), int64(len(file)), vectorKey(t, "hybrid")); err != nil {
		t.Errorf("40 hybrid recipients at random: %v", err)
	}
}

// failingReaderAt fails for reads that reach past a point.
type failingReaderAt struct {
	r    io.ReaderAt
	from int64
	err  error
}

func (f failingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, f.err
	}
	return f.r.ReadAt(p, off)
}

// TestReaderErrors: what the reader below said is told on, and is never called damage.
func TestReaderErrors(t *testing.T) {
	id := vectorKey(t, "hybrid")
	file := sealed(t, plain(4*chunk), id.Recipient())
	for _, cause := range []error{context.Canceled, io.ErrUnexpectedEOF, errors.New("connection reset"), fmt.Errorf("wrapped: %w", io.EOF)} {
		check := func(where string, err error) {
			t.Helper()
			if !errors.Is(err, cause) || errors.Is(err, seal.ErrDamaged) || errors.Is(err, seal.ErrNoKey) {
				t.Errorf("%v %s became %v", cause, where, err)
			}
		}
		for _, n := range []int{0, 10, 100, 1640, 1650, 2000, chunk, chunk + 1659 + 16, 2 * chunk, len(file) - 1, len(file)} {
			_, err := openStream(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(cause)), id)
			check(fmt.Sprintf("after %d bytes of a stream", n), err)
		}
		_, _, err := seal.OpenAt(failingReaderAt{bytes.NewReader(file), 0, cause}, int64(len(file)), id)
		check("at the start", err)
		_, _, err = seal.OpenAt(failingReaderAt{bytes.NewReader(file), 3 * chunk, cause}, int64(len(file)), id)
		check("at the end", err)

		o, err := seal.Header(bytes.NewReader(file), int64(len(file)), id)
		if err != nil {
			t.Fatal(err)
		}
		bad := failingReaderAt{bytes.NewReader(file), 100, cause}
		check("in a range", o.ReadRange(bad, make([]byte, chunk), chunk))
		check("in given ciphertext", o.DecryptFrom(make([]byte, chunk), bad, 0, chunk))
		flaky := &switchReaderAt{r: bytes.NewReader(file)}
		ra, _, err := seal.OpenAt(flaky, int64(len(file)), id)
		if err != nil {
			t.Fatal(err)
		}
		flaky.err = cause
		_, err = ra.ReadAt(make([]byte, chunk), chunk)
		check("in a read at random", err)
		flaky.err = nil
		if _, err = ra.ReadAt(make([]byte, chunk), chunk); err != nil {
			t.Errorf("after %v the next read gave %v", cause, err)
		}
	}
}

type switchReaderAt struct {
	r   io.ReaderAt
	err error
}

func (s *switchReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	return s.r.ReadAt(p, off)
}

// TestShrunk: a file that got shorter after it was opened is damage, since the vault never rewrites.
func TestShrunk(t *testing.T) {
	id := vectorKey(t, "x25519")
	file := sealed(t, plain(4*chunk), id.Recipient())
	src := &switchReaderAt{r: bytes.NewReader(file)}
	ra, _, err := seal.OpenAt(src, int64(len(file)), id)
	if err != nil {
		t.Fatal(err)
	}
	src.r = bytes.NewReader(file[:chunk])
	if _, err := ra.ReadAt(make([]byte, chunk), chunk); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("error %v", err)
	}
}

// FuzzOpen: no input panics, both ways agree on what opens, and nothing is allocated beyond the file's own size.
func FuzzOpen(f *testing.F) {
	id, hybrid := vectorKey(f, "x25519"), vectorKey(f, "hybrid")
	for _, content := range [][]byte{nil, plain(1), plain(100)} {
		f.Add(sealed(f, content, id.Recipient()))
		f.Add(sealed(f, content, hybrid.Recipient()))
	}
	f.Add(sealed(f, plain(chunk+1), id.Recipient()))
	f.Add([]byte("age-encryption.org/v1\n-> X25519 a\n\n--- \n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err1 := openStream(bytes.NewReader(file), id, hybrid)
		b, err2 := openAt(bytes.NewReader(file), int64(len(file)), id, hybrid)
		if (err1 == nil) != (err2 == nil) || (err1 == nil && !bytes.Equal(a, b)) {
			t.Fatalf("stream: %d bytes, %v; at random: %d bytes, %v", len(a), err1, len(b), err2)
		}
		for _, err := range []error{err1, err2} {
			if err != nil && !errors.Is(err, seal.ErrDamaged) && !errors.Is(err, seal.ErrNoKey) {
				t.Errorf("untyped error %v", err)
			}
		}
		if len(a) > len(file) {
			t.Errorf("%d bytes out of %d", len(a), len(file))
		}
	})
}
