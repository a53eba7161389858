package format

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// anyText draws what a source may hand us: UTF-8, bytes that are not, and what JSON must escape.
func anyText(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.StringN(0, 12, 40),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 12), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "\u2028", "\x00\b\t\n\f\r\x1f\"\\\x7f", "<&>", "\xed\xa0\x80", "\xff", "👩‍🚀"}),
	).Draw(t, label)
}

func anyTexts(t *rapid.T, label string) map[string]string {
	n := rapid.IntRange(0, 5).Draw(t, label)
	var m map[string]string
	for range n {
		if m == nil {
			m = map[string]string{}
		}
		m[anyText(t, label)] = anyText(t, label)
	}
	return m
}

func anyHash(t *rapid.T, label string) Hash {
	return sha256.Sum256([]byte{rapid.Byte().Draw(t, label)})
}

func anyTime(t *rapid.T, label string) Time {
	if rapid.Bool().Draw(t, label) {
		return Time{}
	}
	return At(time.Unix(rapid.Int64Range(-62135596799, 253402300799).Draw(t, label), rapid.SampledFrom([]int64{0, 1, 10, 999999999, 120000000}).Draw(t, label)))
}

func anyExt(t *rapid.T) Ext {
	return rapid.SampledFrom([]Ext{"", "", "", `{"a":1}`, `{"":"\u0001","list":[1,true,{"b":false}]}`}).Draw(t, "ext")
}

func anyFrame(t *rapid.T) Frame {
	length := rapid.Int64Range(1, MaxPack).Draw(t, "length")
	return Frame{rapid.Int64Range(0, MaxPack-length).Draw(t, "offset"), length, rapid.Int64Range(1, MaxFrame).Draw(t, "plain")}
}

func anyChunk(t *rapid.T) Chunk {
	if rapid.IntRange(0, 4).Draw(t, "hole") == 0 {
		return Chunk{Hole: true, Size: rapid.Int64Range(1, 1<<40).Draw(t, "size"), Ext: anyExt(t)}
	}
	f := anyFrame(t)
	size := rapid.Int64Range(1, f.Plain).Draw(t, "size")
	return Chunk{Pack: anyHash(t, "pack"), Frame: f, At: rapid.Int64Range(0, f.Plain-size).Draw(t, "at"), Size: size, Sum: anyHash(t, "sum"), Ext: anyExt(t)}
}

func anyFile(t *rapid.T, k Kind) *File {
	f := &File{
		Mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
		User: anyText(t, "user"), Group: anyText(t, "group"), Changed: anyTime(t, "changed"), Inode: rapid.Uint64().Draw(t, "inode"),
		Device: rapid.Uint64().Draw(t, "device"), Links: rapid.Uint64().Draw(t, "links"), Rdev: rapid.Uint64().Draw(t, "rdev"), Ext: anyExt(t),
	}
	if k == KindSymlink {
		f.Target = "t" + anyText(t, "target")
	}
	if k == KindSpecial {
		f.Type = rapid.SampledFrom([]string{"fifo", "socket", "char", "block"}).Draw(t, "type")
	}
	for range rapid.IntRange(0, 3).Draw(t, "xattrs") {
		if f.Xattrs == nil {
			f.Xattrs = map[string][]byte{}
		}
		f.Xattrs[anyText(t, "xattr")] = []byte(anyText(t, "value"))
	}
	return f
}

