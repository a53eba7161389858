package against_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/against"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// site is a source and a point of it.
type site struct {
	t     *testing.T
	src   *memsource.Source
	point []*format.Entry
}

func newSite(t *testing.T, o memsource.Options) *site { return &site{t: t, src: memsource.New(o)} }

func body(key string) []byte { return []byte("the content of " + key) }

func (s *site) put(keys ...string) {
	for _, k := range keys {
		s.src.Put(k, body(k))
	}
}

// copy makes the point of what is there now.
func (s *site) copy() {
	s.t.Helper()
	v := s.view()
	s.point = nil
	for e, err := range v.Entries(s.t.Context(), "", "") {
		if err != nil {
			s.t.Fatal(err)
		}
		if e.Kind == format.KindObject {
			r, err := v.Open(s.t.Context(), e, 0, -1)
			if err != nil {
				s.t.Fatal(err)
			}
			h := sha256.New()
			b := make([]byte, e.Size)
			if _, err := r.Read(b); err != nil {
				s.t.Fatal(err)
			}
			_, _ = h.Write(b)
			e.SHA256 = format.Hash(h.Sum(nil))
		}
		s.point = append(s.point, e)
	}
}

func (s *site) view() source.View {
	s.t.Helper()
	v, err := s.src.Freeze(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = v.Close() })
	return v
}

func (s *site) options() against.Options {
	return against.Options{
		View: s.view(), TakenAt: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		Point: func(context.Context) iter.Seq2[*format.Entry, error] {
			return func(yield func(*format.Entry, error) bool) {
				for _, e := range s.point {
					if !yield(e, nil) {
						return
					}
				}
			}
		},
	}
}

// expect compares all of it. differs are keys with a part of what is said of each.
func (s *site) expect(want against.Result, differs ...string) {
	s.t.Helper()
	o := s.options()
	var said []string
	o.Differs = func(d against.Difference) { said = append(said, d.Key+": "+d.Detail) }
	got, err := against.Run(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	if got != want {
		s.t.Errorf("%+v\ninstead of\n%+v", got, want)
	}
	if len(said) != len(differs) {
		s.t.Fatalf("%q instead of %q", said, differs)
	}
	for i, d := range differs {
		if !strings.Contains(strings.Join(said, "\n"), d) {
			s.t.Errorf("%q instead of %q", said, differs[i])
		}
	}
}

func TestAllTheSame(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newSite(t, memsource.Options{})
	s.put("a", "b/c", "z")
	s.copy()
	s.expect(against.Result{Alike: 3, Compared: 3, Bytes: int64(3*len("the content of ") + 5)})
}

// TestOtherBytes: what the source lists unchanged and delivers otherwise is a difference; what changed since is none.
func TestOtherBytes(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newSite(t, memsource.Options{})
	s.put("a", "b", "c", "d", "e", "f", "g")
	s.copy()
	for _, e := range s.point {
		was := format.Entry{Kind: e.Kind, Key: e.Key, Modified: e.Modified, ETag: e.ETag}
		if e.Key == "b" {
			s.src.PutEntry(was, []byte("THE content of b"))
		}
	}
	s.put("c") // written again: another time
	s.src.Delete("d")
	s.put("new")
	s.src.PutEntry(format.Entry{Key: "late", Modified: format.At(time.Date(2026, 1, 1, 23, 30, 0, 0, time.UTC))}, body("late"))
	s.src.PutEntry(format.Entry{Key: "zz", Modified: format.At(time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC))}, body("zz"))
	s.src.Fail("e", memsource.Fault{Failure: memsource.ChangedLate, After: 3})
	s.src.Fail("f", memsource.Fault{Failure: memsource.Unreadable})
	s.src.Fail("g", memsource.Fault{Failure: memsource.Corrupt})
	n := int64(len("the content of ") + 1)
	s.expect(against.Result{Alike: 5, Compared: 3, Bytes: 2 * n, Differ: 2, Unread: 1, Changed: 3, New: 3, Missed: 1},
		"b: SHA-256 ", "g: ")
}

// TestVersions are compared each with itself.
func TestVersions(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newSite(t, memsource.Options{AllVersions: true})
	s.put("a", "b")
	s.src.Put("a", body("A"))
	s.src.Delete("b")
	s.copy()
	s.src.Put("a", body("newer"))
	n := int64(len("the content of ") + 1)
	s.expect(against.Result{Alike: 3, Compared: 3, Bytes: 3 * n, New: 1, Missed: 1})
}

// TestAside: what cannot be held against anything is counted, and not read.
func TestAside(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newSite(t, memsource.Options{})
	s.src.PutEntry(format.Entry{Kind: format.KindFile, Key: "a"}, body("a"))
	s.put("b", "c", "d")
	s.copy()
	s.point[0].Recheck, s.point[1].Missing, s.point[2].Unsettled = true, "access denied", true
	s.src.Delete("d")
	before := s.src.Stats().Opened
	s.expect(against.Result{Aside: 3, Changed: 1})
	if n := s.src.Stats().Opened - before; n != 0 {
		t.Errorf("%d opened", n)
	}
}

// TestShare: a part is read, another with another seed, and the same with the same.
func TestShare(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newSite(t, memsource.Options{})
	for i := range 2000 {
		s.put(fmt.Sprintf("%04d", i))
	}
	s.copy()
	compared := func(seed byte) int64 {
		o := s.options()
		o.Share, o.Seed = 10, [32]byte{seed}
		r, err := against.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Alike != 2000 || r.Compared < 140 || r.Compared > 260 {
			t.Errorf("%+v", r)
		}
		return r.Compared
	}
	if a, b := compared(1), compared(1); a != b {
		t.Errorf("%d and %d", a, b)
	}
}

// TestFailures of the source as a whole, of the point and of the caller end it.
func TestFailures(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newSite(t, memsource.Options{})
	s.put("a", "b", "c")
	s.copy()
	s.src.Fail("b", memsource.Fault{Failure: memsource.BrokenLate, After: 2})
	if _, err := against.Run(t.Context(), s.options()); !errors.Is(err, memsource.ErrBroken) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("%v", err)
	}
	s.src.Fail("b", memsource.Fault{Failure: memsource.Listing})
	if _, err := against.Run(t.Context(), s.options()); !errors.Is(err, memsource.ErrBroken) {
		t.Errorf("%v", err)
	}
	s.src.Heal("b")
	o, lost := s.options(), errors.New("lost")
	o.Point = func(context.Context) iter.Seq2[*format.Entry, error] {
		return func(yield func(*format.Entry, error) bool) { yield(nil, lost) }
	}
	if _, err := against.Run(t.Context(), o); !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
	s.src.Fail("b", memsource.Fault{Failure: memsource.Stuck, After: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := against.Run(ctx, s.options()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
