package format

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/attest"
)

// headOf leaves what stands in the head.
func headOf(c *Commit) *Commit {
	return &Commit{
		Format: c.Format, Kind: c.Kind, Requires: c.Requires, Repository: c.Repository, Descriptor: c.Descriptor, Source: c.Source,
		SignedAt: c.SignedAt, RetainUntil: c.RetainUntil, Mode: c.Mode, Status: c.Status, Needs: c.Needs, Points: c.Points, Ext: c.Ext,
	}
}

// signedName is the name of a descriptor but the first.
func signedName(d *Descriptor, body []byte) string {
	id := DescriptorID{Number: d.Number, Sum: sha256.Sum256(body), Hint: KeyHint(seed().Public().(ed25519.PublicKey))}
	id.Signature = attest.Sign(seed(), attest.DescriptorName, id.Message(d.Repository))
	return id.Name()
}

func signedVectors(t *testing.T) []vector {
	var out []vector
	bytesOf := must[[]byte](t)
	refuse := func(name, comment string, body []byte, old, new string, err error) {
		if !bytes.Contains(body, []byte(old)) {
			t.Fatalf("%s: nothing to replace", name)
		}
		out = append(out, vector{path: name, comment: comment, headers: keyHeaders(), body: bytes.Replace(body, []byte(old), []byte(new), 1), err: err})
	}
	d := bytesOf(EncodeDescriptor(testDescriptor(), signer(attest.Descriptor)))
	out = append(out, vector{path: "descriptor/first", comment: "a first descriptor, signed by its own key", headers: keyHeaders("name: " + DescriptorID{Sum: sha256.Sum256(d)}.Name()), body: d, value: testDescriptor()})
	second := testDescriptor()
	second.Number, second.Previous, second.Recipients = 1, sha256.Sum256(d), append(second.Recipients, second.Metadata...)
	d2 := bytesOf(EncodeDescriptor(second, signer(attest.Descriptor)))
	out = append(out, vector{path: "descriptor/second", comment: "a recipient added; signed by the key of the first", headers: keyHeaders("name: " + signedName(second, d2)), body: d2, value: second})
	third := testDescriptor()
	third.Number, third.Previous, third.DistrustAfter, third.FreshStart = 1, sha256.Sum256(d), At(moment("2026-11-22T07:00:00Z").Time), true
	d3 := bytesOf(EncodeDescriptor(third, signer(attest.Descriptor)))
	out = append(out, vector{path: "descriptor/distrust", comment: "what was signed before counts up to a time; deduplication starts anew", headers: keyHeaders("name: " + signedName(third, d3)), body: d3, value: third})
	refuse("descriptor/refuse-distrust", "the first distrusts those before it", d, `}`+"}\n"+`{"signature"`, `},"distrust_after":"2026-11-22T07:00:00Z"}`+"\n"+`{"signature"`, ErrMalformed)
	refuse("descriptor/refuse-fresh-false", "a member that says nothing", d3, `"fresh_start":true`, `"fresh_start":false`, ErrMalformed)
	out = append(out, keyVectors(t, d, refuse)...)
	refuse("descriptor/refuse-kind", "of another kind", d, `"descriptor"`, `"point"`, ErrMalformed)
	refuse("descriptor/refuse-signature", "changed after it was signed", d, `"number":0`, `"number":1,"previous":"`+hashOf("x").String()+`"`, ErrSignature)
	refuse("descriptor/refuse-member", "a member this version does not know", d, `"number":0`, `"number":0,"colour":"red"`, ErrMalformed)
	refuse("descriptor/refuse-space", "white space", d, `,"kind"`, `, "kind"`, ErrMalformed)
	refuse("descriptor/refuse-previous", "the first names one before", d, `"number":0`, `"number":0,"previous":"`+hashOf("x").String()+`"`, ErrMalformed)
	refuse("descriptor/refuse-parameters", "pages too large", d, `"leaf_keys":16`, `"leaf_keys":1025`, ErrBounds)
	refuse("descriptor/refuse-unsigned", "no signature line", d, `{"signature"`, `{"Signature"`, ErrMalformed)

	c := bytesOf(EncodeCommit(testCommit()))
	id, at := Hash(sha256.Sum256(c)), testCommit().SignedAt
	point := PointID{Source: "uploads", SignedAt: at, ID: id, Hint: KeyHint(seed().Public().(ed25519.PublicKey))}
	msg := point.Message(testCommit().Repository)
	point.Signature = attest.Sign(seed(), attest.Point, msg)
	out = append(out, vector{
		path: "commit/point", comment: "a recovery point and its signed name", body: c, value: testCommit(),
		headers: keyHeaders("message: "+fmt.Sprintf("%q", msg), "name: "+point.Name()),
	})
	least := testCommit()
	least.Mode, least.Slots, least.Missing, least.Predecessors, least.Status = "", nil, 0, nil, StatusComplete
	least.Manifest.Missing = 0
	out = append(out, vector{path: "commit/least", comment: "what may be left out is", body: bytesOf(EncodeCommit(least)), value: least})
	marked := testCommit()
	marked.Slots, marked.Marks = nil, []string{MarkEmpty, "other"}
	m := bytesOf(EncodeCommit(marked))
	nothing := testCommit()
	nothing.Manifest, nothing.Entries, nothing.Bytes, nothing.Missing = EmptyTree(nothing.Manifest.Object), 0, 0, 0
	out = append(out, vector{path: "commit/nothing", comment: "a source in which nothing was found; its manifest is not stored", body: bytesOf(EncodeCommit(nothing)), value: nothing})
	blank := *nothing
	blank.Manifest.Frame = Frame{Length: 9}
	out = append(out, vector{path: "commit/nothing-stored", comment: "the same; its manifest is stored", body: bytesOf(EncodeCommit(&blank)), value: &blank})
	out = append(out, vector{path: "commit/marked", comment: "a mark, and one that this version does not know", body: m, value: marked})
	refuse("commit/refuse-mark", "a mark that is no name", m, `"other"`, `"other!"`, ErrMalformed)
	refuse("commit/refuse-marks", "marks out of order", m, `"other"`, `"also"`, ErrMalformed)
	refuse("commit/refuse-marks-twice", "a mark twice", m, `"other"`, `"empty"`, ErrMalformed)
	refuse("commit/refuse-marks-many", "more marks than a point may carry", m, `"empty","other"`, manyMarks(), ErrBounds)
	refuse("commit/refuse-missing", "more missing than there are", c, `"missing":1,"added"`, `"missing":101,"added"`, ErrBounds)
	newer := testCommit()
	newer.Format, newer.Kind = "2", KindPoint
	head := bytes.Replace(c[:bytes.IndexByte(c, '\n')+1], []byte(Version), []byte("2"), 1)
	out = append(out, vector{path: "commit/newer", comment: "of a later format version: the head alone is used", body: append(head, "{\"colour\":\"red\"}\nanything\n"...), err: ErrNewer, value: headOf(newer)})
	needy := testCommit()
	needy.Requires = []string{"colour", "depth"}
	feature := bytes.Replace(c, []byte(`"kind":"point"`), []byte(`"kind":"point","requires":["colour","depth"]`), 1)
	out = append(out, vector{path: "commit/requires", comment: "features that this version does not know: the head alone is used", body: feature, err: ErrNewer, value: headOf(needy)})
	extra := testCommit()
	extra.Writer, extra.Ext, extra.BodyExt = "holdfast 1.0", `{"colour":"red","nested":{"list":[1,true,{"a":"b"}]}}`, `{"depth":12}`
	extra.Further = "{\"signature\":\"of another kind\"}\n"
	extended := bytesOf(EncodeCommit(extra))
	out = append(out, vector{path: "commit/extra", comment: "ext in head and body, and a further line: carried, and not interpreted", body: extended, value: extra})
	for name, bad := range map[string]string{
		"unsorted": `{"nested":1,"colour":2}`, "space": `{"colour": 1}`, "twice": `{"a":1,"a":1}`, "fraction": `{"a":1.5}`, "null": `{"a":null}`, "array": `[1]`,
		"deep": `{"a":{"b":{"c":{"d":{}}}}}`, "escape": `{"a":"\u0041"}`, "negative": `{"a":-1}`,
	} {
		refuse("commit/refuse-ext-"+name, "an ext in another spelling, or no object", extended, `{"depth":12}`, bad, ErrMalformed)
	}
	refuse("commit/refuse-ext-long", "an ext of more than 4 KiB", extended, `{"depth":12}`, `{"a":"`+strings.Repeat("x", MaxExt)+`"}`, ErrBounds)
	refuse("commit/refuse-version", "a version that is none", c, `"1-rc"`, `"Version 2"`, ErrMalformed)
	refuse("commit/refuse-newer-head", "of a later version, with a member in its head that no version has", bytes.Replace(c, []byte(Version), []byte("2"), 1), `,"source"`, `,"colour":"red","source"`, ErrMalformed)
	refuse("commit/refuse-requires", "features out of order", feature, `"colour","depth"`, `"depth","colour"`, ErrMalformed)
	refuse("commit/refuse-one-line", "a head alone", c, string(c[bytes.IndexByte(c, '\n')+1:]), "", ErrMalformed)
	refuse("commit/refuse-kind", "of another kind", c, `"kind":"point"`, `"kind":"descriptor"`, ErrMalformed)
	refuse("commit/refuse-member", "a member this version does not know", c, `,"entries"`, `,"colour":"red","entries"`, ErrMalformed)
	refuse("commit/refuse-case", "a member in other letters", c, `"status"`, `"Status"`, ErrMalformed)
	refuse("commit/refuse-repeated", "a member twice", c, `"added":10`, `"added":10,"added":10`, ErrMalformed)
	refuse("commit/refuse-escape", "an escape that is not needed", c, `"status":"incomplete"`, `"status":"incomplet\u0065"`, ErrMalformed)
	refuse("commit/refuse-first", "the manifest's first key in a plain object", c, `"first":"","entries":100`, `"first":"a","entries":100`, ErrMalformed)
	refuse("commit/refuse-trailing", "a further line that does not end", extended, "of another kind\"}\n", "", ErrMalformed)
	refuse("commit/refuse-fraction", "signed at a fraction of a second", c, `08:05:00Z","retain`, `08:05:00.5Z","retain`, ErrMalformed)
	refuse("commit/refuse-beside", "a commit object is in no object beside its pages", c, `"object":"`+MetaName(hashOf("meta 1"))+`",`, "", ErrMalformed)
	refuse("commit/refuse-points", "a points list in a meta object", c, `"object":"`+NeedsName(hashOf("needs 1"))+`","frame":[200`, `"object":"`+MetaName(hashOf("meta 1"))+`","frame":[200`, ErrMalformed)
	refuse("commit/refuse-root", "a manifest among the needs", c, `"object":"`+MetaName(hashOf("meta 1")), `"object":"`+NeedsName(hashOf("needs 1")), ErrMalformed)
	refuse("commit/refuse-leaf", "a manifest whose root is a leaf, which has no salt", c, `"manifest":{"level":1,`, `"manifest":{`, ErrMalformed)
	refuse("commit/refuse-order", "predecessors out of order", c, `{"id":"`+sorted(hashOf("point 1"), hashOf("point 2"))[0].String(), `{"id":"`+strings.Repeat("f", 64), ErrMalformed)
	refuse("commit/refuse-source", "a source's name that leaves its folder", c, `"uploads"`, `"../up"`, ErrMalformed)

	h := SegmentHeader{Format: Version, Kind: KindPlacements, Repository: hashOf("repository"), Vault: "offsite", Written: moment("2026-11-23T08:05:00Z"), Lines: 2}
	ps := []Placement{{Name: PackName(hashOf("pack 1")), Version: "v\"1\xff", Size: 100, Mode: "compliance", Until: moment("2027-01-01T00:00:00Z")}, {Name: MetaName(hashOf("meta 1")), Size: 500, Index: []Frame{{0, 321, 1000}}}}
	p := bytesOf(EncodePlacements(h, ps))
	out = append(out, vector{path: "placements/two", comment: "plain form of a placements object", headers: keyHeaders("name: " + signedPlacements(moment("2026-11-23T08:05:00Z").Time, sha256.Sum256(p)).Name()), body: p, value: ps})
	out = append(out, vector{path: "placements/none", comment: "no lines", body: bytesOf(EncodePlacements(h, nil))})
	h.Replaces = sorted(hashOf("placements 1"), hashOf("placements 2"))
	fold := bytesOf(EncodePlacements(h, ps))
	out = append(out, vector{path: "placements/fold", comment: "makes two others superfluous", body: fold, value: ps})
	one, two := h.Replaces[0].String(), h.Replaces[1].String()
	refuse("placements/refuse-replaces-order", "what it replaces is not in order", fold, `["`+one+`","`+two, `["`+two+`","`+one, ErrMalformed)
	refuse("placements/refuse-replaces-twice", "what it replaces is there twice", fold, `["`+one+`","`+two, `["`+one+`","`+one, ErrMalformed)
	refuse("placements/refuse-replaces-none", "no list of nothing", fold, `["`+one+`","`+two+`"]`, `[]`, ErrMalformed)
	refuse("placements/refuse-replaces-zero", "zeros are no hash", fold, `["`+one, `["`+strings.Repeat("0", 64), ErrMalformed)
	refuse("placements/refuse-replaces-many", "replaces more than 1,024 objects", fold, `"replaces":["`+one+`","`+two+`"]`, `"replaces":[`+manyHashes(MaxReplaces+1)+`]`, ErrBounds)
	h.Replaces = nil
	refuse("placements/refuse-newer", "of another format version", p, `"1-rc"`, `"1"`, ErrNewer)
	refuse("placements/refuse-version", "a version that is none", p, `"1-rc"`, `"Version 2"`, ErrMalformed)
	refuse("placements/refuse-lines", "fewer lines than it says", p, `"lines":2`, `"lines":3`, ErrMalformed)
	refuse("placements/refuse-cut", "cut short within the last line", p, "]]}\n", "]]", ErrMalformed)
	refuse("placements/refuse-signed", "a signature line, which drafts had", p, "]]}\n", "]]}\n{\"signature\":\"\"}\n", ErrMalformed)

	refuse("placements/refuse-descriptor", "a descriptor, which stands in index segments", p, `,"vault"`, `,"descriptor":"`+hashOf("descriptor").String()+`","vault"`, ErrMalformed)
	refuse("placements/refuse-chunk-key", "a chunk key, which stands in index segments", p, `,"vault"`, `,"chunk_key":"`+hashOf("chunk key").String()+`","vault"`, ErrMalformed)
	return append(out, indexVectors(t, refuse)...)
}

