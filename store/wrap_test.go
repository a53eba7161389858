package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
)

var errNotToday = errors.New("not today")

// TestAround: everything that can be asked of a vault goes through a wrapper, by the name that errors give it, and comes through whole.
func TestAround(t *testing.T) {
	mem := memstore.New(memstore.Options{})
	var asked []string
	var refuse error
	around := store.Around(func(ctx context.Context, op store.Op, do func(context.Context) error) error {
		asked = append(asked, op.Name+" "+op.Ref.Name)
		if refuse != nil {
			return refuse
		}
		return do(ctx)
	})
	r, w, l, d, i := around.Reader(mem), around.Writer(mem), around.Locker(mem), around.Remover(mem), around.Inspector(mem)
	var ref store.Ref
	ask := func() (errs []error) {
		at, err := w.Put(t.Context(), "a/n", bytes.NewReader([]byte("bytes")), 5, store.PutOptions{SHA256: sha256.Sum256([]byte("bytes"))})
		if err == nil {
			ref = at
		}
		info, _, serr := r.Stat(t.Context(), ref)
		body, oerr := r.Open(t.Context(), ref, 1, 3)
		var read []byte
		if oerr == nil {
			read, oerr = io.ReadAll(body)
		}
		var listed []store.Info
		var verr error
		for info, err := range r.Versions(t.Context(), "a/", "a/m") {
			if verr = err; err == nil {
				listed = append(listed, info)
			}
		}
		facts, ferr := i.Inspect(t.Context())
		until := time.Now().Add(time.Hour).Truncate(time.Second)
		lerr := l.Extend(t.Context(), ref, store.Retention{Mode: store.Compliance, Until: until})
		derr := d.Remove(t.Context(), ref)
		if refuse == nil {
			if info.Size != 5 || string(read) != "yte" || len(listed) != 1 || listed[0].Ref != ref || !facts.ObjectLock || !errors.Is(derr, store.ErrLocked) {
				t.Errorf("%+v, %q, %+v, %+v, %v", info, read, listed, facts, derr)
			}
			derr = nil // as it should be
		}
		return []error{err, serr, oerr, verr, ferr, lerr, derr}
	}
	if err := errors.Join(ask()...); err != nil {
		t.Fatal(err)
	}
	if want := []string{"put a/n", "stat a/n", "open a/n", "versions a/", "inspect ", "extend a/n", "remove a/n"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
	methods := 0
	for _, v := range []any{(*store.Reader)(nil), (*store.Writer)(nil), (*store.Locker)(nil), (*store.Remover)(nil), (*store.Inspector)(nil)} {
		face := reflect.TypeOf(v).Elem()
		for m := range face.Methods() {
			methods++
			if !slices.ContainsFunc(asked, func(s string) bool { return strings.HasPrefix(s, strings.ToLower(m.Name)+" ") }) {
				t.Errorf("%s.%s was not asked", face, m.Name)
			}
		}
	}
	if methods != len(asked) {
		t.Errorf("%d methods for %d operations", methods, len(asked))
	}
	refuse = errNotToday
	for n, err := range ask() {
		if !errors.Is(err, errNotToday) {
			t.Errorf("%s: %v", asked[n], err)
		}
	}
}

// TestAroundListing: a listing through a wrapper ends where its consumer stops it, with the wrapper's error or with its own, once.
func TestAroundListing(t *testing.T) {
	mem := memstore.New(memstore.Options{})
	for _, name := range []string{"a", "b", "c"} {
		if _, err := mem.Put(t.Context(), name, bytes.NewReader(nil), 0, store.PutOptions{SHA256: sha256.Sum256(nil)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, after := range []error{nil, errNotToday} {
		var ended []error
		list := store.Around(func(ctx context.Context, _ store.Op, do func(context.Context) error) error {
			ended = append(ended, do(ctx))
			return after
		}).Reader(mem).Versions(t.Context(), "", "")
		for stop := 1; stop <= 4; stop++ {
			n := 0
			var last error
			for _, err := range list {
				last = err
				if n++; n == stop {
					break
				}
			}
			want := min(stop, 3)
			if after != nil && stop == 4 {
				want++ // its error
			}
			if n != want || (stop == 4) != (last != nil) && after != nil {
				t.Errorf("stopped after %d: %d came, %v", stop, n, last)
			}
		}
		if len(ended) != 4 || errors.Join(ended...) != nil {
			t.Errorf("it ended with %v", ended)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs []error
	for _, err := range store.Around(func(ctx context.Context, _ store.Op, do func(context.Context) error) error { return do(ctx) }).Reader(mem).Versions(ctx, "", "") {
		errs = append(errs, err)
	}
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("%v", errs)
	}
}
