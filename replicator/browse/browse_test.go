package browse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// history is a vault with some points: uploads at 12:00, 13:00 and 15:00 of one day, site at 14:00.
type history struct {
	*rig
	a, b, c, site format.Hash
}

func newHistory(t *testing.T) *history {
	h := &history{rig: newRig(t)}
	src := memsource.New(memsource.Options{})
	for i := range 200 {
		src.Put(fmt.Sprintf("a/%03d", i), []byte(fmt.Sprint("content ", i)))
	}
	src.Put("logs/x.gz", []byte("x"))
	h.a = h.run("uploads", src)
	src.Put("a/100", []byte("other"))
	src.Delete("a/050")
	src.Put("b/new", []byte("new"))
	h.b = h.run("uploads", src)
	h.site = h.run("site", src)
	src.Put("logs/y.gz", []byte("y"))
	h.c = h.run("uploads", src)
	return h
}

func TestPoints(t *testing.T) {
	h := newHistory(t)
	var got []format.Hash
	for p, err := range Points(t.Context(), h.view(), "") {
		if err != nil || p.Err != nil {
			t.Fatal(err, p.Err)
		}
		if !p.Complete() || p.Late || p.Commit.Entries < 200 || p.Commit.RetainUntil.Before(h.clock) {
			t.Errorf("%+v", p.Commit)
		}
		got = append(got, p.ID)
	}
	if want := []format.Hash{h.site, h.a, h.b, h.c}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got = nil
	for p, err := range NewestFirst(t.Context(), h.view(), "uploads") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, p.ID); len(got) == 2 {
			break
		}
	}
	if want := []format.Hash{h.c, h.b}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A point that cannot be read is listed all the same.
