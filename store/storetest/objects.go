package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
)

func putGet(s *suite) {
	want := data(10_000, 1)
	before := s.until(0)
	ref := s.put("packs/ab/one.age", want)
	s.mustRead(ref, want)
	s.mustRead(store.Ref{Name: ref.Name}, want)
	for _, r := range []store.Ref{ref, {Name: ref.Name}} {
		info, lock, err := s.v.Stat(s.ctx(), r)
		if err != nil {
			s.Fatal(err)
		}
		if info.Ref != ref || info.Size != int64(len(want)) || info.DeleteMarker {
			s.Errorf("stat of %+v: %+v", r, info)
		}
		if d := info.Modified.Sub(before); d < -2*time.Second || d > time.Minute || info.Modified.Location() != time.UTC {
			s.Errorf("modified %v, put after %v", info.Modified, before)
		}
		if lock != (store.Retention{}) {
			s.Errorf("a lock that nobody asked for: %+v", lock)
		}
	}
}

func emptyObject(s *suite) {
	ref := s.put("empty", nil)
	for _, r := range [][2]int64{{0, -1}, {0, 0}} {
		if got, err := s.read(ref, r[0], r[1]); err != nil || len(got) != 0 {
			s.Errorf("range %v of an empty object: %d bytes, %v", r, len(got), err)
		}
	}
	if info, _, err := s.v.Stat(s.ctx(), ref); err != nil || info.Size != 0 {
		s.Errorf("stat: %+v, %v", info, err)
	}
	if _, err := s.read(store.Ref{Name: "nothing"}, 0, 0); !errors.Is(err, store.ErrNotFound) {
		s.Errorf("no bytes of a missing object: %v; want not found", err)
	}
}

func largeObject(s *suite) {
	want := data(s.o.Large, 2)
	s.mustRead(s.put("packs/large.age", want), want)
}

func readRanges(s *suite) {
	want := data(100_000, 3)
	ref := s.put("ranged", want)
	for _, c := range []struct{ off, n int64 }{{0, 1}, {0, 100_000}, {1, 99_999}, {99_999, 1}, {50_000, 0}, {50_000, -1}, {12_345, 54_321}, {100_000, -1}, {100_000, 0}} {
		end := c.off + c.n
		if c.n < 0 {
			end = int64(len(want))
		}
		if got, err := s.read(ref, c.off, c.n); err != nil || !bytes.Equal(got, want[c.off:end]) {
			s.Errorf("range %+v: %d bytes, %v", c, len(got), err)
		}
	}
	got, err := s.read(ref, 99_990, 20)
	if !errors.Is(err, io.ErrUnexpectedEOF) || store.Retryable(err) || !bytes.Equal(got, want[99_990:]) {
		s.Errorf("range past the end: %d bytes, %v; want those there are, and an unexpected EOF that is not retried", len(got), err)
	}
	for _, n := range []int64{-1, 5} {
		if _, err := s.read(ref, 200_000, n); !errors.Is(err, io.ErrUnexpectedEOF) || store.Retryable(err) {
			s.Errorf("range of %d from past the end: %v; want unexpected EOF", n, err)
		}
	}
	if _, err := s.read(ref, -1, 5); err == nil {
		s.Error("a negative offset was taken")
	}
}

func missingObject(s *suite) {
	ref := store.Ref{Name: "packs/not/there"}
	s.put("packs/there", []byte("x"))
	_, err := s.v.Open(s.ctx(), ref, 0, -1)
	s.wantErr(err, store.ErrNotFound, "open")
	_, _, err = s.v.Stat(s.ctx(), ref)
	s.wantErr(err, store.ErrNotFound, "stat")
	// "packs" is a directory to some vaults and nothing to others; an object it is to none.
	_, _, err = s.v.Stat(s.ctx(), store.Ref{Name: "packs"})
	s.wantErr(err, store.ErrNotFound, "stat of a mere prefix")
	_, _, err = s.v.Stat(s.ctx(), store.Ref{Name: "packs/there/below"})
	s.wantErr(err, store.ErrNotFound, "stat below an object")
	s.nothing("packs/no")
	s.nothing("none/at/all/")
	var se *store.Error
	if !errors.As(err, &se) || se.Op != "stat" || se.Vault == "" {
		s.Errorf("the error does not say what failed where: %#v", err)
	}
}

