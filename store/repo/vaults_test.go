package repo_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

var errGone = errors.New("the vault is gone")

// stuck hangs on one name until its context ends, and refuses all others.
type stuck struct {
	store.Writer
	name    string
	waiting chan struct{}
}

func (s stuck) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	if name != s.name {
		return store.Ref{}, errGone
	}
	close(s.waiting)
	<-ctx.Done()
	return store.Ref{}, ctx.Err()
}

func packed(t *testing.T, text string) (string, pack.Sealed) {
	t.Helper()
	b, err := pack.NewBuilder(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := pack.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Add(enc.Frame(nil, []byte(text))); err != nil {
		t.Fatal(err)
	}
	sealed, err := b.Close()
	if err != nil {
		t.Fatal(err)
	}
	return format.NeedsName(sealed.Sum), sealed
}

// TestAVaultIsWaitedForOnce: what still waits for a vault is let go as soon as anything else found that vault down.
func TestAVaultIsWaitedForOnce(t *testing.T) {
	b := newBench(t)
	other := memstore.New(memstore.Options{Now: b.now})
	second := vaultOf(other)
	second.Name = "second"
	o := initOptions(b)
	o.Vaults = append(o.Vaults, second)
	if _, err := repo.Init(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	hung, hungBody := packed(t, "hung")
	refused, refusedBody := packed(t, "refused")
	waiting := make(chan struct{})
	second.Write = stuck{other, hung, waiting}
	s, err := repo.OpenSession(t.Context(), repo.SessionOptions{
		Vaults: []*repo.Vault{b.vault, second}, HostKey: b.host, Now: b.now, Report: b.report,
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(t.TempDir(), cache.Options{}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Begin(b.clock.Add(35 * dayLong)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Writer.Store(t.Context(), hung, hungBody) }()
	<-waiting
	if err := s.Writer.Store(t.Context(), refused, refusedBody); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a request still waits for a vault that was left out")
	}
	v := s.Vaults()
	if v[0].Err != nil || v[0].Objects != 2 || !errors.Is(v[1].Err, errGone) {
		t.Errorf("%+v", v)
	}
	// Nothing more is asked of it.
	third, thirdBody := packed(t, "third")
	if err := s.Writer.Store(t.Context(), third, thirdBody); err != nil {
		t.Error(err)
	}
}

// TestHolds asks for objects with and without a placement, and for those that are there in other bytes.
func TestHolds(t *testing.T) {
	b := newBench(t)
	s := b.session()
	defer s.Close()
	ctx := t.Context()
	if err := s.Begin(b.clock.Add(35 * dayLong)); err != nil {
		t.Fatal(err)
	}
	stored, body := packed(t, "stored")
	if err := s.Writer.Store(ctx, stored, body); err != nil {
		t.Fatal(err)
	}
	beside, besideBody := packed(t, "beside")
	plantPoint(b, beside, besideBody.Body)
	forged := format.NeedsName(format.Hash(sha256.Sum256([]byte("what it should be"))))
	plantPoint(b, forged, []byte("what it is"))
	missing := format.NeedsName(format.Hash{1})
	for name, want := range map[string]bool{stored: true, beside: true, forged: false, missing: false} {
		if got, err := s.Content.Holds(ctx, name); err != nil || got != want {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
	if !b.saw(repo.Missing, missing) {
		t.Error("nothing was said of what no vault has")
	}
}
