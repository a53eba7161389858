package retry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/storetest"
)

var (
	errReset    = &store.Error{Op: "x", Kind: store.ErrTransient, Err: io.ErrUnexpectedEOF}
	errSlowDown = &store.Error{Op: "x", Kind: store.ErrThrottled}
)

// flaky fails calls as its plan says, one error a call; nil and the plan's end let the call through.
type flaky struct {
	*memstore.Store
	plan  []error
	cut   int // bytes after which every stream breaks; 0: none
	calls []string
	after []string // what listings were asked to begin behind
	stop  int      // entries after which a listing breaks, while the plan lasts; 0: at once
}

func (f *flaky) next(op string) error {
	f.calls = append(f.calls, op)
	if len(f.plan) == 0 {
		return nil
	}
	err := f.plan[0]
	f.plan = f.plan[1:]
	return err
}

func (f *flaky) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	ref, err := f.Store.Put(ctx, name, body, size, o)
	return ref, errors.Join(err, f.next("put")) // the answer is lost, the object is not
}

func (f *flaky) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	if err := f.next("extend"); err != nil {
		return err
	}
	return f.Store.Extend(ctx, ref, to)
}

func (f *flaky) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	if err := f.next("stat"); err != nil {
		return store.Info{}, store.Retention{}, err
	}
	return f.Store.Stat(ctx, ref)
}

func (f *flaky) Remove(ctx context.Context, ref store.Ref) error {
	return errors.Join(f.Store.Remove(ctx, ref), f.next("remove"))
}

func (f *flaky) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if err := f.next(fmt.Sprintf("open %d %d", off, n)); err != nil {
		return nil, err
	}
	rc, err := f.Store.Open(ctx, ref, off, n)
	if err == nil && f.cut > 0 {
		rc = &cutBody{ReadCloser: rc, left: f.cut}
	}
	return rc, err
}

type cutBody struct {
	io.ReadCloser
	left int
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errReset
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func (f *flaky) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	f.after = append(f.after, after)
	return func(yield func(store.Info, error) bool) {
		err := f.next("versions")
		n := 0
		for info, e := range f.Store.Versions(ctx, prefix, after) {
			if err != nil && n == f.stop {
				yield(store.Info{}, err)
				return
			}
			if n++; !yield(info, e) {
				return
			}
		}
	}
}

// clock is time that passes only in sleeps.
type clock struct {
	now   time.Time
	slept []time.Duration
}

func (c *clock) policy(o retry.Options) *retry.Policy {
	o.Now = func() time.Time { return c.now }
	o.Sleep = func(ctx context.Context, d time.Duration) error {
		c.now = c.now.Add(d)
		c.slept = append(c.slept, d)
		return ctx.Err()
	}
	return retry.New(o)
}

func put(t *testing.T, w store.Writer, name string, b []byte) (store.Ref, error) {
	t.Helper()
	return w.Put(t.Context(), name, bytes.NewReader(b), int64(len(b)), store.PutOptions{SHA256: sha256.Sum256(b)})
}

func TestPut(t *testing.T) {
	for _, c := range []struct {
		name  string
		plan  []error
		o     retry.Options
		tries int
		want  error
	}{
		{"good", nil, retry.Options{}, 1, nil},
		{"twice transient", []error{errReset, errSlowDown}, retry.Options{}, 3, nil},
		{"denied", []error{store.ErrDenied}, retry.Options{}, 1, store.ErrDenied},
		{"for ever", []error{errReset, errReset, errReset, errReset, errReset}, retry.Options{Attempts: 4}, 4, store.ErrTransient},
		{"too long", []error{errReset, errReset, errReset, errReset, errReset}, retry.Options{Initial: time.Second, Total: 2 * time.Second}, 2, store.ErrTransient},
		{"transient, then denied", []error{errReset, store.ErrDenied}, retry.Options{}, 2, store.ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &flaky{Store: memstore.New(memstore.Options{}), plan: c.plan}
			var events []retry.Event
			c.o.Notify = func(e retry.Event) { events = append(events, e) }
			k := &clock{now: time.Unix(0, 0)}
			ref, err := put(t, k.policy(c.o).Writer(f), "n", []byte("x"))
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v; want %v", err, c.want)
			}
			if tries := len(f.calls); tries != c.tries && c.name != "too long" || tries > 4 {
				t.Errorf("%d tries; want %d", tries, c.tries)
			}
			if len(events) != len(f.calls)-1 || len(k.slept) != len(events) {
				t.Errorf("%d events and %d waits for %d tries", len(events), len(k.slept), len(f.calls))
			}
			for i, e := range events {
				if e.Op != "put" || e.Ref.Name != "n" || e.Attempt != i+1 || e.Wait != k.slept[i] || e.Err == nil {
					t.Errorf("event %+v", e)
				}
			}
			if err == nil {
				if _, _, err := f.Store.Stat(t.Context(), ref); err != nil {
					t.Errorf("the Ref given is not there: %v", err)
				}
			}
		})
	}
}

