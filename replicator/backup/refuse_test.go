package backup_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// many gives a map of n pairs.
func many(n int) map[string]string {
	out := map[string]string{}
	for i := range n {
		out[fmt.Sprintf("name-%d", i)] = "v"
	}
	return out
}

// TestWhatNoPointCanHold: an entry that the format refuses is missing, under its name or as much of it as there is room for,
// and all others are there. Whatever anybody puts into a source must not stop its backups.
func TestWhatNoPointCanHold(t *testing.T) {
	long := strings.Repeat("n", format.MaxKey)
	file := func(f format.File) *format.File { return &f }
	for name, c := range map[string]struct {
		entry format.Entry
		key   string // under which it is missing, if it is another
		why   string
	}{
		"a year of five digits":     {entry: format.Entry{Key: "k/bad", Modified: format.At(time.Date(60056, 1, 1, 0, 0, 0, 0, time.UTC))}, why: "year 60056"},
		"before the year 0":         {entry: format.Entry{Key: "k/bad", Modified: format.At(time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC))}, why: "year -5"},
		"a ctime out of range":      {entry: format.Entry{Key: "k/bad", Kind: format.KindFile, File: file(format.File{Changed: format.At(time.Date(60056, 1, 1, 0, 0, 0, 0, time.UTC))})}, why: "year 60056"},
		"a name too long":           {entry: format.Entry{Key: "k/" + long}, key: "k/" + long[2:], why: "a name of 65538 bytes"},
		"a folder's name too long":  {entry: format.Entry{Key: "k/" + long + "/", Kind: format.KindDir}, key: "k/" + long[2:], why: "SHA-256 of the whole begins with"},
		"a name that is cut behind": {entry: format.Entry{Key: "k/" + long[3:] + "/x", Kind: format.KindFile}, key: "k/" + long[3:] + "/", why: "a name of"},
		"no name":                   {entry: format.Entry{}, key: "\x00", why: "it has no name"},
		"an unknown kind":           {entry: format.Entry{Key: "k/bad", Kind: "volume"}, why: "unknown kind"},
		"a file without slash":      {entry: format.Entry{Key: "k/bad", Kind: format.KindDir}, why: "end in a slash"},
		"an unknown special":        {entry: format.Entry{Key: "k/bad", Kind: format.KindSpecial, File: file(format.File{Type: "door"})}, why: "door"},
		"an odd mode":               {entry: format.Entry{Key: "k/bad", Kind: format.KindFile, File: file(format.File{Mode: 0o170000})}, why: "mode"},
		"a link to nowhere":         {entry: format.Entry{Key: "k/bad", Kind: format.KindSymlink}, why: "target"},
		"an ETag of 5 MiB":          {entry: format.Entry{Key: "k/bad", ETag: strings.Repeat("e", 5<<20)}, why: "line of"},
		"20,000 metadata pairs":     {entry: format.Entry{Key: "k/bad", Metadata: many(20_000)}, why: "pairs"},
		"metadata of 5 MiB":         {entry: format.Entry{Key: "k/bad", Metadata: map[string]string{"m": strings.Repeat("\x01", 1<<20)}}, why: "line of"},
		"20,000 attributes":         {entry: format.Entry{Key: "k/bad", Kind: format.KindFile, File: file(format.File{Xattrs: attributes(20_000)})}, why: "extended attributes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			src := memsource.New(memsource.Options{Now: r.now})
			r.source = src
			want := fill(src, 60)
			r.clock = r.clock.Add(time.Hour)
			src.PutEntry(c.entry, nil)
			key := c.key
			if key == "" {
				key = c.entry.Key
			}
			for _, when := range []string{"first", "again"} {
				res := r.run()
				equal(t, r.contents(0, res.Point), want)
				if res.Status != format.StatusIncomplete || res.Missing != 1 || res.Entries != 61 || len(r.missing) != 1 {
					t.Fatalf("%s: %+v, %d told", when, res, len(r.missing))
				}
				if e := r.entry(res.Point, key); e == nil || !strings.Contains(e.Missing, c.why) {
					t.Errorf("%s: %+v", when, e)
				}
				r.clock = r.clock.Add(time.Hour)
			}
			src.Delete(c.entry.Key)
			if res := r.run(); res.Status != format.StatusComplete || res.Missing != 0 || res.Deleted != 1 {
				t.Errorf("gone: %+v", res)
			}
		})
	}
}

func attributes(n int) map[string][]byte {
	out := map[string][]byte{}
	for k := range many(n) {
		out["user."+k] = nil
	}
	return out
}

// TestManyLongNames: names longer than the bound share their beginnings, and stay in order among those that fit.
func TestManyLongNames(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 5)
	long := "a/" + strings.Repeat("\x01", format.MaxKey-10) // six bytes each, as JSON
	for i := range 40 {
		src.Put(fmt.Sprintf("%s/%02d", long, i), nil)
		want[fmt.Sprintf("%s/%02d", long, i)] = nil
		src.Put(fmt.Sprintf("%s/%02d/much too long", long, i), nil)
	}
	r.clock = r.clock.Add(time.Hour)
	res := r.run()
	if res.Missing != 40 || res.Entries != 85 {
		t.Errorf("%+v", res)
	}
	equal(t, r.contents(0, res.Point), want)
}

// TestSizesBeyondAllSums: sizes that add up to more than any number here can say are a matter of the sum alone.
func TestSizesBeyondAllSums(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 60)
	for i := range 5 {
		key := fmt.Sprintf("k/%04d-huge", i*10)
		src.PutReaderAt(format.Entry{Key: key}, memsource.Zeros{}, math.MaxInt64/2)
		src.Fail(key, memsource.Fault{Failure: memsource.Unreadable})
	}
	r.clock = r.clock.Add(time.Hour)
	res := r.run()
	if res.Missing != 5 || res.Bytes != math.MaxInt64 {
		t.Errorf("%+v", res)
	}
	equal(t, r.contents(0, res.Point), want)
}
