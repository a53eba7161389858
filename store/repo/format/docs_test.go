package format

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is docs/format.md.
func document(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// member is one member of an object: as a table of the document has it, or as the code writes it.
type member struct {
	name     string
	optional bool
}

// memberTables gives the tables of members in the document, in order.
func memberTables(doc string) (out [][]member) {
	in := false
	for line := range strings.Lines(doc) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			in = false
		case strings.TrimSpace(cells[1]) == "member" || strings.TrimSpace(cells[1]) == "head":
			in, out = true, append(out, nil)
		case in && !strings.HasPrefix(line, "| ---"):
			for _, name := range quotedNames(cells[1]) {
				if name == "ext" {
					continue // which can stand in every object
				}
				out[len(out)-1] = append(out[len(out)-1], member{name, strings.Contains(cells[2], "optional")})
			}
		}
	}
	return out
}

func quotedNames(text string) (out []string) {
	for _, m := range regexp.MustCompile("`([a-z_0-9]+)`").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// shape is what the code writes of one kind of object: the members of some, each in their order.
type shape struct {
	lines    [][]string
	optional map[string]bool
}

// ofStruct gives the members that encoding/json writes of a struct; ext can stand in every object and is left aside.
func ofStruct(v any) shape {
	s := shape{lines: [][]string{nil}, optional: map[string]bool{}}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "ext" {
			s.lines[0] = append(s.lines[0], name)
			s.optional[name] = strings.Contains(rest, "omit")
		}
	}
	return s
}

// ofLines gives the members of objects that the codecs write; what is not in all of them is optional.
func ofLines(t *testing.T, lines ...[]byte) shape {
	t.Helper()
	s := shape{optional: map[string]bool{}}
	count := map[string]int{}
	for _, line := range lines {
		all := names(t, line)
		for _, name := range all {
			count[name]++
		}
		s.lines = append(s.lines, all)
	}
	for name, n := range count {
		s.optional[name] = n < len(lines)
	}
	return s
}

// is reports whether the members of a table are those, in this order. Of some members it does not matter what the table says of
// whether they can be left out.
func (s shape) is(have []member, some ...string) bool {
	var all []string
	for _, m := range have {
		optional, ok := s.optional[m.name]
		if !ok || optional != m.optional && !slices.Contains(some, m.name) {
			return false
		}
		all = append(all, m.name)
	}
	return len(all) == len(s.optional) && s.within(all)
}

// within reports whether all the members stand among others in their order.
func (s shape) within(have []string) bool {
	for _, line := range s.lines {
		left := line
		for _, h := range have {
			if len(left) > 0 && left[0] == h {
				left = left[1:]
			}
		}
		if len(left) > 0 {
			return false
		}
	}
	return true
}

