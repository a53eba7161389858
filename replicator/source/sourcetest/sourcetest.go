// Package sourcetest holds drivers to the contract of package source.
//
// A driver's whole test is one call of Run with a Harness that makes fixtures: real buckets, real directories. What a
// kind of source cannot do (be denied, keep versions) is left out of the Harness, never skipped inside the suite. It must
// not be imported by anything but tests.
package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Harness makes fixtures.
type Harness struct {
	// New gives a fixture that holds no objects or files. It cleans up after itself (t.Cleanup).
	New func(t *testing.T) *Fixture
	// Keys are keys the source can hold beside each other, as odd as it takes; at least five. Default: see DefaultKeys.
	Keys []string
	// Versioned: the source keeps every version, lists them all, and Delete adds a marker.
	Versioned bool
	// Pinned: a stream that was opened goes on with the old bytes when its key is overwritten, or fails; false: it
	// always fails. Mixing is an error either way.
	Pinned bool
}

// Fixture is one source and the means to change what it protects.
type Fixture struct {
	Source source.Source
	Put    func(t *testing.T, key string, body []byte) // create or overwrite
	Delete func(t *testing.T, key string)
	// Deny makes the content of key unreadable; nil where that cannot be arranged.
	Deny func(t *testing.T, key string)
	// Rich puts entries with all the metadata there is and says how each must look once read; nil: nothing to see.
	Rich func(t *testing.T) []Want
}

// Want is how an entry must look after Open (or Complete, if it has no content).
type Want struct {
	Key   string
	Check func(t *testing.T, e *format.Entry)
}

// DefaultKeys are keys that every kind of source can hold. Their order as paths differs from their order as bytes.
func DefaultKeys() []string {
	return []string{
		"a", "a.txt", "b/c", "b-c", "b.c/d", "b0", "b/c.d/e/f", "empty dir/x y", "Z", "zz", "ünï/ßö", "日本/語",
		"plus+and%20percent&amp;<tag>\"quote'", "~tilde", "-dash", ".hidden", ".-x", "x\ty", strings.Repeat("n", 200) + "/" + strings.Repeat("m", 200),
	}
}

// Run runs the whole suite.
func Run(t *testing.T, h Harness) {
	if len(h.Keys) == 0 {
		h.Keys = DefaultKeys()
	}
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"Order", (*suite).order}, {"Ranges", (*suite).ranges}, {"Read", (*suite).read}, {"Changed", (*suite).changed},
		{"ChangedUnderRead", (*suite).changedUnderRead}, {"Gone", (*suite).gone}, {"Unreadable", (*suite).unreadable},
		{"Metadata", (*suite).metadata}, {"Concurrent", (*suite).concurrent}, {"Cancel", (*suite).cancel},
		{"Versions", (*suite).versions},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := h.New(t)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			s := &suite{T: t, h: h, f: f, ctx: ctx}
			c.run(s)
			s.closeViews()
			noLeaks(t)
		})
	}
}

// noLeaks looks for goroutines of a driver that outlive its views. Those of servers and clients that a fixture runs in
// this process are not looked at.
func noLeaks(t *testing.T) {
	t.Helper()
	var left string
	for range 50 {
		left = ""
		buf := make([]byte, 4<<20)
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "replicator/source/") && !strings.Contains(g, "testing.") {
				left += g + "\n\n"
			}
		}
		if left == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("goroutines outlive the view:\n%s", left)
}

type suite struct {
	*testing.T
	h     Harness
	f     *Fixture
	ctx   context.Context //nolint:containedctx // of one test
	views []source.View
}

func (s *suite) view() source.View {
	s.Helper()
	v, err := s.f.Source.Freeze(s.ctx)
	if err != nil {
		s.Fatalf("Freeze: %v", err)
	}
	s.views = append(s.views, v)
	return v
}

func (s *suite) closeViews() {
	for _, v := range s.views {
		if err := v.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	}
}

// Content gives n bytes that are the same for the same seed.
func Content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // test data
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func hasContent(e *format.Entry) bool {
	return e.Kind == format.KindObject || e.Kind == format.KindFile
}