// indexVectors are index segments. One that is refused for its header or its lines is signed all the same.
func indexVectors(t *testing.T, refuse func(name, comment string, body []byte, old, new string, err error)) (out []vector) {
	bytesOf := must[[]byte](t)
	h := SegmentHeader{Repository: hashOf("repository"), Descriptor: hashOf("descriptor"), ChunkKey: attest.ChunkKeyID([32]byte{1}), Written: moment("2026-11-23T08:05:00Z")}
	ls := []IndexLine{{ID: hashOf("id"), Pack: hashOf("pack 1"), Frame: Frame{0, 321, 1000}, At: 88, Size: 12}, {ID: hashOf("id 2"), Pack: hashOf("pack 1"), Frame: Frame{0, 321, 1000}, Size: 88}}
	x := bytesOf(EncodeIndex(h, ls, signer(attest.Index)))
	out = append(out, vector{path: "index/two", comment: "plain form of an index segment", headers: keyHeaders(), body: x, value: ls})
	refuse("index/refuse-newer", "of another format version", x, `"1-rc"`, `"10"`, ErrNewer)
	refuse("index/refuse-version", "a version that is none", x, `"1-rc"`, `"Version 2"`, ErrMalformed)
	refuse("index/refuse-signature", "changed after it was signed", x, `"at":88`, `"at":89`, ErrSignature)
	out = append(out, vector{path: "index/none", comment: "no lines", headers: keyHeaders(), body: bytesOf(EncodeIndex(h, nil, signer(attest.Index)))})
	descriptor, chunkKey, zeros := `"descriptor":"`+h.Descriptor.String()+`",`, `"chunk_key":"`+h.ChunkKey.String()+`",`, strings.Repeat("0", 64)
	for _, c := range []struct{ name, comment, old, new string }{
		{"lines-1", "more lines than it says", `"lines":2`, `"lines":1`},
		{"lines-3", "fewer lines than it says", `"lines":2`, `"lines":3`},
		{"no-descriptor", "it does not say under which descriptor it was written", descriptor, ""},
		{"no-chunk-key", "it does not say under which chunk key its IDs were made", chunkKey, ""},
		{"descriptor-zero", "zeros are no hash", h.Descriptor.String(), zeros},
		{"chunk-key-zero", "zeros are no hash", h.ChunkKey.String(), zeros},
		{"chunk-key-short", "half of a hash", h.ChunkKey.String(), h.ChunkKey.String()[:32]},
		{"order", "chunk key and descriptor in the wrong order", descriptor + chunkKey, chunkKey + descriptor},
		{"vault", "a vault, which stands in placements", `,"written"`, `,"vault":"offsite","written"`},
		{"replaces", "replaces, which stands in placements", `"lines":2`, `"lines":2,"replaces":["` + hashOf("meta 1").String() + `"]`},
		{"header-long", "a header of more than 8 KiB", `"lines":2`, `"lines":2,"ext":{"a":"` + strings.Repeat("x", maxHeader) + `"}`},
	} {
		lies := bytes.Replace(x[:bytes.Index(x, []byte(`{"signature"`))], []byte(c.old), []byte(c.new), 1)
		lied := bytesOf(appendSignature(lies, signer(attest.Index)))
		want := ErrMalformed
		if c.name == "header-long" {
			want = ErrBounds
		}
		out = append(out, vector{path: "index/refuse-" + c.name, comment: "signed, and " + c.comment, headers: keyHeaders(), body: lied, err: want})
	}
	return out
}

