package browse

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func (r *rig) diff(a, b format.Hash) []string {
	r.t.Helper()
	var out []string
	for c, err := range Diff(r.t.(*testing.T).Context(), r.reader(), r.point(a).Commit, r.point(b).Commit) {
		if err != nil {
			r.t.Fatal(err)
		}
		if (c.Old == nil) != (c.Kind == Added) || (c.New == nil) != (c.Kind == Removed) {
			r.t.Errorf("%+v", c)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Kind, c.Key, strings.Join(c.What, ","))))
	}
	return out
}

func TestDiff(t *testing.T) {
	h := newHistory(t)
	for _, c := range []struct {
		name string
		a, b format.Hash
		want []string
	}{
		{"forward", h.a, h.b, []string{"removed a/050", "changed a/100 content,modified", "added b/new"}},
		{"backward", h.b, h.a, []string{"added a/050", "changed a/100 content,modified", "removed b/new"}},
		{"over two points", h.a, h.c, []string{"removed a/050", "changed a/100 content,modified", "added b/new", "added logs/y.gz"}},
		{"itself", h.b, h.b, nil},
		{"another source alike", h.b, h.site, nil},
	} {
		if got := h.diff(c.a, c.b); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Any two states of a bucket: the changes are exactly those of the states, in order of key.
func TestDiffOfAnyStates(t *testing.T) {
	h := newRig(t)
	src := memsource.New(memsource.Options{})
	state := map[string]string{}
	rng := uint64(1)
	next := func(n uint64) uint64 { rng = rng*6364136223846793005 + 1442695040888963407; return rng >> 33 % n }
	var ids []format.Hash
	var states []map[string]string
	for range 6 {
		for range 150 {
			k := fmt.Sprintf("k/%03d", next(400))
			if next(3) == 0 {
				src.Delete(k)
				delete(state, k)
				continue
			}
			v := fmt.Sprint(next(1 << 20))
			src.Put(k, []byte(v))
			state[k] = v
		}
		ids = append(ids, h.run("uploads", src))
		states = append(states, maps.Clone(state))
	}
	for i := range ids {
		for j := range ids {
			var want []string
			for k := range states[i] {
				if _, ok := states[j][k]; !ok {
					want = append(want, k+" removed")
				}
			}
			for k, v := range states[j] {
				if old, ok := states[i][k]; !ok {
					want = append(want, k+" added")
				} else if old != v {
					want = append(want, k+" changed")
				}
			}
			slices.Sort(want)
			var got []string
			for _, s := range h.diff(ids[i], ids[j]) {
				f := strings.Fields(s)
				if f[0] == "changed" && f[2] == "modified" {
					continue // put again with the same content
				}
				got = append(got, f[1]+" "+f[0])
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d to %d: got %q\nwant %q", i, j, got, want)
			}
		}
	}
}

func TestMatchVersions(t *testing.T) {
	v := func(id, sum string) *format.Entry {
		return &format.Entry{Key: "k", Version: id, SHA256: format.Hash{0: sum[0]}}
	}
	for _, c := range []struct {
		name string
		a, b []*format.Entry
		want string
	}{
		{"one each, other IDs", []*format.Entry{v("1", "x")}, []*format.Entry{v("2", "x")}, ""},
		{"one each, other content", []*format.Entry{v("1", "x")}, []*format.Entry{v("2", "y")}, "changed 1>2"},
		{"a version more", []*format.Entry{v("1", "x")}, []*format.Entry{v("1", "x"), v("2", "y")}, "added >2"},
		{"the oldest gone", []*format.Entry{v("1", "x"), v("2", "y")}, []*format.Entry{v("2", "y"), v("3", "z")}, "added >3 removed 1>"},
		{"nothing", nil, []*format.Entry{v("1", "x")}, "added >1"},
	} {
		var got []string
		for _, ch := range match("k", c.a, c.b) {
			s := string(ch.Kind) + " "
			if ch.Old != nil {
				s += ch.Old.Version
			}
			s += ">"
			if ch.New != nil {
				s += ch.New.Version
			}
			got = append(got, s)
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s: %q, want %q", c.name, g, c.want)
		}
	}
}

func TestWhat(t *testing.T) {
	base := func() *format.Entry {
		return &format.Entry{Kind: format.KindFile, Key: "k", Size: 3, Modified: format.At(time.Unix(1, 0)), SHA256: format.Hash{1},
			File: &format.File{Mode: 0o644, Xattrs: map[string][]byte{"user.a": []byte("b")}}}
	}
	for want, change := range map[string]func(*format.Entry){
		"": func(e *format.Entry) {
			e.TagsRead = 9
			e.Recheck = true
			e.File.Inode = 7
			e.ETag = "x"
			e.File.Changed = format.At(time.Unix(9, 0))
		},
		"kind":          func(e *format.Entry) { e.Kind = format.KindSymlink },
		"content":       func(e *format.Entry) { e.SHA256[0]++ },
		"missing":       func(e *format.Entry) { e.Missing = "denied" },
		"modified":      func(e *format.Entry) { e.Modified = format.At(time.Unix(2, 0)) },
		"storage_class": func(e *format.Entry) { e.StorageClass = "GLACIER" },
		"headers":       func(e *format.Entry) { e.CacheControl = "no-store" },
		"metadata":      func(e *format.Entry) { e.Metadata = map[string]string{"a": "b"} },
		"tags":          func(e *format.Entry) { e.Tags = map[string]string{"a": "b"} },
		"mode":          func(e *format.Entry) { e.File.Mode = 0o600 },
		"owner":         func(e *format.Entry) { e.File.UID = 5 },
		"target":        func(e *format.Entry) { e.File.Target = "x" },
		"device":        func(e *format.Entry) { e.File.Rdev = 5 },
		"xattrs":        func(e *format.Entry) { e.File.Xattrs["user.a"] = []byte("c") },
	} {
		e := base()
		change(e)
		if got := strings.Join(what(base(), e), ","); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// No spelling of a POINT's time is read in two ways.
func TestParseTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "at"), 0).UTC()
		got, err := parseTime(at.Format(time.RFC3339))
		if err != nil || at.Before(got) != true || at.Add(time.Second).Before(got) {
			t.Fatalf("%s: signed before %s: %v", at, got, err)
		}
		day, err := parseTime(at.Format(time.DateOnly))
		if err != nil || !at.Before(day) || at.Add(24*time.Hour).Before(day) {
			t.Fatalf("%s: signed before %s: %v", at, day, err)
		}
	})
}
