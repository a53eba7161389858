package flat_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func hashOf(n uint64) format.Hash { return sha256.Sum256(fmt.Append(nil, n)) }

func TestPlace(t *testing.T) {
	h := hashOf(1).String()
	for named, placed := range map[store.Ref]store.Ref{
		{Name: "packs/" + h[:2] + "/" + h + ".age", Version: "./v1"}: {Name: "packs/" + h + ".age", Version: "v1"},
		{Name: "meta/" + h[:2] + "/" + h + ".age", Version: "./"}:    {Name: "meta/" + h + ".age"},
		{Name: "needs/" + h[:2] + "/" + h + ".zst", Version: "./7"}:  {Name: "needs/" + h + ".zst", Version: "7"},
	} {
		if got := flat.Place(named); got != placed {
			t.Errorf("%v is placed at %v", named, got)
		}
		if got := flat.Named(placed); got != named {
			t.Errorf("%v is named %v", placed, got)
		}
	}
	for _, same := range []store.Ref{
		{Name: "packs/" + h[:2] + "/" + h + ".age", Version: "v1"}, {Name: "packs/" + h[:2] + "/" + h + ".age"},
		{Name: "packs/" + h + ".zst"}, {Name: "needs/" + h + ".age"}, {Name: "keys/" + h + ".age", Version: "./v"}, {Name: "packs/" + h[2:] + ".age"},
		{Name: "packs/00/" + h + ".age", Version: "./v"}, {Name: "packs/"}, {Name: ""}, {Name: "canary/" + h},
	} {
		if flat.Place(same) != same || flat.Named(same) != same {
			t.Errorf("%v: %v, %v", same, flat.Place(same), flat.Named(same))
		}
	}
}

func put(t *testing.T, w store.Writer, name, body string) store.Ref {
	t.Helper()
	ref, err := w.Put(t.Context(), name, strings.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256([]byte(body))})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func list(t *testing.T, in store.Reader, prefix string) []store.Info {
	t.Helper()
	return listBehind(t, in, prefix, "")
}

func listBehind(t *testing.T, in store.Reader, prefix, after string) []store.Info {
	t.Helper()
	var out []store.Info
	for info, err := range in.Versions(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info)
	}
	return out
}

// TestVersions: whatever lies in folders and beside them comes in one order, each once, under every prefix; also where one
// folder has more than is held.
func TestVersions(t *testing.T) {
	for _, many := range []int{0, 20_000} {
		s := memstore.New(memstore.Options{})
		want := map[string]int{}
		add := func(kind, at, named string) {
			put(t, s, kind+at, named)
			want[kind+named]++
		}
		for n := range uint64(2000) {
			for kind, ext := range map[string]string{"packs/": ".age", "meta/": ".age", "needs/": ".zst"} {
				h := hashOf(n).String() + ext
				named := h[:2] + "/" + h
				switch rand.IntN(3) {
				case 0:
					add(kind, named, named)
				case 1:
					add(kind, h, named)
				default:
					add(kind, named, named)
					add(kind, h, named)
				}
			}
		}
		for n := range many { // in one folder
			h := "a7" + hashOf(uint64(1_000_000 + n)).String()[2:] + ".age"
			named := h[:2] + "/" + h
			if n%8 == 0 {
				add("packs/", h, named)
			} else {
				add("packs/", named, named)
			}
		}
		for _, junk := range []string{"a7", "a", "a7/junk", "a7zz", "zz", "a7/" + hashOf(0).String() + ".age", "~"} {
			add("packs/", junk, junk)
		}
		put(t, s, "points/a7", "p")
		r := flat.NewReader(s)
		for _, prefix := range []string{"packs/", "packs/a", "packs/a7", "packs/a7/", "packs/a7/a", "packs/a7/a7", "packs/a7/a71", "packs/a7/b", "meta/", "needs/", "needs/0", "needs/00/"} {
			got := list(t, r, prefix)
			count := 0
			for name, n := range want {
				if strings.HasPrefix(name, prefix) {
					count += n
				}
			}
			if len(got) != count {
				t.Errorf("%d more, %s: %d listed of %d", many, prefix, len(got), count)
			}
			if !slices.IsSortedFunc(got, func(a, b store.Info) int { return strings.Compare(a.Name, b.Name) }) {
				t.Errorf("%d more, %s: not in order", many, prefix)
			}
			for i, info := range got {
				if i > 0 && info.Name == got[i-1].Name && (flat.Place(info.Ref) == info.Ref || flat.Place(got[i-1].Ref) != got[i-1].Ref) {
					t.Errorf("%s: what lies beside comes first", info.Name)
				}
			}
			behind := []string{"packs", prefix, prefix + "0", "packs/a7", "packs/a7/", "packs/a7/a77", "packs/a7z", "packs/zz"}
			if len(got) > 0 {
				behind = append(behind, got[0].Name, got[len(got)/3].Name, got[len(got)-1].Name)
			}
			if many > 0 && prefix != "packs/" && prefix != "packs/a7/" {
				continue // it is the others' one folder only
			}
			for _, after := range behind {
				from, _ := slices.BinarySearchFunc(got, after, func(info store.Info, after string) int { return cmp.Or(strings.Compare(info.Name, after), -1) })
				if behind := listBehind(t, r, prefix, after); !slices.Equal(behind, got[from:]) {
					t.Errorf("%d more, %s behind %s: %d listed of %d", many, prefix, after, len(behind), len(got[from:]))
				}
			}
		}
		if got := list(t, r, "points/"); len(got) != 1 {
			t.Errorf("%v", got)
		}
		for info := range r.Versions(t.Context(), "packs/", "") { // whoever has enough may stop
			if info.Name > "packs/80" {
				break
			}
		}
	}
}

