package s3source

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
)

const doc = `<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment --><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><EncodingType>url</EncodingType>
<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken><Prefix/>
<Contents><Key>a+b%2Fc%25</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;abc&quot;</ETag><Size>12</Size>
<Owner><ID>x</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>
<Contents><Key>z&#x41;<![CDATA[<]]>&#66;</Key><LastModified>2026-01-02T03:04:05Z</LastModified><ETag>"d"</ETag><Size>0</Size><StorageClass>GLACIER</StorageClass></Contents>
</ListBucketResult>`

func TestParsePage(t *testing.T) {
	p, err := parsePage([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if !p.truncated || p.token != "a&b" || len(p.items) != 2 {
		t.Errorf("%+v", p)
	}
	if i := p.items[0]; i.key != "a b/c%" || i.etag != "abc" || i.size != 12 || i.class != "STANDARD" || i.modified.Nanosecond() != 678e6 {
		t.Errorf("%+v", i)
	}
	if i := p.items[1]; i.key != "zA<B" || i.etag != "d" || i.class != "GLACIER" {
		t.Errorf("%+v", i)
	}
	for _, bad := range []string{
		"", "x", "<Error><Code>x</Code></Error>", "<!DOCTYPE x><ListBucketResult></ListBucketResult>", doc[:len(doc)-30], doc[:300],
		"<ListBucketResult><Contents><Key>a<b/></Key></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key>&nope;</Key></Contents></ListBucketResult>",
		"<ListBucketResult>" + strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100) + "</ListBucketResult>",
		"<ListBucketResult>" + strings.Repeat("<Contents></Contents>", maxPageItems+1) + "</ListBucketResult>",
	} {
		if _, err := parsePage([]byte(bad)); err == nil {
			t.Errorf("%.60q gave no error", bad)
		}
	}
}

func TestInterleave(t *testing.T) {
	item := func(kind, key, id, second, latest string) string {
		return fmt.Sprintf("<%s><Key>%s</Key><VersionId>%026s</VersionId><IsLatest>%s</IsLatest><LastModified>2026-01-01T00:00:0%sZ</LastModified></%s>", kind, key, id, latest, second, kind)
	}
	v := func(key, id, second, latest string) string { return item("Version", key, id, second, latest) }
	m := func(key, id, second, latest string) string { return item("DeleteMarker", key, id, second, latest) }
	for _, c := range []struct{ doc, want string }{
		{v("a", "5", "1", "true") + v("a", "3", "1", "") + m("a", "4", "1", ""), "a5 a4 a3"},     // one second, apart by ULID
		{v("a", "1", "1", "") + v("b", "2", "2", "true") + m("a", "3", "3", "true"), "a3 a1 b2"}, // markers after all
		{v("a", "9", "1", "true") + m("a", "8", "2", "") + v("a", "7", "1", ""), "a9 a8 a7"},     // one order: kept, whatever the times
		{v("a", "2", "2", "true") + m("b", "1", "1", "true"), "a2 b1"},                           // nothing to do
		{m("a", "4", "1", "") + v("a", "5", "1", "true") + v("a", "3", "1", ""), "a5 a4 a3"},     // markers before all
		{m("b", "4", "4", "true") + v("a", "5", "5", "true") + v("b", "3", "3", ""), "a5 b4 b3"},
		{m("a", "3", "3", "true") + v("a", "1", "1", ""), "a3 a1"},                           // a marker first
		{v("a", "3", "3", "true") + v("a", "2", "2", "") + m("a", "1", "1", ""), "a3 a2 a1"}, // a marker truly last
		{v("a", "3", "3", "") + m("a", "4", "4", "true") + m("a", "2", "2", ""), "a4 a3 a2"}, // both
	} {
		p, err := parsePage([]byte("<ListVersionsResult>" + c.doc + "</ListVersionsResult>"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range p.items {
			got = append(got, i.key+strings.TrimLeft(i.version, "0"))
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("got %s, want %s", g, c.want)
		}
	}
}

func TestJustBefore(t *testing.T) {
	for _, from := range []string{"a", "abc", "a/", "é", "\uE000", "\x01", "\x00", "a\x00", "a\x01", "日", "\xff", "a\xff\xfe", "", strings.Repeat("x", 1024)} {
		b := justBefore(from)
		if b >= from && from != "" {
			t.Errorf("justBefore(%q) is %q", from, b)
		}
		if len(b) > 1024+8 {
			t.Errorf("justBefore(%.10q) has %d bytes", from, len(b))
		}
	}
}

// FuzzParsePage: never a panic, and never another reading than the standard decoder's where both accept.
func FuzzParsePage(f *testing.F) {
	f.Add([]byte(doc))
	f.Add([]byte("<ListVersionsResult><DeleteMarker><Key>k</Key></DeleteMarker><Version/></ListVersionsResult>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePage(b)
		if err != nil {
			return
		}
		var std struct {
			IsTruncated string
			Token       string `xml:"NextContinuationToken"`
			Encoding    string `xml:"EncodingType"`
			Contents    []struct{ Key string }
		}
		if xml.Unmarshal(b, &std) != nil || strings.Contains(string(b), "<!") || strings.Contains(string(b), "Version>") || strings.Contains(string(b), "Marker>") ||
			strings.Contains(string(b), ":") || strings.Count(string(b), "Key") > 2*len(std.Contents) || std.Encoding == "url" || p.encoding == "url" ||
			strings.ContainsAny(string(b), "\r>'\"") && strings.Contains(string(b), "\r") {
			return
		}
		if len(std.Contents) != len(p.items) {
			return // duplicate or nested elements: each decoder has its own way
		}
		for i := range p.items {
			if p.items[i].key != std.Contents[i].Key && strings.Count(string(b), "<Key") == len(p.items) {
				t.Fatalf("key %q, standard decoder %q", p.items[i].key, std.Contents[i].Key)
			}
		}
	})
}

func BenchmarkParsePage(b *testing.B) {
	var d strings.Builder
	d.WriteString("<ListBucketResult>")
	for i := range 1000 {
		fmt.Fprintf(&d, "<Contents><Key>some/folder/with/a/name/object-%06d.jpg</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><Size>12345</Size><StorageClass>STANDARD</StorageClass></Contents>", i)
	}
	d.WriteString("</ListBucketResult>")
	doc := []byte(d.String())
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := parsePage(doc); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/entry")
}