func TestWaits(t *testing.T) {
	plan := make([]error, 12)
	for i := range plan {
		plan[i] = errReset
	}
	k := &clock{}
	f := &flaky{Store: memstore.New(memstore.Options{}), plan: plan}
	if _, err := put(t, k.policy(retry.Options{Attempts: 13, Initial: 100 * time.Millisecond, Max: 5 * time.Second, Total: time.Hour}).Writer(f), "n", nil); err != nil {
		t.Fatal(err)
	}
	if k.slept[0] < 50*time.Millisecond || k.slept[0] > 150*time.Millisecond {
		t.Errorf("first wait %v", k.slept[0])
	}
	if last := k.slept[11]; last < 2*time.Second || last > 8*time.Second {
		t.Errorf("last wait %v", last)
	}
}

func TestCancelledWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &flaky{Store: memstore.New(memstore.Options{}), plan: []error{errReset, errReset}}
	p := retry.New(retry.Options{Initial: time.Hour, Total: 24 * time.Hour, Notify: func(retry.Event) { cancel() }})
	_, err := p.Writer(f).Put(ctx, "n", strings.NewReader(""), 0, store.PutOptions{SHA256: sha256.Sum256(nil)})
	if !errors.Is(err, context.Canceled) || store.Retryable(err) || len(f.calls) != 1 {
		t.Errorf("%v after %d tries; want cancelled during the first wait", err, len(f.calls))
	}
}