func anyEntry(t *rapid.T) *Entry {
	e := &Entry{
		Kind: rapid.SampledFrom([]Kind{KindObject, KindMarker, KindFile, KindDir, KindSymlink, KindSpecial, KindImage}).Draw(t, "kind"),
		Key:  "k" + strings.TrimRight(anyText(t, "key"), "/"), Version: anyText(t, "version"), Modified: anyTime(t, "modified"),
		ETag: anyText(t, "etag"), StorageClass: anyText(t, "class"), ContentType: anyText(t, "ct"), ContentEncoding: anyText(t, "ce"),
		ContentLanguage: anyText(t, "cl"), ContentDisposition: anyText(t, "cd"), CacheControl: anyText(t, "cc"), Expires: anyText(t, "ex"),
		WebsiteRedirect: anyText(t, "wr"), Metadata: anyTexts(t, "metadata"), MissingMeta: rapid.Int32Min(0).Draw(t, "missing meta"),
		Recheck: rapid.Bool().Draw(t, "recheck"), Tags: anyTexts(t, "tags"), TagsRead: rapid.Int64Min(0).Draw(t, "tags read"), Checksums: anyTexts(t, "checksums"), ChecksumType: anyText(t, "type"), Ext: anyExt(t),
	}
	if e.Kind.hasPath() {
		e.Key = strings.NewReplacer("\x00", "0", "/", "-").Replace(e.Key) + rapid.SampledFrom([]string{"", "/a", "/..a/.b"}).Draw(t, "path")
	}
	switch e.Kind {
	case KindDir:
		e.Key += "/"
		e.File = anyFile(t, e.Kind)
	case KindFile, KindSymlink, KindSpecial:
		e.File = anyFile(t, e.Kind)
	}
	if rapid.IntRange(0, 9).Draw(t, "missing") == 0 {
		e.Missing = "m" + anyText(t, "reason")
		return e
	}
	if e.Kind == KindObject || e.Kind == KindFile {
		anyContent(t, e)
		e.Unsettled = e.Kind == KindFile && rapid.Bool().Draw(t, "unsettled")
	}
	if e.Kind == KindImage {
		anyImage(t, e)
	}
	return e
}

func anyImage(t *rapid.T, e *Entry) {
	e.SHA256 = anyHash(t, "sha256")
	inner := rapid.Bool().Draw(t, "level 1")
	for range rapid.IntRange(1, 4).Draw(t, "extents") {
		x := anyExtent(t)
		x.From, x.Size = e.Size, ImageRange
		if inner {
			x = anyInner(x, t)
			x.Size = MaxInner * ImageRange
		} else if x.Level == 1 {
			x.Level, x.Content = 0, anyHash(t, "content")
		}
		e.Extents = append(e.Extents, x)
		e.Size += x.Size
	}
	at := int64(0)
	for range rapid.IntRange(0, 3).Draw(t, "unread") {
		u := Unread{
			From: at + ImageBlock*rapid.Int64Range(0, 9).Draw(t, "unread from"), Size: ImageBlock * rapid.Int64Range(1, 9).Draw(t, "unread size"),
			Reason: "r" + anyText(t, "unread reason"), Ext: anyExt(t),
		}
		e.Unread = append(e.Unread, u)
		at = u.From + u.Size + ImageBlock
	}
}

func anyExtent(t *rapid.T) Extent {
	x := Extent{From: rapid.Int64Range(0, 1<<46).Draw(t, "from"), Size: rapid.Int64Range(1, 1<<46).Draw(t, "size"), Ext: anyExt(t)}
	kind := rapid.IntRange(0, 2).Draw(t, "extent kind")
	if kind != 2 && rapid.Bool().Draw(t, "digest") {
		x.Digest = fmt.Sprintf("%032x", rapid.Uint64().Draw(t, "digest"))
	}
	if kind == 0 {
		x.Hole = true
		return x
	}
	x.Object, x.Frame, x.Sum = MetaName(anyHash(t, "object")), anyFrame(t), anyHash(t, "sum")
	if kind == 2 {
		x.Level = 1
		return x
	}
	x.Content = anyHash(t, "content")
	return x
}

// anyInner makes it an extent of level 1.
func anyInner(x Extent, t *rapid.T) Extent {
	return Extent{Level: 1, From: x.From, Size: x.Size, Object: MetaName(anyHash(t, "object")), Frame: anyFrame(t), Sum: anyHash(t, "sum"), Ext: x.Ext}
}