// list collects a range and checks order and form on the way.
func (s *suite) list(v source.View, from, to string) []*format.Entry {
	s.Helper()
	var out []*format.Entry
	for e, err := range v.Entries(s.ctx, from, to) {
		if err != nil {
			s.Fatalf("Entries(%q, %q): %v", from, to, err)
		}
		if e.Key < from || (to != "" && e.Key >= to) {
			s.Errorf("Entries(%q, %q) gave %q", from, to, e.Key)
		}
		if n := len(out); n > 0 {
			p := out[n-1]
			if e.Key < p.Key || (e.Key == p.Key && (!s.h.Versioned || e.Version == p.Version)) {
				s.Errorf("%q (version %q) comes after %q (version %q)", e.Key, e.Version, p.Key, p.Version)
			}
		}
		out = append(out, e)
	}
	return out
}

// find gives the newest entry of key.
func (s *suite) find(v source.View, key string) *format.Entry {
	s.Helper()
	es := s.list(v, key, key+"\x00")
	if len(es) == 0 {
		s.Fatalf("%q is not listed", key)
	}
	return es[len(es)-1]
}

func (s *suite) readAll(v source.View, e *format.Entry, off, n int64) ([]byte, error) {
	r, err := v.Open(s.ctx, e, off, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func (s *suite) putKeys() map[string][]byte {
	m := map[string][]byte{}
	for i, k := range s.h.Keys {
		m[k] = Content(uint64(i), i*37) //nolint:gosec // small
	}
	keys := slices.Clone(s.h.Keys)
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, k := range keys {
		s.f.Put(s.T, k, m[k])
	}
	return m
}

func (s *suite) order() {
	want := s.putKeys()
	v := s.view()
	seen := 0
	for _, e := range s.list(v, "", "") {
		if e.Missing != "" || !e.SHA256.IsZero() || e.Chunks != nil || e.Metadata != nil || e.Tags != nil {
			s.Errorf("%q is listed with more than its listing fields: %+v", e.Key, e)
		}
		if !hasContent(e) {
			continue
		}
		seen++
		body, ok := want[e.Key]
		if !ok {
			s.Errorf("%q is listed and was never put", e.Key)
		}
		if e.Size != int64(len(body)) {
			s.Errorf("%q is listed with %d bytes instead of %d", e.Key, e.Size, len(body))
		}
		if age := time.Since(e.Modified.Time); e.Modified.IsZero() || age < -time.Hour {
			s.Errorf("%q is listed as modified at %v", e.Key, e.Modified)
		}
	}
	if seen != len(want) {
		s.Errorf("%d entries instead of %d", seen, len(want))
	}
	for e, err := range v.Entries(s.ctx, "", "") { // a reader may stop
		if e == nil || err != nil {
			s.Error(err)
		}
		break
	}
}

func (s *suite) ranges() {
	s.putKeys()
	v := s.view()
	all := s.list(v, "", "")
	marks := []string{"", "!", "b", "b/", "b/c.d", "b/c.d/", "c", "\x7f", "ÿ", "\xff", "日", "\uE000", "./", "."}
	for _, e := range all {
		marks = append(marks, e.Key, e.Key+"\x00")
	}
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // test data
	rnd.Shuffle(len(marks), func(i, j int) { marks[i], marks[j] = marks[j], marks[i] })
	for i, from := range marks {
		to := marks[(i+7)%len(marks)]
		var want []string
		for _, e := range all {
			if e.Key >= from && (to == "" || e.Key < to) {
				want = append(want, e.Key)
			}
		}
		var got []string
		for _, e := range s.list(v, from, to) {
			got = append(got, e.Key)
		}
		if !slices.Equal(got, want) {
			s.Errorf("Entries(%q, %q) gave %q instead of %q", from, to, got, want)
		}
	}
}

// listed gives the listing fields in a form that can be compared.
func listed(e *format.Entry) string {
	s := fmt.Sprintf("%q %q %q %d %v %q %q", e.Kind, e.Key, e.Version, e.Size, e.Modified, e.ETag, e.StorageClass)
	if f := e.File; f != nil {
		c := *f
		c.Xattrs = nil
		s += fmt.Sprintf(" %+v", c)
	}
	return s
}

func (s *suite) read() {
	want := s.putKeys()
	big := "big"
	want[big] = Content(99, 9<<20+17)
	s.f.Put(s.T, big, want[big])
	v := s.view()
	for _, e := range s.list(v, "", "") {
		before := listed(e)
		if !hasContent(e) {
			if err := v.Complete(s.ctx, e); err != nil {
				s.Errorf("Complete(%q): %v", e.Key, err)
			}
		} else if got, err := s.readAll(v, e, 0, -1); err != nil || !bytes.Equal(got, want[e.Key]) {
			s.Errorf("%q: %d bytes that differ from the %d put: %v", e.Key, len(got), len(want[e.Key]), err)
		}
		if after := listed(e); after != before {
			s.Errorf("reading changed the listing fields from %s to %s", before, after)
		}
	}
	e, body := s.find(v, big), want[big]
	for _, r := range [][2]int64{{0, 10}, {1, 1}, {4 << 20, 1 << 20}, {9 << 20, -1}, {e.Size, -1}, {e.Size - 1, 100}, {5, 0}, {0, 0}} {
		end := e.Size
		if r[1] >= 0 {
			end = min(end, r[0]+r[1])
		}
		if got, err := s.readAll(v, e, r[0], r[1]); err != nil || !bytes.Equal(got, body[r[0]:end]) {
			s.Errorf("Open at %d for %d: %d bytes, differing: %v", r[0], r[1], len(got), err)
		}
	}
	for _, off := range []int64{-1, e.Size + 1} {
		if _, err := s.readAll(v, e, off, 1); err == nil {
			s.Errorf("Open at %d of %d gave no error", off, e.Size)
		}
	}
	r, err := v.Open(s.ctx, e, 0, -1) // closed early
	if err != nil {
		s.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		s.Error(err)
	}
	if err := r.Close(); err != nil {
		s.Error(err)
	}
}

func (s *suite) changed() {
	for _, size := range []int{100, 1 << 20} {
		key := fmt.Sprintf("key%d", size)
		s.f.Put(s.T, key, Content(1, size))
		v := s.view()
		e := s.find(v, key)
		s.f.Put(s.T, key, Content(2, size))
		got, err := s.readAll(v, e, 0, -1)
		if s.h.Versioned {
			if err != nil || !bytes.Equal(got, Content(1, size)) {
				s.Errorf("the listed version of %q gives other bytes: %v", key, err)
			}
			continue
		}
		if !errors.Is(err, source.ErrChanged) {
			s.Errorf("an overwritten object of %d bytes: %v", size, err)
		}
		if _, err := s.readAll(v, e, 50, 10); !errors.Is(err, source.ErrChanged) {
			s.Errorf("a range of an overwritten object of %d bytes: %v", size, err)
		}
		if got, err := s.readAll(v, s.find(v, key), 0, -1); err != nil || !bytes.Equal(got, Content(2, size)) {
			s.Errorf("listed again: %v", err)
		}
	}
}

func (s *suite) changedUnderRead() {
	const size = 24 << 20
	old := bytes.Repeat([]byte("old content "), size/12)
	s.f.Put(s.T, "moving", old)
	v := s.view()
	r, err := v.Open(s.ctx, s.find(v, "moving"), 0, -1)
	if err != nil {
		s.Fatal(err)
	}
	got := make([]byte, size)
	if _, err := io.ReadFull(r, got[:4096]); err != nil {
		s.Fatal(err)
	}
	put := make(chan struct{})
	go func() {
		defer close(put)
		s.f.Put(s.T, "moving", bytes.Repeat([]byte("new content "), size/12))
	}()
	select {
	case <-put:
	case <-time.After(time.Second): // some servers let nobody write while an object is read
	}
	defer func() { <-put }()
	_, err = io.ReadFull(r, got[4096:]) // exactly the size: the failure must show without reading on to the end
	if err := r.Close(); err != nil {
		s.Error(err)
	}
	switch {
	case err == nil && !bytes.Equal(got, old):
		s.Error("a read under which its object changed gave mixed bytes and no error")
	case err == nil && !s.h.Pinned:
		s.Error("a read under which its object changed gave no error")
	case err != nil && !errors.Is(err, source.ErrChanged):
		s.Errorf("a read under which its object changed: %v", err)
	}
}

func (s *suite) gone() {
	s.f.Put(s.T, "leaving", []byte("content"))
	s.f.Put(s.T, "staying", []byte("content"))
	v := s.view()
	e := s.find(v, "leaving")
	s.f.Delete(s.T, "leaving")
	got, err := s.readAll(v, e, 0, -1)
	if s.h.Versioned {
		if err != nil || string(got) != "content" {
			s.Errorf("a version under a delete marker: %v", err)
		}
		return
	}
	if !errors.Is(err, source.ErrGone) {
		s.Errorf("a deleted object: %v", err)
	}
	if _, err := s.readAll(v, e, 1, 2); !errors.Is(err, source.ErrGone) {
		s.Errorf("a range of a deleted object: %v", err)
	}
	if es := s.list(v, "leaving", "leaving\x00"); len(es) != 0 {
		s.Error("a deleted object is still listed")
	}
}

func (s *suite) unreadable() {
	if s.f.Deny == nil {
		return
	}
	for _, k := range []string{"a", "b", "c"} {
		s.f.Put(s.T, k, []byte("content"))
	}
	s.f.Deny(s.T, "b")
	v := s.view()
	for _, k := range []string{"a", "b", "c"} {
		_, err := s.readAll(v, s.find(v, k), 0, -1)
		var u *source.Unreadable
		switch {
		case k != "b" && err != nil:
			s.Errorf("%q, beside an unreadable object: %v", k, err)
		case k == "b" && (!errors.As(err, &u) || u.Key != "b" || u.Reason == ""):
			s.Errorf("an unreadable object: %v", err)
		}
	}
}

func (s *suite) metadata() {
	if s.f.Rich == nil {
		return
	}
	want := s.f.Rich(s.T)
	v := s.view()
	for _, w := range want {
		e := s.find(v, w.Key)
		var err error
		if hasContent(e) {
			_, err = s.readAll(v, e, 0, -1)
		} else {
			err = v.Complete(s.ctx, e)
		}
		if err != nil {
			s.Errorf("%q: %v", w.Key, err)
			continue
		}
		w.Check(s.T, e)
		if e.Kind == format.KindObject {
			again := s.find(v, w.Key)
			again.Recheck = true
			if err := v.Complete(s.ctx, again); err != nil {
				s.Errorf("%q, looked at again: %v", w.Key, err)
				continue
			}
			w.Check(s.T, again)
		}
	}
	if ahead := time.Until(v.Clock()).Abs(); ahead > time.Hour {
		s.Errorf("the source's clock is %s away", ahead)
	}
}

func (s *suite) concurrent() {
	want := s.putKeys()
	v := s.view()
	es := s.list(v, "", "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, e := range es {
				c := *e
				if e.File != nil {
					f := *e.File
					c.File = &f
				}
				if !hasContent(e) {
					continue
				}
				if got, err := s.readAll(v, &c, 0, -1); err != nil || !bytes.Equal(got, want[e.Key]) {
					s.Errorf("%q: %v", e.Key, err)
				}
			}
		})
	}
	for range v.Entries(s.ctx, "", "") { // listings beside reads
		continue
	}
	wg.Wait()
}

