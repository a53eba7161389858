package s3source

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// habitNames gives what a view has met, by name.
func habitNames(v source.View) string {
	var names []string
	for _, h := range v.(source.Habits).Habits() { //nolint:forcetypeassert // our own
		names = append(names, h.Name)
	}
	return strings.Join(names, " ")
}

func other(tag string) string {
	sum := md5.Sum([]byte(tag))
	return hex.EncodeToString(sum[:])
}

// TestConditions: If-Match that does not hold is found out and done without, by looking the listing up again; what truly
// changes is still seen.
func TestConditions(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name     string
		versions string
		setting  *bool
		refuse   bool                     // If-Match with the listed ETag is answered 412
		given    func(etag string) string // the ETag of answers
		want     string                   // a reason; empty: it is read
		met      string
	}{
		{"as AWS", "current", nil, false, nil, "", ""},
		{"412, and answers carry another", "current", nil, true, other, "", "if-match etag-differs"},
		{"412, and answers carry the listed one", "current", nil, true, nil, "", "if-match"},
		{"412, and answers carry none", "current", nil, true, func(string) string { return "" }, "", "if-match etag-differs"},
		{"answers carry another", "current", nil, false, other, "", "etag-differs"},
		{"412 for versions", "all", nil, true, nil, "", "if-match"},
		{"set to false", "current", &no, true, other, "", "etag-differs"},
		{"set to true", "current", &yes, true, other, "if_match: false", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, o := newFake(t)
			o.Versions, o.IfMatch = c.versions, c.setting
			for i := range 4 {
				f.put(fmt.Sprint("k", i), []byte(fmt.Sprint("content ", i)))
			}
			f.given = c.given
			v := mustFreeze(t, o)
			es := entries(t, v)
			conditions := 0
			f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
				if r.Header.Get("If-Match") != "" {
					if conditions++; c.refuse {
						refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "no")
						return true
					}
				}
				r.Header.Del("If-Match")
				return false
			})
			for i, e := range es {
				got, err := readAll(v, e)
				u, _ := errors.AsType[*source.Unreadable](err)
				if c.want == "" && (err != nil || string(got) != fmt.Sprint("content ", i)) || c.want != "" && (u == nil || !strings.Contains(u.Reason, c.want)) {
					t.Errorf("%q %v", got, err)
				}
			}
			if c.refuse && c.setting == nil && conditions != 1 {
				t.Errorf("asked with a condition %d times", conditions)
			}
			if met := habitNames(v); met != c.met {
				t.Errorf("met %q instead of %q", met, c.met)
			}
			if c.want != "" || c.versions == "all" {
				return
			}
			// Another object in its place, before and while it is read.
			f.drop("k2")
			f.put("k2", []byte("CONTENT 2"))
			if _, err := readAll(v, es[2]); !errors.Is(err, source.ErrChanged) {
				t.Errorf("changed before: %v", err)
			}
			f.drop("k3")
			if _, err := readAll(v, es[3]); !errors.Is(err, source.ErrGone) {
				t.Errorf("deleted: %v", err)
			}
			if c.given == nil {
				return
			}
			f.answer(func(_ http.ResponseWriter, r *http.Request, key string) bool {
				r.Header.Del("If-Match")
				if key == "k1" && !r.URL.Query().Has("tagging") {
					go f.touch("k1") // after this answer began, for all the reader can know
					for !f.touched("k1") {
						time.Sleep(time.Millisecond)
					}
				}
				return false
			})
			if _, err := readAll(v, es[1]); !errors.Is(err, source.ErrChanged) {
				t.Errorf("changed while it was read: %v", err)
			}
		})
	}
}