// oddNames are allowed and have tripped some server, shell or URL encoder.
func oddNames() []string {
	return []string{
		"-dash", ".hidden", "a b"[:1] + "+plus", "amp&and", "at@sign", "brackets(1)", "colon:12:30", "comma,comma", "dollar$HOME",
		"equals=1", "quote'", "semi;colon", "star_under", "tilde~", "trailing.", "bang!", "...", "..a", "UPPER", "upper",
		"deep/er/and/deep/er/still", "dir.d/x", "dir-d/x", "dir/x", "dird", strings.Repeat("n", 255), "long/" + strings.Repeat("ab/", 290) + "x",
		"points/site/20261123T075719Z-" + strings.Repeat("0f", 32) + "-" + strings.Repeat("Ab_-", 21),
	}
}

func allNames(s *suite) {
	want := oddNames()
	for i, name := range want {
		if err := store.CheckName(name); err != nil {
			s.Fatal(err)
		}
		ref := s.put(name, data(10, uint64(i)))
		s.mustRead(ref, data(10, uint64(i)))
	}
	var got []string
	for _, info := range s.list("") {
		got = append(got, info.Name)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("listed %q\nwant   %q", got, want)
	}
}

func badNames(s *suite) {
	for _, name := range []string{
		"", "/", "/abs", "a//b", "a/", "..", ".", "a/../b", "./a", "a/.", "sp ace", "back\\slash", "nul\x00", "new\nline", "ümlaut",
		"q?x", "h#x", "p%41", "st*r", strings.Repeat("n", 256), strings.Repeat("ab/", 300) + "x",
	} {
		_, err := s.v.Put(s.ctx(), name, strings.NewReader("x"), 1, options([]byte("x")))
		s.wantErr(err, store.ErrName, fmt.Sprintf("put %q", name))
		_, err = s.v.Open(s.ctx(), store.Ref{Name: name}, 0, -1)
		s.wantErr(err, store.ErrName, fmt.Sprintf("open %q", name))
		_, _, err = s.v.Stat(s.ctx(), store.Ref{Name: name})
		s.wantErr(err, store.ErrName, fmt.Sprintf("stat %q", name))
	}
	s.nothing("")
}

