package s3store_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3store"
)

// garbling lists a bucket as versitygw does, which passes encoding-type=url over: names in the order of their true bytes, with
// U+FFFD for what XML 1.0 (section 2.2) has no way to write, in markers as well; a marker is what the next page comes after.
func garbling(names []string) http.HandlerFunc {
	names = slices.Sorted(slices.Values(names))
	garble := func(name string) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' && r != '\n' && r != '\r' {
				return '\ufffd'
			}
			return r
		}, strings.ToValidUTF8(name, "\ufffd"))
	}
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		most, _ := strconv.Atoi(q.Get("max-keys"))
		var page []string
		more := false
		for _, n := range names {
			if strings.HasPrefix(n, q.Get("prefix")) && n > q.Get("key-marker") {
				if more = len(page) == most; more {
					break
				}
				page = append(page, n)
			}
		}
		var b strings.Builder
		fmt.Fprintf(&b, "<ListVersionsResult><IsTruncated>%t</IsTruncated>", more)
		if more {
			fmt.Fprintf(&b, "<NextKeyMarker>%s</NextKeyMarker><NextVersionIdMarker>1</NextVersionIdMarker>", garble(page[len(page)-1]))
		}
		for _, n := range page {
			b.WriteString(entry(garble(n), "1"))
		}
		_, _ = io.WriteString(w, b.String()+"</ListVersionsResult>")
	}
}

// TestOddNamesHideNothing: names that a server cannot write, as many as one likes, end no listing and hide no name behind them.
func TestOddNamesHideNothing(t *testing.T) {
	many := func(n int, f string) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf(f, i))
		}
		return out
	}
	ours := []string{"points/site/1", "points/site/2", "points/site/3", "points/uploads/1", "points/z/1"}
	for what, odd := range map[string][]string{
		"one before a page":          append(many(20, "points/a%02d"), "points/\x01"),
		"more than a page":           many(30, "points/\x01%02d"),
		"in a folder":                many(30, "points/site/\x02%02d"),
		"between":                    many(30, "points/site/1\x03%02d"),
		"bytes that are no text":     many(30, "points/\xff%02d"),
		"no text in a folder":        many(30, "points/site/\xfe%02d"),
		"no text in front of others": many(30, "points/s\xf8%02d"),
		"of all kinds": slices.Concat(many(9, "points/\x01%02d"), many(9, "points/\xff%02d"), many(9, "points/site/\x1f%02d"), many(9, "points/site/2\xff%02d"),
			many(9, "points/site/2\x0b%02d"), many(40, "points/site/25%02d")),
		"none": nil,
	} {
		for _, size := range []int{1, 4, 7} {
			s := fake(t, garbling(append(slices.Clone(ours), odd...)), func(o *s3store.Options) { o.PageSize = size })
			var got []string
			for info, err := range s.Versions(t.Context(), "points/", "") {
				if err != nil {
					t.Fatalf("%s, %d a page: %v", what, size, err)
				}
				if slices.Contains(ours, info.Name) {
					got = append(got, info.Name)
				}
			}
			if !slices.Equal(got, ours) {
				t.Errorf("%s, %d a page: listed %q", what, size, got)
			}
			n := 0
			for info, err := range store.InOrder(s.Versions(t.Context(), "points/site/", ""), nil) {
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(ours, info.Name) {
					n++
				}
			}
			if n != 3 {
				t.Errorf("%s, %d a page: %d of one folder", what, size, n)
			}
		}
	}
}
