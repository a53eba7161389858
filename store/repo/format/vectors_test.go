package format

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/attest"
)

var update = flag.Bool("update", false, "write docs/vectors anew")

// vectorsDir holds the vectors; its README says how to read them.
const vectorsDir = "../../../docs/vectors"

// vector is one file: what to do with body and what comes out.
type vector struct {
	path    string
	comment string
	headers []string // "name: value"
	body    []byte
	err     error // what a decoder says; nil: it accepts, and encoding again gives body back
	value   any   // what an accepted body means
}

func seed() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0x42}, ed25519.SeedSize))
}

func signer(d attest.Domain) func([]byte) []byte {
	return func(msg []byte) []byte { return attest.Sign(seed(), d, msg) }
}

func verifier(d attest.Domain) func(msg, sig []byte) bool {
	return func(msg, sig []byte) bool {
		return attest.Verify(seed().Public().(ed25519.PublicKey), d, msg, sig)
	}
}

func hashOf(s string) Hash { return sha256.Sum256([]byte(s)) }

var expectations = map[string]error{"ok": nil, "malformed": ErrMalformed, "bounds": ErrBounds, "newer": ErrNewer, "signature": ErrSignature}

func expectation(err error) string {
	for name, e := range expectations {
		if e == err {
			return name
		}
	}
	return "?"
}

func (v vector) file() []byte {
	kind := filepath.Dir(v.path)
	var b bytes.Buffer
	fmt.Fprintf(&b, "kind: %s\nexpect: %s\ncomment: %s\n", kind, expectation(v.err), v.comment)
	for _, h := range v.headers {
		fmt.Fprintln(&b, h)
	}
	fmt.Fprintf(&b, "body-sha256: %s\n\n", Hash(sha256.Sum256(v.body)))
	b.Write(v.body)
	return b.Bytes()
}

// codecs decode each kind of vector; encode gives the bytes of what was decoded.
func codecs() map[string]func(body []byte) (value any, again []byte, err error) {
	return map[string]func([]byte) (any, []byte, error){
		"entry": func(b []byte) (any, []byte, error) {
			e, err := ParseEntry(b)
			if err != nil {
				return nil, nil, err
			}
			if e.Unusable != nil && !errors.Is(e.Unusable, ErrUnknownKind) {
				if _, err := e.AppendLine(nil); err == nil {
					return e, nil, errors.New("written although it must not be used")
				}
				return nil, nil, e.Unusable
			}
			again, err := e.AppendLine(nil)
			return e, again, err
		},
		"page-ref":   func(b []byte) (any, []byte, error) { return line(b, ParsePageRef, PageRef.AppendLine) },
		"root-line":  func(b []byte) (any, []byte, error) { return line(b, ParseRootLine, RootLine.AppendLine) },
		"extent":     func(b []byte) (any, []byte, error) { return line(b, ParseExtent, Extent.AppendLine) },
		"chunk":      func(b []byte) (any, []byte, error) { return line(b, ParseChunk, Chunk.AppendLine) },
		"need":       func(b []byte) (any, []byte, error) { return line(b, ParseNeed, Need.AppendLine) },
		"point-line": func(b []byte) (any, []byte, error) { return line(b, ParsePointLine, PointLine.AppendLine) },
		"placement": func(b []byte) (any, []byte, error) {
			return line(b, ParsePlacement, Placement.AppendLine)
		},
		"vouched":    func(b []byte) (any, []byte, error) { return line(b, ParseVouched, Vouched.AppendLine) },
		"index-line": func(b []byte) (any, []byte, error) { return line(b, ParseIndexLine, IndexLine.AppendLine) },
		"commit": func(b []byte) (any, []byte, error) {
			c, err := DecodeCommit(b)
			if err != nil {
				return c, nil, err
			}
			again, err := EncodeCommit(c)
			return c, again, err
		},
		"record": func(b []byte) (any, []byte, error) {
			r, err := DecodeRecord(b)
			if err != nil {
				return r, nil, err
			}
			again, err := EncodeRecord(r)
			return r, again, err
		},
		"descriptor": func(b []byte) (any, []byte, error) {
			d, body, sig, err := DecodeDescriptor(b)
			if err != nil {
				return d, nil, err
			}
			// A later one may have none that this version knows.
			if known := d.KeysFor(UseJob); len(known) == 0 || !attest.Verify(known[0], attest.Descriptor, body, sig) {
				return nil, nil, ErrSignature
			}
			again, err := EncodeDescriptor(d, func([]byte) []byte { return sig })
			return d, again, err
		},
		"placements": func(b []byte) (any, []byte, error) {
			var d PlacementsDecoder
			if err := cmp.Or(d.Frame(b), d.Done()); err != nil {
				return nil, nil, err
			}
			again, err := EncodePlacements(d.Header, d.Lines)
			return d.Lines, again, err
		},
		"index": func(b []byte) (any, []byte, error) {
			h, lines, err := DecodeIndex(b, verifier(attest.Index))
			if err != nil {
				return nil, nil, err
			}
			again, err := EncodeIndex(h, lines, signer(attest.Index))
			return lines, again, err
		},
	}
}

func line[T any](b []byte, parse func([]byte) (T, error), encode func(T, []byte) ([]byte, error)) (any, []byte, error) {
	v, err := parse(b)
	if err != nil {
		return nil, nil, err
	}
	again, err := encode(v, nil)
	return v, again, err
}