// TestETags: 32 hex digits are taken for an MD5 until they turn out to be none, anywhere in the bucket; damage stays damage.
func TestETags(t *testing.T) {
	opaque := func(tag string) string { return other(tag) }
	for _, c := range []struct {
		name    string
		n       int
		setting string
		tag     func(key, tag string) string
		want    string // what the reason of "k0" says; empty: it is read
		met     string
	}{
		{"MD5s", 5, "", func(_, tag string) string { return tag }, "", ""},
		{"none is one", 5, "", func(_, tag string) string { return opaque(tag) }, "", "etag"},
		{"two objects", 2, "", func(_, tag string) string { return opaque(tag) }, "", "etag"},
		{"one object alone", 1, "", func(_, tag string) string { return opaque(tag) }, "etag: opaque", ""},
		{"the others are", 5, "", func(key, tag string) string {
			if key == "k0" {
				return opaque(tag)
			}
			return tag
		}, "do not match", ""},
		{"one of the others is", 5, "", func(key, tag string) string {
			if key == "k3" {
				return tag
			}
			return opaque(tag)
		}, "do not match", ""},
		{"set to opaque", 1, "opaque", func(_, tag string) string { return opaque(tag) }, "", ""},
		{"set to md5", 5, "md5", func(_, tag string) string { return opaque(tag) }, "do not match", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, o := newFake(t)
			o.ETag = c.setting
			for i := range c.n {
				f.put(fmt.Sprint("k", i), []byte(fmt.Sprint("content ", i)))
			}
			f.retag = c.tag
			v := mustFreeze(t, o)
			e := entries(t, v)[0]
			got, err := readAll(v, e)
			u, _ := errors.AsType[*source.Unreadable](err)
			if c.want == "" && (err != nil || string(got) != "content 0") || c.want != "" && (u == nil || !strings.Contains(u.Reason, c.want) || !errors.Is(err, source.ErrCorrupt)) {
				t.Errorf("%q %v", got, err)
			}
			if met := habitNames(v); met != c.met {
				t.Errorf("met %q instead of %q", met, c.met)
			}
		})
	}
}

// TestPagesWithoutTokens: a listing goes on in whatever way the server knows, and never for ever.
func TestPagesWithoutTokens(t *testing.T) {
	const n = 25
	for _, c := range []struct {
		name string
		edit func(f *fake)
		met  string
		bad  bool
	}{
		{"NextMarker in place of a token", func(f *fake) { f.next = "NextMarker" }, "list-token", false},
		{"nothing at all", func(f *fake) { f.next = "" }, "list-token", false},
		{"start-after is not heeded", func(f *fake) { f.next, f.noStartAfter = "", true }, "list-token list-v1", false},
		{"starts with the key after which it was to go on", func(f *fake) { f.next, f.inclusive = "", true }, "list-token", false},
		{"nothing is heeded", func(f *fake) { f.next, f.noStartAfter, f.noMarker = "", true, true }, "list-token list-v1", true},
		{"True", func(f *fake) { f.yes = "True" }, "", false},
		{"max-keys is not heeded", func(f *fake) { f.page, f.noMaxKeys = 7, true }, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, o := newFake(t)
			f.page = 4
			for i := range n {
				f.put(fmt.Sprintf("k %02d", i), []byte("x"))
			}
			c.edit(f)
			v := mustFreeze(t, o)
			got := 0
			var last error
			for e, err := range v.Entries(t.Context(), "", "") {
				if last = err; err != nil {
					break
				}
				if want := fmt.Sprintf("k %02d", got); e.Key != want {
					t.Fatalf("%q instead of %q", e.Key, want)
				}
				got++
			}
			if c.bad != errors.Is(last, store.ErrListing) || !c.bad && got != n {
				t.Errorf("%d entries, %v", got, last)
			}
			if met := habitNames(v); met != c.met {
				t.Errorf("met %q instead of %q", met, c.met)
			}
			if c.bad {
				return
			}
			if es := ranged(t, v, "k 07", "k 12"); len(es) != 5 || es[0].Key != "k 07" {
				t.Errorf("a range: %d", len(es))
			}
		})
	}
}

// TestEndlessPages: pages with nothing in them and always a new token come to an end.
func TestEndlessPages(t *testing.T) {
	f, o := newFake(t)
	v := mustFreeze(t, o)
	var n atomic.Int64
	f.answer(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		_, _ = fmt.Fprintf(w, "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken></ListBucketResult>", n.Add(1))
		return true
	})
	var last error
	for _, err := range v.Entries(t.Context(), "", "") {
		last = err
	}
	if !errors.Is(last, store.ErrListing) || n.Load() > 2*maxEmpty {
		t.Errorf("%d pages, %v", n.Load(), last)
	}
}