// names gives the names of one object's members, text that is not UTF-8 under its own, ext left aside.
func names(t *testing.T, line []byte) (out []string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(line)))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		name, err := dec.Token()
		var skip json.RawMessage
		if err == nil {
			err = dec.Decode(&skip)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.TrimSuffix(name.(string), "_b64"); n != "ext" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// bodiesOf gives the accepted vectors of a kind.
func bodiesOf(t *testing.T, kind string) (out [][]byte) {
	for _, v := range allVectors(t) {
		if filepath.Dir(v.path) == kind && v.err == nil && !strings.HasPrefix(v.path, "entry/kind-unknown") {
			out = append(out, v.body)
		}
	}
	return out
}

// TestMembersInTheDocument holds the document's tables of members, and the forms it shows in its text, to what the code writes.
func TestMembersInTheDocument(t *testing.T) {
	doc := document(t)
	tables := memberTables(doc)
	for _, c := range []struct {
		what string
		want shape
	}{
		{"a reference", ofLines(t, bodiesOf(t, "page-ref")...)},
		{"a root page's first line", ofLines(t, bodiesOf(t, "root-line")...)},
		{"an entry", ofLines(t, bodiesOf(t, "entry")...)},
		{"an extent", ofLines(t, bodiesOf(t, "extent")...)},
		{"a line of a points list", ofLines(t, bodiesOf(t, "point-line")...)},
		{"a commit's head", ofStruct(commitHead{})},
		{"a commit's body", ofStruct(commitBody{})},
		{"a descriptor's head", ofStruct(descriptorHead{})},
		{"a descriptor's body", ofStruct(descriptorBody{})},
		{"a record's head", ofStruct(recordHead{})},
	} {
		// What only some kinds have is said in words: file, sha256; holes leave out what refers to a page.
		some := []string{"file", "sha256", "object", "frame", "content", "previous"}
		if c.what == "a reference" {
			some = []string{"object"}
		}
		i := slices.IndexFunc(tables, func(have []member) bool { return c.want.is(have, some...) })
		if i < 0 {
			t.Errorf("no table has the members of %s: %q", c.what, c.want.lines)
			continue
		}
		tables = slices.Delete(tables, i, i+1)
	}
	for _, have := range tables {
		t.Errorf("the code writes no object of these members: %+v", have)
	}
	file := regexp.MustCompile("(?s)\n`file` is an object: (.*?)\n\n").FindStringSubmatch(doc)
	if file == nil || !fileMembers(t).within(quotedNames(file[1])) {
		t.Errorf("the text about `file` has not these members in this order: %q", fileMembers(t).lines)
	}
	inText(t, doc)
}

func fileMembers(t *testing.T) shape {
	var files [][]byte
	for _, line := range bodiesOf(t, "entry") {
		var e struct{ File json.RawMessage }
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.File != nil {
			files = append(files, e.File)
		}
	}
	return ofLines(t, files...)
}

// inText holds the objects that the document shows within its text.
func inText(t *testing.T, doc string) {
	t.Helper()
	chunks := slices.DeleteFunc(bodiesOf(t, "chunk"), func(b []byte) bool { return strings.HasPrefix(string(b), `{"hole"`) })
	code := map[string]bool{"signature": false, "hole": false, "from size reason": false, "format": false}
	for _, c := range []shape{
		ofLines(t, chunks...), ofLines(t, bodiesOf(t, "need")...), ofLines(t, bodiesOf(t, "index-line")...), ofLines(t, bodiesOf(t, "placement")...),
		ofLines(t, bodiesOf(t, "vouched")...), ofStruct(Parameters{}), ofStruct(Key{}), ofStruct(SegmentHeader{}), ofStruct(NewestPoint{}), ofStruct(Predecessor{}),
	} {
		longest := slices.MaxFunc(c.lines, func(a, b []string) int { return len(a) - len(b) })
		if !c.within(longest) {
			t.Fatalf("no vector has all members: %q", c.lines)
		}
		code[strings.Join(longest, " ")] = false
	}
	for _, shown := range regexp.MustCompile("`(\\{\"[^`]*)`").FindAllStringSubmatch(doc, -1) {
		var have []string
		for _, m := range regexp.MustCompile(`"([a-z_0-9]+)":`).FindAllStringSubmatch(shown[1], -1) {
			if m[1] != "ext" {
				have = append(have, m[1])
			}
		}
		key := strings.Join(have, " ")
		if _, ok := code[key]; !ok {
			t.Errorf("the code writes no object of the members of %s", shown[1])
		}
		code[key] = true
	}
	for key, shown := range code {
		if !shown {
			t.Errorf("the document shows no object with the members %s", key)
		}
	}
}

// TestBoundsInTheDocument holds the document's table of bounds to the constants, and sees that each constant has a row.
func TestBoundsInTheDocument(t *testing.T) {
	used := map[string]bool{}
	n := func(name string, value int64) string {
		used[name] = true
		switch {
		case value >= 1<<40 && value%(1<<40) == 0:
			return fmt.Sprintf("%d TiB", value>>40)
		case value >= 1<<20 && value%(1<<20) == 0:
			return fmt.Sprintf("%d MiB", value>>20)
		}
		return thousands(value)
	}
	kib := func(name string, value int64) string {
		used[name] = true
		return fmt.Sprintf("%d KiB", value>>10)
	}
	rows := map[string]string{
		"plain bytes of a frame":                                   n("MaxFrame", MaxFrame) + "; as stored 1 KiB more", // see pack.MaxFrameLength
		"stored bytes of a pack, meta, needs or placements object": n("MaxPack", MaxPack),
		"JSON line with its line feed":                             n("MaxLine", MaxLine),
		"lines of a page":                                          n("MaxPageLines", MaxPageLines),
		"key":                                                      kib("MaxKey", MaxKey),
		"chunks in an entry":                                       n("MaxEntryChunks", MaxEntryChunks),
		"extents in an entry":                                      n("MaxExtents", MaxExtents),
		"extents on a page of level 1":                             n("MaxInner", MaxInner),
		"stretches of pages in a line of a needs list":             n("MaxStretches", MaxStretches),
		"image":                       n("MaxImage", MaxImage),
		"`unread` ranges of an entry": n("MaxUnread", MaxUnread) + ", each with a reason of " + n("MaxReason", MaxReason) + " bytes",
		"metadata, tags, checksums, extended attributes of an entry": n("maxPairs", maxPairs) + " each",
		"levels of a tree above its leaves":                          n("MaxLevel", MaxLevel),
		"descriptor": kib("MaxDescriptor", MaxDescriptor) + "; " + n("maxRecipients", maxRecipients) + " recipients of " + n("maxRecipientLen", maxRecipientLen) +
			" bytes; " + n("maxMetadata", maxMetadata) + " metadata recipients; " + n("maxKeys", maxKeys) + " keys of " + n("maxKeyLen", maxKeyLen) + " bytes, each with " +
			n("maxKeySources", maxKeySources) + " sources; number " + n("maxDescriptorNumber", maxDescriptorNumber),
		"parameters":               "`max_chunk` " + n("MaxFrame", MaxFrame) + ", `leaf_keys` and `fanout` " + n("MaxPageLines", MaxPageLines/4) + "; `longest` " + n("maxLongest", maxLongest/(366*24*3600)) + " years of 366 days",
		"format version":           n("maxVersion", maxVersion) + " bytes; " + n("maxRequires", maxRequires) + " features",
		"source in a root page":    kib("maxPlace", maxPlace),
		"`ext`":                    kib("MaxExt", MaxExt) + ", " + n("maxNests", maxNests) + " levels",
		"entry of an unknown kind": n("maxForeignNests", maxForeignNests) + " levels, " + n("maxForeignMembers", maxForeignMembers) + " members of one object",
		"names of sources, vaults, reporters, kinds, marks": n("maxName", maxName) + " bytes",
		"commit object": kib("MaxCommit", MaxCommit) + "; " + kib("maxFurther", maxFurther) + " behind the body; " + n("MaxPredecessor", MaxPredecessor) + " predecessors; " +
			n("maxSlots", maxSlots) + " slots; " + n("maxMarks", maxMarks) + " marks; writer " + n("maxWriter", maxWriter) + " bytes",
		"sealed host key": kib("MaxHostKeyCopy", MaxHostKeyCopy),
		"index segment, plain": n("MaxSegment", MaxSegment) + ", " + n("MaxSegmentLines", MaxSegmentLines) + " lines, header " + kib("maxHeader", maxHeader) + "; " +
			n("maxIndexFrames", maxIndexFrames) + " index segments in one meta object",
		"placements":            n("MaxPlacements", MaxPlacements) + " lines in all frames, header " + kib("maxPlacementsHead", maxPlacementsHead) + ", replaces " + n("MaxReplaces", MaxReplaces),
		"line of a points list": n("maxSlots", maxSlots) + " slots; " + n("maxMarks", maxMarks) + " marks; " + n("MaxPointVaults", MaxPointVaults) + " vaults",
		"record":                kib("MaxRecord", MaxRecord) + "; number " + n("maxRecordNumber", maxRecordNumber) + "; " + n("MaxNewest", MaxNewest) + " newest points",
	}
	elsewhere := []string{"vouched points"} // held to its bound where it is read, in the package above
	_, table, _ := strings.Cut(document(t), "| what | at most |\n| --- | --- |\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			break
		}
		what, have := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
		want, ok := rows[what]
		if slices.Contains(elsewhere, what) {
			continue
		}
		if !ok {
			t.Errorf("a bound that the code has not: %s: %s", what, have)
		} else if have != want {
			t.Errorf("%s: %s, in the code %s", what, have, want)
		}
		delete(rows, what)
	}
	for what := range rows {
		t.Errorf("no row for %s: %s", what, rows[what])
	}
	for _, name := range constants(t) {
		if !used[name] {
			t.Errorf("%s stands in no row", name)
		}
	}
}

// constants gives the names of the package's bounds.
func constants(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				for _, id := range s.(*ast.ValueSpec).Names {
					if len(id.Name) > 3 && strings.EqualFold(id.Name[:3], "max") {
						found[id.Name] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// thousands writes a number as the document does; highest numbers of names are written whole.
func thousands(v int64) string {
	s := fmt.Sprint(v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
