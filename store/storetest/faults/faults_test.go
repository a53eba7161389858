package faults_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

func put(t *testing.T, w store.Writer, name, body string) (store.Ref, error) {
	t.Helper()
	return w.Put(t.Context(), name, bytes.NewReader([]byte(body)), int64(len(body)), store.PutOptions{
		SHA256: sha256.Sum256([]byte(body)), Retention: store.Retention{Mode: store.Compliance, Until: time.Now().Add(time.Hour)},
	})
}

func versions(t *testing.T, r store.Reader) (names []string, err error) {
	t.Helper()
	for info, err := range r.Versions(t.Context(), "", "") {
		if err != nil {
			return names, err
		}
		names = append(names, info.Name)
	}
	return names, nil
}

func read(t *testing.T, r store.Reader, ref store.Ref) (string, error) {
	t.Helper()
	rc, err := r.Open(t.Context(), ref, 0, -1)
	if err != nil {
		return "", err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	return string(b), err
}

// vault is a store in memory with two objects; the second is newer.
func vault(t *testing.T) (*memstore.Store, store.Ref) {
	t.Helper()
	clock := time.Now()
	s := memstore.New(memstore.Options{Now: func() time.Time { clock = clock.Add(time.Second); return clock }})
	ref, err := put(t, s, "a", "0123456789")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, s, "b", "b"); err != nil {
		t.Fatal(err)
	}
	return s, ref
}

// TestEveryWay makes one call of each operation fail in each of its ways.
func TestEveryWay(t *testing.T) {
	kinds := map[faults.Way]error{
		faults.Transient: store.ErrTransient, faults.TimeOut: store.ErrTransient, faults.Reset: store.ErrTransient, faults.Lost: store.ErrTransient,
		faults.Throttled: store.ErrThrottled, faults.Denied: store.ErrDenied, faults.Truncated: io.ErrUnexpectedEOF,
	}
	for _, op := range []string{"put", "open", "stat", "versions", "extend", "remove", "inspect"} {
		for _, w := range faults.Ways(op) {
			t.Run(op+" "+string(w), func(t *testing.T) {
				s, ref := vault(t)
				p := faults.New(faults.Rule{Op: op, Times: 1, Way: w})
				got, err := do(t, s, p, op, ref)
				p.Check(t)
				want := kinds[w]
				if w == faults.Flipped && op == "put" {
					want = store.ErrChecksum
				}
				if want == nil && err != nil || !errors.Is(err, want) {
					t.Fatalf("error %v, want %v", err, want)
				}
				switch {
				case op == "open" && w == faults.Slow && got != "0123456789",
					op == "open" && (w == faults.Reset || w == faults.Truncated) && got != "01234",
					op == "open" && w == faults.Flipped && (len(got) != 10 || got == "0123456789"),
					op == "versions" && w == faults.Reset && got != "a",
					op == "versions" && w == faults.Stale && got != "a":
					t.Errorf("gave %q", got)
				}
				all, err := versions(t, s)
				if err != nil {
					t.Fatal(err)
				}
				if done := slices.Contains(all, "new"); op == "put" && done != (w == faults.Lost) {
					t.Errorf("vault has %q", all)
				}
				if got, err = do(t, s, p, op, ref); err != nil {
					t.Errorf("the second time: %q, %v", got, err)
				}
			})
		}
	}
}

func do(t *testing.T, s *memstore.Store, p *faults.Plan, op string, ref store.Ref) (got string, err error) {
	ctx := t.Context()
	switch op {
	case "put":
		_, err = put(t, p.Writer(s), "new", "new")
	case "open":
		got, err = read(t, p.Reader(s), ref)
	case "stat":
		_, _, err = p.Reader(s).Stat(ctx, ref)
	case "versions":
		var names []string
		names, err = versions(t, p.Reader(s))
		for _, n := range names {
			got += n
		}
	case "extend":
		err = p.Locker(s).Extend(ctx, ref, store.Retention{Mode: store.Compliance, Until: time.Now().Add(2 * time.Hour)})
	case "remove":
		loose := s.Attacker().Overwrite("loose", nil)
		err = p.Remover(s).Remove(ctx, loose)
	case "inspect":
		_, err = p.Inspector(s).Inspect(ctx)
	}
	return got, err
}