func ranged(t testing.TB, v source.View, from, to string) (out []*format.Entry) {
	t.Helper()
	for e, err := range v.Entries(t.Context(), from, to) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// TestListedOddly: what a listing says of one object that cannot be kept costs that object; what can be read is.
func TestListedOddly(t *testing.T) {
	item := func(key, size, at string) string {
		return "<Contents><Key>" + key + "</Key><Size>" + size + "</Size><LastModified>" + at + "</LastModified></Contents>"
	}
	const at = "2026-01-02T03:04:05.000Z"
	want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f, o := newFake(t)
	v := mustFreeze(t, o)
	f.answer(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		_, _ = fmt.Fprint(w, "<ListBucketResult>", item("a", "1", at), item("b", "-1", at), item("c", "9223372036854775808", at), item("d", "4611686018427387904", at),
			item("e", "", at), item("f", "1", "12026-01-02T03:04:05Z"), item("g", "1", "yesterday"), item("h", "1", "2026-01-02T03:04:05"),
			item("i", "1", "2026-01-02 03:04:05"), item("j", "1", ""), "<Contents><Key>k</Key><Size>1</Size></Contents>",
			item("l", "1", "Fri, 02 Jan 2026 03:04:05 GMT"), item("m", "1", "9999-12-31T23:59:59-01:00"), item("n", " 1 ", " "+at+" "),
			"<Contents><Key>o</Key><Size>1</Size><ETag>"+strings.Repeat("e", 100_000)+"</ETag></Contents>", "</ListBucketResult>")
		return true
	})
	for _, e := range entries(t, v) {
		bad := strings.Contains("bcdefgmo", e.Key)
		if (e.Missing != "") != bad || e.Size < 0 || e.Size > 1 || len(e.ETag) > 100 {
			t.Errorf("%q: missing %q, %d bytes", e.Key, e.Missing, e.Size)
		}
		none := e.Key == "j" || e.Key == "k" || e.Key == "o" || e.Key == "f" || e.Key == "g" || e.Key == "m"
		if none != e.Modified.IsZero() || !none && !e.Modified.Equal(want) {
			t.Errorf("%q: modified %v", e.Key, e.Modified)
		}
		if _, err := e.AppendLine(nil); bad && err != nil {
			t.Errorf("%q cannot be kept as missing: %v", e.Key, err)
		}
	}
	if met := habitNames(v); met != "list-zone" {
		t.Errorf("met %q", met)
	}
}

// TestKeysEncoded: keys are what they are, however the server encodes them, and whether it does.
func TestKeysEncoded(t *testing.T) {
	const says = "<EncodingType>url</EncodingType>"
	for _, c := range []struct {
		name, encoding string
		encode         func(string) string
		keys           []string
	}{
		{"as AWS", says, url.QueryEscape, []string{"a b", "a+b", "a%20b", "ü/ß"}},
		{"space as %20, plus as it is", says, func(s string) string {
			return strings.ReplaceAll(url.PathEscape(s), "%2F", "/")
		}, []string{"a b", "a+b", "a%20b", "ü/ß"}},
		{"says so, and does not", says, xmlText, []string{"a b", "a+b", "a%20b", "ü/ß"}},
		{"says so, and sends what is no encoding", says, xmlText, []string{"100%", "a+b"}},
		{"does not, and says nothing", "", xmlText, []string{"a b", "a+b", "a%20b", "ü/ß"}},
	} {
		f, o := newFake(t)
		v := mustFreeze(t, o)
		f.answer(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			_, _ = fmt.Fprint(w, "<ListBucketResult>", c.encoding)
			for _, k := range slices.Sorted(slices.Values(c.keys)) {
				_, _ = fmt.Fprint(w, "<Contents><Key>", c.encode(k), "</Key><Size>1</Size></Contents>")
			}
			_, _ = fmt.Fprint(w, "</ListBucketResult>")
			return true
		})
		var got []string
		for _, e := range entries(t, v) {
			got = append(got, e.Key)
		}
		if want := slices.Sorted(slices.Values(c.keys)); !slices.Equal(got, want) {
			t.Errorf("%s: %q instead of %q", c.name, got, want)
		}
	}
}