func TestPointsWithDamage(t *testing.T) {
	h := newHistory(t)
	p := h.point(h.b)
	if err := h.vault.Attacker().Damage(store.Ref{Name: p.Name, Version: p.Version}, func(b []byte) []byte { b[9] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	n, broken := 0, 0
	for p, err := range Points(t.Context(), h.view(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if p.Err != nil {
			broken++
			if p.ID != h.b || p.Commit != nil || p.Complete() {
				t.Errorf("%+v", p)
			}
		}
	}
	if n != 4 || broken != 1 {
		t.Errorf("%d points, %d broken", n, broken)
	}
	// The newest that can be read is taken, and what was passed over is reported.
	h.findings = nil
	got, err := Resolve(t.Context(), h.view(), "uploads@2026-11-23T14:30:00Z", false)
	if err != nil || got.ID != h.a || len(h.findings) == 0 {
		t.Errorf("%v, %v, reported %v", got.ID, err, h.findings)
	}
	if _, err := Resolve(t.Context(), h.view(), h.b.String(), false); !errors.Is(err, repo.ErrDamaged) {
		t.Errorf("by its ID: %v", err)
	}
}

// Where the list of earlier points is lost nobody can tell whether points are withheld, and that is said.
func TestAListThatIsLost(t *testing.T) {
	h := newHistory(t)
	var newest Point
	for p, err := range Points(t.Context(), h.view(), "uploads") {
		if err != nil {
			t.Fatal(err)
		}
		newest = p
	}
	list := newest.Commit.Points
	if list.Entries == 0 || len(h.findings) > 0 {
		t.Fatalf("%d earlier points, reported %v", list.Entries, h.findings)
	}
	for info, err := range h.vault.Versions(t.Context(), list.Object, "") {
		if err == nil {
			err = h.vault.Attacker().Lose(info.Ref)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for p, err := range Points(t.Context(), h.view(), "uploads") {
		if n++; err != nil || p.Err != nil {
			t.Fatal(err, p.Err)
		}
	}
	if n < 2 || len(h.findings) != 1 || h.findings[0].Kind != repo.Missing || h.findings[0].Name != list.Object {
		t.Errorf("%d points, reported %v", n, h.findings)
	}
}

func TestResolve(t *testing.T) {
	h := newHistory(t)
	for spec, want := range map[string]format.Hash{
		h.a.String():                        h.a,
		h.b.String()[:12]:                   h.b,
		"uploads@latest":                    h.c,
		"site@latest":                       h.site,
		"uploads@2026-11-23":                h.c,
		"uploads@2026-11-24":                h.c,
		"uploads@2026-11-23T12:00:00Z":      h.a,
		"uploads@2026-11-23T12:59:59Z":      h.a,
		"uploads@2026-11-23T13:00:00Z":      h.b,
		"uploads@2026-11-23T15:00:00+02:00": h.b,
		"uploads@2026-11-23T14:59:59.5Z":    h.b,
		"site@2026-11-23T23:00:00Z":         h.site,
	} {
		if got, err := Resolve(t.Context(), h.view(), spec, false); err != nil || got.ID != want || got.Commit == nil {
			t.Errorf("%s: %v, %v; want %v", spec, got.ID, err, want)
		}
	}
	for spec, want := range map[string]struct {
		err  error
		help string
	}{
		"0000000000":                   {ErrNotFound, "holdfast points"},
		"uploads@2026-11-22":           {ErrNotFound, "2026-11-23T12:00:00Z"},
		"uploads@2026-11-23T11:59:59Z": {ErrNotFound, "oldest"},
		"nothing@latest":               {ErrNotFound, "site, uploads"},
		"":                             {ErrSpec, "SOURCE@latest"},
		"abc":                          {ErrSpec, "ID"},
		"xyz123":                       {ErrSpec, ""},
		h.a.String() + "0":             {ErrSpec, ""},
		"uploads@":                     {ErrSpec, ""},
		"@latest":                      {ErrSpec, ""},
		"uploads@yesterday":            {ErrSpec, ""},
		"uploads@2026-02-30":           {ErrSpec, ""},
		"UPLOADS@latest":               {ErrSpec, ""},
	} {
		if _, err := Resolve(t.Context(), h.view(), spec, true); !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.help) {
			t.Errorf("%q: %v; want %v with %q", spec, err, want.err, want.help)
		}
	}
}

func TestResolveAmbiguous(t *testing.T) {
	h := newRig(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("a"))
	id := h.run("uploads", src)
	s := h.session()
	c := h.point(id).Commit
	seen := map[string]int{}
	prefix := ""
	for n := 0; prefix == ""; n++ { // some hundred of points share four digits soon enough
		if err := s.Begin(c.RetainUntil.Time); err != nil {
			t.Fatal(err)
		}
		id := must(s.Commit(t.Context(), c))(t)
		h.clock = h.clock.Add(time.Second)
		if seen[id.String()[:4]]++; seen[id.String()[:4]] == 2 {
			prefix = id.String()[:4]
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(t.Context(), h.view(), prefix, false); !errors.Is(err, ErrAmbiguous) || strings.Count(err.Error(), "(uploads, ") != 2 {
		t.Errorf("%s: %v", prefix, err)
	}
}

// TestResolveMarked: points marked as empty are passed over, and that is told; a point's ID takes them.
func TestResolveMarked(t *testing.T) {
	h := newRig(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("a"))
	whole := h.run("uploads", src)
	mark := func(source, status string, marks ...string) format.Hash {
		return h.again(whole, func(c *format.Commit) { c.Source, c.Status, c.Marks = source, status, marks })
	}
	other := mark("uploads", format.StatusComplete, "other")
	mark("uploads", format.StatusComplete, format.MarkEmpty)
	newest := mark("uploads", format.StatusIncomplete, format.MarkEmpty)
	mark("site", format.StatusIncomplete)
	mark("site", format.StatusComplete, format.MarkEmpty)
	mark("gone", format.StatusComplete, format.MarkEmpty)
	for _, c := range []struct {
		spec   string
		allow  bool
		want   format.Hash
		passed int
		err    error
	}{
		{"uploads@latest", true, other, 2, nil},
		{"uploads@clean", true, whole, 3, nil},
		{"uploads@" + h.clock.Format(time.RFC3339), false, other, 2, nil},
		{newest.String(), false, newest, 0, nil},
		{"site@latest", false, format.Hash{}, 0, ErrOnlyIncomplete},
		{"gone@latest", true, format.Hash{}, 0, ErrOnlyEmpty},
		{"gone@clean", true, format.Hash{}, 0, ErrOnlyEmpty},
	} {
		v, passed := h.view(), 0
		v.PassedOver = func(n int, p Point) {
			passed = n
			if p.ID != newest {
				t.Errorf("%s: the newest that is passed over is %s", c.spec, p.ID)
			}
		}
		if got, err := Resolve(t.Context(), v, c.spec, c.allow); !errors.Is(err, c.err) || got.ID != c.want || passed != c.passed {
			t.Errorf("%s: %s, %d passed over, %v", c.spec, got.ID, passed, err)
		}
	}
}

func TestResolveIncomplete(t *testing.T) {
	h := newRig(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("a"))
	whole := h.run("uploads", src)
	half := func(source string) format.Hash {
		return h.again(whole, func(c *format.Commit) { c.Source, c.Status = source, format.StatusIncomplete })
	}
	half("uploads")
	if got, err := Resolve(t.Context(), h.view(), "uploads@latest", true); err != nil || got.ID != whole {
		t.Errorf("a complete point is there: %v, %v", got.ID, err)
	}
	half("site")
	newest := half("site")
	if _, err := Resolve(t.Context(), h.view(), "site@latest", false); !errors.Is(err, ErrOnlyIncomplete) || !strings.Contains(err.Error(), newest.String()) {
		t.Errorf("only incomplete ones: %v", err)
	}
	if got, err := Resolve(t.Context(), h.view(), "site@latest", true); err != nil || got.ID != newest {
		t.Errorf("allowed: %v, %v", got.ID, err)
	}
	if got, err := Resolve(t.Context(), h.view(), newest.String(), false); err != nil || got.ID != newest {
		t.Errorf("by ID: %v, %v", got.ID, err)
	}
}

func TestList(t *testing.T) {
	h := newHistory(t)
	for prefix, want := range map[string]int{"": 201, "a/": 199, "a/09": 10, "a/050": 0, "b/new": 1, "b/new/": 0, "\xff": 0, "zzz": 0} {
		n := 0
		for e, err := range List(t.Context(), h.reader(), h.point(h.b).Commit, prefix) {
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(e.Key, prefix) {
				t.Errorf("%q does not begin with %q", e.Key, prefix)
			}
			n++
		}
		if n != want {
			t.Errorf("%q: %d entries, want %d", prefix, n, want)
		}
	}
	noKey := must(repo.NewReader(h.view().Repository, h.vault, nil, nil, nil))(t)
	for _, err := range List(t.Context(), noKey, h.point(h.b).Commit, "") {
		if !errors.Is(err, repo.ErrNeedKey) {
			t.Errorf("without a key: %v", err)
		}
	}
}

func TestFind(t *testing.T) {
	h := newHistory(t)
	find := func(source, pattern string) []string {
		var out []string
		for hit, err := range Find(context.Background(), h.view(), h.reader(), source, must(ParsePattern(pattern))(t)) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s %s %s", hit.Point.Source, hit.Point.SignedAt.Format("15"), hit.Entry.Key))
		}
		return out
	}
	nothing := []string{}
	for _, c := range []struct {
		source, pattern string
		want            []string
	}{
		{"", "**/*.gz", []string{"uploads 15 logs/x.gz", "uploads 15 logs/y.gz", "site 14 logs/x.gz", "uploads 13 logs/x.gz", "uploads 12 logs/x.gz"}},
		{"uploads", "a/050", []string{"uploads 12 a/050"}},
		{"site", "b/*", []string{"site 14 b/new"}},
		{"", "a/0\\50", []string{"uploads 12 a/050"}},
		{"uploads", "050", []string{"uploads 12 a/050"}}, // a bare name, in any folder
		{"site", "logs", nothing},
		{"", "new", []string{"uploads 15 b/new", "site 14 b/new", "uploads 13 b/new"}},
		{"", "a/[0]5?", nil},
	} {
		got := find(c.source, c.pattern)
		if c.want == nil {
			if len(got) != 4*10-3 {
				t.Errorf("%s: %d hits", c.pattern, len(got))
			}
		} else if !slices.Equal(got, c.want) {
			t.Errorf("%q %q: %q, want %q", c.source, c.pattern, got, c.want)
		}
	}
	// A point whose manifest is lost is reported, and the others are searched. Pages of it that are found without its root may be
	// of an earlier point, as the report says; where the chunk key cut them decides.
	h.findings = nil
	lost := h.point(h.c).Commit.Manifest.Object
	for info := range h.vault.Versions(t.Context(), lost, "") {
		if err := h.vault.Attacker().Lose(info.Ref); err != nil {
			t.Fatal(err)
		}
	}
	got := find("", "a/050")
	others := slices.DeleteFunc(slices.Clone(got), func(hit string) bool { return hit == "uploads 15 a/050" })
	if !slices.Equal(others, []string{"uploads 12 a/050"}) || len(h.findings) != 1 || h.findings[0].Kind != repo.Missing || h.findings[0].Name != lost {
		t.Errorf("%q, reported %v", got, h.findings)
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"a", "a", true}, {"a", "x/a", true}, {"a", "x/a/", true}, {"a", "a/", true}, {"a", "a/x", false}, {"a", "xa", false}, {"a", "x/a.b", false},
		{"!a", "x/!a", true}, {"a/b", "a/b", true}, {"a/b", "x/a/b", false}, {"*a", "x/a", false}, {"*a", "xa", true}, {"tmp/", "tmp/x", true},
	} {
		if got := must(ParsePattern(c.pattern))(t).Match(c.key); got != c.want {
			t.Errorf("%q, %q: %v", c.pattern, c.key, got)
		}
	}
	if _, err := ParsePattern(""); err == nil {
		t.Error("an empty one is taken")
	}
}

// A commit object that arrives long after it was signed is listed, and marked.
func TestLate(t *testing.T) {
	h := newRig(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("a"))
	p := h.point(h.run("uploads", src))
	body := must(io.ReadAll(must(h.vault.Open(t.Context(), store.Ref{Name: p.Name, Version: p.Version}, 0, -1))(t)))(t)
	if err := h.vault.Attacker().Lose(store.Ref{Name: p.Name, Version: p.Version}); err != nil {
		t.Fatal(err)
	}
	h.clock = h.clock.Add(time.Hour)
	if _, err := h.vault.Put(t.Context(), p.Name, bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: p.ID}); err != nil {
		t.Fatal(err)
	}
	if got := h.point(p.ID); !got.Late {
		t.Errorf("signed %s, arrived %s, not late", got.SignedAt, got.Arrived)
	}
}