func TestOtherCalls(t *testing.T) {
	f := &flaky{Store: memstore.New(memstore.Options{})}
	p := (&clock{}).policy(retry.Options{})
	ref, err := put(t, p.Writer(f), "n", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	f.plan = []error{errReset}
	if _, _, err := p.Reader(f).Stat(t.Context(), ref); err != nil {
		t.Error(err)
	}
	f.plan = []error{errSlowDown}
	until := time.Now().Add(time.Second)
	if err := p.Locker(f).Extend(t.Context(), ref, store.Retention{Mode: store.Compliance, Until: until}); err != nil {
		t.Error(err)
	}
	if _, err := p.Inspector(f).Inspect(t.Context()); err != nil {
		t.Error(err)
	}
	free, err := put(t, p.Writer(f), "free", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	f.plan = []error{errReset}
	if err := p.Remover(f).Remove(t.Context(), free); err != nil {
		t.Errorf("a Remove whose answer was lost: %v", err)
	}
	if err := p.Remover(f).Remove(t.Context(), free); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a Remove of nothing: %v", err)
	}
}

func TestStream(t *testing.T) {
	want := make([]byte, 1000)
	for i := range want {
		want[i] = byte(i * 7)
	}
	for _, c := range []struct{ off, n int64 }{{0, -1}, {0, 1000}, {10, 500}, {300, 700}, {999, 1}} {
		f := &flaky{Store: memstore.New(memstore.Options{})}
		p := (&clock{}).policy(retry.Options{Attempts: 100})
		ref, err := put(t, f, "n", want)
		if err != nil {
			t.Fatal(err)
		}
		// Somebody lays another version on top between two stretches: it must never be seen.
		f.Attacker().Overwrite("n", bytes.Repeat([]byte("!"), 1000))
		f.cut, f.plan = 130, []error{nil, errReset, nil, errSlowDown}
		rc, err := p.Reader(f).Open(t.Context(), ref, c.off, c.n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		end := c.off + c.n
		if c.n < 0 {
			end = 1000
		}
		if err != nil || !bytes.Equal(got, want[c.off:end]) {
			t.Errorf("%+v: %d bytes, %v", c, len(got), err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStreamGivesUp(t *testing.T) {
	f := &flaky{Store: memstore.New(memstore.Options{}), cut: 10}
	ref, err := put(t, f, "n", make([]byte, 100_000))
	if err != nil {
		t.Fatal(err)
	}
	rc, err := (&clock{}).policy(retry.Options{Attempts: 5}).Reader(f).Open(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(rc); !errors.Is(err, store.ErrTransient) || len(got) != 50 {
		t.Errorf("%d bytes, %v; want an end after five tries of ten bytes", len(got), err)
	}
	// Without a version it could go on with other bytes, and does not.
	rc, err = (&clock{}).policy(retry.Options{}).Reader(f).Open(t.Context(), store.Ref{Name: "n"}, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(rc); !errors.Is(err, store.ErrTransient) || len(got) != 10 {
		t.Errorf("%d bytes, %v; want the failure after the first ten", len(got), err)
	}
	// Past the end is no transient failure.
	f.cut = 0
	calls := len(f.calls)
	rc, err = (&clock{}).policy(retry.Options{}).Reader(f).Open(t.Context(), ref, 99_999, 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(rc); !errors.Is(err, io.ErrUnexpectedEOF) || len(f.calls) != calls+1 {
		t.Errorf("%v after %d calls", err, len(f.calls)-calls)
	}
}

func TestVersions(t *testing.T) {
	for _, stop := range []int{0, 1, 2, 3, 4, 5, 6, 8} {
		for _, begin := range []string{"", "p/", "p/a", "p/aa", "p/b", "p/c", "p/e"} {
			f := &flaky{Store: memstore.New(memstore.Options{}), stop: stop}
			var want []store.Info
			for _, n := range []string{"p/a", "p/b", "p/b", "p/b", "p/c", "p/d", "p/d", "p/e", "q"} {
				if _, err := put(t, f, n, []byte(n)); err != nil {
					t.Fatal(err)
				}
			}
			for info := range f.Store.Versions(t.Context(), "p/", begin) {
				want = append(want, info)
			}
			f.plan = []error{errReset, errReset}
			var got []store.Info
			for info, err := range (&clock{}).policy(retry.Options{}).Reader(f).Versions(t.Context(), "p/", begin) {
				if err != nil {
					t.Fatalf("stop %d: %v", stop, err)
				}
				got = append(got, info)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("stop %d, behind %q:\n%v\nwant\n%v", stop, begin, got, want)
			}
			// It goes on behind the last name that was given whole, never from the beginning again.
			if f.after[0] != begin || !slices.IsSorted(f.after) || begin == "" && stop >= 2 && len(f.after) > 1 && f.after[1] < "p/a" {
				t.Errorf("stop %d, behind %q: listed behind %q", stop, begin, f.after)
			}
		}
	}
}

func TestVersionsVanished(t *testing.T) {
	f := &flaky{Store: memstore.New(memstore.Options{}), stop: 1}
	var last store.Ref
	for _, n := range []string{"a", "a", "b"} {
		ref, err := put(t, f, n, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n == "a" {
			last = ref
		}
	}
	f.plan = []error{errReset}
	k := &clock{}
	p := k.policy(retry.Options{Notify: func(retry.Event) {
		if err := f.Attacker().Lose(last); err != nil {
			t.Error(err)
		}
	}})
	var err error
	for _, err = range p.Reader(f).Versions(t.Context(), "", "") {
	}
	if !errors.Is(err, store.ErrListing) {
		t.Errorf("%v; want an error, not a hole", err)
	}
}

type vault struct {
	store.Reader
	store.Writer
	store.Locker
	store.Inspector
}

// TestConformance: the wrapped store is still a store, even over one whose streams and calls keep failing.
func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Options{Versions: true, Immutable: true, Large: 1 << 20, New: func(testing.TB) storetest.Harness {
		s := memstore.New(memstore.Options{})
		p := retry.New(retry.Options{})
		return storetest.Harness{
			Vault: vault{p.Reader(s), p.Writer(s), p.Locker(s), p.Inspector(s)}, Remover: p.Remover(s), Attacker: attacker{s.Attacker()},
		}
	}})
}

type attacker struct{ a memstore.Attacker }

func (a attacker) Hide(_ context.Context, name string) error { a.a.Hide(name); return nil }

func (a attacker) Overwrite(_ context.Context, name string, data []byte) error {
	a.a.Overwrite(name, data)
	return nil
}
