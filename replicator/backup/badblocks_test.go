package backup_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// without is the disk as a point has it of which some blocks could not be read.
func (s *snapshot) without(bad map[int64]error) *snapshot {
	c := s.clone(s.id)
	for n := range bad {
		delete(c.blocks, n)
	}
	return c
}

// Blocks that cannot be read cost themselves: the rest of the disk is kept, the point is incomplete and says which bytes it
// lacks, and the next run asks for just these again.
func TestBadBlocks(t *testing.T) {
	r := newRig(t, 1)
	d := newDisks()
	r.source = d
	snap := disk("snap-1", 3, 40, 3)
	for n := range snap.blocks {
		if n/rangeOf == 2 {
			delete(snap.blocks, n)
		}
	}
	for _, n := range []int64{10, 11, 12, rangeOf - 1, rangeOf, 2*rangeOf + 5} {
		snap.blocks[n] = block(uint64(n))
	}
	d.set("vol-1", snap)
	d.set("vol-2", disk("snap-x", 1, 4, 3))
	d.bad = map[int64]error{10: source.ErrCorrupt, 11: source.ErrCorrupt, rangeOf - 1: source.ErrCorrupt, rangeOf: source.ErrCorrupt, 2*rangeOf + 5: &source.Unreadable{Reason: "refused by AWS (INVALID_BLOCK)"}}
	res := r.run()
	if res.Status != format.StatusIncomplete || res.Missing != 1 || res.Entries != 2 {
		t.Errorf("%+v", res)
	}
	e := diskOf(r, res.Point, "vol-1", "", snap.without(d.bad))
	const b = format.ImageBlock
	corrupt := "source delivered bytes that do not match its own checksum"
	want := []format.Unread{{From: 10 * b, Size: 2 * b, Reason: corrupt}, {From: (rangeOf - 1) * b, Size: 2 * b, Reason: corrupt}, {From: (2*rangeOf + 5) * b, Size: b, Reason: "refused by AWS (INVALID_BLOCK)"}}
	if !slices.Equal(e.Unread, want) {
		t.Errorf("unread %+v", e.Unread)
	}
	for i, x := range e.Extents {
		if x.Digest != "" {
			t.Errorf("range %d has a digest: the next run would pass it over", i)
		}
	}

	// Still so, of the same snapshot.
	next := func(what string, bad map[int64]error, s *snapshot, status string, read ...int64) *format.Entry {
		t.Helper()
		d.bad = bad
		d.set("vol-1", s)
		r.clock = r.clock.Add(24 * time.Hour)
		res := r.run()
		if string(res.Status) != status {
			t.Errorf("%s: %+v", what, res)
		}
		slices.Sort(d.read)
		if !slices.Equal(d.read, read) {
			t.Errorf("%s: read %v, not %v", what, d.read, read)
		}
		return diskOf(r, res.Point, "vol-1", "", s.without(bad))
	}
	all := slices.Sorted(maps.Keys(d.bad))
	next("again", maps.Clone(d.bad), snap, "incomplete", all...)
	// A later snapshot, in which one of them is right, one is gone, and another block is bad.
	later := snap.clone("snap-2")
	later.blocks[12] = block(1212)
	delete(later.blocks, 2*rangeOf+5)
	next("later", map[int64]error{11: source.ErrCorrupt, 12: source.ErrCorrupt}, later, "incomplete", 10, 11, 12, rangeOf-1, rangeOf)
	whole := next("mended", nil, later, "complete", 11, 12)
	if len(whole.Unread) != 0 {
		t.Errorf("unread %+v", whole.Unread)
	}
	next("unchanged", nil, later, "complete")
}

// A range all of whose blocks were bad is no hole that stays one.
func TestBadRange(t *testing.T) {
	r := newRig(t, 1)
	d := newDisks()
	r.source = d
	snap := disk("snap-1", 300, 2, 3)
	snap.blocks[280*rangeOf] = block(1)
	d.bad = map[int64]error{280 * rangeOf: source.ErrCorrupt}
	d.set("vol-1", snap)
	res := r.run()
	diskOf(r, res.Point, "vol-1", "", snap.without(d.bad))
	d.bad = nil
	r.clock = r.clock.Add(24 * time.Hour)
	res = r.run()
	if diskOf(r, res.Point, "vol-1", "", snap); res.Status != format.StatusComplete || !slices.Equal(d.read, []int64{280 * rangeOf}) {
		t.Errorf("read %v; %+v", d.read, res)
	}
}

// An image of which very many blocks cannot be read is given up: as missing where that is the image's fault, and with the
// whole source where nothing works.
func TestTooManyBadBlocks(t *testing.T) {
	r := newRig(t, 1)
	d := newDisks()
	r.source = d
	d.set("vol-2", disk("snap-x", 1, 4, 3))
	bad := func(err error) {
		d.bad = map[int64]error{}
		snap := &snapshot{id: fmt.Sprint("snap-", err), size: 1 << 30, blocks: map[int64][]byte{}}
		for n := range int64(300) {
			snap.blocks[3*n] = block(uint64(n))
			d.bad[3*n] = err
		}
		d.set("vol-1", snap)
		r.clock = r.clock.Add(24 * time.Hour)
	}
	bad(source.ErrCorrupt)
	res := r.run()
	if e := r.entry(res.Point, "vol-1"); e.Missing == "" || e.Unread != nil || res.Missing != 1 || res.Entries != 2 {
		t.Errorf("%+v; %+v", e, res)
	}
	bad(store.ErrTransient)
	if _, err := r.try(t.Context()); err == nil || !strings.Contains(err.Error(), "257 of its blocks") {
		t.Errorf("%v", err)
	}
	// A server may say as much as it likes.
	bad(&source.Unreadable{Reason: strings.Repeat("long ", 1000)})
	for n := range d.bad {
		if n != 0 {
			delete(d.bad, n)
		}
	}
	if e := r.entry(r.run().Point, "vol-1"); len(e.Unread) != 1 || len(e.Unread[0].Reason) != format.MaxReason {
		t.Errorf("%+v", e.Unread)
	}
}
