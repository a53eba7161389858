package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
)

// listedVault counts listings.
type listedVault struct {
	*memstore.Store
	prefixes []string
	broken   error
}

func (l *listedVault) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	l.prefixes = append(l.prefixes, prefix)
	if l.broken != nil {
		return func(yield func(store.Info, error) bool) { yield(store.Info{}, l.broken) }
	}
	return l.Store.Versions(ctx, prefix, after)
}

func putInto(t *testing.T, w store.Writer, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := w.Put(t.Context(), name, bytes.NewReader([]byte(name)), int64(len(name)), store.PutOptions{SHA256: sha256.Sum256([]byte(name))}); err != nil {
			t.Fatal(err)
		}
	}
}

func under(t *testing.T, r store.Reader, prefix string) (names []string, err error) {
	t.Helper()
	for info, err := range r.Versions(t.Context(), prefix, "") {
		if err != nil {
			return names, err
		}
		names = append(names, info.Name)
	}
	return names, nil
}

// TestOverview: folders are given from one listing until something is stored, a name is asked for by itself, and a vault with too
// much in it, or one that does not list, is listed as before.
func TestOverview(t *testing.T) {
	begin := func(t *testing.T, names ...string) (*Vault, *overview, *listedVault) {
		l := &listedVault{Store: memstore.New(memstore.Options{})}
		putInto(t, l.Store, names...)
		v, g := withOverview(&Vault{Read: l, Write: l})
		g.begin()
		return v, g, l
	}
	check := func(t *testing.T, v *Vault, prefix string, want ...string) {
		t.Helper()
		if got, err := under(t, v.Read, prefix); err != nil || !slices.Equal(got, want) {
			t.Errorf("under %s are %q, %v", prefix, got, err)
		}
	}
	names := []string{"a/1", "a/2", "b/1", "c/x/1", "c/y/1"}
	t.Run("one listing", func(t *testing.T) {
		v, g, l := begin(t, names...)
		check(t, v, "a/", "a/1", "a/2")
		check(t, v, "b/", "b/1")
		check(t, v, "c/x/", "c/x/1")
		check(t, v, "d/")
		for after, want := range map[string]int{"a": 2, "a/": 2, "a/1": 1, "a/2": 0, "b": 0} {
			n := 0
			for range v.Read.Versions(t.Context(), "a/", after) {
				n++
			}
			if n != want {
				t.Errorf("behind %s: %d names", after, n)
			}
		}
		if !slices.Equal(l.prefixes, []string{""}) || !g.holds() {
			t.Errorf("listed %q", l.prefixes)
		}
	})
	t.Run("a name", func(t *testing.T) {
		v, _, l := begin(t, names...)
		check(t, v, "a/", "a/1", "a/2")
		putInto(t, l.Store, "a/11") // by somebody else
		check(t, v, "a/1", "a/1", "a/11")
	})
	t.Run("something was stored", func(t *testing.T) {
		v, g, _ := begin(t, names...)
		check(t, v, "b/", "b/1")
		putInto(t, v.Write, "b/2")
		check(t, v, "b/", "b/1", "b/2")
		if g.holds() {
			t.Error("what was listed before counts")
		}
	})
	t.Run("too much", func(t *testing.T) {
		v, g, l := begin(t)
		for i := range maxOverview + 1 {
			putInto(t, l.Store, fmt.Sprintf("a/%06d", i))
		}
		putInto(t, l.Store, "b/1")
		check(t, v, "b/", "b/1")
		check(t, v, "b/", "b/1")
		if !slices.Equal(l.prefixes, []string{"", "b/", "b/"}) || g.holds() || !g.vast {
			t.Errorf("listed %q", l.prefixes)
		}
	})
	t.Run("no answer", func(t *testing.T) {
		v, _, l := begin(t, names...)
		l.broken = errors.New("broken")
		if _, err := under(t, v.Read, "a/"); !errors.Is(err, l.broken) {
			t.Errorf("it says %v", err)
		}
		l.broken = nil
		check(t, v, "a/", "a/1", "a/2")
	})
	t.Run("an object of a folder's name", func(t *testing.T) {
		for _, name := range []string{"c", "c/x", "c/x/1/y"} {
			v, _, l := begin(t, names...)
			putInto(t, l.Store, name)
			want := []string{"c/x/1"}
			if name == "c/x/1/y" { // which lies below, and hides nothing that is asked for
				want = append(want, name)
			}
			check(t, v, "c/x/", want...)
			if direct := slices.Contains(l.prefixes, "c/x/"); direct != (len(want) == 1) {
				t.Errorf("%s: listed %q", name, l.prefixes)
			}
			check(t, v, "a/", "a/1", "a/2")
		}
	})
	t.Run("not begun", func(t *testing.T) {
		v, g, l := begin(t, names...)
		g.end()
		check(t, v, "a/", "a/1", "a/2")
		if !slices.Equal(l.prefixes, []string{"a/"}) {
			t.Errorf("listed %q", l.prefixes)
		}
	})
}

// TestOverviewBegun: folders that are asked for before it is known whether all is wanted are given from the first names of one listing, which
// then goes on; where too much lies before a folder, it is listed by itself.
func TestOverviewBegun(t *testing.T) {
	start := func(t *testing.T, names ...string) (*Vault, *overview, *listedVault) {
		l := &listedVault{Store: memstore.New(memstore.Options{})}
		putInto(t, l.Store, names...)
		v, g := withOverview(&Vault{Read: l, Write: l})
		g.start(t.Context())
		return v, g, l
	}
	var many []string
	for i := range 3 * maxFront {
		many = append(many, fmt.Sprintf("c/%06d", i))
	}
	for _, c := range []struct {
		name   string
		before []string
		goesOn bool
		listed []string
	}{
		{"it goes on", nil, true, []string{""}},
		{"it ends", nil, false, []string{"", "c/", "z/"}},
		{"much lies before it", many[:maxFront], true, []string{"", "d/", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			after := "c/"
			names := append([]string{"d/1", "d/2", "z/1"}, c.before...)
			if c.before == nil {
				after, names = "e/", append(names, "e/1")
				for i := range 3 * maxFront {
					names = append(names, fmt.Sprintf("e/%06d", i))
				}
			}
			v, g, l := start(t, names...)
			if got, err := under(t, v.Read, "d/"); err != nil || !slices.Equal(got, []string{"d/1", "d/2"}) {
				t.Errorf("under d/ are %q, %v", got, err)
			}
			if len(g.names) > maxFront {
				t.Errorf("%d names were listed", len(g.names))
			}
			if c.goesOn {
				g.begin()
			} else {
				g.end()
				after = "c/"
			}
			if _, err := under(t, v.Read, after); err != nil {
				t.Error(err)
			}
			if got, err := under(t, v.Read, "z/"); err != nil || !slices.Equal(got, []string{"z/1"}) {
				t.Errorf("under z/ are %q, %v", got, err)
			}
			if !slices.Equal(l.prefixes, c.listed) {
				t.Errorf("listed %q, not %q", l.prefixes, c.listed)
			}
		})
	}
	t.Run("the call that waited has ended", func(t *testing.T) {
		v, g, _ := start(t, append(many, "d/1")...)
		ctx, cancel := context.WithCancel(t.Context())
		for range v.Read.Versions(ctx, "a/", "") {
			t.Error("something is under a/")
		}
		cancel() // which says nothing of the listing
		g.begin()
		if got, err := under(t, v.Read, "d/"); err != nil || !slices.Equal(got, []string{"d/1"}) || !g.holds() {
			t.Errorf("under d/ are %q, %v", got, err)
		}
	})
}
