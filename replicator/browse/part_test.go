package browse

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
)

func TestSplit(t *testing.T) {
	for spec, want := range map[string][2]string{
		"site@latest":                         {"site@latest", ""},
		"site@latest:":                        {"site@latest", ""},
		"site@latest:var/www":                 {"site@latest", "var/www"},
		"site@clean:a:b:c":                    {"site@clean", "a:b:c"},
		"site@2026-11-23:12/x":                {"site@2026-11-23", "12/x"},
		"site@2026-11-23T12:00:00Z":           {"site@2026-11-23T12:00:00Z", ""},
		"site@2026-11-23T12:00:00Z:a@b":       {"site@2026-11-23T12:00:00Z", "a@b"},
		"site@2026-11-23T12:00:00.5+02:00":    {"site@2026-11-23T12:00:00.5+02:00", ""},
		"site@2026-11-23T12:00:00+02:00:30:x": {"site@2026-11-23T12:00:00+02:00", "30:x"},
		"abcd:ef01":                           {"abcd", "ef01"},
		"abcd":                                {"abcd", ""},
		strings.Repeat("0", 64) + ":/x":       {strings.Repeat("0", 64), "/x"},
		"abc:x":                               {"abc:x", ""},
		"site:var/www":                        {"site:var/www", ""},
		"site@2026-11-23T12:00:var/www":       {"site@2026-11-23T12:00:var/www", ""},
		"":                                    {"", ""},
		":":                                   {":", ""},
		"site@latest:site@latest:x":           {"site@latest", "site@latest:x"},
		"site@latest:2026-11-23T12:00:00Z":    {"site@latest", "2026-11-23T12:00:00Z"},
		"site@latest:\xff:\x00":               {"site@latest", "\xff:\x00"},
		"SITE@latest:x":                       {"SITE@latest:x", ""},
		strings.Repeat("0", 65) + ":" + "something": {strings.Repeat("0", 65) + ":something", ""},
	} {
		if point, prefix := Split(spec); point != want[0] || prefix != want[1] {
			t.Errorf("%q: %q and %q, want %q", spec, point, prefix, want)
		}
	}
}

func TestFindPart(t *testing.T) {
	h := newRig(t)
	src := memsource.New(memsource.Options{})
	for _, key := range []string{"a", "ab", "ab/x", "b/1", "b/2/3", "b/2/4", "b-c", "/lead/x", "c//d", "www/index.html", "www/img/1.png"} {
		src.Put(key, []byte(key))
	}
	p := h.point(h.run("uploads", src))
	for prefix, want := range map[string]string{
		"": "", "a": "a", "b": "b/", "b/": "b/", "b/2": "b/2/", "b/1": "b/1", "b-c": "b-c", "ab/": "ab/", "ab/x": "ab/x",
		"/lead": "/lead/", "c": "c/", "c/": "c/", "c//": "c//", "c//d": "c//d", "/": "/", "www": "www/",
	} {
		if got, err := FindPart(t.Context(), h.reader(), p.Commit, prefix); err != nil || got.String() != want {
			t.Errorf("%q: %q, %v; want %q", prefix, got, err, want)
		}
	}
	for prefix, want := range map[string]struct {
		err  error
		text string
	}{
		"ab":              {ErrTwoParts, `write "ab/" for the folder`},
		"a/":              {ErrNoPart, `there is "a", "ab", "ab/", "/", "b-c", ..`},
		"w":               {ErrNoPart, `there is "www/", "/"`},
		"b/2/5":           {ErrNoPart, `there is "b/2/3", "b/2/4"`},
		"b/1/x":           {ErrNoPart, `there is "b/1", "b/2/"`},
		"/www/":           {ErrNoPart, `there is "www/",`},
		"./www":           {ErrNoPart, `there is "www/",`},
		"WWW/Index.html":  {ErrNoPart, `there is "www/",`},
		"www/index.htm":   {ErrNoPart, `there is "www/index.html", "www/img/"`},
		"www/img/2/3/4/5": {ErrNoPart, `there is "www/img/1.png"`},
	} {
		if got, err := FindPart(t.Context(), h.reader(), p.Commit, prefix); !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%q: %q, %v; want %v with %q", prefix, got, err, want.err, want.text)
		}
	}
}

// Where the pages are lost that would tell, that is the answer, and not that there is no such thing.
func TestFindPartOfWhatIsLost(t *testing.T) {
	h := newHistory(t)
	p := h.point(h.a)
	for info, err := range h.vault.Versions(t.Context(), "meta/", "") {
		if err == nil {
			err = h.vault.Attacker().Lose(store.Ref{Name: info.Ref.Name, Version: info.Ref.Version})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := FindPart(t.Context(), h.reader(), p.Commit, "a"); err == nil || errors.Is(err, ErrNoPart) {
		t.Errorf("%q, %v", got, err)
	}
}
