package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// seeds gives the fuzzer every vector of one kind.
func seeds(f *testing.F, kind string) {
	files, err := filepath.Glob(filepath.Join(vectorsDir, kind, "*.txt"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no vectors of kind %s (%v)", kind, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		_, body, _ := bytes.Cut(b, []byte("\n\n"))
		f.Add(body)
	}
}

// fuzzCodec holds one decoder to its promises: it ends in one of our errors, or takes what it would write itself, byte
// for byte.
func fuzzCodec(f *testing.F, kind string, newline bool) {
	seeds(f, kind)
	decode := codecs()[kind]
	f.Fuzz(func(t *testing.T, b []byte) {
		_, again, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrBounds) && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrDraft) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if !newline { // a line may be given without its newline
			b = append(bytes.TrimSuffix(b, []byte("\n")), '\n')
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("a second spelling\n%q\n%q", b, again)
		}
		n := 0
		for line := range bytes.Lines(again) {
			if n++; kind == "commit" && n > 2 {
				break // behind head and body stand a later version's lines, which nobody of this one interprets
			}
			if !json.Valid(line) {
				t.Fatalf("not JSON: %q", line)
			}
		}
	})
}

func FuzzEntry(f *testing.F)      { fuzzCodec(f, "entry", false) }
func FuzzPageRef(f *testing.F)    { fuzzCodec(f, "page-ref", false) }
func FuzzRootLine(f *testing.F)   { fuzzCodec(f, "root-line", false) }
func FuzzChunk(f *testing.F)      { fuzzCodec(f, "chunk", false) }
func FuzzExtent(f *testing.F)     { fuzzCodec(f, "extent", false) }
func FuzzNeed(f *testing.F)       { fuzzCodec(f, "need", false) }
func FuzzPointLine(f *testing.F)  { fuzzCodec(f, "point-line", false) }
func FuzzPlacement(f *testing.F)  { fuzzCodec(f, "placement", false) }
func FuzzIndexLine(f *testing.F)  { fuzzCodec(f, "index-line", false) }
func FuzzVouched(f *testing.F)    { fuzzCodec(f, "vouched", false) }
func FuzzCommit(f *testing.F)     { fuzzCodec(f, "commit", true) }
func FuzzRecord(f *testing.F)     { fuzzCodec(f, "record", true) }
func FuzzDescriptor(f *testing.F) { fuzzCodec(f, "descriptor", true) }

func FuzzPlacements(f *testing.F) { fuzzCodec(f, "placements", true) }

// FuzzIndex looks behind the signature, which no fuzzer gets past: any is taken, and put back.
func FuzzIndex(f *testing.F) {
	seeds(f, "index")
	f.Fuzz(func(t *testing.T, b []byte) {
		var sig []byte
		h, lines, err := DecodeIndex(b, func(_, s []byte) bool { sig = s; return true })
		fuzzSegment(t, b, err, func() ([]byte, error) {
			return EncodeIndex(h, lines, func([]byte) []byte { return sig })
		})
	})
}

func fuzzSegment(t *testing.T, b []byte, err error, encode func() ([]byte, error)) {
	if err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrBounds) && !errors.Is(err, ErrNewer) {
			t.Fatalf("an error of no kind: %v", err)
		}
		return
	}
	again, err := encode()
	if err != nil || !bytes.Equal(again, b) {
		t.Fatalf("a second spelling (%v)\n%q\n%q", err, b, again)
	}
}

// FuzzName: a name is taken only if it is exactly what the functions that make names would make.
func FuzzName(f *testing.F) {
	h := hashOf("x")
	for _, n := range []string{PackName(h), MetaName(h), NeedsName(h), HostKeyName(h), DescriptorID{Sum: h}.Name(), DescriptorID{7, h, "01234567", make([]byte, 64)}.Name(), signedPlacements(moment("2026-11-23T08:05:00Z").Time, h).Name(), PointID{"web-1", moment("2026-11-23T08:05:00Z"), h, "89abcdef", make([]byte, 64)}.Name(), signedRecord(testRecord(), nil).Name(), ""} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if p, err := ParsePointName(name); err == nil {
			if again := p.Name(); again != name {
				t.Fatalf("%q is also %q", name, again)
			}
		}
		if r, err := ParseRecordName(name); err == nil {
			if again := r.Name(); again != name {
				t.Fatalf("%q is also %q", name, again)
			}
		}
		h, err := ParseName(name)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		all := []string{PackName(h), MetaName(h), NeedsName(h), HostKeyName(h)}
		if d, err := ParseDescriptorName(name); err == nil {
			all = append(all, d.Name())
		}
		if p, err := ParsePlacementsName(name); err == nil {
			all = append(all, p.Name())
		}
		for _, n := range all {
			if n == name {
				return
			}
		}
		t.Fatalf("%q is none of %q", name, all)
	})
}

// FuzzPageLines: the lines put together again are the page.
func FuzzPageLines(f *testing.F) {
	f.Add([]byte("a\nb\n"))
	f.Add([]byte("a\n\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, page []byte) {
		var again []byte
		for line, err := range PageLines(page) {
			if err != nil {
				return
			}
			again = append(append(again, line...), '\n')
		}
		if !bytes.Equal(again, page) {
			t.Fatalf("%q became %q", page, again)
		}
	})
}

// FuzzTime: both readings of a time agree, and take only its one spelling.
func FuzzTime(f *testing.F) {
	f.Add([]byte("2026-11-23T08:05:00.12Z"))
	f.Add([]byte("0000-01-01T00:00:00Z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var want Time
		err := want.UnmarshalText(b)
		got, ok := parseTime(b)
		if ok != (err == nil) || ok && !got.Equal(want.Time) {
			t.Fatalf("%q: %v %v, standard library %v %v", b, got, ok, want, err)
		}
	})
}
