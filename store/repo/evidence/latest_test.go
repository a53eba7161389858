package evidence_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
)

// latest gives the types of the newest records, the newest first, and how many were asked for.
func (r *rig) latest(most, enough int) (types string) {
	r.t.Helper()
	older, err := evidence.Latest(r.t.Context(), evidence.Options{
		Vault: r.stores[0], Repository: r.repo, Key: r.key1, Report: func(f evidence.Finding) { types += "!" },
	}, most, func(f evidence.Found) bool {
		types += f.Record.Type
		return len(types) < enough
	})
	must(r.t, err)
	if older {
		types += ".."
	}
	return types
}

// The newest records come first, so many at most, and not one more than is wanted; what cannot be read, and junk, is passed by.
func TestLatest(t *testing.T) {
	r := newRig(t, 1)
	if got := r.latest(5, 5); got != "" {
		t.Errorf("of none: %q", got)
	}
	for _, kind := range []string{"a", "b", "c", "d", "e"} {
		r.add(kind)
	}
	for _, c := range []struct {
		most, enough int
		want         string
	}{{9, 9, "edcba"}, {5, 9, "edcba"}, {3, 9, "edc.."}, {1, 9, "e.."}, {9, 2, "ed"}} {
		if got := r.latest(c.most, c.enough); got != c.want {
			t.Errorf("%d, until %d: %q, want %q", c.most, c.enough, got, c.want)
		}
	}
	names := r.names(0)
	put := func(name, text string) {
		_, err := r.stores[0].Put(t.Context(), name, bytes.NewReader([]byte(text)), int64(len(text)), store.PutOptions{SHA256: sha256.Sum256([]byte(text))})
		must(t, err)
	}
	put(names[0].Name[:len(names[0].Name)-8]+"00000000", "junk: nobody signed that")
	put("reports/web-1/newest", "junk")
	put(names[3].Name, "other bytes on top of the fourth") // and its own below
	if got := r.latest(3, 9); got != "edc.." {
		t.Errorf("beside junk: %q", got)
	}

	must(t, r.stores[0].Attacker().Damage(names[4], func([]byte) []byte { return []byte("other") }))
	gone := evidence.Options{Vault: r.stores[0], Repository: r.repo, Key: r.key1}
	var told []evidence.FindingKind
	gone.Report = func(f evidence.Finding) { told = append(told, f.Kind) }
	types := ""
	_, err := evidence.Latest(t.Context(), gone, 2, func(f evidence.Found) bool { types += f.Record.Type; return true })
	if err != nil || types != "d" || !slices.Equal(told, []evidence.FindingKind{evidence.Missing}) {
		t.Errorf("%v, %q, %v", err, types, told)
	}
}

// together opens nothing, but for the first, before so many others wait to be opened.
type together struct {
	store.Reader
	first sync.Once
	wait  sync.WaitGroup
}

func (s *together) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	alone := false
	s.first.Do(func() { alone = true })
	if !alone {
		s.wait.Done()
		s.wait.Wait()
	}
	return s.Reader.Open(ctx, ref, off, n)
}

// A vault that is far away answers several questions at once: the records come side by side, and in their order. It hangs where they do not.
func TestLatestReadsSideBySide(t *testing.T) {
	r := newRig(t, 1)
	want := ""
	for i := range 9 {
		kind := string(rune('a' + i))
		r.add(kind)
		want = kind + want
	}
	s := &together{Reader: r.stores[0]}
	s.wait.Add(8)
	got := ""
	_, err := evidence.Latest(t.Context(), evidence.Options{Vault: s, Repository: r.repo, Key: r.key1}, 100, func(f evidence.Found) bool {
		got += f.Record.Type
		return true
	})
	must(t, err)
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