func listings(s *suite) {
	sizes := make(map[string]int64)
	g, ctx := errgroup.WithContext(s.ctx())
	g.SetLimit(16)
	for i := range s.o.Objects {
		b := data(i%7, uint64(i))
		sizes[numbered(i)] = int64(len(b))
		g.Go(func() error {
			_, err := s.v.Put(ctx, numbered(i), bytes.NewReader(b), int64(len(b)), options(b))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		s.Fatal(err)
	}
	s.put("manz", []byte("after"))
	s.put("man", []byte("before"))
	got := s.list("many/")
	if len(got) != s.o.Objects {
		s.Fatalf("%d entries; want %d", len(got), s.o.Objects)
	}
	for i, info := range got {
		if i > 0 && got[i-1].Name >= info.Name {
			s.Fatalf("%q comes after %q", info.Name, got[i-1].Name)
		}
		if size, ok := sizes[info.Name]; !ok || info.Size != size || !info.Latest || info.DeleteMarker || (info.Version != "") != s.o.Versions {
			s.Fatalf("entry %+v; want size %d, the latest", info, size)
		}
	}
	below := s.list("many/0a/object-000")
	for _, info := range below {
		if !strings.HasPrefix(info.Name, "many/0a/object-000") {
			s.Fatalf("%q is not under the prefix", info.Name)
		}
	}
	if want := min(s.o.Objects, 100)/16 + 0; len(below) < want {
		s.Errorf("%d entries under a prefix in mid-name; want at least %d", len(below), want)
	}
}

// listingsBehind begins listings behind names that are there, that are not, and that are of no such prefix. Names that come apart
// in a folder-by-folder order ("b-" before "b/", "b." too) and versions under delete markers are among what is listed.
func listingsBehind(s *suite) {
	for i, name := range []string{"z/a", "z/b-/1", "z/b-/2", "z/b.", "z/b/1", "z/b/1", "z/b/1", "z/b/2", "z/b/2", "z/b0", "z/c", "z/c", "z/c", "z/d/e/f", "z0"} {
		s.put(name, data(s.same(i), 30))
	}
	if s.h.Attacker != nil {
		for _, name := range []string{"z/b/1", "z/c"} {
			if err := s.h.Attacker.Hide(s.ctx(), name); err != nil {
				s.Fatal(err)
			}
		}
	}
	for _, prefix := range []string{"", "z/", "z/b", "z/b/", "z/c"} {
		all := s.list(prefix)
		behind := []string{"a", "z", "z/", "z/b", "z/b-", "z/b/", "z/b/10", "z/b/~", "z/d/", "z/d/e", "z/d/e/g", "z/e", "z1", "~"}
		for _, info := range all {
			behind = append(behind, info.Name)
		}
		slices.Sort(behind)
		for _, after := range slices.Compact(behind) {
			var want []store.Info
			for _, info := range all {
				if info.Name > after {
					want = append(want, info)
				}
			}
			if got := s.listBehind(prefix, after); !slices.Equal(got, want) {
				s.Errorf("under %q behind %q: listed %+v\nwant %+v", prefix, after, got, want)
			}
		}
	}
}

// same gives a size for the nth object: of one where a name can have only one.
func (s *suite) same(n int) int {
	if s.o.Versions {
		return n
	}
	return 10
}

func listingStops(s *suite) {
	for i := range 5 {
		s.put(numbered(i), nil)
	}
	n := 0
	for _, err := range s.v.Versions(s.ctx(), "many/", "") {
		if err != nil {
			s.Fatal(err)
		}
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		s.Errorf("stopped after %d entries", n)
	}
	ctx, cancel := context.WithCancel(s.ctx())
	cancel()
	var errs []error
	for _, err := range s.v.Versions(ctx, "many/", "") {
		errs = append(errs, err)
	}
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		s.Errorf("listing with a cancelled context: %v; want that one error", errs)
	}
}

func wrongHash(s *suite) {
	b := data(5000, 4)
	_, err := s.v.Put(s.ctx(), "bad/hash", bytes.NewReader(b), int64(len(b)), options(data(5000, 5)))
	s.wantErr(err, store.ErrChecksum, "put with another SHA-256")
	_, err = s.v.Put(s.ctx(), "bad/none", bytes.NewReader(b), int64(len(b)), store.PutOptions{})
	s.wantErr(err, store.ErrChecksum, "put with no SHA-256")
	s.nothing("")
}

func shortBody(s *suite) {
	for _, have := range []int{0, 1, 70_000} {
		b := data(have, 6)
		_, err := s.v.Put(s.ctx(), "short", bytes.NewReader(b), 100_000, options(data(100_000, 6)))
		s.wantErr(err, io.ErrUnexpectedEOF, "put of a short body")
		if store.Retryable(err) {
			s.Errorf("a short body is called retryable: %v", err)
		}
	}
	if _, err := s.v.Put(s.ctx(), "short", bytes.NewReader(nil), -1, options(nil)); err == nil {
		s.Error("a negative size was taken")
	}
	s.nothing("")
}

var errDisk = errors.New("the disk under the body broke")

type brokenReader struct{ good []byte }

func (b brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b.good)) {
		return 0, errDisk
	}
	return copy(p, b.good[off:]), nil
}

func brokenBody(s *suite) {
	_, err := s.v.Put(s.ctx(), "broken", brokenReader{data(70_000, 7)}, 100_000, options(data(100_000, 7)))
	s.wantErr(err, errDisk, "put of a body that cannot be read")
	if store.Retryable(err) {
		s.Errorf("a broken body is called retryable: %v", err)
	}
	s.nothing("")
}

// slowReader cancels in the middle of the body and then waits to be noticed.
type slowReader struct {
	ctx    context.Context
	cancel context.CancelFunc
}

func (r slowReader) ReadAt(p []byte, off int64) (int, error) {
	if off > 1<<20 {
		r.cancel()
		<-r.ctx.Done()
	}
	clear(p)
	return len(p), nil
}

