package stall_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/stall"
	"github.com/holdfast-backup/holdfast/store/storetest"
)

// slow is a vault on a wire that gives a piece at a time. Time is synctest's.
type slow struct {
	*memstore.Store
	every time.Duration // between pieces; negative: for ever
	piece int           // bytes of a body
	busy  error         // what requests without a body are answered, after every
}

func (s slow) wait(ctx context.Context) error {
	if s.every < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.every):
		return nil
	}
}

func (s slow) Inspect(ctx context.Context) (store.Facts, error) {
	if err := s.wait(ctx); err != nil {
		return store.Facts{}, err
	}
	if s.busy != nil {
		return store.Facts{}, s.busy
	}
	return s.Store.Inspect(ctx)
}

func (s slow) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	for off := int64(0); off < size; off += int64(s.piece) {
		if err := s.wait(ctx); err != nil {
			return store.Ref{}, err
		}
		if _, err := body.ReadAt(make([]byte, min(int64(s.piece), size-off)), off); err != nil && !errors.Is(err, io.EOF) {
			return store.Ref{}, err
		}
	}
	return s.Store.Put(ctx, name, body, size, o)
}

func (s slow) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	rc, err := s.Store.Open(context.WithoutCancel(ctx), ref, off, n)
	return &dripping{rc, s, ctx}, err
}

type dripping struct {
	io.ReadCloser
	s   slow
	ctx context.Context // of the Open call
}

func (d *dripping) Read(p []byte) (int, error) {
	if err := d.s.wait(d.ctx); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(d.ReadCloser, p[:min(len(p), d.s.piece)])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the end comes with the next
	}
	return n, err
}

func (s slow) Versions(ctx context.Context, _, _ string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for { // endless
			if err := s.wait(ctx); err != nil {
				yield(store.Info{}, err)
				return
			}
			if !yield(store.Info{Ref: store.Ref{Name: "n"}}, nil) {
				return
			}
		}
	}
}

func put(ctx context.Context, w store.Writer, b []byte) (store.Ref, error) {
	return w.Put(ctx, "n", bytes.NewReader(b), int64(len(b)), store.PutOptions{SHA256: sha256.Sum256(b)})
}

