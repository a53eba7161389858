package backup_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// entry reads one entry of a point.
func (r *rig) entry(id format.Hash, key string) *format.Entry {
	r.t.Helper()
	rp, err := repo.Find(r.t.Context(), r.stores[0], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	points, err := rp.Points(r.t.Context(), r.stores[0], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	reader, err := repo.NewReader(rp, r.stores[0], []keys.Identity{r.restore}, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range points {
		if p.ID != id {
			continue
		}
		c, err := rp.Commit(r.t.Context(), r.stores[0], p, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		for e, err := range tree.Entries(r.t.Context(), reader.Page, c.Manifest, key, key+"\x00") {
			if err != nil {
				r.t.Fatal(err)
			}
			return e
		}
	}
	return nil
}

func TestVeryLargeObjectsKeepExtents(t *testing.T) {
	r := newRigWith(t, 1, format.Parameters{Chunker: "fastcdc-v1.0.0", MinChunk: 2 << 10, AvgChunk: 8 << 10, MaxChunk: 32 << 10, LeafKeys: 8, Fanout: 8})
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 100)
	huge := body(2, 30<<20)
	copy(huge[20<<20:], make([]byte, 4<<20)) // a hole
	put := func(b []byte) { want["k/huge"] = b; src.Put("k/huge", b) }
	put(huge)
	r.clock = r.clock.Add(time.Hour)
	first := r.run()
	equal(t, r.contents(0, first.Point), want)
	was := r.entry(first.Point, "k/huge")
	if len(was.Extents) < 3 || len(was.Chunks) > 0 {
		t.Fatalf("%d extents, %d chunks", len(was.Extents), len(was.Chunks))
	}
	if first.Vaults[0].Bytes > 28<<20 {
		t.Errorf("the hole was stored: %d bytes", first.Vaults[0].Bytes)
	}

	changed := bytes.Clone(huge)
	copy(changed[27<<20:], "changed here")
	put(changed)
	r.clock = r.clock.Add(time.Hour)
	second := r.run()
	equal(t, r.contents(0, second.Point), want)
	now := r.entry(second.Point, "k/huge")
	if now.Extents[0] != was.Extents[0] {
		t.Error("an unchanged range got a new extent page")
	}
	if second.Vaults[0].Bytes > 1<<20 {
		t.Errorf("a change of twelve bytes stored %d", second.Vaults[0].Bytes)
	}

	src.Delete("k/huge")
	delete(want, "k/huge")
	r.clock = r.clock.Add(time.Hour)
	equal(t, r.contents(0, r.run().Point), want)
}

func TestWhatCannotBeReadIsReadNextTime(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 200)
	r.clock = r.clock.Add(time.Hour)
	src.Fail("k/0050", memsource.Fault{Failure: memsource.Unreadable})
	first := r.run()
	if first.Status != format.StatusIncomplete || first.Missing != 1 {
		t.Fatalf("%+v", first)
	}
	if e := r.entry(first.Point, "k/0050"); e == nil || e.Missing == "" {
		t.Fatalf("the entry that could not be read is recorded as %+v", e)
	}
	src.Heal("k/0050")
	r.clock = r.clock.Add(time.Hour)
	second := r.run()
	if second.Status != format.StatusComplete || second.BytesRead != int64(len(want["k/0050"])) {
		t.Fatalf("%+v", second)
	}
	equal(t, r.contents(0, second.Point), want)
}

func TestWhatChangesUnderTheReadIsReadAgain(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 200)
	want["k/large"] = body(8, 3<<20)
	src.Put("k/large", want["k/large"])
	r.clock = r.clock.Add(time.Hour)
	src.Fail("k/0010", memsource.Fault{Failure: memsource.Changed, Times: 2})
	src.Fail("k/large", memsource.Fault{Failure: memsource.Changed, Times: 1})
	src.Fail("k/0011", memsource.Fault{Failure: memsource.ChangedLate, Times: 1, After: 50})
	src.OnOpen(func(key string, _ int64) {
		if key == "k/0020" {
			src.Delete("k/0030")
		}
	})
	first := r.run()
	if first.Status != format.StatusComplete {
		t.Fatalf("%+v", first)
	}
	got := r.contents(0, first.Point)
	if _, ok := got["k/0030"]; !ok {
		delete(want, "k/0030") // deleted before it was read
	}
	equal(t, got, want)
}

// The same bytes written again within the second of the first reading leave the listing as it was.
func TestMetadataChangedWithinTheSecondIsSeen(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 100)
	moment := format.At(r.clock)
	put := func(color string) {
		for i, key := range []string{"k/0007", "k/large"} {
			want[key] = body(uint64(i), 100+i*3<<20)
			src.PutEntry(format.Entry{Key: key, Modified: moment, Metadata: map[string]string{"color": color}}, want[key])
		}
	}
	put("red")
	r.run()
	put("blue")
	r.clock = r.clock.Add(time.Minute)
	second := r.run()
	for _, key := range []string{"k/0007", "k/large"} {
		if e := r.entry(second.Point, key); e.Metadata["color"] != "blue" || e.Recheck {
			t.Errorf("%s: metadata %v, recheck %v", key, e.Metadata, e.Recheck)
		}
	}
	if second.BytesRead != 0 || second.Changed != 2 {
		t.Errorf("read %d bytes, %d changed", second.BytesRead, second.Changed)
	}
	r.clock = r.clock.Add(time.Minute)
	src.ResetStats()
	if third := r.run(); third.Changed != 0 || src.Stats().Completed != 0 {
		t.Errorf("%+v, %+v: looked again for ever", third, src.Stats())
	}
	equal(t, r.contents(0, second.Point), want)
}

