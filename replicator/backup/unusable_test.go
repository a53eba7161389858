package backup_test

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// plantEntry makes a point of the rig's source whose manifest is one page of these lines.
func plantEntry(r *rig, lines ...string) {
	r.t.Helper()
	ctx := context.Background()
	s, err := r.session(ctx)
	check := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	check(err)
	defer func() { check(s.Close()) }()
	until := r.clock.Add(35 * 24 * time.Hour).Truncate(time.Second)
	check(s.Begin(until))
	var page []byte
	ref := format.PageRef{Entries: int64(len(lines))}
	for i, line := range lines {
		e, err := format.ParseEntry([]byte(line))
		check(err)
		if i == 0 {
			ref.First = e.Key
		}
		ref.Bytes += e.Size
		page = append(page, line...)
	}
	store := func(sink tree.Sink, ref format.PageRef, page []byte) format.PageRef {
		b := manifestOf(sink, ref.Object == "")
		ref.Object = ""
		check(b.Leaf(ctx, ref, page))
		root, err := b.Root(ctx)
		check(err)
		check(sink.Seal(ctx))
		return root
	}
	manifest := store(s.Writer.MetaSink(), ref, page)
	needs := s.Repository().Standing()
	size, _, err := s.Content.Size(manifest.Object)
	check(err)
	needs = append(needs, format.Need{Name: manifest.Object, Size: size, Living: manifest.Frame.Offset + manifest.Frame.Length, Pages: format.Pages{0, manifest.Frame.Offset + manifest.Frame.Length}})
	sortNeeds(needs)
	var list []byte
	want := format.PageRef{Object: "needs", First: needs[0].Name, Entries: int64(len(needs))}
	for _, n := range needs {
		list, err = n.AppendLine(list)
		check(err)
		want.Bytes += n.Size
	}
	root := store(s.Writer.NeedsSink(), want, list)
	_, err = s.Commit(ctx, &format.Commit{
		Source: "uploads", SourceKind: "s3", TakenAt: format.At(r.clock), RetainUntil: format.At(until), Mode: "compliance",
		Status: format.StatusComplete, Entries: manifest.Entries, Bytes: manifest.Bytes, Manifest: manifest, Needs: root,
	})
	check(err)
	r.clock = r.clock.Add(time.Hour)
}

// TestUnusableEntriesOfTheParent: a run goes on from a point with entries that it can do nothing with. What the source
// lists is in the new point, whatever the last one said of its key.
func TestUnusableEntriesOfTheParent(t *testing.T) {
	empty := format.Hash(sha256.Sum256(nil)).String()
	for name, line := range map[string]string{
		"an unknown kind":                  `{"kind":"volume","key":"k/0000a","size":7,"colour":"red"}`,
		"an unknown kind of a listed key":  `{"kind":"volume","key":"k/0001","size":7,"colour":"red"}`,
		"an unknown kind before all":       `{"kind":"document","key":"a"}`,
		"an unknown kind behind all":       `{"kind":"document","key_b64":"/2FjbA=="}`,
		"a path that leads out":            `{"kind":"file","key":"k/../0000","size":0,"file":{"mode":"0644"},"sha256":"` + empty + `"}`,
		"a path that leads out, of a list": `{"kind":"file","key":"k//0001","size":0,"file":{"mode":"0644"},"sha256":"` + empty + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			src := memsource.New(memsource.Options{Now: r.now})
			r.source = src
			want := fill(src, 20)
			plantEntry(r, line+"\n")
			for i, changed := range []int64{1, 0} {
				r.clock = r.clock.Add(time.Hour)
				res := r.run()
				if res.Status != format.StatusComplete || res.Entries != 20 || res.Missing != 0 || res.Emptied != nil {
					t.Fatalf("%+v, %v", res, r.missing)
				}
				if res.Deleted+res.Changed != changed {
					t.Errorf("run %d: %+v", i, res)
				}
				equal(t, r.contents(0, res.Point), want)
			}
		})
	}
}

// TestUnusableAlone: a point that holds nothing but what this version does not know was no source full of things.
func TestUnusableAlone(t *testing.T) {
	r := newRig(t, 1)
	r.source = memsource.New(memsource.Options{Now: r.now})
	plantEntry(r, `{"kind":"document","key":"policy"}`+"\n")
	r.clock = r.clock.Add(time.Hour)
	if res := r.run(); res.Emptied != nil || res.Status != format.StatusComplete {
		t.Errorf("%+v", res)
	}
}

// TestPathsThatNoPointTakes: what a source lists under keys that are no paths, or twice, is missing under its name.
func TestPathsThatNoPointTakes(t *testing.T) {
	file := func(key string) format.Entry {
		return format.Entry{Kind: format.KindFile, Key: key, File: &format.File{Mode: 0o644}}
	}
	dir := func(key string) format.Entry {
		return format.Entry{Kind: format.KindDir, Key: key, File: &format.File{Mode: 0o755}}
	}
	for name, c := range map[string]struct {
		add  []format.Entry
		bad  string
		why  string
		good int64
	}{
		"a way out":           {[]format.Entry{file("k/../x")}, "k/../x", `a segment ".."`, 0},
		"from the root":       {[]format.Entry{file("/x")}, "/x", "begins with a slash", 0},
		"two slashes":         {[]format.Entry{file("k//x")}, "k//x", "two in a row", 0},
		"a zero byte":         {[]format.Entry{file("k/\x00")}, "k/\x00", "a zero byte", 0},
		"a dot":               {[]format.Entry{dir("k/./")}, "k/./", `a segment "."`, 0},
		"a file and a folder": {[]format.Entry{file("k/x"), file("k/x.txt"), dir("k/x/")}, "k/x/", "twice", 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			src := memsource.New(memsource.Options{Now: r.now})
			r.source = src
			fill(src, 20)
			for _, e := range c.add {
				src.PutEntry(e, nil)
			}
			for range 2 {
				r.clock = r.clock.Add(time.Hour)
				res := r.run()
				if res.Status != format.StatusIncomplete || res.Missing != 1 || res.Entries != 21+c.good {
					t.Fatalf("%+v, %v", res, r.missing)
				}
				if e := r.entry(res.Point, c.bad); e == nil || !strings.Contains(e.Missing, c.why) || e.Unusable != nil {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

func sortNeeds(ns []format.Need) {
	for i := range ns {
		for j := i; j > 0 && ns[j].Name < ns[j-1].Name; j-- {
			ns[j], ns[j-1] = ns[j-1], ns[j]
		}
	}
}

// manifestOf makes a builder of a manifest, or of a plain tree.
func manifestOf(sink tree.Sink, manifest bool) *tree.Builder {
	b := tree.NewBuilder(sink, tree.Cut{Leaf: 64, Fanout: 64}, nil, nil)
	if manifest {
		return b.Salted("")
	}
	return b
}
