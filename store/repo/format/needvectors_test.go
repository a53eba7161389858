package format

import (
	"strings"
	"testing"
)

// needVectors are lines of needs lists.
func needVectors(t *testing.T) (out []vector) {
	bytesOf := must[[]byte](t)
	add := func(name, comment string, body []byte, value any) {
		out = append(out, vector{path: name, comment: comment, body: body, value: value})
	}
	refuse := func(name, comment, body string, err error) {
		out = append(out, vector{path: name, comment: comment, body: []byte(body), err: err})
	}
	n := Need{Name: PackName(hashOf("pack 1")), Size: 33554432, Living: 30000000}
	add("need/pack", "a pack", bytesOf(n.AppendLine(nil)), n)
	meta := Need{Name: MetaName(hashOf("meta 1")), Size: 1500, Living: 1000, Pages: Pages{0, 1000}}
	line := string(bytesOf(meta.AppendLine(nil)))
	add("need/meta", "all pages of a manifest in it are the point's; what is behind them is an index segment", []byte(line), meta)
	part := meta
	part.Living, part.Pages = 700, Pages{200, 300, 250, 250}
	add("need/meta-in-part", "the first 200 bytes are a page, or pages, that an earlier point needed; and 250 bytes further on", bytesOf(part.AppendLine(nil)), part)
	extents := meta
	extents.Pages = nil
	add("need/meta-extents", "the point needs extent pages of it and no page of its manifest", bytesOf(extents.AppendLine(nil)), extents)
	pages := func(is string) string { return strings.Replace(line, "[0,1000]", is, 1) }
	refuse("need/refuse-pages-of-a-pack", "only meta objects have pages of manifests", `{"name":"`+n.Name+`","size":5000,"living":1000,"pages":[0,1000]}`+"\n", ErrMalformed)
	refuse("need/refuse-pages-none", "where there are none the member is left out", pages("[]"), ErrMalformed)
	refuse("need/refuse-pages-no-end", "a stretch that begins and does not end", pages("[0,400,100]"), ErrMalformed)
	refuse("need/refuse-pages-of-nothing", "a stretch of no bytes", pages("[0,0]"), ErrMalformed)
	refuse("need/refuse-pages-adjoining", "two stretches that are one", pages("[0,400,0,600]"), ErrMalformed)
	refuse("need/refuse-pages-negative", "a number below zero", pages("[0,-1]"), ErrMalformed)
	refuse("need/refuse-pages-beyond", "behind the end of any stored object", pages("[50331648,1]"), ErrBounds)
	refuse("need/refuse-pages-many", "more than 8,192 stretches", pages("["+strings.Repeat("1,1,", MaxStretches)+"1,1]"), ErrBounds)
	refuse("need/refuse-pages-misplaced", "members out of order", strings.Replace(pages("[0,9]"), `"living":1000,"pages":[0,9]`, `"pages":[0,9],"living":1000`, 1), ErrMalformed)
	refuse("need/refuse-size", "larger than any stored object", `{"name":"`+n.Name+`","size":50331649,"living":1}`+"\n", ErrBounds)
	refuse("need/refuse-name", "not the name of a stored object", `{"name":"packs/../`+n.Name+`","size":5,"living":1}`+"\n", ErrMalformed)
	return out
}

// refusePointTimes are lines of a points list in which a time is none, or is zero, which elsewhere means that there is none.
func refusePointTimes(line string, p PointLine, refuse func(name, comment, body string, err error)) {
	refuse("point-line/refuse-stamp", "a time that is none", strings.Replace(line, "20261123T", "20261323T", 1), ErrMalformed)
	for name, swap := range map[string][2]string{
		"stamp": {p.SignedAt.Format(stampLayout) + "-", "00010101T000000Z-"},
		"taken": {`"taken_at":"` + p.TakenAt.Format(timeLayout), `"taken_at":"0001-01-01T00:00:00Z`},
		"until": {`"retain_until":"` + p.RetainUntil.Format(timeLayout), `"retain_until":"0001-01-01T00:00:00Z`},
	} {
		refuse("point-line/refuse-zero-"+name, "the zero time", strings.Replace(line, swap[0], swap[1], 1), ErrMalformed)
	}
}