func TestTagsAreReadAgainInRotation(t *testing.T) {
	r := newRig(t, 1)
	r.tags = 7 * 24 * time.Hour
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 100)
	src.SetTags("k/0007", map[string]string{"team": "red"})
	r.clock = r.clock.Add(time.Hour)
	first := r.run()
	if e := r.entry(first.Point, "k/0007"); e.Tags["team"] != "red" {
		t.Fatalf("tags %v", e.Tags)
	}
	src.SetTags("k/0007", map[string]string{"team": "blue"})
	r.clock = r.clock.Add(time.Hour)
	if e := r.entry(r.run().Point, "k/0007"); e.Tags["team"] != "red" {
		t.Errorf("tags were read again within their time: %v", e.Tags)
	}
	r.clock = r.clock.Add(8 * 24 * time.Hour)
	third := r.run()
	if e := r.entry(third.Point, "k/0007"); e.Tags["team"] != "blue" {
		t.Errorf("tags were not read again: %v", e.Tags)
	}
	if third.BytesRead != 0 {
		t.Errorf("reading tags read %d bytes of content", third.BytesRead)
	}
	equal(t, r.contents(0, third.Point), want)
	src.SetTags("k/0007", map[string]string{"team": "green"})
	r.tags = 0
	r.clock = r.clock.Add(time.Hour) // two points of one second have no order
	if e := r.entry(r.run().Point, "k/0007"); e.Tags["team"] != "green" {
		t.Errorf("tags: always did not see a change: %v", e.Tags)
	}
	r.clock = r.clock.Add(time.Hour)
	completed := src.Stats().Completed
	quiet := r.run()
	if asked := src.Stats().Completed - completed; asked != 100 || quiet.Vaults[0].Objects > 4 { // its root, its needs list, placements and the commit object
		t.Errorf("tags: always with no change asked for the tags of %d objects and stored %d", asked, quiet.Vaults[0].Objects)
	}
}

func TestWhatIsHiddenIsNotDeleted(t *testing.T) {
	for range 30 { // every host key cuts pages elsewhere: now and then the folder has one to itself
		hidden(t)
	}
}

func hidden(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 50)
	folder := format.Entry{Kind: format.KindDir, Key: "k/", File: &format.File{Mode: 0o755}}
	src.PutEntry(folder, nil)
	r.clock = r.clock.Add(time.Hour)
	r.run()
	for k := range want {
		src.Delete(k)
	}
	src.Fail("k/", memsource.Fault{Failure: memsource.Missing})
	r.clock = r.clock.Add(time.Hour)
	second := r.run()
	if second.Deleted != 0 || second.Status != format.StatusIncomplete || second.Missing != 1 {
		t.Fatalf("a folder that could not be listed: %+v", second)
	}
	src.Heal("k/")
	for k, v := range want {
		src.Put(k, v)
	}
	r.clock = r.clock.Add(time.Hour)
	third := r.run()
	if third.Status != format.StatusComplete || third.Added != 50 {
		t.Fatalf("the folder is back: %+v", third)
	}
}

func TestWhatIsListedAndNotFoundIsMissing(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	fill(src, 20)
	src.Put("ctl\uFFFDx", []byte("a key that the listing could not express"))
	src.Fail("ctl\uFFFDx", memsource.Fault{Failure: memsource.Gone})
	src.Fail("k/0007", memsource.Fault{Failure: memsource.Gone})
	r.clock = r.clock.Add(time.Hour)
	res := r.run()
	if res.Status != format.StatusIncomplete || res.Missing != 2 {
		t.Fatalf("%+v", res)
	}
}
