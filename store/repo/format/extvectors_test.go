package format

import (
	"bytes"
	"strings"
	"testing"
)

// extVectors end an object of each kind with ext, and spoil it.
func extVectors(t *testing.T) []vector {
	const good = `{"colour":"red","nested":{"list":[1,true,{"a":"b"}]}}`
	bytesOf := must[[]byte](t)
	var out []vector
	add := func(path, comment string, body []byte, value any) {
		out = append(out, vector{path: path + "/ext", comment: comment, body: body, value: value})
		for _, r := range []struct {
			name, comment, with string
			err                 error
		}{
			{"empty", "an ext of no members, which is left out", `{}`, ErrMalformed},
			{"null", "an ext that is no object", `null`, ErrMalformed},
			{"array", "an ext that is no object", `[1]`, ErrMalformed},
			{"space", "white space in ext", `{"colour": "red"}`, ErrMalformed},
			{"unsorted", "members of ext out of order", `{"nested":1,"colour":2}`, ErrMalformed},
			{"deep", "an ext of five levels", `{"a":{"b":{"c":{"d":{"e":1}}}}}`, ErrMalformed},
			{"long", "an ext of more than 4 KiB", `{"a":"` + strings.Repeat("x", MaxExt) + `"}`, ErrBounds},
		} {
			spoiled := bytes.Replace(body, []byte(good), []byte(r.with), 1)
			out = append(out, vector{path: path + "/refuse-ext-" + r.name, comment: r.comment, body: spoiled, err: r.err})
		}
		twice := bytes.Replace(body, []byte(good), []byte(good+`,"ext":`+good), 1)
		out = append(out, vector{path: path + "/refuse-ext-twice", comment: "ext twice", body: twice, err: ErrMalformed})
		behind := bytes.Replace(body, []byte(good), []byte(good+`,"colour":"red"`), 1)
		out = append(out, vector{path: path + "/refuse-ext-not-last", comment: "a member behind ext", body: behind, err: ErrMalformed})
	}

	e := smallEntry()
	e.Ext = good
	add("entry", "an addition of a later version, carried over and not interpreted", bytesOf(e.AppendLine(nil)), e)
	within := smallEntry()
	within.Kind, within.Key, within.Size, within.Ext = KindFile, "srv/a", 1<<20+4096, `{"entry":1}`
	within.File = &File{Mode: 0o644, Ext: `{"file":1}`}
	within.Chunks = []Chunk{
		{Pack: hashOf("pack 1"), Frame: Frame{0, 4000, 4096}, Size: 4096, Sum: hashOf("c1"), Ext: `{"chunk":1}`}, {Hole: true, Size: 1 << 20, Ext: `{"hole":1}`},
	}
	out = append(out, vector{path: "entry/ext-within", comment: "additions to what is within an entry", body: bytesOf(within.AppendLine(nil)), value: within})
	disk := &Entry{
		Kind: KindImage, Key: "vol-0123456789abcdef3", Size: ImageBlock, SHA256: hashOf("image"), Unread: []Unread{{Size: ImageBlock, Reason: "refused", Ext: `{"unread":1}`}},
		Extents: []Extent{{Size: ImageBlock, Hole: true, Ext: `{"extent":1}`}},
	}
	out = append(out, vector{path: "entry/ext-within-image", comment: "additions to what is within a disk's entry", body: bytesOf(disk.AppendLine(nil)), value: disk})

	ref := PageRef{First: "a", Entries: 64, Bytes: 123456, Object: MetaName(hashOf("meta 1")), Frame: Frame{0, 5000, 40000}, Sum: hashOf("page"), Missing: 1, Ext: good}
	add("page-ref", "an addition of a later version", bytesOf(ref.AppendLine(nil)), ref)
	rl := RootLine{Salt: "00112233445566778899aabbccddeeff", Ext: good}
	add("root-line", "an addition of a later version", bytesOf(rl.AppendLine(nil)), rl)
	c := Chunk{Pack: hashOf("pack 1"), Frame: Frame{10, 20, 524288}, Size: 524288, Sum: hashOf("block"), Ext: good}
	add("chunk", "an addition of a later version", bytesOf(c.AppendLine(nil)), c)
	x := Extent{From: 1 << 30, Size: 1 << 30, Object: ref.Object, Frame: ref.Frame, Sum: hashOf("x1"), Content: hashOf("r1"), Ext: good}
	add("extent", "an addition of a later version", bytesOf(x.AppendLine(nil)), x)
	n := Need{Name: PackName(hashOf("pack 1")), Size: 33554432, Living: 30000000, Ext: good}
	add("need", "an addition of a later version", bytesOf(n.AppendLine(nil)), n)
	p := Placement{Name: n.Name, Size: n.Size, Ext: good}
	add("placement", "an addition of a later version", bytesOf(p.AppendLine(nil)), p)
	l := IndexLine{ID: hashOf("id"), Pack: c.Pack, Frame: c.Frame, Size: 100, Ext: good}
	add("index-line", "an addition of a later version", bytesOf(l.AppendLine(nil)), l)
	h := SegmentHeader{Repository: hashOf("repository"), Vault: "offsite", Written: moment("2026-11-23T08:05:00Z"), Ext: good}
	add("placements", "an addition of a later version in the header", bytesOf(EncodePlacements(h, nil)), nil)
	return out
}