// TestRequesterPays: who pays is said with every request: where it is set, or where the bucket is denied otherwise.
func TestRequesterPays(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name    string
		setting *bool
		needed  bool
		err     error
		met     string
	}{
		{"found out", nil, true, nil, "requester-pays"}, {"set", &yes, true, nil, ""}, {"never", &no, true, store.ErrDenied, ""},
		{"not needed", nil, false, nil, ""}, {"set and not needed", &yes, false, nil, ""},
	} {
		for _, versions := range []string{"current", "all"} {
			f, o := newFake(t)
			o.RequestPayer, o.Versions = c.setting, versions
			f.put("k", []byte("x"))
			without := 0
			f.answer(func(w http.ResponseWriter, r *http.Request, _ string) bool {
				if r.Header.Get("x-amz-request-payer") == "requester" {
					return false
				}
				without++
				if c.needed {
					refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
				}
				return c.needed
			})
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			v, err := s.Freeze(t.Context())
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %v", c.name, err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "requester_pays: true") {
					t.Errorf("%s: the setting is not named: %v", c.name, err)
				}
				continue
			}
			for _, e := range entries(t, v) {
				if _, err := readAll(v, e); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
				e.Recheck = true
				if err := v.Complete(t.Context(), e); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
			if most := map[bool]int{true: 1, false: 0}[c.setting == nil]; c.needed && without > most {
				t.Errorf("%s: %d requests said nothing of who pays", c.name, without)
			}
			if met := habitNames(v); met != c.met {
				t.Errorf("%s: met %q", c.name, met)
			}
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	f, o := newFake(t) // a denial that has nothing to do with it stays one
	f.answer(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
		return true
	})
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Freeze(t.Context()); !errors.Is(err, store.ErrDenied) || s.facts.has(payer) {
		t.Errorf("%v", err)
	}
}

// TestRedirects: where a server sends its readers is said and not followed.
func TestRedirects(t *testing.T) {
	for _, c := range []struct {
		name, location, region, want string
	}{
		{"another scheme and host", "https://s3.example.net/bucket?list-type=2", "", "endpoint=https://s3.example.net"},
		{"another host", "http://else.example.net:9000/", "", "endpoint=http://else.example.net:9000"},
		{"another region", "https://bucket.s3.eu-west-3.example.com/", "eu-west-3", "region=eu-west-3"},
		{"nowhere", "", "", "does not say where"},
		{"a path", "/login", "", "/login"},
	} {
		f, o := newFake(t)
		f.put("k", []byte("x"))
		v := mustFreeze(t, o)
		e := entries(t, v)[0]
		f.answer(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			if c.location != "" {
				w.Header().Set("Location", c.location)
			}
			if c.region != "" {
				w.Header().Set("x-amz-bucket-region", c.region)
			}
			w.WriteHeader(http.StatusMovedPermanently)
			_, _ = fmt.Fprint(w, "<html>301 Moved Permanently</html>")
			return true
		})
		before := len(f.log)
		_, err := v.s.Freeze(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) || len(f.log) != before+1 {
			t.Errorf("%s: listing: %v", c.name, err)
		}
		_, err = readAll(v, e)
		if u, ok := errors.AsType[*source.Unreadable](err); !ok || !strings.Contains(u.Error(), c.want) {
			t.Errorf("%s: reading: %v", c.name, err)
		}
	}
}

// TestRenewed: credentials that were renewed while a run goes on are taken up, once for all who were refused.
func TestRenewed(t *testing.T) {
	for _, code := range []string{"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"} {
		f, o := newFake(t)
		for i := range 16 {
			f.put(fmt.Sprint("k", i), []byte("content"))
		}
		var valid atomic.Value
		valid.Store("first")
		var asked atomic.Int32
		o.Credentials = func(context.Context) (store.Credentials, error) {
			asked.Add(1)
			return store.Credentials{AccessKeyID: valid.Load().(string), SecretAccessKey: "s"}, nil //nolint:forcetypeassert // it is one
		}
		f.answer(func(w http.ResponseWriter, r *http.Request, _ string) bool {
			if strings.Contains(r.Header.Get("Authorization"), "Credential="+valid.Load().(string)+"/") { //nolint:forcetypeassert // it is one
				return false
			}
			refuse(w, http.StatusForbidden, code, "no longer")
			return true
		})
		v := mustFreeze(t, o)
		es := entries(t, v)
		valid.Store("second")
		var wg sync.WaitGroup
		for _, e := range es {
			wg.Go(func() {
				if _, err := readAll(v, e); err != nil {
					t.Errorf("%s: %v", code, err)
				}
			})
		}
		wg.Wait()
		if n := asked.Load(); n != 2 {
			t.Errorf("%s: credentials were read %d times", code, n)
		}
		// Refused for good.
		o.Credentials = fixed.Credentials(store.Credentials{AccessKeyID: "third", SecretAccessKey: "s"})
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		before := len(f.log)
		if _, err := s.Freeze(t.Context()); !errors.Is(err, store.ErrCredentials) || len(f.log) != before+1 {
			t.Errorf("%s: %d requests, %v", code, len(f.log)-before, err)
		}
	}
}
