package format

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/attest"
)

// testRecord is the second record of a series.
func testRecord() *Record {
	return &Record{
		Format: Version, Kind: KindRecord, Repository: hashOf("repository"), Reporter: "web-1", Series: moment("2026-11-23T08:05:00Z"), Number: 1,
		Previous: hashOf("record before"), Time: moment("2026-11-24T08:05:01Z"), Type: "run",
		Newest: []NewestPoint{
			{Source: "site", Point: PointKey(moment("2026-11-24T08:05:00Z"), hashOf("point 1"))},
			{Source: "uploads", Point: PointKey(moment("2026-11-24T08:04:00Z"), hashOf("point 2"))},
		},
		Body: json.RawMessage(`{"sources":[{"name":"site","status":"complete"}],"seconds":1.5}`),
	}
}

// signedRecord is a record's name, signed for the repository of the vectors.
func signedRecord(r *Record, body []byte) RecordID {
	id := RecordID{Reporter: r.Reporter, Series: r.Series, Number: r.Number, Sum: sha256.Sum256(body), Hint: KeyHint(seed().Public().(ed25519.PublicKey))}
	id.Signature = signer(attest.Record)(id.Message(r.Repository))
	return id
}

func recordVectors(t *testing.T) []vector {
	var out []vector
	bytesOf := must[[]byte](t)
	r := bytesOf(EncodeRecord(testRecord()))
	refuse := func(name, comment, old, new string, err error) {
		if !bytes.Contains(r, []byte(old)) {
			t.Fatalf("%s: nothing to replace", name)
		}
		out = append(out, vector{path: "record/refuse-" + name, comment: comment, body: bytes.Replace(r, []byte(old), []byte(new), 1), err: err})
	}
	id := signedRecord(testRecord(), r)
	out = append(out, vector{
		path: "record/second", comment: "a record and its signed name", body: r, value: testRecord(),
		headers: keyHeaders("message: "+fmt.Sprintf("%q", id.Message(testRecord().Repository)), "name: "+id.Name()),
	})
	first := testRecord()
	first.Number, first.Previous, first.Newest, first.Ext, first.Body = 0, Hash{}, nil, `{"colour":"red"}`, json.RawMessage(`{}`)
	out = append(out, vector{path: "record/first", comment: "the first of a series, with ext", body: bytesOf(EncodeRecord(first)), value: first})
	holding := testRecord()
	holding.Body = json.RawMessage(`{"holds":[{"source":"site","point":"` + hashOf("point 1").String() + `","signed_at":"2026-11-24T08:05:00Z","until":"2028-11-24T00:00:00Z","reason":"a lawsuit","at":"2026-11-25T09:00:00Z","reporter":"web-1"}]}`)
	out = append(out, vector{path: "record/holds", comment: "it tells of one hold; one without the member says nothing of holds, and [] that there is none", body: bytesOf(EncodeRecord(holding)), value: holding})
	newer := testRecord()
	newer.Format, newer.Body = "2", nil
	head := bytes.Replace(r[:bytes.IndexByte(r, '\n')+1], []byte(Version), []byte("2"), 1)
	out = append(out, vector{path: "record/newer", comment: "of a later format version: the head alone is used", body: append(head, "anything\n"...), err: ErrNewer, value: newer})
	refuse("kind", "of another kind", `"record"`, `"point"`, ErrMalformed)
	refuse("reporter", "a reporter that is no name", `"web-1"`, `"web 1"`, ErrMalformed)
	refuse("number", "a number beyond the name's digits", `"number":1`, `"number":100000000`, ErrBounds)
	refuse("first", "the first names one before", `"number":1`, `"number":0`, ErrMalformed)
	refuse("previous", "a later one that names none before", `"previous":"`+hashOf("record before").String()+`",`, ``, ErrMalformed)
	refuse("fraction", "a time that is not in whole seconds", `08:05:01Z`, `08:05:01.5Z`, ErrMalformed)
	refuse("order", "newest points out of order", `"source":"site"`, `"source":"vault"`, ErrMalformed)
	refuse("point", "a newest point that is none", `"20261124T080500Z-`, `"20261124T080500-`, ErrMalformed)
	refuse("member", "a member this version does not know", `"type":"run"`, `"type":"run","colour":"red"`, ErrMalformed)
	refuse("body", "a body that is no object", `{"sources"`, `["sources"`, ErrMalformed)
	refuse("body-space", "a body with white space before it", `{"sources"`, ` {"sources"`, ErrMalformed)
	refuse("body-not-utf8", "a body that is not UTF-8", `{"sources"`, "{\"\xff\":1,\"sources\"", ErrMalformed)
	spelt := testRecord()
	spelt.Body = json.RawMessage(`{"b" : [ 1.5e3, null, "\u0041\/" ] ,"a":-1 }`)
	out = append(out, vector{path: "record/body-spelling", comment: "a body in a spelling that no other line of this format has", body: bytesOf(EncodeRecord(spelt)), value: spelt})
	refuse("cut", "a body that does not end", "1.5}\n", "1.5}", ErrMalformed)
	refuse("lines", "a third line", "1.5}\n", "1.5}\n{}\n", ErrMalformed)
	return out
}

// A name of a record has one spelling.
func TestRecordNames(t *testing.T) {
	name := signedRecord(testRecord(), []byte("x")).Name()
	if id, err := ParseRecordName(name); err != nil || id.Name() != name || id.Reporter != "web-1" || id.Number != 1 {
		t.Fatalf("%+v %v", id, err)
	}
	segment := name[strings.LastIndexByte(name, '/')+1:]
	if len(segment) > 255 {
		t.Errorf("a segment of %d bytes", len(segment))
	}
	for _, bad := range []string{
		strings.Replace(name, "00000001", "0000001", 1), strings.Replace(name, "00000001", "0000000/", 1), strings.Replace(name, "00000001", "-0000001", 1),
		strings.Replace(name, "web-1", "", 1), strings.Replace(name, "web-1", "..", 1), strings.ToUpper(name), name + "x", strings.TrimSuffix(name, ".json"),
		"reports/20261123T080500Z-0123456789abcdef.json", "reports/x/y", "reports/",
	} {
		if _, err := ParseRecordName(bad); err == nil {
			t.Errorf("%s is taken for a record's name", bad)
		}
	}
}