// keyVectors are descriptors with many keys, and what a reader makes of keys and heads that it does not know.
func keyVectors(t *testing.T, first []byte, refuse func(name, comment string, body []byte, old, new string, err error)) (out []vector) {
	bytesOf := must[[]byte](t)
	own := bytes.Repeat([]byte{7}, ed25519.PublicKeySize)
	many := testDescriptor()
	job := many.Keys[0]
	job.Sources = []string{"site", "uploads"}
	many.Keys = []Key{
		OwnerKey(own), {Use: UseOwner, Alg: "ml-dsa-65", Key: []byte("of a later version")}, job,
		{Use: UseReporter, Alg: AlgEd25519, Key: bytes.Repeat([]byte{8}, ed25519.PublicKeySize), Name: "drill-1", Role: "drill", Ext: `{"colour":"red"}`},
		{Use: "courier", Alg: AlgEd25519, Key: bytes.Repeat([]byte{9}, ed25519.PublicKeySize)},
	}
	many.Metadata = append(many.Metadata, many.Recipients...)
	many.Ext, many.BodyExt, many.Parameters.Ext = `{"depth":12}`, `{"nested":{"list":[1]}}`, `{"shape":"round"}`
	m := bytesOf(EncodeDescriptor(many, signer(attest.Descriptor)))
	out = append(out, vector{path: "descriptor/keys", comment: "owners, one of an algorithm that is not known, a job for two sources, a reporter, a use that is not known", headers: keyHeaders(), body: m, value: many})

	stays := testDescriptor()
	stays.Number, stays.Previous = 1, sha256.Sum256(first)
	stays.Vouched = &PageRef{First: "20261122T080500Z-" + hashOf("point 1").String(), Entries: 2, Object: NeedsName(hashOf("needs 2")), Frame: Frame{0, 150, 300}, Sum: hashOf("vouched root")}
	v := bytesOf(EncodeDescriptor(stays, signer(attest.Descriptor)))
	out = append(out, vector{path: "descriptor/vouched", comment: "points that keep counting", headers: keyHeaders("name: " + signedName(stays, v)), body: v, value: stays})
	refuse("descriptor/refuse-vouched-meta", "the list of points among sealed pages", v, `"object":"`+NeedsName(hashOf("needs 2")), `"object":"`+MetaName(hashOf("needs 2")), ErrMalformed)
	refuse("descriptor/refuse-vouched-none", "an empty list", v, `{"first":"`+stays.Vouched.First+`","entries":2,`, `{"first":"","entries":0,`, ErrMalformed)
	refuse("descriptor/refuse-vouched-first", "the first vouches for points of before", v, `"number":1,"previous":"`+Hash(sha256.Sum256(first)).String()+`"`, `"number":0`, ErrMalformed)
	p := Vouched{Point: stays.Vouched.First, Source: "uploads", Ext: `{"colour":"red"}`}
	l := bytesOf(p.AppendLine(nil))
	out = append(out, vector{path: "vouched/point", comment: "a point that keeps counting", body: l, value: p})
	refuse("vouched/refuse-stamp", "a time in another spelling", l, "20261122T080500Z", "20261122T080500z", ErrMalformed)
	refuse("vouched/refuse-id", "an ID that is none", l, hashOf("point 1").String(), strings.Repeat("F", 64), ErrMalformed)
	refuse("vouched/refuse-source", "a source's name that leaves its folder", l, `"uploads"`, `"../up"`, ErrMalformed)
	refuse("vouched/refuse-member", "a member this version does not know", l, `,"ext"`, `,"colour":"red","ext"`, ErrMalformed)

	line := first[:bytes.IndexByte(first, '\n')+1]
	newer := testDescriptor()
	newer.Format = "2"
	out = append(out, vector{
		path: "descriptor/newer", comment: "of a later format version: the head alone is used", err: ErrNewer, value: headOfDescriptor(newer),
		body: append(bytes.Replace(line, []byte(Version), []byte("2"), 1), "{\"colour\":\"red\"}\nanything\n"...),
	})
	another := testDescriptor()
	another.Format, another.Keys = "2", []Key{{Use: UseJob, Alg: "ml-dsa-65", Key: newer.Keys[0].Key}}
	out = append(out, vector{
		path: "descriptor/newer-alg", comment: "a first one of a later format version, whose first job key is of an algorithm that is not known: it is of another version, and not malformed",
		err: ErrNewer, value: headOfDescriptor(another),
		body: []byte(strings.NewReplacer(Version, "2", AlgEd25519, "ml-dsa-65").Replace(string(line)) + "anything\n"),
	})
	refuse("descriptor/refuse-alg", "a first one of this version, whose first job key is of an algorithm that is not known", first, `"ed25519"`, `"ml-dsa-65"`, ErrMalformed)
	refuse("descriptor/refuse-recipient", "a recipient with a control character", first, `"recipients":["age1`, `"recipients":["\u0001age1`, ErrMalformed)
	needy := testDescriptor()
	needy.Requires = []string{"colour"}
	out = append(out, vector{
		path: "descriptor/requires", comment: "a feature that this version does not know: the head alone is used", err: ErrNewer, value: headOfDescriptor(needy),
		body: bytes.Replace(first, []byte(`"kind":"descriptor"`), []byte(`"kind":"descriptor","requires":["colour"]`), 1),
	})
	refuse("descriptor/refuse-newer-head", "of a later version, with a member in its head that no version has", bytes.Replace(first, []byte(Version), []byte("2"), 1), `,"created"`, `,"colour":"red","created"`, ErrMalformed)
	refuse("descriptor/refuse-no-job", "no key signs points", first, `"use":"job"`, `"use":"owner"`, ErrMalformed)
	refuse("descriptor/refuse-key-twice", "one key for two uses", m, `"alg":"ml-dsa-65","key":"b2YgYSBsYXRlciB2ZXJzaW9u"`, `"alg":"ed25519","key":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="`, ErrMalformed)
	refuse("descriptor/refuse-key-short", "an Ed25519 key of another length", m, `"alg":"ml-dsa-65"`, `"alg":"ed25519"`, ErrBounds)
	refuse("descriptor/refuse-use", "a use that is no name", m, `"courier"`, `"Courier"`, ErrMalformed)
	refuse("descriptor/refuse-reporter", "a reporter without a name", m, `"name":"drill-1",`, ``, ErrMalformed)
	refuse("descriptor/refuse-sources", "sources out of order", m, `["site","uploads"]`, `["uploads","site"]`, ErrMalformed)
	refuse("descriptor/refuse-keys-none", "no keys at all", first, string(line[bytes.Index(line, []byte(`"keys":`)):bytes.IndexByte(line, '\n')]), `"keys":[]}`, ErrMalformed)
	refuse("descriptor/refuse-metadata-none", "nothing that metadata is sealed to besides", first, `"metadata":["age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"]`, `"metadata":[]`, ErrBounds)
	refuse("descriptor/refuse-longest", "points that are kept for ever", first, fmt.Sprintf(`"longest":%d`, defaultLongest), `"longest":9223372036854775807`, ErrBounds)
	refuse("descriptor/refuse-one-line", "a head alone, signed", bytesOf(appendSignature(bytes.Clone(line), signer(attest.Descriptor))), `{"format"`, `{"format"`, ErrMalformed)
	refuse("descriptor/refuse-four-lines", "a line between body and signature", first, "}\n{\"signature\"", "}\n{}\n{\"signature\"", ErrMalformed)
	return out
}

