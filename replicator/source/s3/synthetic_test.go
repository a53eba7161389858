package s3source_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	s3source "github.com/holdfast-backup/holdfast/replicator/source/s3"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/synthetic"
)

// frozen is a reading of a bucket that a formula makes up.
func frozen(t testing.TB, o synthetic.Options, edit func(*s3source.Options)) (*synthetic.Server, source.View) {
	t.Helper()
	srv, err := synthetic.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	l := srv.Location()
	so := s3source.Options{
		Bucket: l.Bucket, Endpoint: l.Endpoint, Region: l.Region, PathStyle: l.PathStyle,
		Credentials: fixed.Credentials(srv.Credentials()), MaxBackoff: 10 * time.Millisecond,
	}
	if edit != nil {
		edit(&so)
	}
	s, err := s3source.New(so)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv, v
}

func allVersions(o *s3source.Options) { o.Versions = "all" }

// Key spaces of every shape are listed whole, in order, with no more requests than they have pages.
func TestShapes(t *testing.T) {
	const n = 20_000
	for name, shape := range map[string]synthetic.Shape{"flat": synthetic.Flat(n), "deep": synthetic.Deep(n, 7, 4), "skewed": synthetic.Skewed(n)} {
		t.Run(name, func(t *testing.T) {
			srv, v := frozen(t, synthetic.Options{Shape: shape}, nil)
			i := int64(0)
			for e, err := range v.Entries(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				if e.Key != srv.Key(i) {
					t.Fatalf("%d: %q instead of %q", i, e.Key, srv.Key(i))
				}
				i++
			}
			if pages := srv.Stats().Pages; i != n || pages != n/1000+1 { // Freeze asks for one
				t.Errorf("%d of %d entries in %d pages", i, n, pages)
			}
			from, to, got := srv.Key(n/2), srv.Key(n/2+1500), int64(0)
			for e, err := range v.Entries(t.Context(), from, to) {
				if err != nil || e.Key != srv.Key(n/2+got) {
					t.Fatal(e.Key, err)
				}
				got++
			}
			if pages := srv.Stats().Pages - n/1000 - 1; got != 1500 || pages > 3 {
				t.Errorf("a stretch: %d entries in %d pages", got, pages)
			}
		})
	}
}