// TestRetried: what is worth trying again comes through the retry layer, and what is not does not.
func TestRetried(t *testing.T) {
	again := retry.New(retry.Options{Attempts: 3, Initial: time.Microsecond, Max: time.Microsecond})
	for _, w := range faults.Ways("open") {
		s, ref := vault(t)
		p := faults.New(faults.Rule{Op: "open", Times: 1, Way: w})
		got, err := read(t, again.Reader(p.Reader(s)), ref)
		if right := err == nil && got == "0123456789"; right != w.Retryable() {
			t.Errorf("%s: %q, %v", w, got, err)
		}
		p.Check(t)
		always := faults.New(faults.Rule{Op: "open", Way: w})
		got, err = read(t, again.Reader(always.Reader(s)), ref)
		if right := err == nil && got == "0123456789"; right != (w == faults.Slow) {
			t.Errorf("%s for ever: %q, %v", w, got, err)
		}
	}
}

func TestTimeOutEndsWithItsContext(t *testing.T) {
	s, ref := vault(t)
	p := faults.New(faults.Rule{Way: faults.TimeOut})
	p.Patience = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := p.Reader(s).Stat(ctx, ref); !errors.Is(err, context.DeadlineExceeded) || store.Retryable(err) {
		t.Errorf("%v", err)
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name  string
		rule  faults.Rule
		calls []string // operation and name in turn
		want  []bool
		left  int
	}{
		{"any", faults.Rule{}, []string{"put", "a", "open", "b"}, []bool{true, true}, 0},
		{"operation", faults.Rule{Op: "open"}, []string{"put", "a", "open", "b"}, []bool{false, true}, 0},
		{"name", faults.Rule{Name: "b"}, []string{"put", "a", "open", "b", "open", "bb"}, []bool{false, true, false}, 0},
		{"prefix", faults.Rule{Name: "b*"}, []string{"put", "a", "open", "b", "open", "bb"}, []bool{false, true, true}, 0},
		{"third", faults.Rule{Op: "put", Nth: 3, Times: 1}, []string{"put", "a", "put", "b", "open", "c", "put", "d", "put", "e"}, []bool{false, false, false, true, false}, 0},
		{"from the second on", faults.Rule{Nth: 2}, []string{"put", "a", "put", "b", "put", "c"}, []bool{false, true, true}, 0},
		{"twice and not exhausted", faults.Rule{Times: 2}, []string{"put", "a"}, []bool{true}, 1},
		{"never", faults.Rule{Op: "stat"}, []string{"put", "a"}, []bool{false}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.rule.Way = faults.Denied
			p := faults.New(c.rule)
			for i, want := range c.want {
				if _, struck := p.Next(c.calls[2*i], c.calls[2*i+1]); struck != want {
					t.Errorf("call %d: %v", i, struck)
				}
			}
			if left := p.Left(); len(left) != c.left {
				t.Errorf("left: %v", left)
			}
			quiet := &recorder{TB: t}
			p.Check(quiet)
			if quiet.failed != (c.left > 0) {
				t.Errorf("check failed: %v", quiet.failed)
			}
		})
	}
}

// recorder takes the failures of a check.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

// TestSeed: the same seed strikes the same calls, another one others; about the share that was asked for.
func TestSeed(t *testing.T) {
	struck := func(seed uint64) (out []int) {
		p := faults.New(faults.Rule{Share: 0.3, Seed: seed, Way: faults.Reset})
		for i := range 1000 {
			if _, ok := p.Next("put", "x"); ok {
				out = append(out, i)
			}
		}
		return out
	}
	one, again, two := struck(1), struck(1), struck(2)
	if !slices.Equal(one, again) || slices.Equal(one, two) || len(one) < 250 || len(one) > 350 {
		t.Errorf("%d, %d, %d", len(one), len(again), len(two))
	}
}

func TestRecords(t *testing.T) {
	p := faults.New()
	p.Class = func(name string) string { return name[:1] }
	p.Next("put", "ab")
	p.Next("put", "ac")
	p.Next("open", "ab")
	want := []faults.Call{{Op: "put", Name: "a", Nth: 1}, {Op: "put", Name: "a", Nth: 2}, {Op: "open", Name: "a", Nth: 1}}
	if got := p.Calls(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