// headOfDescriptor leaves what stands in the head.
func headOfDescriptor(d *Descriptor) *Descriptor {
	return &Descriptor{
		Format: d.Format, Kind: d.Kind, Requires: d.Requires, Repository: d.Repository, Number: d.Number, Previous: d.Previous, Created: d.Created, Keys: d.Keys, Ext: d.Ext,
	}
}

// manyMarks are 17 marks, in order.
func manyMarks() string {
	var out []string
	for i := range maxMarks + 1 {
		out = append(out, fmt.Sprintf(`"m%02d"`, i))
	}
	return strings.Join(out, ",")
}

func testDescriptor() *Descriptor {
	return &Descriptor{
		Format: Version, Kind: KindDescriptor, Repository: hashOf("repository"), Created: moment("2026-11-23T08:00:00Z"), Class: "x25519",
		Recipients: []string{"age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"}, Metadata: []string{"age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"},
		Keys: []Key{JobKey(seed().Public().(ed25519.PublicKey))}, HostKey: HostKeyName(hashOf("host key")), HostKeyLen: 500, Parameters: DefaultParameters(),
	}
}

func testCommit() *Commit {
	return &Commit{
		Format: Version, Kind: KindPoint, Repository: hashOf("repository"), Descriptor: hashOf("descriptor"), Source: "uploads", SourceKind: "s3",
		TakenAt: moment("2026-11-23T08:00:00.25Z"), SignedAt: moment("2026-11-23T08:05:00Z"), RetainUntil: moment("2026-12-28T08:05:00Z"), Mode: "compliance",
		Slots: []string{"daily", "weekly"}, Status: StatusIncomplete, Entries: 100, Bytes: 123456, Missing: 1, Added: 10, Changed: 5, Deleted: 2,
		Manifest:     PageRef{Level: 1, Entries: 100, Bytes: 123456, Object: MetaName(hashOf("meta 1")), Frame: Frame{0, 300, 500}, Sum: hashOf("root"), Missing: 1},
		Needs:        PageRef{First: MetaName(hashOf("meta 1")), Entries: 4, Bytes: 1 << 25, Object: NeedsName(hashOf("needs 1")), Frame: Frame{0, 200, 400}, Sum: hashOf("needs root")},
		Points:       PageRef{First: "20261122T080500Z-" + hashOf("point 1").String(), Entries: 1, Bytes: 123, Object: NeedsName(hashOf("needs 1")), Frame: Frame{200, 150, 300}, Sum: hashOf("points root")},
		Predecessors: predecessors(sorted(hashOf("point 1"), hashOf("point 2"))),
	}
}