// Keys that AWS takes and few others keep are listed and read, with every signature checked: paths are signed as they are.
func TestOddKeys(t *testing.T) {
	keys := []string{
		"", " ", "a b", "a+b", "100%", "%2F", "%252F", "quote\"'", "caf\u00e9", "cafe\u0301", "\u65e5\u672c/\u8a9e", "\x01\x1f\x7f", "zero\x00byte", "tab\tnl\ncr\r", "/lead", "//", "a//b", "a/b", "a///c", "end/",
		"x", "x-1", "x/y", ".", "..", "./x", "a/./b", "../y", "a/../../z", "a/..", strings.Repeat("k", 1024), "<&>;=#?*[]{}", "\uE000", "\U0001F600", "\ufeffbom", "~", "$&,:@!()",
	}[1:]
	for _, mode := range []string{"current", "all"} {
		t.Run(mode, func(t *testing.T) {
			srv, v := frozen(t, synthetic.Options{
				Shape: synthetic.Keys(keys...), PageSize: 5,
				Describe: func(i int64, o *synthetic.Object) {
					o.Size = 10 + i
					o.Metadata = map[string]string{"serial": fmt.Sprint(i)}
					o.Tags = map[string]string{"a key": "a+b %2F \u00fc", "serial": fmt.Sprint(i)}
					o.Headers = map[string]string{"Content-Type": "text/odd", "Content-Disposition": `attachment; filename="a b"`, "Expires": "soon"}
				},
			}, func(o *s3source.Options) { o.Versions = mode })
			var got []string
			for e, err := range v.Entries(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.Key)
				b, err := open1(t, v, e)
				want, werr := srv.Content(e.Key)
				if err != nil || werr != nil || !bytes.Equal(b, want) {
					t.Errorf("%q: %q %v %v", e.Key, b, err, werr)
					continue
				}
				o, _ := srv.Current(e.Key)
				if !maps.Equal(e.Metadata, o.Metadata) || !maps.Equal(e.Tags, o.Tags) || e.ContentType != "text/odd" || e.Expires != "soon" || e.ContentDisposition != o.Headers["Content-Disposition"] {
					t.Errorf("%q: %+v", e.Key, e)
				}
				r, err := v.Open(t.Context(), e, 3, 5)
				if err != nil {
					t.Errorf("%q: a range: %v", e.Key, err)
					continue
				}
				part, err := io.ReadAll(r)
				if _ = r.Close(); err != nil || !bytes.Equal(part, want[3:8]) {
					t.Errorf("%q: a range: %q %v", e.Key, part, err)
				}
			}
			slices.Sort(keys)
			if !slices.Equal(got, keys) {
				t.Errorf("listed %q\n  want %q", got, keys)
			}
			// Each key alone, as it is listed again when it changed.
			for i, k := range keys {
				n := 0
				for e, err := range v.Entries(t.Context(), k, k+"\x00") {
					if err != nil || e.Key != keys[i] {
						t.Errorf("%q alone: %v %v", k, e, err)
					}
					n++
				}
				if n != 1 {
					t.Errorf("%q alone: %d entries", k, n)
				}
			}
			if s := srv.Stats(); s.Refused != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func open1(t testing.TB, v source.View, e *format.Entry) ([]byte, error) {
	t.Helper()
	r, err := v.Open(t.Context(), e, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // read only
	return io.ReadAll(r)
}

// All versions come oldest first, whatever the pages, markers among them, and each reads as itself.
func TestSyntheticVersions(t *testing.T) {
	srv, v := frozen(t, synthetic.Options{
		Shape: synthetic.Deep(300, 10, 1), PageSize: 7,
		Versions: func(i int64) int { return 1 + int(i%5) },
		Marker:   func(i int64, n int) bool { return i%7 == 3 && n == 1 },
	}, allVersions)
	if err := errors.Join(srv.Change(srv.Key(17)), srv.Delete(srv.Key(18))); err != nil {
		t.Fatal(err)
	}
	want, markers := 2, 1
	for i := range 300 {
		want += 1 + i%5
		if i%7 == 3 && i%5 > 0 {
			markers++
		}
	}
	last, lastAt, bodies := "", time.Time{}, map[string]bool{}
	for e, err := range v.Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key < last || e.Key == last && !e.Modified.After(lastAt) {
			t.Fatalf("%q of %s after %q of %s", e.Key, e.Modified, last, lastAt)
		}
		last, lastAt = e.Key, e.Modified.Time
		want--
		if e.Kind == format.KindMarker {
			markers--
			continue
		}
		b, err := open1(t, v, e)
		if err != nil || int64(len(b)) != e.Size || len(b) > 4 && bodies[string(b)] {
			t.Errorf("%q %s: %q %v", e.Key, e.Version, b, err)
		}
		bodies[string(b)] = true
	}
	if want != 0 || markers != 0 {
		t.Errorf("%d versions and %d markers are missing", want, markers)
	}
}

// What the engine counts on: other tags leave no trace in a listing and are found by asking; what cannot be read once
// can be read then; tags are asked for only where there are some.
func TestSilentChanges(t *testing.T) {
	const n = 400
	srv, v := frozen(t, synthetic.Options{Shape: synthetic.Flat(n)}, nil)
	list := func() (out []format.Entry) {
		for e, err := range v.Entries(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, *e)
		}
		return out
	}
	before := list()
	if len(before) != n {
		t.Fatalf("%d entries", len(before))
	}
	bad := &before[123]
	if err := srv.Unreadable(bad.Key, 1); err != nil {
		t.Fatal(err)
	}
	var u *source.Unreadable
	if _, err := open1(t, v, bad); !errors.As(err, &u) || u.Accepted {
		t.Errorf("refused once: %v", err)
	}
	for i := range before {
		e := before[i]
		if _, err := open1(t, v, &e); err != nil {
			t.Fatal(err)
		}
	}
	if s := srv.Stats(); s.Gets != n || s.Tags != n/100+0 && s.Tags != n/100+1 {
		t.Errorf("%+v: every hundredth has tags", s)
	}
	key := before[205].Key
	if err := srv.Retag(key); err != nil {
		t.Fatal(err)
	}
	after := list()
	for i := range after {
		if a, b := before[i].AppendListing(nil), after[i].AppendListing(nil); !bytes.Equal(a, b) {
			t.Errorf("%q is listed otherwise", after[i].Key)
		}
	}
	if err := v.Complete(t.Context(), &after[205]); err != nil || after[205].Tags["retagged"] != "1" {
		t.Errorf("%v %v", after[205].Tags, err)
	}
	if err := srv.Change(key); err != nil {
		t.Fatal(err)
	}
	if a, b := before[205].AppendListing(nil), list()[205].AppendListing(nil); bytes.Equal(a, b) {
		t.Error("other content is not seen in the listing")
	}
	if _, err := open1(t, v, &after[205]); !errors.Is(err, source.ErrChanged) {
		t.Errorf("read under the old ETag: %v", err)
	}
}