// broken ends a listing with an error.
type broken struct {
	store.Reader
	after int
}

func (b broken) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		n := 0
		for info, err := range b.Reader.Versions(ctx, prefix, after) {
			if n++; n > b.after {
				yield(store.Info{}, store.ErrListing)
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func TestVersionsBroken(t *testing.T) {
	s := memstore.New(memstore.Options{})
	for n := range 17_000 {
		h := "a7" + hashOf(uint64(n)).String()[2:] + ".age"
		put(t, s, "packs/a7/"+h, "x")
		if n < 50 {
			put(t, s, "packs/"+h, "x")
		}
	}
	for _, after := range []int{0, 1, 16_000, 16_900, 17_020} {
		n := 0
		var err error
		for _, e := range flat.NewReader(broken{s, after}).Versions(t.Context(), "packs/", "") {
			if err != nil {
				t.Error("it goes on after an error")
			}
			if n++; e != nil {
				err = e
			}
		}
		if !errors.Is(err, store.ErrListing) || n > after+51 { // what lies beside is listed apart
			t.Errorf("after %d: %d given, %v", after, n, err)
		}
	}
}

// files refuses a name below another object, and an object in the place of a folder, as servers do that keep objects as files:
// versitygw answers 409 ObjectParentIsFile.
type files struct {
	*memstore.Store
	puts []string
}

func (f *files) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	f.puts = append(f.puts, name)
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if _, _, err := f.Stat(ctx, store.Ref{Name: name[:i]}); err == nil {
			return store.Ref{}, &store.Error{Op: "put", Kind: store.ErrInTheWay, Code: "ObjectParentIsFile"}
		}
	}
	return f.Store.Put(ctx, name, body, size, o)
}

func TestWriter(t *testing.T) {
	s := &files{Store: memstore.New(memstore.Options{})}
	body := "bytes"
	h := format.Hash(sha256.Sum256([]byte(body)))
	name, other := format.PackName(h), "packs/"+h.String()+".age"
	put(t, s, "packs/"+h.String()[:2], "in the way")
	put(t, s, "points/site", "in the way")
	s.puts = nil
	w := flat.NewWriter(s, s)
	r := flat.NewReader(s)
	ref := put(t, w, name, body)
	if ref.Name != name || flat.Place(ref).Name != other {
		t.Errorf("put as %v", ref)
	}
	put(t, w, name, body)
	if !slices.Equal(s.puts, []string{name, other, other}) { // a folder that was refused is not tried again
		t.Errorf("tried %v", s.puts)
	}
	for _, ref := range []store.Ref{{Name: name}, ref} {
		info, _, err := r.Stat(t.Context(), ref)
		if err != nil || info.Name != name || flat.Place(info.Ref).Name != other {
			t.Errorf("%v: %v, %v", ref, info, err)
		}
		rc, err := r.Open(t.Context(), ref, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(rc); err != nil || !bytes.Equal(b, []byte(body)) {
			t.Errorf("%v: %q, %v", ref, b, err)
		}
	}
	if _, _, err := r.Stat(t.Context(), store.Ref{Name: name, Version: flat.Place(ref).Version}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a version of the other name was taken: %v", err)
	}
	if _, _, err := r.Stat(t.Context(), store.Ref{Name: format.PackName(hashOf(9))}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nothing there: %v", err)
	}
	for refused, at := range map[string]string{"points/site/x": "points/site", "packs/" + h.String()[:2] + "/x": "packs/" + h.String()[:2]} {
		_, err := w.Put(t.Context(), refused, strings.NewReader("x"), 1, store.PutOptions{SHA256: sha256.Sum256([]byte("x"))})
		if !errors.Is(err, store.ErrInTheWay) || !strings.Contains(err.Error(), fmt.Sprintf("%q", at)) || !strings.Contains(err.Error(), "prefix") {
			t.Errorf("%s: %v", refused, err)
		}
	}

	// Nothing can be helped where all packs are refused.
	s = &files{Store: memstore.New(memstore.Options{})}
	put(t, s, "packs", "in the way")
	_, err := flat.NewWriter(s, s).Put(t.Context(), name, strings.NewReader(body), int64(len(body)), store.PutOptions{SHA256: h})
	if !errors.Is(err, store.ErrInTheWay) || !strings.Contains(err.Error(), `"packs"`) {
		t.Errorf("%v", err)
	}
}