func anyContent(t *rapid.T, e *Entry) {
	n := rapid.IntRange(0, 4).Draw(t, "references")
	e.SHA256 = anyHash(t, "sha256")
	if n == 0 {
		e.SHA256 = sha256.Sum256(nil)
	}
	extents := rapid.Bool().Draw(t, "extents")
	for range n {
		if extents {
			x := anyExtent(t)
			x.From, x.Content, x.Digest = e.Size, Hash{}, ""
			e.Extents = append(e.Extents, x)
			e.Size += x.Size
			continue
		}
		c := anyChunk(t)
		e.Chunks = append(e.Chunks, c)
		e.Size += c.Size
	}
	if len(e.Chunks) == 1 && !e.Chunks[0].Hole {
		e.Chunks[0].Sum = e.SHA256
	}
}

// What is written is read back as it was, and any JSON parser sees the same key and size.
func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEntry(t)
		line, err := e.AppendLine([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		line = line[len("before"):]
		got, err := ParseEntry(line)
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("got %+v\nwant %+v\n%s", got, e, line)
		}
		var wire struct {
			Key   *string `json:"key"`
			Bytes []byte  `json:"key_b64"`
			Size  *int64  `json:"size"`
		}
		if err := json.Unmarshal(line, &wire); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if (wire.Key != nil) != utf8.ValidString(e.Key) || wire.Key != nil && *wire.Key != e.Key || wire.Key == nil && string(wire.Bytes) != e.Key || *wire.Size != e.Size {
			t.Fatalf("another parser reads %s", line)
		}
	})
}

// No two entries that differ in a listing field share their listing bytes, wherever the bytes stand in a page.
func TestListingIsUnambiguous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyEntry(t), anyEntry(t)
		listing := func(e *Entry) Entry {
			l := Entry{Kind: e.Kind, Key: e.Key, Version: e.Version, Size: e.Size, Modified: e.Modified, ETag: e.ETag, StorageClass: e.StorageClass}
			if f := e.File; f != nil {
				l.File = &File{Mode: f.Mode, Type: f.Type, UID: f.UID, GID: f.GID, Changed: f.Changed, Inode: f.Inode, Device: f.Device, Rdev: f.Rdev, Target: f.Target}
			}
			return l
		}
		same := string(a.AppendListing(nil)) == string(b.AppendListing(nil))
		if same != reflect.DeepEqual(listing(a), listing(b)) {
			t.Fatalf("%+v\n%+v", a, b)
		}
		c := listing(a)
		if string(c.AppendListing(nil)) != string(a.AppendListing(nil)) {
			t.Fatal("something beside the listing fields counts")
		}
	})
}

// One listing field changed is seen, each of them.
func TestListingSeesEveryField(t *testing.T) {
	base := func() *Entry {
		return &Entry{Kind: KindFile, Key: "k", File: &File{}}
	}
	for name, change := range map[string]func(*Entry){
		"kind":    func(e *Entry) { e.Kind = KindSymlink },
		"key":     func(e *Entry) { e.Key = "l" },
		"version": func(e *Entry) { e.Version = "v" },
		"size":    func(e *Entry) { e.Size = 1 },
		"second":  func(e *Entry) { e.Modified = At(time.Unix(1, 0)) },
		"nano":    func(e *Entry) { e.Modified = At(time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)) },
		"etag":    func(e *Entry) { e.ETag = "x" },
		"class":   func(e *Entry) { e.StorageClass = "x" },
		"file":    func(e *Entry) { e.File = nil },
		"mode":    func(e *Entry) { e.File.Mode = 1 },
		"type":    func(e *Entry) { e.File.Type = "x" },
		"uid":     func(e *Entry) { e.File.UID = 1 },
		"gid":     func(e *Entry) { e.File.GID = 1 },
		"changed": func(e *Entry) { e.File.Changed = At(time.Unix(1, 0)) },
		"inode":   func(e *Entry) { e.File.Inode = 1 },
		"device":  func(e *Entry) { e.File.Device = 1 },
		"rdev":    func(e *Entry) { e.File.Rdev = 1 },
		"target":  func(e *Entry) { e.File.Target = "x" },
	} {
		e := base()
		change(e)
		if string(e.AppendListing(nil)) == string(base().AppendListing(nil)) {
			t.Errorf("%s does not count", name)
		}
	}
}

