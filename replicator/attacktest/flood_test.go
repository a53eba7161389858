package attacktest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// flooded is a vault whose listing of points holds junk without end: right-looking names, in order, before and after ours.
type flooded struct {
	store.Reader
	n              int
	listed, opened atomic.Int64
}

func (f *flooded) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	f.opened.Add(1)
	return f.Reader.Open(ctx, ref, off, n)
}

func (f *flooded) Versions(ctx context.Context, prefix string) iter.Seq2[store.Info, error] {
	if !strings.HasPrefix(prefix, format.PrefixPoints) {
		return f.Reader.Versions(ctx, prefix)
	}
	return func(yield func(store.Info, error) bool) {
		f.listed.Add(1)
		at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		var sum format.Hash
		sig := noise(77, 64)
		sig[63] = 0 // a number that a signature can have, so that checking it takes its full time
		for i := range f.n {
			binary.BigEndian.PutUint64(sum[:], uint64(i))
			name := format.PointName("aaa", at, sum, sig)
			if !yield(store.Info{Ref: store.Ref{Name: name, Version: "1"}, Size: 5, Modified: at.Add(time.Hour), Latest: true}, nil) {
				return
			}
		}
		for info, err := range f.Reader.Versions(ctx, prefix) {
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestFloodOfPoints: a million names of junk are one listing, no object is read for them, and memory does not grow.
func TestFloodOfPoints(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := memstore.New(memstore.Options{Now: func() time.Time { return now }})
	host := must(keys.GenerateHostKey(keys.X25519))
	restore := must(keys.GenerateIdentity(keys.X25519))
	v := &repo.Vault{Name: "v", Read: s, Write: s, Lock: s, Inspect: s, Locking: repo.Locking{Mode: store.Compliance}}
	must(repo.Init(t.Context(), repo.InitOptions{
		Vaults: []*repo.Vault{v}, HostKey: host, Recipients: []keys.Recipient{restore.Recipient()}, Need: keep, Now: func() time.Time { return now },
	}))
	n := 1_000_000
	if !*full {
		n = 20_000
	}
	in := &flooded{Reader: s, n: n}
	r := must(repo.Find(t.Context(), in, "", nil))
	var before, most runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	told := 0
	var mu sync.Mutex
	start := time.Now()
	points := must(r.Points(t.Context(), in, "", func(repo.Finding) {
		mu.Lock()
		defer mu.Unlock()
		if told++; told%10_000 == 0 {
			var now runtime.MemStats
			if runtime.ReadMemStats(&now); now.HeapInuse > most.HeapInuse {
				most = now
			}
		}
	}))
	took := time.Since(start)
	start = time.Now()
	for range in.Versions(t.Context(), format.PrefixPoints) {
	}
	t.Logf("%d names: %v, the listing alone %v in memory", n, took, time.Since(start))
	if len(points) != 0 || told != n {
		t.Errorf("%d points, %d findings of %d", len(points), told, n)
	}
	if l, o := in.listed.Load(), in.opened.Load(); l != 2 || o > 1 {
		t.Errorf("%d listings and %d objects read", l, o)
	}
	if grown := int64(most.HeapInuse) - int64(before.HeapInuse); grown > 64<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// TestJunkOnARealServer: among thousands of junk objects points, ls, verify and a run ask for no more than the pages of the
// listing and what they asked for without them.
func TestJunkOnARealServer(t *testing.T) {
	a := newArena(t, servers.KindVersityGW)
	a.fill(t, 0)
	a.keepPoint(t, "site")
	a.learn(t)
	in := a.recorded(t)
	points := func() int {
		a.srv.ResetLog()
		r := must(repo.Find(t.Context(), in, "", nil))
		for p, err := range browse.Points(t.Context(), browse.View{Repository: r, In: in}, "site") {
			if err != nil || p.Err != nil {
				t.Fatal(err, p.Err)
			}
		}
		return len(a.srv.Log())
	}
	clean := points()
	n := 10_000
	if !*full {
		n = 1000
	}
	a.flood(t, n)
	got := points()
	pages := n/5/1000*2 + n/5/1000 + 2 // of points/ twice and of descriptors/, 1,000 a page
	t.Logf("%d junk objects: %d requests instead of %d", n, got, clean)
	if got > clean+pages {
		t.Errorf("%d requests instead of %d and %d pages", got, clean, pages)
	}
	a.comesBack(t)
	sum, _ := a.verify(t)
	if sum.Missing+sum.Damaged+sum.Unlocked > 0 {
		t.Errorf("%+v", sum)
	}
	a.keepPoint(t, "site") // reads the junk among the placements, once
	before := len(a.saw)
	a.keepPoint(t, "site")
	if len(a.saw) == before {
		t.Error("the junk is not told of any more")
	}
}

// recorded reads the vault through the recording proxy.
func (a *arena) recorded(t *testing.T) store.Reader {
	t.Helper()
	direct := a.srv.Direct
	defer func() { a.srv.Direct = direct }()
	a.srv.Direct = a.srv.Endpoint
	return a.open(a.reader)
}

// flood puts n junk objects under right-looking names of five kinds.
func (a *arena) flood(t *testing.T, n int) {
	t.Helper()
	// The server's times are whole seconds, and what is as old as the repository is looked at: nobody floods a vault in the
	// second in which it is made.
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1100 * time.Millisecond)))
	work := make(chan string)
	failed := make(chan error, 8)
	for range cap(failed) {
		go func() {
			var first error
			for name := range work {
				if err := a.steal(t.Context(), name, []byte("junk")); err != nil && first == nil {
					first = err
				}
			}
			failed <- first
		}()
	}
	for i := range n / 5 {
		sum := format.Hash(noise(uint64(i), 32))
		at := time.Now().Add(-time.Minute)
		for _, name := range []string{
			format.PointName("site", at, sum, noise(uint64(i), 64)), format.DescriptorName(i%2, sum, noise(uint64(i), 64)),
			format.PlacementsName(at, sum), format.PackName(sum), fmt.Sprintf("points/site/%d", i),
		} {
			work <- name
		}
	}
	close(work)
	var all []error
	for range cap(failed) {
		all = append(all, <-failed)
	}
	if i := slices.IndexFunc(all, func(err error) bool { return err != nil }); i >= 0 {
		t.Fatal(all[i])
	}
}
