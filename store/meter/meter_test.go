package meter_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/storetest"
)

func put(ctx context.Context, w store.Writer, name string, b []byte) (store.Ref, error) {
	return w.Put(ctx, name, bytes.NewReader(b), int64(len(b)), store.PutOptions{SHA256: sha256.Sum256(b)})
}

func TestCounts(t *testing.T) {
	s := memstore.New(memstore.Options{})
	m := meter.New(meter.Options{})
	r, w := m.Reader(s), m.Writer(s)
	var ref store.Ref
	for range 3 {
		var err error
		if ref, err = put(t.Context(), w, "n", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := put(t.Context(), w, "bad name", nil); err == nil {
		t.Fatal("a bad name was taken")
	}
	rc, err := r.Open(t.Context(), ref, 100, 300)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, rc); err != nil {
		t.Fatal(err)
	}
	rc, err = r.Open(t.Context(), ref, 990, 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(rc); err == nil {
		t.Fatal("no error past the end")
	}
	if _, err := r.Open(t.Context(), store.Ref{Name: "none"}, 0, -1); err == nil {
		t.Fatal("nothing was opened")
	}
	if _, _, err := r.Stat(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	for range r.Versions(t.Context(), "", "") {
	}
	for range r.Versions(t.Context(), "", "") {
		break
	}
	until := store.Retention{Mode: store.Compliance, Until: time.Now().Add(time.Hour)}
	if err := m.Locker(s).Extend(t.Context(), ref, until); err != nil {
		t.Fatal(err)
	}
	if err := m.Remover(s).Remove(t.Context(), ref); !errors.Is(err, store.ErrLocked) {
		t.Fatal(err)
	}
	if _, err := m.Inspector(s).Inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := m.Snapshot()
	want := meter.Snapshot{
		Asked: map[string]meter.Calls{
			"put": {Calls: 4, Errors: 1}, "open": {Calls: 3, Errors: 2}, "stat": {Calls: 1}, "versions": {Calls: 2}, "extend": {Calls: 1},
			"remove": {Calls: 1, Errors: 1}, "inspect": {Calls: 1},
		},
		BytesOut: 3000, BytesIn: 310, Entries: 4,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if sum := got.Calls(); sum != (meter.Calls{Calls: 13, Errors: 4}) {
		t.Errorf("sum %+v", sum)
	}
}

// TestLimits: a body larger than the burst is split, and takes the time its bytes are worth.
func TestLimits(t *testing.T) {
	s := memstore.New(memstore.Options{})
	body := make([]byte, 300<<10)
	m := meter.New(meter.Options{Upload: 1 << 20, Download: 1 << 20}) // burst 256 KiB
	w, r := m.Writer(s), m.Reader(s)
	begin := time.Now()
	ref, err := put(t.Context(), w, "n", body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(t.Context(), w, "n", body[:100<<10]); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d < 100*time.Millisecond || d > 2*time.Second {
		t.Errorf("400 KiB at 1 MiB/s with a burst of 256 KiB took %v", d)
	}
	begin = time.Now()
	for range 2 {
		rc, err := r.Open(t.Context(), ref, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(rc); err != nil || !bytes.Equal(b, body) {
			t.Fatal(err)
		}
	}
	if d := time.Since(begin); d < 250*time.Millisecond || d > 3*time.Second {
		t.Errorf("600 KiB took %v", d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	begin = time.Now()
	if _, err := put(ctx, w, "n", make([]byte, 10<<20)); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > time.Second {
		t.Errorf("%v after %v; want the deadline", err, time.Since(begin))
	}
}

// greedy reads its body in one piece.
type greedy struct{}

func (greedy) Put(_ context.Context, name string, body io.ReaderAt, size int64, _ store.PutOptions) (store.Ref, error) {
	_, err := body.ReadAt(make([]byte, size), 0)
	return store.Ref{Name: name}, err
}

// TestLargeRead: one read of more than the limiter's burst is waited for in pieces.
func TestLargeRead(t *testing.T) {
	m := meter.New(meter.Options{Upload: 4 << 20}) // burst 1 MiB
	if _, err := put(t.Context(), m.Writer(greedy{}), "n", make([]byte, 3<<19)); err != nil {
		t.Error(err)
	}
	if n := m.Snapshot().BytesOut; n != 3<<19 {
		t.Errorf("%d bytes", n)
	}
}

type vault struct {
	store.Reader
	store.Writer
	store.Locker
	store.Inspector
}

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Options{Versions: true, Immutable: true, Large: 1 << 20, New: func(testing.TB) storetest.Harness {
		s := memstore.New(memstore.Options{})
		m := meter.New(meter.Options{Upload: 1 << 40, Download: 1 << 40})
		return storetest.Harness{
			Vault: vault{m.Reader(s), m.Writer(s), m.Locker(s), m.Inspector(s)}, Remover: m.Remover(s), Attacker: attacker{s.Attacker()},
		}
	}})
}

type attacker struct{ a memstore.Attacker }

func (a attacker) Hide(_ context.Context, name string) error { a.a.Hide(name); return nil }

func (a attacker) Overwrite(_ context.Context, name string, data []byte) error {
	a.a.Overwrite(name, data)
	return nil
}