// What moves from the end of one field to the beginning of the next is seen.
func TestListingKeepsFieldsApart(t *testing.T) {
	a := &Entry{Key: "ab", Version: "c", ETag: "de", StorageClass: "f"}
	for _, b := range []*Entry{
		{Key: "a", Version: "bc", ETag: "de", StorageClass: "f"},
		{Key: "ab", Version: "c", ETag: "d", StorageClass: "ef"},
		{Kind: "a", Key: "b", Version: "c", ETag: "de", StorageClass: "f"},
	} {
		if string(a.AppendListing(nil)) == string(b.AppendListing(nil)) {
			t.Errorf("%+v looks like %+v", b, a)
		}
	}
}

func TestReferencesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyChunk(t)
		roundTrip(t, c, Chunk.AppendLine, ParseChunk)
		roundTrip(t, anyExtent(t), Extent.AppendLine, ParseExtent)

		r := PageRef{
			Level: rapid.IntRange(0, MaxLevel).Draw(t, "level"), First: "f" + anyText(t, "first"), Entries: rapid.Int64Range(1, MaxPageLines).Draw(t, "entries"),
			Bytes: rapid.Int64Min(0).Draw(t, "bytes"), Object: MetaName(anyHash(t, "object")), Frame: anyFrame(t), Sum: anyHash(t, "sum"),
			Digest: rapid.SampledFrom([]string{"", "0123456789abcdef0123456789abcdef"}).Draw(t, "digest"), TagsRead: rapid.Int64Min(0).Draw(t, "tags read"),
		}
		r.Missing, r.Ext = rapid.Int64Range(0, r.Entries).Draw(t, "missing"), anyExt(t)
		roundTrip(t, r, PageRef.AppendLine, ParsePageRef)

		n := Need{Name: PackName(anyHash(t, "pack")), Size: rapid.Int64Range(1, MaxPack).Draw(t, "size"), Living: rapid.Int64Min(0).Draw(t, "living"), Ext: anyExt(t)}
		roundTrip(t, n, Need.AppendLine, ParseNeed)
		m := Need{Name: MetaName(anyHash(t, "meta")), Size: n.Size, Living: n.Living, Ext: anyExt(t)}
		for i := range 2 * rapid.IntRange(0, 3).Draw(t, "stretches") {
			m.Pages = append(m.Pages, rapid.Int64Range(int64(min(i, 1)), 1<<20).Draw(t, "bytes"))
		}
		roundTrip(t, m, Need.AppendLine, ParseNeed)
		if edges := m.Pages.Edges(); !slices.Equal(PagesOf(edges), m.Pages) {
			t.Fatalf("%v has the edges %v", m.Pages, edges)
		}

		p := Placement{Name: n.Name, Version: anyText(t, "version"), Size: n.Size, Ext: anyExt(t)}
		for range rapid.IntRange(0, 2).Draw(t, "index") {
			p.Name = MetaName(anyHash(t, "meta"))
			at := int64(len(p.Index)) * 2000
			p.Index = append(p.Index, Frame{Offset: at, Length: rapid.Int64Range(1, 2000).Draw(t, "length"), Plain: rapid.Int64Range(1, MaxFrame).Draw(t, "plain")})
		}
		if u := anyTime(t, "until"); !u.IsZero() {
			p.Until, p.Mode = u, rapid.SampledFrom([]string{"compliance", "governance"}).Draw(t, "mode")
		}
		roundTrip(t, p, Placement.AppendLine, ParsePlacement)

		if !c.Hole {
			roundTrip(t, IndexLine{ID: c.Sum, Pack: c.Pack, Frame: c.Frame, At: c.At, Size: c.Size, Ext: c.Ext}, IndexLine.AppendLine, ParseIndexLine)
		}
	})
}

