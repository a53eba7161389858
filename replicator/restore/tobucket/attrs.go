package tobucket

import (
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// attrs is what an object carries beside its content and tags, as a restore sets it or as the target shows it.
type attrs struct {
	headers  map[string]string // those that are not empty, by their names in HTTP
	metadata map[string]string
	redirect string
	class    types.StorageClass
}

// wantedOf gives what an entry is restored with.
func wantedOf(e *format.Entry, class types.StorageClass) attrs {
	return attrs{
		headers:  headers(e.ContentType, e.ContentEncoding, e.ContentLanguage, e.ContentDisposition, e.CacheControl, e.Expires),
		metadata: metadata(e), redirect: e.WebsiteRedirect, class: class,
	}
}

// shownBy gives what the target says of an object.
func shownBy(o *s3.HeadObjectOutput) attrs {
	return attrs{
		headers: headers(aws.ToString(o.ContentType), aws.ToString(o.ContentEncoding), aws.ToString(o.ContentLanguage),
			aws.ToString(o.ContentDisposition), aws.ToString(o.CacheControl), aws.ToString(o.ExpiresString)),
		metadata: o.Metadata, redirect: aws.ToString(o.WebsiteRedirectLocation), class: o.StorageClass,
	}
}

func headers(kind, encoding, language, disposition, cache, expires string) map[string]string {
	all := map[string]string{
		"Content-Type": kind, "Content-Encoding": withoutChunked(encoding), "Content-Language": language,
		"Content-Disposition": disposition, "Cache-Control": cache, "Expires": expires,
	}
	for name, v := range all {
		if v = strings.TrimSpace(v); v == "" {
			delete(all, name)
		} else {
			all[name] = v
		}
	}
	return all
}

// withoutChunked drops what says how an upload travelled, and nothing of the object. Some servers keep it.
func withoutChunked(encoding string) string {
	var kept []string
	for part := range strings.SplitSeq(encoding, ",") {
		if part = strings.TrimSpace(part); part != "" && !strings.EqualFold(part, "aws-chunked") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ", ")
}

// difference is one thing in which an object at the target is not as in the point.
type difference struct {
	text string
	// limit names what a server may be unable to hold, such as a redirect, in the words of a note; empty: every server must.
	limit string
}

func (d difference) String() string { return d.text }

// texts joins differences for a message.
func texts(all []difference) string {
	out := make([]string, len(all))
	for i, d := range all {
		out[i] = d.text
	}
	return strings.Join(out, "; ")
}

// What servers may be unable to hold.
const (
	limitRedirect = "website redirect locations"
	limitClass    = "the storage class " // and its name
	limitEmpty    = "metadata without a value"
	limitNames    = "metadata names as they are"
	limitExtra    = "metadata without its own " // and its name
	limitExpires  = "Expires headers that are no dates"
)

// compare names what differs. Other spellings of the same are no difference.
func (want attrs) compare(got attrs) []difference {
	var out []difference
	for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control", "Expires"} {
		w, g := want.headers[name], got.headers[name]
		if w == g || sameHeader(name, w, g) {
			continue
		}
		d := difference{text: fmt.Sprintf("%s is %s, not %s", name, quoted(g), quoted(w))}
		if w == "" {
			d.text = fmt.Sprintf("%s is %s, and the point has none", name, quoted(g))
		}
		if _, err := http.ParseTime(w); name == "Expires" && w != "" && g == "" && err != nil {
			d.limit = limitExpires
		}
		out = append(out, d)
	}
	out = append(out, compareMetadata(want.metadata, got.metadata)...)
	if want.redirect != got.redirect {
		d := difference{text: fmt.Sprintf("the website redirect location is %s, not %s", quoted(got.redirect), quoted(want.redirect))}
		if got.redirect == "" {
			d.limit = limitRedirect
		}
		out = append(out, d)
	}
	if w, g := className(want.class), className(got.class); w != g {
		out = append(out, difference{text: fmt.Sprintf("the storage class is %s, not %s", g, w), limit: limitClass + string(w)})
	}
	return out
}

// sameHeader reports whether two values of a header say the same: S3 and its likes give an object without a type a type
// of their own (versitygw one for names that end in a slash), and some write dates anew.
func sameHeader(name, want, got string) bool {
	switch name {
	case "Content-Type":
		return want == "" && (got == "application/octet-stream" || got == "binary/octet-stream" || got == "application/x-directory")
	case "Expires":
		w, werr := http.ParseTime(want)
		g, gerr := http.ParseTime(got)
		return werr == nil && gerr == nil && w.Equal(g)
	}
	return false
}

func compareMetadata(want, got map[string]string) []difference {
	want, got = lowered(want), lowered(got)
	var out []difference
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w := want[name]
		g, ok := got[name]
		delete(got, name)
		switch {
		case ok && (g == w || decoded(g) == decoded(w)):
		case ok:
			out = append(out, difference{text: fmt.Sprintf("metadata %s is %s, not %s", name, quoted(g), quoted(w))})
		default:
			d := difference{text: fmt.Sprintf("metadata %s is missing", name)}
			if w == "" {
				d.limit = limitEmpty
			}
			for other, v := range got {
				if _, wanted := want[other]; !wanted && v == w && plainName(other) == plainName(name) {
					d = difference{text: fmt.Sprintf("metadata %s is called %s", name, other), limit: limitNames}
					delete(got, other)
					break
				}
			}
			out = append(out, d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		out = append(out, difference{text: fmt.Sprintf("metadata %s is there and not in the point", name), limit: limitExtra + name})
	}
	return out
}

// lowered is a copy with names in lower case, as HTTP has them, and values as HTTP carries them.
func lowered(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[strings.ToLower(k)] = strings.TrimSpace(v)
	}
	return out
}

// plainName is a name without what gateways change in it.
func plainName(s string) string { return strings.NewReplacer("_", "", "-", "", ".", "").Replace(s) }

// decoded undoes what S3 does to values that are not ASCII.
func decoded(v string) string {
	if s, err := new(mime.WordDecoder).DecodeHeader(v); err == nil {
		return s
	}
	return v
}

func className(c types.StorageClass) types.StorageClass {
	if c == "" {
		return types.StorageClassStandard
	}
	return c
}

// compareTags names what differs in tags.
func compareTags(want, got map[string]string) []difference {
	var out []difference
	for _, k := range slices.Sorted(maps.Keys(want)) {
		switch g, ok := got[k]; {
		case !ok:
			out = append(out, difference{text: fmt.Sprintf("tag %s is missing", quoted(k))})
		case g != want[k]:
			out = append(out, difference{text: fmt.Sprintf("tag %s is %s, not %s", quoted(k), quoted(g), quoted(want[k]))})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			out = append(out, difference{text: fmt.Sprintf("tag %s is there and not in the point", quoted(k))})
		}
	}
	return out
}

// quoted is a value for a message, cut where it is long.
func quoted(s string) string {
	if s == "" {
		return "not set"
	}
	return fmt.Sprintf("%.80q", s)
}