// TestVectors holds the code to the files in docs/vectors, and the files to what this test says of them.
func TestVectors(t *testing.T) {
	known := map[string]bool{}
	for _, v := range allVectors(t) {
		known[v.path+".txt"] = true
		t.Run(v.path, func(t *testing.T) {
			name := filepath.Join(vectorsDir, filepath.FromSlash(v.path)+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, v.file(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			file, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(file, v.file()) {
				t.Fatalf("%s is not what this test would write (go test -run TestVectors -update)\n%s", name, v.file())
			}
			_, body, _ := bytes.Cut(file, []byte("\n\n"))
			v.check(t, body)
		})
	}
	for _, kind := range append(kinds(), "name", "cut") {
		files, err := filepath.Glob(filepath.Join(vectorsDir, kind, "*.txt"))
		if err != nil || len(files) == 0 {
			t.Errorf("no vectors of kind %s (%v)", kind, err)
		}
		for _, f := range files {
			if !known[kind+"/"+filepath.Base(f)] {
				t.Errorf("%s is no longer made by this test", f)
			}
		}
	}
}

func kinds() []string {
	var out []string
	for k := range codecs() {
		out = append(out, k)
	}
	return out
}

func (v vector) check(t *testing.T, body []byte) {
	decode, ok := codecs()[filepath.Dir(v.path)]
	if !ok {
		return // tables, checked while they were made
	}
	value, again, err := decode(body)
	if !errors.Is(err, v.err) || (err == nil) != (v.err == nil) {
		t.Fatalf("%v, want %v", err, v.err)
	}
	if v.err != nil && v.value != nil && !reflect.DeepEqual(value, v.value) {
		t.Errorf("means %+v, want %+v", value, v.value)
	}
	if v.err != nil {
		return
	}
	if !bytes.Equal(again, body) {
		t.Errorf("encodes again as\n%s\ninstead of\n%s", again, body)
	}
	if v.value != nil && !reflect.DeepEqual(value, v.value) {
		t.Errorf("means %+v, want %+v", value, v.value)
	}
}

func allVectors(t *testing.T) []vector {
	out := entryVectors(t)
	out = append(out, refusedEntries()...)
	out = append(out, referenceVectors(t)...)
	out = append(out, signedVectors(t)...)
	out = append(out, recordVectors(t)...)
	out = append(out, extVectors(t)...)
	out = append(out, needVectors(t)...)
	return append(out, tableVectors(t)...)
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func moment(s string) Time {
	var t Time
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return Time{}
	}
	return t
}

func smallEntry() *Entry {
	return &Entry{
		Key: "docs/readme.txt", Size: 12, Modified: moment("2026-11-20T09:30:00Z"), ETag: "6f5902ac237024bdd0c176cb93063dc4",
		SHA256: hashOf("hello world\n"),
		Chunks: []Chunk{{Pack: hashOf("pack 1"), Frame: Frame{0, 321, 1000}, At: 88, Size: 12, Sum: hashOf("hello world\n")}},
	}
}

func entryVectors(t *testing.T) []vector {
	var out []vector
	add := func(name, comment string, e *Entry) {
		out = append(out, vector{
			path: "entry/" + name, comment: comment, headers: []string{"key-hex: " + hex.EncodeToString([]byte(e.Key))},
			body: must[[]byte](t)(e.AppendLine(nil)), value: e,
		})
	}
	add("object", "the least an object has", smallEntry())

	e := smallEntry()
	e.Key, e.Version, e.StorageClass = "full\u2028 \"\\/\x01\t\n\x7f<&>é👩‍🚀", "3HL4kqtJvjVBH40Nrjfkd", "STANDARD_IA"
	e.Modified = moment("2026-11-20T09:30:00.12Z")
	e.ContentType, e.ContentEncoding, e.ContentLanguage = "text/plain; charset=utf-8", "gzip", "de, en"
	e.ContentDisposition, e.CacheControl, e.Expires = `attachment; filename="r.txt"`, "no-cache", "Thu, 01 Dec 1994 16:00:00 GMT"
	e.WebsiteRedirect = "/elsewhere"
	e.Metadata = map[string]string{"owner": "ops", "empty": "", "latin1": "caf\xe9", "zürich": "1"}
	e.MissingMeta, e.TagsRead = 2, 1795000000
	e.Tags = map[string]string{"class": "a/b", "Ω": "ω"}
	e.Checksums, e.ChecksumType = map[string]string{"crc64nvme": "UX2bvVCH4sU=", "sha256": "AAAA"}, "FULL_OBJECT"
	add("object-full", "every member of an object; strings that need escapes, a metadata value that is not UTF-8", e)

	e = smallEntry()
	e.Key, e.ETag, e.ContentDisposition = "raw/\xff\xfe/\xed\xa0\x80", "", "attachment; filename=\xe4.txt"
	e.Metadata = map[string]string{"\xff": "name", "a": "\xff"}
	add("object-not-utf8", "key, header and metadata that are not UTF-8 stand in base64; encoded surrogates are not UTF-8", e)

	e = smallEntry()
	e.Recheck = true
	add("object-recheck", "to be read again by the next run, whatever the listing says", e)

	e = &Entry{Kind: KindDir, Key: "d/", ETag: "aabb", Tags: map[string]string{"a": ""}, File: &File{Mode: 0o755, Xattrs: map[string][]byte{"\xfe": {}, "\xff": []byte("v")}}}
	add("dir-other-members", "members that mean something on other kinds, and names of attributes that are not UTF-8", e)

	add("object-empty", "no content: size 0, the SHA-256 of nothing, no chunks", &Entry{Key: "empty", Modified: moment("2026-11-20T09:30:00Z"), SHA256: hashOf("")})

	e = smallEntry()
	e.Key, e.Size, e.SHA256 = "big", 2621440+4096, hashOf("big")
	e.Chunks = []Chunk{
		{Pack: hashOf("pack 1"), Frame: Frame{321, 900000, 1572864}, Size: 1572864, Sum: hashOf("c1")},
		{Hole: true, Size: 1048576},
		{Pack: hashOf("pack 2"), Frame: Frame{0, 4000, 8192}, At: 4096, Size: 4096, Sum: hashOf("c2")},
	}
	add("object-chunks-and-hole", "several chunks, each with its sha256, and a hole", e)

	add("object-one-hole", "only a hole: sha256 of 4096 zero bytes", &Entry{Key: "zeros", Size: 4096, SHA256: sha256.Sum256(make([]byte, 4096)), Chunks: []Chunk{{Hole: true, Size: 4096}}})

	add("object-extents", "references in extent pages", &Entry{
		Key: "disk.img", Size: 2<<30 + 5, Modified: moment("2026-11-20T09:30:00Z"), SHA256: hashOf("disk"),
		Extents: []Extent{
			{From: 0, Size: 1<<30 + 1000, Object: MetaName(hashOf("meta 1")), Frame: Frame{0, 50000, 400000}, Sum: hashOf("x1")},
			{From: 1<<30 + 1000, Size: 1<<30 - 995, Object: MetaName(hashOf("meta 1")), Frame: Frame{50000, 51000, 410000}, Sum: hashOf("x2")},
		},
	})

	add("image", "a disk: its second range is a hole, its third one block in all", &Entry{
		Kind: KindImage, Key: "vol-0123456789abcdef0", Size: 2<<30 + 512<<10, Modified: moment("2026-11-20T09:30:00Z"), ETag: "snap-0123456789abcdef0",
		Metadata: map[string]string{"snapshot-id": "snap-0123456789abcdef0"}, Tags: map[string]string{"backup": "yes"}, SHA256: hashOf("image"),
		Extents: []Extent{
			{From: 0, Size: 1 << 30, Object: MetaName(hashOf("meta 1")), Frame: Frame{0, 50000, 400000}, Sum: hashOf("x1"), Content: hashOf("r1"), Digest: strings.Repeat("0a", 16)},
			{From: 1 << 30, Size: 1 << 30, Hole: true},
			{From: 2 << 30, Size: 512 << 10, Object: MetaName(hashOf("meta 1")), Frame: Frame{50000, 51000, 410000}, Sum: hashOf("x2"), Content: hashOf("r2")},
		},
	})
	add("image-level-1", "a disk whose extents stand on pages of their own", &Entry{
		Kind: KindImage, Key: "vol-0123456789abcdef1", Size: 1 << 40, SHA256: hashOf("image"),
		Extents: []Extent{{Level: 1, From: 0, Size: 1 << 40, Object: MetaName(hashOf("meta 1")), Frame: Frame{0, 50000, 400000}, Sum: hashOf("x1")}},
	})

	add("image-unread", "a disk of which two ranges could not be read: zeros stand for them", &Entry{
		Kind: KindImage, Key: "vol-0123456789abcdef2", Size: 1<<30 + 100, SHA256: hashOf("image"),
		Extents: []Extent{
			{From: 0, Size: 1 << 30, Object: MetaName(hashOf("meta 1")), Frame: Frame{0, 50000, 400000}, Sum: hashOf("x1"), Content: hashOf("r1")},
			{From: 1 << 30, Size: 100, Hole: true},
		},
		Unread: []Unread{{From: 2 * ImageBlock, Size: 3 * ImageBlock, Reason: "refused by AWS (INVALID_BLOCK)"}, {From: 1 << 30, Size: 100, Reason: "caf\xe9"}},
	})
	add("object-missing", "there, and could not be read: size as listed, no content", &Entry{
		Key: "cold", Size: 1 << 40, Modified: moment("2020-01-01T00:00:00Z"), StorageClass: "GLACIER", Missing: "archived (GLACIER)",
	})
	add("marker", "a delete marker", &Entry{Kind: KindMarker, Key: "gone", Version: "v9", Modified: moment("2026-11-20T09:30:00Z")})

	e = smallEntry()
	e.Kind, e.Key, e.ETag = KindFile, "srv/run.sh", ""
	e.Modified = moment("2026-11-20T09:30:00.123456789Z")
	e.File = &File{
		Mode: 0o4755, UID: 1000, GID: 4294967294, User: "anna", Group: "st\xe4b", Changed: moment("2026-11-20T09:31:00.5Z"),
		Inode: 18446744073709551615, Device: 2049, Links: 2, Xattrs: map[string][]byte{"user.note": []byte("hi"), "user.\xff": {0, 255}, "user.empty": {}},
	}
	add("file", "a regular file with everything", e)
	unsettled := *e
	unsettled.Unsettled = true
	add("file-unsettled", "a regular file that others wrote to while it was read", &unsettled)
	add("file-sparse", "a file with large holes: sha256 is its image sum", &Entry{
		Kind: KindFile, Key: "srv/disk.img", Size: 1 << 40, Modified: moment("2026-11-20T09:30:00Z"), File: &File{Mode: 0o600}, SHA256: hashOf("image"), Sparse: true,
		Chunks: []Chunk{{Hole: true, Size: 1<<40 - 4096}, {Pack: hashOf("a"), Frame: Frame{0, 321, 4096}, Size: 4096, Sum: hashOf("b")}},
	})
	add("dir", "a directory", &Entry{Kind: KindDir, Key: "srv/", Modified: moment("1969-12-31T23:59:59Z"), File: &File{Mode: 0o755}})
	add("dir-root", "the root of a directory source", &Entry{Kind: KindDir, Key: "./", File: &File{Mode: 0o1777, UID: 7}})
	add("dir-missing", "a directory whose contents could not be listed", &Entry{Kind: KindDir, Key: "srv/secret/", File: &File{Mode: 0o700}, Missing: "access denied"})
	add("symlink", "a symbolic link", &Entry{Kind: KindSymlink, Key: "srv/current", File: &File{Mode: 0o777, Target: "../releases/42"}})
	add("symlink-not-utf8", "a symbolic link to bytes", &Entry{Kind: KindSymlink, Key: "srv/odd", File: &File{Mode: 0o777, Target: "\xe4"}})
	add("special", "a block device", &Entry{Kind: KindSpecial, Key: "dev/sda", File: &File{Mode: 0o660, Type: "block", Rdev: 2048}})
	add("object-any-key", "objects may have keys that no path has", &Entry{Key: "/a//../\x00./", SHA256: hashOf("")})
	add("file-dots", "dots that are no segments of their own", &Entry{Kind: KindFile, Key: "...a/..b/c../.d", File: &File{Mode: 0o644}, SHA256: hashOf("")})
	for name, c := range map[string]struct{ comment, line string }{
		"kind-unknown":      {"of a kind that this version does not know: key, version and size are, and the rest is in the one spelling", `{"kind":"volume","key":"v","version_id":"7","size":5,"colour":"red","list":[{"b":1,"a":[true,false,18446744073709551615]}],"ext":{"a":1}}`},
		"kind-unknown-bare": {"of a kind that this version does not know, with nothing but a key that is not UTF-8", `{"kind":"document","key_b64":"/2FjbA=="}`},
	} {
		out = append(out, vector{path: "entry/" + name, comment: c.comment, body: []byte(c.line + "\n")})
	}
	return out
}

// refusedEntries are one small entry, spoiled.
func refusedEntries() []vector {
	h := hashOf("x").String()
	ref := `"sha256":"` + h + `","chunks":[{"pack":"` + h + `","frame":[0,9,5],"size":5}]`
	good := `{"key":"k","size":5,` + ref + "}\n"
	swap := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	disk := `,"sha256":"` + h + `","extents":[{"from":0,"size":2097152,"hole":true}]`
	unread := func(rest, ranges string) string {
		return `{"kind":"image","key":"k","size":2097152` + rest + `,"unread":[` + ranges + "]}\n"
	}
	path := func(kind, key string) string {
		rest := ""
		if kind == "file" {
			rest = `,"sha256":"` + hashOf("").String() + `"`
		}
		return `{"kind":"` + kind + `","key":"` + key + `","size":0,"file":{"mode":"0755"}` + rest + "}\n"
	}
	type refused struct {
		name, comment, line string
		err                 error
	}
	var out []vector
	for _, r := range []refused{
		{"not-json", "not JSON at all", "hello\n", ErrMalformed},
		{"unknown-member", "a member this version does not know", swap(`"size":5,"sha`, `"size":5,"colour":"red","sha`), ErrMalformed},
		{"repeated-member", "a member twice", swap(`"size":5,"sha`, `"size":5,"size":5,"sha`), ErrMalformed},
		{"order", "members out of order", swap(`"key":"k","size":5`, `"size":5,"key":"k"`), ErrMalformed},
		{"space", "white space", swap(`,"size"`, `, "size"`), ErrMalformed},
		{"trailing", "bytes after the object", swap("}\n", "} \n"), ErrMalformed},
		{"two-lines", "two lines", good + good, ErrMalformed},
		{"escape-slash", "an escape that is not needed", swap(`"k"`, `"\/"`), ErrMalformed},
		{"escape-long", "a long escape where a short one exists", swap(`"k"`, `"\u000a"`), ErrMalformed},
		{"escape-upper", "an escape in upper case", swap(`"k"`, `"\u001F"`), ErrMalformed},
		{"escape-letter", "an escaped letter", swap(`"k"`, `"\u006b"`), ErrMalformed},
		{"control", "a bare control character", swap(`"k"`, "\"\x01\""), ErrMalformed},
		{"not-utf8", "a string that is not UTF-8", swap(`"k"`, "\"\xff\""), ErrMalformed},
		{"b64-of-utf8", "base64 of what is UTF-8", swap(`"key":"k"`, `"key_b64":"aw=="`), ErrMalformed},
		{"b64-padding", "base64 without padding", swap(`"key":"k"`, `"key_b64":"/w"`), ErrMalformed},
		{"b64-bits", "base64 with bits that mean nothing", swap(`"key":"k"`, `"key_b64":"/x=="`), ErrMalformed},
		{"both-keys", "key and key_b64", swap(`"key":"k"`, `"key":"k","key_b64":"/w=="`), ErrMalformed},
		{"no-key", "no key", swap(`"key":"k",`, ``), ErrMalformed},
		{"empty-key", "an empty key", swap(`"k"`, `""`), ErrMalformed},
		{"no-size", "no size", swap(`"size":5,"sha`, `"sha`), ErrMalformed},
		{"zero-written", "a zero that is left out", swap(`"size":5,"sha`, `"size":5,"etag":"","sha`), ErrMalformed},
		{"negative", "a negative size", swap(`"size":5,"sha`, `"size":-5,"sha`), ErrMalformed},
		{"leading-zero", "a number with a leading zero", swap(`"size":5,"sha`, `"size":05,"sha`), ErrMalformed},
		{"exponent", "a number with an exponent", swap(`"size":5,"sha`, `"size":5e0,"sha`), ErrMalformed},
		{"size-wraps", "a size beyond 64 bits", swap(`"size":5,"sha`, `"size":18446744073709551621,"sha`), ErrMalformed},
		{"size-overflow", "a size beyond 63 bits", swap(`"size":5,"sha`, `"size":9223372036854775808,"sha`), ErrMalformed},
		{"chunks-sum", "chunks that do not add up to the size", swap(`"size":5,"sha`, `"size":6,"sha`), ErrMalformed},
		{"no-content", "bytes without a reference to them", swap(`,"chunks":[{"pack":"`+h+`","frame":[0,9,5],"size":5}]`, ``), ErrMalformed},
		{"chunks-empty-list", "an empty list", `{"key":"k","size":0,"sha256":"` + hashOf("").String() + `","chunks":[]}` + "\n", ErrMalformed},
		{"chunk-sum-repeated", "the only chunk repeats the entry's sha256", swap(`"size":5}]`, `"size":5,"sha256":"`+h+`"}]`), ErrMalformed},
		{"chunk-sum-zero", "a chunk's hash of zeros instead of none", swap(`"size":5}]`, `"size":5,"sha256":"`+strings.Repeat("0", 64)+`"}]`), ErrMalformed},
		{"hash-upper", "a hash in upper case", swap(h, strings.ToUpper(h)), ErrMalformed},
		{"hash-zero", "a hash of zeros", swap(h, strings.Repeat("0", 64)), ErrMalformed},
		{"frame-beyond-pack", "a frame that no pack is large enough for", swap(`[0,9,5]`, `[50331640,9,5]`), ErrBounds},
		{"frame-too-large", "a frame of more than 8 MiB", swap(`[0,9,5]`, `[0,9,8388609]`), ErrBounds},
		{"chunk-beyond-frame", "a chunk that ends behind its frame", swap(`[0,9,5],`, `[0,9,5],"at":1,`), ErrBounds},
		{"time-zone", "a time that does not end in Z", swap(`"size":5,"sha`, `"size":5,"modified":"2026-11-20T09:30:00+00:00","sha`), ErrMalformed},
		{"time-zeros", "a time with trailing zeros", swap(`"size":5,"sha`, `"size":5,"modified":"2026-11-20T09:30:00.10Z","sha`), ErrMalformed},
		{"time-day", "a day that does not exist", swap(`"size":5,"sha`, `"size":5,"modified":"2026-02-29T09:30:00Z","sha`), ErrMalformed},
		{"map-order", "names out of order", swap(`"size":5,"sha`, `"size":5,"metadata":{"b":"1","a":"2"},"sha`), ErrMalformed},
		{"map-twice", "a name twice", swap(`"size":5,"sha`, `"size":5,"metadata":{"a":"1","a":"2"},"sha`), ErrMalformed},
		{"map-twice-b64", "a name twice, once in base64", swap(`"size":5,"sha`, `"size":5,"metadata":{"a":"1"},"metadata_b64":{"YQ==":"/w=="},"sha`), ErrMalformed},
		{"kind-name", "a kind that is no name", swap(`{"key"`, `{"kind":"Volume","key"`), ErrMalformed},
		{"kind-behind", "a kind that is not known, and does not stand first", swap(`"size":5,"sha`, `"size":5,"kind":"volume","sha`), ErrMalformed},
		{"kind-space", "a kind that is not known, with white space in its line", `{"kind":"volume","key":"k","size":5,"colour": "red"}` + "\n", ErrMalformed},
		{"kind-null", "a kind that is not known, with a value that this format has not", `{"kind":"volume","key":"k","size":5,"colour":null}` + "\n", ErrMalformed},
		{"kind-twice", "a kind that is not known, with a member twice", `{"kind":"volume","key":"k","size":5,"colour":1,"colour":2}` + "\n", ErrMalformed},
		{"kind-key-twice", "a kind that is not known, with its key twice", `{"kind":"volume","key":"k","key":"k"}` + "\n", ErrMalformed},
		{"kind-no-key", "a kind that is not known, without a key", `{"kind":"volume","size":5}` + "\n", ErrMalformed},
		{"kind-ext", "a kind that is not known, with an ext in another spelling", `{"kind":"volume","key":"k","size":5,"ext":{"b":1,"a":1}}` + "\n", ErrMalformed},
		{"kind-deep", "a kind that is not known, with 17 levels", `{"kind":"volume","key":"k","size":5,"a":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + "}\n", ErrBounds},
		{"object-with-file", "an object with file attributes", swap(`"size":5,"sha`, `"size":5,"file":{"mode":"0644"},"sha`), ErrMalformed},
		{"missing-with-content", "content of what could not be read", swap("}]}\n", `}],"missing":"access denied"}`+"\n"), ErrMalformed},
		{"unread-object", "only images have ranges that could not be read", swap("}]}\n", `}],"unread":[{"from":0,"size":5,"reason":"x"}]}`+"\n"), ErrMalformed},
		{"unread-of-missing", "a disk that is missing as a whole", unread(`,"missing":"archived"`, `{"from":0,"size":524288,"reason":"x"}`), ErrMalformed},
		{"unread-no-block", "half a block", unread(disk, `{"from":0,"size":262144,"reason":"x"}`), ErrMalformed},
		{"unread-next-to-each-other", "two ranges that are one", unread(disk, `{"from":0,"size":524288,"reason":"x"},{"from":524288,"size":524288,"reason":"x"}`), ErrBounds},
		{"unread-order", "ranges out of order", unread(disk, `{"from":1048576,"size":524288,"reason":"x"},{"from":0,"size":524288,"reason":"x"}`), ErrBounds},
		{"unread-beyond", "a range behind the disk's end", unread(disk, `{"from":2097152,"size":524288,"reason":"x"}`), ErrBounds},
		{"unread-no-reason", "a range without a reason", unread(disk, `{"from":0,"size":524288,"reason":""}`), ErrBounds},
		{"unread-empty-list", "an empty list", unread(disk, ``), ErrMalformed},
		{"recheck-false", "false is left out", swap("}]}\n", `}],"recheck":false}`+"\n"), ErrMalformed},
		{"sparse-one-chunk", "sparse without a hole: the chunk's hash would be the image sum", `{"kind":"file","key":"f","size":12,"file":{"mode":"0644"},"sha256":"` + hashOf("x").String() + `","sparse":true,"chunks":[{"pack":"` + hashOf("a").String() + `","frame":[0,321,1000],"size":12}]}` + "\n", ErrMalformed},
		{"sparse-object", "an object is never sparse, with holes or without", swap(`","chunks"`, `","sparse":true,"chunks"`), ErrMalformed},
		{"unsettled-false", "false is left out", swap("}]}\n", `}],"unsettled":false}`+"\n"), ErrMalformed},
		{"unsettled-object", "an object is never written to while it is read", swap("}]}\n", `}],"unsettled":true}`+"\n"), ErrMalformed},
		{"unsettled-missing", "unsettled, and not read at all", `{"kind":"file","key":"f","size":0,"file":{"mode":"0644"},"missing":"access denied","unsettled":true}` + "\n", ErrMalformed},
		{"unsettled-order", "unsettled before recheck", `{"kind":"file","key":"f","size":0,"file":{"mode":"0644"},"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","unsettled":true,"recheck":true}` + "\n", ErrMalformed},
		{"dir-without-slash", "a directory whose key does not end in a slash", `{"kind":"dir","key":"d","size":0,"file":{"mode":"0755"}}` + "\n", ErrMalformed},
		{"dir-with-size", "a directory with a size", `{"kind":"dir","key":"d/","size":4096,"file":{"mode":"0755"}}` + "\n", ErrMalformed},
		{"path-parent", "a path that leads out", path("file", "a/../b"), ErrMalformed},
		{"path-parent-first", "a path that leads out at once", path("file", "../b"), ErrMalformed},
		{"path-parent-last", "a directory that is the one above", path("dir", "a/../"), ErrMalformed},
		{"path-dot", "a segment that is a dot", path("file", "a/./b"), ErrMalformed},
		{"path-dot-first", "a path that begins with a dot", path("file", "./a"), ErrMalformed},
		{"path-root-file", "the root, and no directory", path("file", "."), ErrMalformed},
		{"path-root-twice", "the root in another spelling", path("dir", "././"), ErrMalformed},
		{"path-empty", "an empty segment", path("file", "a//b"), ErrMalformed},
		{"path-empty-last", "a directory with two slashes at the end", path("dir", "a//"), ErrMalformed},
		{"path-absolute", "a path from the root", path("file", "/etc/passwd"), ErrMalformed},
		{"path-slash", "a directory of no name", path("dir", "/"), ErrMalformed},
		{"path-zero", "a zero byte in a path", path("file", `a\u0000b`), ErrMalformed},
		{"path-zero-b64", "a zero byte in a path that is not UTF-8", strings.Replace(path("file", "x"), `"key":"x"`, `"key_b64":"/wBh"`, 1), ErrMalformed},
		{"path-special", "a device outside", `{"kind":"special","key":"../sda","size":0,"file":{"mode":"0644","type":"block"}}` + "\n", ErrMalformed},
		{"path-symlink", "a link outside", `{"kind":"symlink","key":"../l","size":0,"file":{"mode":"0644","target":"t"}}` + "\n", ErrMalformed},
		{"path-missing", "a path that leads out, of what could not be read", strings.Replace(path("file", "../b"), `,"sha256":"`+hashOf("").String()+`"`, `,"missing":"access denied"`, 1), ErrMalformed},
		{"file-with-slash", "a file whose key ends in a slash", path("file", "a/"), ErrMalformed},
		{"empty-sum", "size 0 with the hash of some bytes", `{"key":"k","size":0,"sha256":"` + h + `"}` + "\n", ErrMalformed},
		{"map-order-b64", "names in base64 out of order", swap(`"size":5,"sha`, `"size":5,"metadata_b64":{"/w==":"YQ==","/g==":"YQ=="},"sha`), ErrMalformed},
		{"map-b64-of-utf8", "a pair of which both are UTF-8, in base64", swap(`"size":5,"sha`, `"size":5,"metadata_b64":{"YQ==":"Yg=="},"sha`), ErrMalformed},
		{"xattrs-order-b64", "names of attributes in base64 out of order", `{"kind":"dir","key":"d/","size":0,"file":{"mode":"0755","xattrs_b64":{"/w==":"","/g==":""}}}` + "\n", ErrMalformed},
		{"xattrs-b64-of-utf8", "a name of an attribute that is UTF-8, in base64", `{"kind":"dir","key":"d/","size":0,"file":{"mode":"0755","xattrs_b64":{"YQ==":""}}}` + "\n", ErrMalformed},
		{"image-gap", "extents of an image with a gap", `{"kind":"image","key":"disk","size":2147483648,"sha256":"` + h + `","extents":[{"from":0,"size":524288,"hole":true},{"from":1073741824,"size":1073741824,"hole":true}]}` + "\n", ErrMalformed},
		{"image-part-range", "an extent of an image that begins within a range", `{"kind":"image","key":"disk","size":1073741824,"sha256":"` + h + `","extents":[{"from":0,"size":524288,"hole":true},{"from":524288,"size":1073217536,"hole":true}]}` + "\n", ErrMalformed},
		{"mode-digits", "a mode of three digits", `{"kind":"dir","key":"d/","size":0,"file":{"mode":"755"}}` + "\n", ErrMalformed},
	} {
		out = append(out, vector{path: "entry/refuse-" + r.name, comment: r.comment, body: []byte(r.line), err: r.err})
	}
	if _, err := ParseEntry([]byte(good)); err != nil {
		out = append(out, vector{path: "entry/refuse-good", comment: err.Error()})
	}
	return out
}

func referenceVectors(t *testing.T) []vector {
	var out []vector
	bytesOf := must[[]byte](t)
	add := func(name, comment string, body []byte, value any) {
		out = append(out, vector{path: name, comment: comment, body: body, value: value})
	}
	refuse := func(name, comment, body string, err error) {
		out = append(out, vector{path: name, comment: comment, body: []byte(body), err: err})
	}
	leaf := PageRef{First: "a", Entries: 64, Bytes: 123456, Object: MetaName(hashOf("meta 1")), Frame: Frame{0, 5000, 40000}, Sum: hashOf("page"), Digest: "00112233445566778899aabbccddeeff"}
	add("page-ref/leaf", "a leaf page with a digest", bytesOf(leaf.AppendLine(nil)), leaf)
	inner := PageRef{Level: 2, First: "\xff", Entries: 1 << 40, Bytes: 1 << 60, Object: leaf.Object, Frame: leaf.Frame, Sum: leaf.Sum, TagsRead: 1795000000, Missing: 3}
	add("page-ref/inner", "an inner page; its first key is not UTF-8; entries that could not be read lie below", bytesOf(inner.AppendLine(nil)), inner)
	empty := PageRef{Object: leaf.Object, Sum: hashOf("")}
	add("page-ref/empty", "the root of an empty tree that is not stored: nothing to fetch", bytesOf(empty.AppendLine(nil)), empty)
	empty.Frame = Frame{Offset: 100}
	add("page-ref/empty-offset", "the same, with an offset, which says nothing: writers write 0", bytesOf(empty.AppendLine(nil)), empty)
	empty.Frame = Frame{Offset: 100, Length: 9}
	add("page-ref/empty-stored", "the root of an empty tree that is stored: nothing to fetch either", bytesOf(empty.AppendLine(nil)), empty)
	needs := leaf
	needs.Object, needs.First, needs.Digest = NeedsName(hashOf("needs 1")), PackName(hashOf("pack 1")), ""
	add("page-ref/needs", "a page of a needs list", bytesOf(needs.AppendLine(nil)), needs)
	s := string(bytesOf(leaf.AppendLine(nil)))
	beside := leaf
	beside.Object = ""
	add("page-ref/beside", "a page in the object that the page with this line is in", bytesOf(beside.AppendLine(nil)), beside)
	refuse("page-ref/refuse-object-empty", "the name is left out, not empty", strings.Replace(s, leaf.Object, "", 1), ErrMalformed)
	refuse("page-ref/refuse-object", "a page in a pack", strings.Replace(s, "meta/", "packs/", 1), ErrMalformed)
	refuse("page-ref/refuse-fan", "an object under the wrong two digits", strings.Replace(s, "meta/"+leaf.Object[5:7], "meta/zz", 1), ErrMalformed)
	refuse("page-ref/refuse-level", "a tree that is too high", strings.Replace(s, `{"first"`, `{"level":9,"first"`, 1), ErrMalformed)
	refuse("page-ref/refuse-entries", "a leaf of too many entries", strings.Replace(s, `"entries":64`, `"entries":4097`, 1), ErrBounds)
	refuse("page-ref/refuse-missing", "more missing than there are", strings.Replace(s, `"}`+"\n", `","missing":65}`+"\n", 1), ErrBounds)
	refuse("page-ref/refuse-digest", "a digest of another length", strings.Replace(s, `aabbccddeeff"`, `aabbccddee"`, 1), ErrMalformed)

	rl := RootLine{Salt: "00112233445566778899aabbccddeeff"}
	add("root-line/salt", "the first line of a manifest's root page", bytesOf(rl.AppendLine(nil)), rl)
	rl.Source = "file:///srv/\xff"
	add("root-line/source", "with a source whose URL is not UTF-8", bytesOf(rl.AppendLine(nil)), rl)
	for _, r := range []struct {
		name, comment, line string
		err                 error
	}{
		{"upper", "a salt in upper case", `{"salt":"00112233445566778899AABBCCDDEEFF"}`, ErrMalformed},
		{"short", "a salt of 31 digits", `{"salt":"00112233445566778899aabbccddeef"}`, ErrMalformed},
		{"none", "no salt", `{"source":"file:///srv"}`, ErrMalformed},
		{"empty-source", "a source that is left out when it is empty", `{"salt":"00112233445566778899aabbccddeeff","source":""}`, ErrMalformed},
		{"member", "a member this version does not know", `{"salt":"00112233445566778899aabbccddeeff","colour":"red"}`, ErrMalformed},
		{"reference", "a reference, as on other pages", strings.TrimSuffix(s, "\n"), ErrMalformed},
		{"long", "a source of more than 4 KiB", `{"salt":"00112233445566778899aabbccddeeff","source":"` + strings.Repeat("x", maxPlace+1) + `"}`, ErrBounds},
	} {
		refuse("root-line/refuse-"+r.name, r.comment, r.line+"\n", r.err)
	}

	c := Chunk{Pack: hashOf("pack 1"), Frame: Frame{10, 20, 524288}, Size: 524288, Sum: hashOf("block")}
	add("chunk/chunk", "a line of an extent page", bytesOf(c.AppendLine(nil)), c)
	within := c
	within.Frame.Plain, within.At = 1<<20, 4096
	add("chunk/at", "within its frame", bytesOf(within.AppendLine(nil)), within)
	x := Extent{From: 1 << 30, Size: 1 << 30, Object: MetaName(hashOf("meta 1")), Frame: Frame{0, 50000, 400000}, Sum: hashOf("x1"), Content: hashOf("r1")}
	add("extent/extent", "a line of an extent page of level 1", bytesOf(x.AppendLine(nil)), x)
	high := Extent{Level: 1, Size: 1 << 40, Object: x.Object, Frame: x.Frame, Sum: x.Sum}
	add("extent/level-1", "a page of extents: only entries have such", bytesOf(high.AppendLine(nil)), high)
	digest := x
	digest.Digest = strings.Repeat("0a", 16)
	add("extent/digest", "with what the source's listing said of the range", bytesOf(digest.AppendLine(nil)), digest)
	add("extent/hole", "a range of zeros", bytesOf(Extent{Size: 1 << 30, Hole: true}.AppendLine(nil)), Extent{Size: 1 << 30, Hole: true})
	refuse("extent/refuse-hole-with-page", "a hole has no page", strings.Replace(string(bytesOf(x.AppendLine(nil))), `"object"`, `"hole":true,"object"`, 1), ErrMalformed)
	hole := Chunk{Hole: true, Size: 1 << 45}
	add("chunk/hole", "a hole larger than any frame", bytesOf(hole.AppendLine(nil)), hole)
	refuse("chunk/refuse-no-sum", "in an extent page each chunk has its sha256", strings.Replace(string(bytesOf(c.AppendLine(nil))), `,"sha256":"`+c.Sum.String()+`"`, "", 1), ErrMalformed)
	refuse("chunk/refuse-hole", "a hole of nothing", `{"hole":0}`+"\n", ErrMalformed)

	pt := PointLine{
		SignedAt: moment("2026-11-23T08:05:00Z"), ID: hashOf("point 1"), TakenAt: moment("2026-11-23T08:00:00.25Z"), RetainUntil: moment("2026-12-28T08:05:00Z"), Mode: "compliance",
		Status: StatusIncomplete, SourceKind: "s3", Slots: []string{"daily-2026-11-23", "weekly-2026-w48"}, Marks: []string{"empty"}, Entries: 100, Bytes: 123456, Missing: 1,
		Vaults: []string{"offsite", "second"},
	}
	pl := string(bytesOf(pt.AppendLine(nil)))
	add("point-line/full", "an earlier point with every member", []byte(pl), pt)
	least := PointLine{SignedAt: pt.SignedAt, ID: pt.ID, TakenAt: pt.TakenAt, RetainUntil: pt.RetainUntil, Status: StatusComplete, SourceKind: "dir"}
	add("point-line/least", "an earlier point with no member but those that are always there", bytesOf(least.AppendLine(nil)), least)
	refusePointTimes(pl, pt, refuse)
	refuse("point-line/refuse-id", "an ID in upper case", strings.Replace(pl, pt.ID.String(), strings.ToUpper(pt.ID.String()), 1), ErrMalformed)
	refuse("point-line/refuse-vaults", "vaults out of order", strings.Replace(pl, `"offsite","second"`, `"second","offsite"`, 1), ErrMalformed)
	refuse("point-line/refuse-missing", "more missing than there are", strings.Replace(pl, `"missing":1`, `"missing":101`, 1), ErrBounds)
	refuse("point-line/refuse-unknown", "a member that is not known", strings.Replace(pl, `,"vaults"`, `,"value":1,"vaults"`, 1), ErrMalformed)

	placementVectors(Need{Name: PackName(hashOf("pack 1")), Size: 33554432}, Need{Name: MetaName(hashOf("meta 1")), Size: 1500}, add, refuse)

	l := IndexLine{ID: hashOf("id"), Pack: c.Pack, Frame: c.Frame, At: 5, Size: 100}
	add("index-line/chunk", "where a chunk is", bytesOf(l.AppendLine(nil)), l)
	refuse("index-line/refuse-at", "behind the end of its frame", strings.Replace(string(bytesOf(l.AppendLine(nil))), `"at":5`, `"at":524189`, 1), ErrBounds)
	return out
}