func roundTrip[T any](t *rapid.T, v T, encode func(T, []byte) ([]byte, error), decode func([]byte) (T, error)) {
	line, err := encode(v, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(line) || line[len(line)-1] != '\n' {
		t.Fatalf("not a JSON line: %q", line)
	}
	got, err := decode(line)
	if err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	if !reflect.DeepEqual(got, v) {
		t.Fatalf("got %+v\nwant %+v", got, v)
	}
}

// A writer cannot write what no reader would take.
func TestAppendLineRefuses(t *testing.T) {
	ok := func() *Entry {
		h := Hash(sha256.Sum256([]byte("x")))
		return &Entry{Key: "k", Size: 1, SHA256: h, Chunks: []Chunk{{Pack: h, Frame: Frame{0, 9, 1}, Size: 1}}}
	}
	if _, err := ok().AppendLine(nil); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Entry){
		"no key":              func(e *Entry) { e.Key = "" },
		"long key":            func(e *Entry) { e.Key = strings.Repeat("k", MaxKey+1) },
		"negative size":       func(e *Entry) { e.Size = -1 },
		"wrong sum":           func(e *Entry) { e.Size = 2 },
		"no hash":             func(e *Entry) { e.SHA256 = Hash{} },
		"other hash":          func(e *Entry) { e.Chunks[0].Sum = e.Chunks[0].Pack; e.Chunks[0].Sum[0]++ },
		"beyond the frame":    func(e *Entry) { e.Chunks[0].At = 1 },
		"beyond the pack":     func(e *Entry) { e.Chunks[0].Frame.Offset = MaxPack - 8 },
		"huge frame":          func(e *Entry) { e.Chunks[0].Frame.Plain = MaxFrame + 1 },
		"missing and content": func(e *Entry) { e.Missing = "access denied" },
		"marker with content": func(e *Entry) { e.Kind = KindMarker },
		"unknown kind":        func(e *Entry) { e.Kind = "volume" },
		"file without File":   func(e *Entry) { e.Kind = KindFile },
		"object with File":    func(e *Entry) { e.File = &File{} },
		"year 10000":          func(e *Entry) { e.Modified = At(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) },
		"overflow": func(e *Entry) {
			e.Chunks = []Chunk{{Hole: true, Size: math.MaxInt64}, {Hole: true, Size: math.MaxInt64}, {Hole: true, Size: 3}}
		},
		"empty, other hash": func(e *Entry) { e.Size, e.Chunks = 0, nil },
		"too many chunks": func(e *Entry) {
			e.Chunks, e.Size = nil, MaxEntryChunks+1
			for range e.Size {
				e.Chunks = append(e.Chunks, Chunk{Hole: true, Size: 1})
			}
		},
		"too many tags": func(e *Entry) {
			e.Tags = map[string]string{}
			for i := range maxPairs + 1 {
				e.Tags[string(rune('a'+i))] = ""
			}
		},
		"long line": func(e *Entry) { e.ContentType = strings.Repeat("\n", MaxLine/2) },
	} {
		e := ok()
		spoil(e)
		b, err := e.AppendLine([]byte("before"))
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrBounds) {
			t.Errorf("%s: %v", name, err)
		}
		if string(b) != "before" {
			t.Errorf("%s: left %q behind", name, clip(b))
		}
	}
}

// A reader stops at the bound, not when the map is full.
func TestParseEntryBoundsPairs(t *testing.T) {
	line := []byte(`{"key":"k","size":0,"tags":{`)
	for i := range maxPairs + 1 {
		line = append(pairSeparator(line), fmt.Sprintf(`"%06d":""`, i)...)
	}
	if _, err := ParseEntry(append(line, "}}"...)); !errors.Is(err, ErrBounds) {
		t.Error(err)
	}
}

