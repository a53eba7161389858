package restore_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestUnusableEntries: an entry of a kind that nobody here knows, one whose key is no path, and the second of two for one
// path cost themselves, by name, and everything else is restored.
func TestUnusableEntries(t *testing.T) {
	foreign := func(line string) *format.Entry {
		e, err := format.ParseEntry([]byte(line))
		if err != nil || !errors.Is(e.Unusable, format.ErrUnknownKind) {
			t.Fatalf("%s: %v", line, err)
		}
		return e
	}
	file := func(key string) *format.Entry {
		return &format.Entry{Kind: format.KindFile, Key: key, File: &format.File{Mode: 0o644}, SHA256: sha256.Sum256(nil)}
	}
	dir := func(key string) *format.Entry {
		return &format.Entry{Kind: format.KindDir, Key: key, File: &format.File{Mode: 0o755}}
	}
	link := func(key string) *format.Entry {
		return &format.Entry{Kind: format.KindSymlink, Key: key, File: &format.File{Mode: 0o777, Target: "a"}}
	}
	for name, c := range map[string]struct {
		bad  *format.Entry // behind whatever has its path
		more *format.Entry // stands before it
		want error
	}{
		"an unknown kind":                  {foreign(`{"kind":"volume","key":"m","size":7,"colour":"red"}`), nil, format.ErrUnknownKind},
		"an unknown kind of many versions": {foreign(`{"kind":"volume","key":"m","version_id":"2"}`), foreign(`{"kind":"volume","key":"m","version_id":"1"}`), format.ErrUnknownKind},
		"a way out":                        {file("../m"), nil, format.ErrMalformed},
		"a way out within":                 {file("m/../../m"), nil, format.ErrMalformed},
		"an absolute path":                 {file("/m"), nil, format.ErrMalformed},
		"two slashes":                      {file("m//m"), nil, format.ErrMalformed},
		"a zero byte":                      {file("m\x00"), nil, format.ErrMalformed},
		"a folder above":                   {dir("m/../"), nil, format.ErrMalformed},
		"a link outside":                   {link("../m"), nil, format.ErrMalformed},
		"a file twice":                     {file("m"), file("m"), format.ErrMalformed},
		"a folder for a link":              {dir("m/"), link("m"), format.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			entries := []*format.Entry{file("a"), c.bad, file("z")}
			good := []string{"a", "z"}
			if c.more != nil {
				entries = append(entries, c.more)
				if c.more.Unusable == nil {
					good = append(good, c.more.Key)
				}
			}
			// Of one key the first of two is the one that was given last.
			slices.SortStableFunc(entries, func(a, b *format.Entry) int {
				if a.Key == b.Key {
					return strings.Compare(a.Version, b.Version)
				}
				return strings.Compare(a.Key, b.Key)
			})
			for _, versions := range []bool{false, true} {
				r := restoretest.New(t)
				to := &memory{versions: versions}
				var failed []restore.Failure
				res, err := restore.Run(t.Context(), restore.Options{
					Reader: r.Reader(nil), Commit: r.Point(64, entries...), Target: to, Failed: func(f restore.Failure) { failed = append(failed, f) },
				})
				if err != nil {
					t.Fatal(err)
				}
				slices.Sort(to.order)
				slices.Sort(good)
				if !slices.Equal(to.order, good) {
					t.Errorf("restored %q, want %q", to.order, good)
				}
				want := len(entries) - len(good)
				if !versions && name == "an unknown kind of many versions" {
					want = 1 // only the current one is asked for
				}
				if len(failed) != want || res.Failed != int64(want) || res.Missing != 0 || res.Entries != int64(len(good)) {
					t.Fatalf("%+v", res)
				}
				if f := failed[0]; f.Key != c.bad.Key || !errors.Is(f.Err, c.want) || f.Missing {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}