func predecessors(ids []Hash) (out []Predecessor) {
	for _, id := range ids {
		out = append(out, Predecessor{ID: id, SignedAt: moment("2026-11-22T08:05:00Z"), RetainUntil: moment("2026-12-27T08:05:00Z")})
	}
	return out
}

func sorted(a, b Hash) []Hash {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return []Hash{a, b}
}

func keyHeaders(extra ...string) []string {
	pub := seed().Public().(ed25519.PublicKey)
	return append([]string{"seed: " + hex.EncodeToString(seed().Seed()), "public: " + hex.EncodeToString(pub)}, extra...)
}

// placementVectors are those of lines of placements.
func placementVectors(n, meta Need, add func(path, comment string, body []byte, value any), refuse func(path, comment, body string, reason error)) {
	bytesOf := func(b []byte, err error) []byte {
		if err != nil {
			panic(err)
		}
		return b
	}
	p := Placement{Name: n.Name, Version: "3HL4kqtJvjVBH40Nrjfkd", Size: n.Size, Mode: "compliance", Until: moment("2027-01-01T00:00:00Z")}
	add("placement/locked", "an object under lock", bytesOf(p.AppendLine(nil)), p)
	dir := Placement{Name: meta.Name, Size: 1000, Index: []Frame{{0, 100, 300}, {400, 50, 60}}}
	add("placement/plain", "an object with index segments in a vault without versions and locks", bytesOf(dir.AppendLine(nil)), dir)
	all := Placement{Name: meta.Name, Version: "v1", Size: 1000, Mode: "governance", Until: p.Until, Index: []Frame{{0, 100, 200}}}
	add("placement/all", "every member", bytesOf(all.AppendLine(nil)), all)
	point := PointID{Source: "uploads", SignedAt: p.Until, ID: hashOf("point"), Hint: "89abcdef", Signature: make([]byte, signatureSize)}.Name()
	refuse("placement/refuse-point", "points are found by their names", `{"name":"`+point+`","size":5}`+"\n", ErrMalformed)
	refuse("placement/refuse-placements", "placements are found by their names", `{"name":"`+signedPlacements(p.Until.Time, hashOf("placements")).Name()+`","size":5}`+"\n", ErrMalformed)
	refuse("placement/refuse-mode", "a lock without a mode", `{"name":"`+n.Name+`","size":5,"until":"2027-01-01T00:00:00Z"}`+"\n", ErrMalformed)
	refuse("placement/refuse-until", "a lock until the zero time", `{"name":"`+n.Name+`","size":5,"mode":"compliance","until":"0001-01-01T00:00:00Z"}`+"\n", ErrMalformed)
	refuse("placement/refuse-index", "no list of nothing", `{"name":"`+meta.Name+`","size":5,"index":[]}`+"\n", ErrMalformed)
	refuse("placement/refuse-index-pack", "index segments are in meta objects", `{"name":"`+n.Name+`","size":50,"index":[[0,10,10]]}`+"\n", ErrMalformed)
	refuse("placement/refuse-index-order", "index segments that lie on each other", `{"name":"`+meta.Name+`","size":50,"index":[[0,10,10],[9,10,10]]}`+"\n", ErrMalformed)
	refuse("placement/refuse-index-many", "more than 64 index segments", `{"name":"`+meta.Name+`","size":50,"index":[`+strings.Repeat("[0,10,10],", 64)+`[0,10,10]]}`+"\n", ErrBounds)
}

