package backup_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestAnEmptySourceHasAPoint(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	first := r.run()
	equal(t, r.contents(0, first.Point), nil)
	want := fill(src, 5)
	r.clock = r.clock.Add(time.Hour)
	equal(t, r.contents(0, r.run().Point), want)
	for k := range want {
		src.Delete(k)
	}
	r.clock = r.clock.Add(time.Hour)
	last := r.run()
	if last.Deleted != 5 {
		t.Errorf("%+v", last)
	}
	equal(t, r.contents(0, last.Point), nil)
}

// TestAnyHistory plays random changes against a source with tiny pages, so that every run cuts, reuses and rewrites pages
// at several levels, and holds every point against what the source was.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRigWith(t, 1, format.Parameters{Chunker: "fastcdc-v1.0.0", MinChunk: 1 << 10, AvgChunk: 4 << 10, MaxChunk: 16 << 10, LeafKeys: 4, Fanout: 6})
		src := memsource.New(memsource.Options{Now: r.now})
		r.source = src
		now := map[string][]byte{}
		type snap struct {
			id   format.Hash
			want map[string][]byte
		}
		var snaps []snap
		for range rapid.IntRange(1, 3).Draw(rt, "runs") {
			for range rapid.IntRange(0, 40).Draw(rt, "changes") {
				key := fmt.Sprintf("%c/%d", 'a'+rapid.IntRange(0, 5).Draw(rt, "dir"), rapid.IntRange(0, 40).Draw(rt, "file"))
				if rapid.IntRange(0, 3).Draw(rt, "kind") == 0 {
					src.Delete(key)
					delete(now, key)
					continue
				}
				now[key] = body(rapid.Uint64Range(0, 9).Draw(rt, "seed"), rapid.IntRange(0, 8_000).Draw(rt, "size"))
				src.Put(key, now[key])
			}
			r.clock = r.clock.Add(time.Hour)
			res := r.run()
			snaps = append(snaps, snap{res.Point, maps.Clone(now)})
		}
		for _, s := range snaps {
			equal(t, r.contents(0, s.id), s.want)
		}
	})
}

// TestTwoRunsAtOnceDoNoHarm runs the same source from two machines, each with its own cache, into one vault.
func TestTwoRunsAtOnceDoNoHarm(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 300)
	r.clock = r.clock.Add(time.Hour)
	results := make([]*backup.Result, 2)
	var g errgroup.Group
	for i := range results {
		machine := *r
		machine.cache = t.TempDir()
		g.Go(func() (err error) {
			results[i], err = machine.try(t.Context())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, res := range results {
		equal(t, r.contents(0, res.Point), want)
	}
	r.clock = r.clock.Add(time.Hour)
	next := r.run()
	if next.BytesRead != 0 {
		t.Errorf("the run after read %d bytes", next.BytesRead)
	}
	equal(t, r.contents(0, next.Point), want)
}

// TestLocksAreKeptUp runs an unchanged source daily: every object stays locked until its newest point's own time, and is
// lengthened about once a slack period, not daily.
func TestLocksAreKeptUp(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 100)
	r.clock = r.clock.Add(time.Hour)
	first := r.run()
	objects, extended := first.Vaults[0].Objects, int64(0)
	for range 31 {
		r.clock = r.clock.Add(24 * time.Hour)
		res := r.run()
		extended += res.Vaults[0].Extended
		equal(t, r.contents(0, res.Point), want)
	}
	// 31 days are three slack periods of ten; every object needed, the descriptor and key copy, and the segments.
	if most := 3 * (objects + 2) * 2; extended == 0 || extended > most {
		t.Errorf("%d locks lengthened in 31 days for %d objects", extended, objects)
	}
	t.Logf("%d objects, %d locks lengthened in 31 days", objects, extended)
}
