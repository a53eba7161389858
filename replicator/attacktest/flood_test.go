package attacktest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	hint           string        // of the key that is said to have signed
	page           time.Duration // how long the listing waits after every thousand names, as one over a network does
	listed, opened atomic.Int64
}

// pace is how many names a second a serial listing gives at a large vendor, a thousand a page, as was published of one over 100
// million names.
const pace = 12_174

func (f *flooded) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	f.opened.Add(1)
	return f.Reader.Open(ctx, ref, off, n)
}

func (f *flooded) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	if !strings.HasPrefix(prefix, format.PrefixPoints) {
		return f.Reader.Versions(ctx, prefix, after)
	}
	return store.Behind(func(yield func(store.Info, error) bool) {
		f.listed.Add(1)
		at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		var sum format.Hash
		sig := noise(77, 64)
		sig[63] = 0 // a number that a signature can have, so that checking it takes its full time
		for i := range f.n {
			binary.BigEndian.PutUint64(sum[:], uint64(i))
			if i%1000 == 999 {
				time.Sleep(f.page)
			}
			name := format.PointID{Source: "aaa", SignedAt: format.At(at), ID: sum, Hint: f.hint, Signature: sig}.Name()
			if !yield(store.Info{Ref: store.Ref{Name: name, Version: "1"}, Size: 5, Modified: at.Add(time.Hour), Latest: true}, nil) {
				return
			}
		}
		for info, err := range f.Reader.Versions(ctx, prefix, after) {
			if !yield(info, err) {
				return
			}
		}
	}, after)
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
	in := &flooded{Reader: s, n: n, hint: format.KeyHint(host.Public()), page: 1000 * time.Second / pace}
	r := must(repo.Find(t.Context(), in, "", nil))
	start := time.Now()
	for range in.Versions(t.Context(), format.PrefixPoints, "") {
	}
	listed, cpu := time.Since(start), spent(t)
	var before, most runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	told := 0
	var mu sync.Mutex
	start = time.Now()
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
	took, grown := time.Since(start), int64(most.HeapInuse)-int64(before.HeapInuse)
	t.Logf("figure: names=%d pace=%d listed=%.2f points=%.2f cpu=%.1f grown=%d", n, pace, listed.Seconds(), took.Seconds(),
		float64((spent(t)-cpu).Microseconds())/float64(n), grown>>20)
	if len(points) != 0 || told != n {
		t.Errorf("%d points, %d findings of %d", len(points), told, n)
	}
	if l, o := in.listed.Load(), in.opened.Load(); l != 2 || o > 1 {
		t.Errorf("%d listings and %d objects read", l, o)
	}
	if grown > 64<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// spent is the CPU time of this process so far.
func spent(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// TestJunkOnARealServer: among thousands of junk objects points, ls, verify and a run ask for no more than the pages of the
// listing and what they asked for without them. How long points takes is held against the bare listing by .ci/parts/attacks.
func TestJunkOnARealServer(t *testing.T) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) { junkOn(t, kind) })
	}
}

func junkOn(t *testing.T, kind servers.Kind) {
	a := newArena(t, kind)
	a.fill(t, 0)
	keepPoint(t, a, "site")
	a.learn(t)
	in := recorded(t, a)
	points := func(in store.Reader) {
		r := must(repo.Find(t.Context(), in, "", nil))
		for p, err := range browse.Points(t.Context(), browse.View{Repository: r, In: in}, "site") {
			if err != nil || p.Err != nil {
				t.Fatal(err, p.Err)
			}
		}
	}
	requests := func() int {
		a.srv.ResetLog()
		points(in)
		return len(a.srv.Log())
	}
	clean, quick := requests(), fastest(func() { points(a.in) })
	n := 10_000
	if !*full {
		n = 1000
	}
	floodNames(t, a, n)
	got := requests()
	pages := (n+n/5)/1000 + n/5/1000 + n/10/1000 + 3 // of points/site/, and of descriptors/ once whole and once in part
	if got > clean+pages {
		t.Errorf("%d requests instead of %d and %d pages", got, clean, pages)
	}
	listing := fastest(func() {
		for _, prefix := range []string{format.PrefixDescriptors, format.PrefixDescriptors + "000001-", format.PrefixPoints + "site/"} {
			for _, err := range a.in.Versions(t.Context(), prefix, "") {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	t.Logf("figure: junk=%d requests=%d clean_requests=%d pages=%d listing=%.1f points=%.1f clean=%.1f",
		n+n/5*4, got, clean, pages, ms(listing), ms(fastest(func() { points(a.in) })), ms(quick))
	comesBack(t, a)
	sum, _ := a.verify(t)
	if sum.Missing+sum.Damaged+sum.Unlocked > 0 {
		t.Errorf("%+v", sum)
	}
	keepPoint(t, a, "site") // reads the junk among the placements, once
	before := len(a.saw)
	keepPoint(t, a, "site")
	if len(a.saw) == before {
		t.Error("the junk is not told of any more")
	}
}

// fastest is the least that something takes of three times: other programs run meanwhile.
func fastest(f func()) time.Duration {
	least := time.Duration(math.MaxInt64)
	for range 3 {
		start := time.Now()
		f()
		least = min(least, time.Since(start))
	}
	return least
}

// recorded reads the vault through the recording proxy.
func recorded(t *testing.T, a *arena) store.Reader {
	t.Helper()
	direct := a.srv.Direct
	defer func() { a.srv.Direct = direct }()
	a.srv.Direct = a.srv.Endpoint
	return a.open(a.reader)
}

// floodNames puts n junk objects under right-looking names of points, and a fifth of that of each of four other kinds.
func floodNames(t *testing.T, a *arena, n int) {
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
				if err := stealFrom(t.Context(), a, name, []byte("junk")); err != nil && first == nil {
					first = err
				}
			}
			failed <- first
		}()
	}
	hint := hintOf(a.known)
	for i := range n {
		sum := format.Hash(noise(uint64(i), 32))
		at := time.Now().Add(-time.Minute)
		names := []string{format.PointID{Source: "site", SignedAt: format.At(at), ID: sum, Hint: hint, Signature: noise(uint64(i), 64)}.Name()}
		if i%5 == 0 {
			names = append(names, format.DescriptorID{Number: i % 2, Sum: sum, Hint: hint, Signature: noise(uint64(i), 64)}.Name(), format.PlacementsID{Vault: "offsite", Written: format.At(at), Sum: sum, Hint: hint, Signature: noise(uint64(i), 64)}.Name(), format.PackName(sum), fmt.Sprintf("points/site/%d", i))
		}
		for _, name := range names {
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