// manyHashes is the inside of a list of n hashes in ascending order.
func manyHashes(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%q", fmt.Sprintf("%064x", i+1)))
	}
	return strings.Join(out, ",")
}

// TestPlacementsInFrames: the lines of one placements object may stand in several frames, of which the first has the header.
func TestPlacementsInFrames(t *testing.T) {
	h := SegmentHeader{Repository: hashOf("repository"), Vault: "offsite", Written: moment("2026-11-23T08:05:00Z")}
	ps := []Placement{{Name: PackName(hashOf("1")), Size: 100}, {Name: PackName(hashOf("2")), Size: 101}, {Name: PackName(hashOf("3")), Size: 102}}
	whole, err := EncodePlacements(h, ps)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))[:4]
	join := func(from, to int) []byte { return bytes.Join(lines[from:to], nil) }
	for _, c := range []struct {
		name   string
		frames [][]byte
		want   error
	}{
		{"one", [][]byte{whole}, nil},
		{"two", [][]byte{join(0, 2), join(2, 4)}, nil},
		{"the header alone", [][]byte{join(0, 1), join(1, 4)}, nil},
		{"none", nil, ErrMalformed},
		{"a header each", [][]byte{join(0, 2), join(0, 1)}, ErrMalformed},
		{"too few", [][]byte{join(0, 2), join(2, 3)}, ErrMalformed},
		{"too many", [][]byte{whole, join(3, 4)}, ErrMalformed},
		{"an empty one", [][]byte{whole, nil}, ErrMalformed},
		{"a line in two", [][]byte{whole[:len(whole)-9], whole[len(whole)-9:]}, ErrMalformed},
	} {
		var d PlacementsDecoder
		var err error
		for _, f := range c.frames {
			err = cmp.Or(err, d.Frame(f))
		}
		if err = cmp.Or(err, d.Done()); !errors.Is(err, c.want) || err == nil && len(d.Lines) != len(ps) {
			t.Errorf("%s: %d lines, %v", c.name, len(d.Lines), err)
		}
	}
}