func (s *suite) cancel() {
	s.f.Put(s.T, "big", Content(1, 8<<20))
	v := s.view()
	e := s.find(v, "big")
	ctx, cancel := context.WithCancel(s.ctx)
	r, err := v.Open(ctx, e, 0, -1)
	if err != nil {
		s.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // broken on purpose
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		s.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		s.Errorf("a stream whose context ended: %v", err)
	}
	if _, err := v.Open(ctx, e, 0, -1); !errors.Is(err, context.Canceled) {
		s.Errorf("Open with a context that ended: %v", err)
	}
	if err := v.Complete(ctx, e); err != nil && !errors.Is(err, context.Canceled) {
		s.Errorf("Complete with a context that ended: %v", err)
	}
	var last error
	for _, err := range v.Entries(ctx, "", "") {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		s.Errorf("Entries with a context that ended: %v", last)
	}
}

func (s *suite) versions() {
	if !s.h.Versioned {
		return
	}
	for i := range 3 {
		s.f.Put(s.T, "k", Content(uint64(i), 10+i)) //nolint:gosec // small
	}
	s.f.Delete(s.T, "k")
	s.f.Put(s.T, "k", []byte("last"))
	s.f.Put(s.T, "kk", []byte("next"))
	v := s.view()
	es := s.list(v, "", "")
	var form []string
	for _, e := range es {
		form = append(form, fmt.Sprintf("%s %s %d", e.Key, e.Kind, e.Size))
	}
	if want := []string{"k  10", "k  11", "k  12", "k marker 0", "k  4", "kk  4"}; !slices.Equal(form, want) {
		s.Errorf("versions are listed as %q instead of %q", form, want)
	}
	for i := range es {
		if es[i].Version == "" {
			s.Errorf("%q has no version ID", es[i].Key)
		}
		if es[i].Kind == format.KindMarker {
			if err := v.Complete(s.ctx, es[i]); err != nil {
				s.Errorf("Complete of a marker: %v", err)
			}
			continue
		}
		if i < 3 {
			if got, err := s.readAll(v, es[i], 0, -1); err != nil || !bytes.Equal(got, Content(uint64(i), 10+i)) { //nolint:gosec // small
				s.Errorf("version %d: %v", i, err)
			}
		}
	}
}