// TestStalls: what gives nothing, or a drip, ends within one and a half of the limit; what is slow goes on.
func TestStalls(t *testing.T) {
	const limit = time.Minute
	mem := memstore.New(memstore.Options{})
	ref, err := put(t.Context(), mem, make([]byte, 60_000))
	if err != nil {
		t.Fatal(err)
	}
	list := func(ctx context.Context, g *stall.Guard, s slow) error {
		n := 0
		for _, err := range g.Reader(s).Versions(ctx, "", "") {
			if n++; err != nil || n == 5000 {
				return err
			}
		}
		return nil
	}
	open := func(ctx context.Context, g *stall.Guard, s slow) error {
		rc, err := g.Reader(s).Open(ctx, ref, 0, -1)
		if err != nil {
			return err
		}
		_, err = io.ReadFull(rc, make([]byte, 60_000))
		return errors.Join(err, rc.Close())
	}
	send := func(ctx context.Context, g *stall.Guard, s slow) error {
		_, err := put(ctx, g.Writer(s), make([]byte, 60_000))
		return err
	}
	inspect := func(ctx context.Context, g *stall.Guard, s slow) error {
		_, err := g.Inspector(s).Inspect(ctx)
		return err
	}
	again := func(ctx context.Context, g *stall.Guard, s slow) error {
		_, err := g.Inspector(retry.New(retry.Options{Attempts: 1000, Total: time.Hour}).Inspector(s)).Inspect(ctx)
		return err
	}
	for _, c := range []struct {
		name string
		s    slow
		do   func(context.Context, *stall.Guard, slow) error
		ok   bool
	}{
		{"inspect, hung", slow{every: -1}, inspect, false},
		{"inspect, after 50 s", slow{every: 50 * time.Second}, inspect, true},
		{"put, hung", slow{every: -1, piece: 1}, send, false},
		{"put, a byte a second", slow{every: time.Second, piece: 1}, send, false},
		{"put, 2 kB a second", slow{every: time.Second, piece: 2000}, send, true},
		{"open, hung", slow{every: -1, piece: 1}, open, false},
		{"open, a byte a second", slow{every: time.Second, piece: 1}, open, false},
		{"open, 300 bytes a second", slow{every: time.Second, piece: 300}, open, false},
		{"open, 600 bytes a second", slow{every: time.Second, piece: 600}, open, true},
		{"open, all at once after 50 s", slow{every: 50 * time.Second, piece: 60_000}, open, true},
		{"list, hung", slow{every: -1}, list, false},
		{"list, a name a second", slow{every: time.Second}, list, false},
		{"list, ten names a second", slow{every: 100 * time.Millisecond}, list, true},
		{"503 for ever", slow{every: time.Millisecond, busy: &store.Error{Op: "inspect", Kind: store.ErrThrottled}}, again, false},
		{"refused at once", slow{every: time.Millisecond, busy: &store.Error{Op: "inspect", Kind: store.ErrTransient}}, again, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.s.Store = mem
				g := stall.NewGuard(limit)
				began := time.Now()
				err := c.do(t.Context(), g, c.s)
				took := time.Since(began)
				if c.ok != (err == nil) {
					t.Fatalf("%v after %s", err, took)
				}
				if c.ok {
					return
				}
				if !errors.Is(err, store.ErrStalled) || store.Retryable(err) || took < limit || took > limit*3/2 {
					t.Errorf("%v after %s", err, took)
				}
				if c.s.busy != nil && !strings.Contains(err.Error(), c.s.busy.Error()) {
					t.Errorf("what it answered is not said: %v", err)
				}
				// It is not waited for again.
				began = time.Now()
				if err := c.do(t.Context(), g, c.s); !errors.Is(err, store.ErrStalled) || time.Since(began) > time.Second {
					t.Errorf("the second time: %v after %s", err, time.Since(began))
				}
			})
		})
	}
}

// TestTheCallersTimeIsHisOwn: who takes his time with what he got is not the vault's fault.
func TestTheCallersTimeIsHisOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := memstore.New(memstore.Options{})
		ref, err := put(t.Context(), mem, []byte("0123456789"))
		if err != nil {
			t.Fatal(err)
		}
		g := stall.NewGuard(time.Minute)
		n := 0
		for _, err := range g.Reader(mem).Versions(t.Context(), "", "") {
			if n++; err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		rc, err := g.Reader(mem).Open(t.Context(), ref, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if b, err := io.ReadAll(rc); err != nil || len(b) != 10 || n != 1 {
			t.Errorf("%d bytes, %d names, %v", len(b), n, err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if _, err := g.Inspector(mem).Inspect(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestTheCallersEndIsNoStall: a context that ends is told apart.
func TestTheCallersEndIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g := stall.NewGuard(time.Minute)
		_, err := g.Inspector(slow{Store: memstore.New(memstore.Options{}), every: -1}).Inspect(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrStalled) {
			t.Error(err)
		}
	})
}

type vault struct {
	store.Reader
	store.Writer
	store.Locker
	store.Inspector
}

type attacker struct{ a memstore.Attacker }

func (a attacker) Hide(_ context.Context, name string) error { a.a.Hide(name); return nil }

func (a attacker) Overwrite(_ context.Context, name string, data []byte) error {
	a.a.Overwrite(name, data)
	return nil
}

// TestConformance: a guarded store is still a store.
func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Options{Versions: true, Immutable: true, Large: 1 << 20, New: func(testing.TB) storetest.Harness {
		s := memstore.New(memstore.Options{})
		g := stall.NewGuard(0)
		return storetest.Harness{
			Vault: vault{g.Reader(s), g.Writer(s), g.Locker(s), g.Inspector(s)}, Remover: g.Remover(s), Attacker: attacker{s.Attacker()},
		}
	}})
}