func TestPageLines(t *testing.T) {
	for name, c := range map[string]struct {
		page  string
		lines int
		err   error
	}{
		"empty":       {"", 0, nil},
		"two":         {"a\nb\n", 2, nil},
		"full":        {strings.Repeat("a\n", MaxPageLines), MaxPageLines, nil},
		"too many":    {strings.Repeat("a\n", MaxPageLines+1), MaxPageLines, ErrBounds},
		"no end":      {"a\nb", 1, ErrMalformed},
		"empty line":  {"a\n\nb\n", 1, ErrMalformed},
		"long line":   {strings.Repeat("a", MaxLine) + "\n", 0, ErrBounds},
		"longest one": {strings.Repeat("a", MaxLine-1) + "\n", 1, nil},
	} {
		n, last := 0, error(nil)
		for _, err := range PageLines([]byte(c.page)) {
			if err != nil {
				last = err
				continue
			}
			n++
		}
		if n != c.lines || !errors.Is(last, c.err) || (last == nil) != (c.err == nil) {
			t.Errorf("%s: %d lines, %v", name, n, last)
		}
	}
}

// The scanner's own reading of times agrees with the standard library's.
func TestTimes(t *testing.T) {
	for _, s := range []string{
		"2026-11-23T08:00:00Z", "2026-11-23T08:00:00.000000001Z", "1969-12-31T23:59:59.5Z", "0001-01-01T00:00:00.000000001Z", "9999-12-31T23:59:59Z",
		"2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "2026-11-31T00:00:00Z", "2026-11-23T08:00:00.10Z", "2026-11-23T08:00:00.Z", "2026-11-23T08:00:60Z",
		"2026-11-23T24:00:00Z", "2026-11-23T08:00:00,5Z", "2026-11-23T08:00:00+00:00", "2026-11-23t08:00:00z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
		"2026-11-23T08:00:00.1234567891Z", "2026-11-23 08:00:00Z", "", "Z", "+026-11-23T08:00:00Z", "2026-1:-23T08:00:00Z",
	} {
		var want Time
		err := want.UnmarshalText([]byte(s))
		got, ok := parseTime([]byte(s))
		if ok != (err == nil) || ok && !got.Equal(want.Time) {
			t.Errorf("%q: %v %v, want %v %v", s, got, ok, want, err)
		}
	}
}

// The encoder's own writing of times is the standard library's.
func TestAppendTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := anyTime(t, "time")
		if got, want := string(appendTime(nil, at)), at.UTC().Format(timeLayout); got != want {
			t.Fatalf("%s instead of %s", got, want)
		}
	})
}

func benchmarkEntry() *Entry {
	h := Hash(sha256.Sum256([]byte("x")))
	return &Entry{
		Key: "uploads/2026/11/23/report-000123.pdf", Version: "3HL4kqtJvjVBH40Nrjfkd", Size: 52000, Modified: At(time.Unix(1795000000, 123000000)),
		ETag: "9b2cf535f27731c974343645a3985328", StorageClass: "STANDARD", ContentType: "application/pdf", CacheControl: "max-age=3600",
		Metadata: map[string]string{"owner": "finance", "origin": "scanner-7"}, Checksums: map[string]string{"crc64nvme": "AAAAAAAAAAA="}, ChecksumType: "FULL_OBJECT",
		SHA256: h, Chunks: []Chunk{{Pack: h, Frame: Frame{1 << 20, 300000, 1 << 20}, At: 4096, Size: 52000}},
	}
}

func BenchmarkAppendLine(b *testing.B) {
	e, buf := benchmarkEntry(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.AppendLine(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseEntry(b *testing.B) {
	line, err := benchmarkEntry().AppendLine(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEntry(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseIndexLine(b *testing.B) {
	h := Hash(sha256.Sum256([]byte("x")))
	line, err := IndexLine{ID: h, Pack: h, Frame: Frame{1 << 20, 300000, 1 << 20}, At: 5, Size: 52000}.AppendLine(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseIndexLine(line); err != nil {
			b.Fatal(err)
		}
	}
}