func cancelledCalls(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx())
	begin := time.Now()
	_, err := s.v.Put(ctx, "cut", slowReader{ctx, cancel}, 8<<20, options(make([]byte, 8<<20)))
	s.wantErr(err, context.Canceled, "put cancelled half-way")
	if store.Retryable(err) {
		s.Errorf("a cancelled put is called retryable: %v", err)
	}
	_, err = s.v.Put(ctx, "cut", bytes.NewReader(nil), 0, options(nil))
	s.wantErr(err, context.Canceled, "put")
	s.nothing("")
	ref := s.put("whole", data(8<<20, 8))
	_, err = s.v.Open(ctx, ref, 0, -1)
	s.wantErr(err, context.Canceled, "open")
	_, _, err = s.v.Stat(ctx, ref)
	s.wantErr(err, context.Canceled, "stat")
	_, err = s.v.Inspect(ctx)
	s.wantErr(err, context.Canceled, "inspect")
	ctx, cancel = context.WithCancel(s.ctx())
	rc, err := s.v.Open(ctx, ref, 0, -1)
	if err != nil {
		s.Fatal(err)
	}
	cancel()
	_, err = io.ReadAll(rc)
	s.wantErr(err, context.Canceled, "a stream whose call was cancelled")
	_ = rc.Close()
	if d := time.Since(begin); d > 10*time.Second {
		s.Errorf("cancelled calls took %v", d)
	}
}

func concurrentCalls(s *suite) {
	g, ctx := errgroup.WithContext(s.ctx())
	same := data(30_000, 9)
	for i := range 32 {
		g.Go(func() error {
			b := data(20_000+i, uint64(i))
			ref, err := s.v.Put(ctx, numbered(i), bytes.NewReader(b), int64(len(b)), options(b))
			if err != nil {
				return err
			}
			got, err := read(ctx, s.v, ref, 0, -1)
			if err == nil && !bytes.Equal(got, b) {
				err = fmt.Errorf("%s: other bytes", ref.Name)
			}
			return err
		})
		g.Go(func() error { // all of these race for one name
			_, err := s.v.Put(ctx, "one/name", bytes.NewReader(same), int64(len(same)), options(same))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		s.Fatal(err)
	}
	s.mustRead(store.Ref{Name: "one/name"}, same)
	if n := len(s.list("many/")); n != 32 {
		s.Errorf("%d objects; want 32", n)
	}
	if n := len(s.list("one/")); s.o.Versions && n != 32 || !s.o.Versions && n != 1 {
		s.Errorf("%d versions of one name", n)
	}
}

func inspectFacts(s *suite) {
	f, err := s.v.Inspect(s.ctx())
	if err != nil {
		s.Fatal(err)
	}
	if f.Immutable != s.o.Immutable || f.ObjectLock != s.o.Immutable || f.Versioning != s.o.Versions {
		s.Errorf("facts %+v; want immutable %t, versioning %t", f, s.o.Immutable, s.o.Versions)
	}
	if f.Clock.IsZero() || f.Clock.Location() != time.UTC {
		s.Errorf("clock %v", f.Clock)
	}
	if d := time.Until(f.Clock) - f.Offset; d < -3*time.Second || d > 3*time.Second {
		s.Errorf("clock %v and offset %v disagree by %v", f.Clock, f.Offset, d)
	}
}

func (s *suite) leaks() {
	h := s.o.New(s.T)
	before := goleak.IgnoreCurrent()
	b := data(3<<20, 10)
	ref, err := h.Vault.Put(s.ctx(), "a/b", bytes.NewReader(b), int64(len(b)), options(b))
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.ctx())
	if _, err := h.Vault.Put(ctx, "cut", slowReader{ctx, cancel}, 8<<20, options(nil)); err == nil {
		s.Error("a cancelled put succeeded")
	}
	rc, err := h.Vault.Open(s.ctx(), ref, 0, -1)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, rc, 1000); err != nil {
		s.Fatal(err)
	}
	if err := rc.Close(); err != nil { // in the middle
		s.Error(err)
	}
	for range h.Vault.Versions(s.ctx(), "", "") {
		break
	}
	if h.Close != nil {
		if err := h.Close(); err != nil {
			s.Error(err)
		}
	}
	goleak.VerifyNone(s.T, before)
}

func noOverwrite(s *suite) {
	b := data(1000, 11)
	s.put("once", b)
	s.put("once", b)
	for _, other := range [][]byte{data(1000, 12), data(999, 12), nil} {
		_, err := s.v.Put(s.ctx(), "once", bytes.NewReader(other), int64(len(other)), options(other))
		s.wantErr(err, store.ErrExists, "put of other bytes")
	}
	s.mustRead(store.Ref{Name: "once"}, b)
	_, err := s.v.Open(s.ctx(), store.Ref{Name: "once", Version: "1"}, 0, -1)
	s.wantErr(err, store.ErrNotFound, "open of a version")
}
