package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// snapshot is a disk as it was: its blocks by number, zero ones among them if they were written.
type snapshot struct {
	id     string
	size   int64
	blocks map[int64][]byte
}

func (s *snapshot) clone(id string) *snapshot {
	return &snapshot{id, s.size, maps.Clone(s.blocks)}
}

// disks is a source of disk images.
type disks struct {
	mu       sync.Mutex
	snaps    map[string]*snapshot // by ID, also those not listed any more
	keys     map[string][]string  // listed: key to snapshot IDs, oldest first
	versions bool
	read     []int64 // blocks, in the last run
	fail     error   // of Read, once
	bad      map[int64]error
}

func newDisks() *disks { return &disks{snaps: map[string]*snapshot{}, keys: map[string][]string{}} }

func (d *disks) set(key string, s *snapshot) {
	d.snaps[s.id] = s
	d.keys[key] = append(d.keys[key], s.id)
	if !d.versions {
		d.keys[key] = []string{s.id}
	}
}

func (d *disks) Kind() string { return "ebs" }
func (d *disks) Freeze(context.Context) (source.View, error) {
	d.read = nil
	return &diskView{d}, nil
}

type diskView struct{ *disks }

var _ source.Images = (*diskView)(nil)

func (v *diskView) Entries(_ context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(v.keys)) {
			if key < from || to != "" && key >= to {
				continue
			}
			for _, id := range v.keys[key] {
				e := &format.Entry{Kind: format.KindImage, Key: key, ETag: id, Size: v.snaps[id].size, Modified: format.At(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
				if v.versions {
					e.Version = id
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

var errNoStream = errors.New("images are read by block")

func (v *diskView) Open(context.Context, *format.Entry, int64, int64) (io.ReadCloser, error) {
	return nil, errNoStream
}
func (v *diskView) Complete(context.Context, *format.Entry) error { return errNoStream }
func (v *diskView) Clock() time.Time                              { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
func (v *diskView) Close() error                                  { return nil }

func (v *diskView) Image(_ context.Context, e, base *format.Entry) (source.Image, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.snaps[e.ETag]
	if s == nil {
		return nil, source.ErrGone
	}
	e.Metadata = map[string]string{"snapshot-id": s.id}
	d := &diskImage{v: v.disks, s: s}
	if base != nil {
		if d.base = v.snaps[base.ETag]; d.base == nil {
			d.why = "its snapshot " + base.ETag + " is gone"
		}
	}
	return d, nil
}

type diskImage struct {
	v       *disks
	s, base *snapshot
	why     string
}

func (d *diskImage) Since() (bool, string) { return d.base != nil, d.why }
func (d *diskImage) Close() error          { return nil }
func (d *diskImage) Blocks(context.Context) iter.Seq2[source.Block, error] {
	return func(yield func(source.Block, error) bool) {
		for _, n := range slices.Sorted(maps.Keys(d.s.blocks)) {
			b := source.Block{N: n}
			if d.base != nil {
				was, ok := d.base.blocks[n]
				b.Same = ok && bytes.Equal(was, d.s.blocks[n])
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

func (d *diskImage) Read(_ context.Context, n int64, buf []byte) (format.Hash, error) {
	d.v.mu.Lock()
	defer d.v.mu.Unlock()
	if err := d.v.fail; err != nil && len(d.v.read) > 3 {
		d.v.fail = nil
		return format.Hash{}, err
	}
	d.v.read = append(d.v.read, n)
	if err := d.v.bad[n]; err != nil {
		return format.Hash{}, &source.BadBlock{N: n, Err: err}
	}
	copy(buf, d.s.blocks[n])
	return sha256.Sum256(buf), nil
}

// block makes one of a few kilobytes' worth of information.
func block(seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	part := make([]byte, 512)
	for i := 0; i < len(part); i += 8 {
		binary.LittleEndian.PutUint64(part[i:], rnd.Uint64())
	}
	return bytes.Repeat(part, format.ImageBlock/len(part))
}

// disk makes a snapshot with blocks at random places.
func disk(id string, gib int64, n int, seed uint64) *snapshot {
	s := &snapshot{id: id, size: gib << 30, blocks: map[int64][]byte{}}
	rnd := rand.New(rand.NewPCG(seed, 2))
	for i := range n {
		s.blocks[rnd.Int64N(s.size/format.ImageBlock)] = block(seed<<32 + uint64(i))
	}
	return s
}

// diskOf reads an image back and holds it against a snapshot, and gives its entry.
func diskOf(r *rig, id format.Hash, key string, version string, want *snapshot) *format.Entry {
	r.t.Helper()
	ctx := r.t.Context()
	rp, err := repo.Find(ctx, r.stores[0], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	points, err := rp.Points(ctx, r.stores[0], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	reader, err := repo.NewReader(rp, r.stores[0], []keys.Identity{r.restore}, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(points, func(p repo.Point) bool { return p.ID == id })
	c, err := rp.Commit(ctx, r.stores[0], points[i], nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.checkNeeds(reader, c, r.stores[0])
	for e, err := range tree.Entries(ctx, reader.Page, c.Manifest, key, key+"\x00") {
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Version == version {
			compareDisk(r, reader, e, want)
			return e
		}
	}
	r.t.Fatalf("no %s %s in the point", key, version)
	return nil
}

func compareDisk(r *rig, reader *repo.Reader, e *format.Entry, want *snapshot) {
	r.t.Helper()
	sum := format.NewImageSum(e.Size)
	found := 0
	at := int64(0)
	for c, err := range tree.Chunks(r.t.Context(), reader.Extent, e) {
		if err != nil {
			r.t.Fatal(err)
		}
		if err := sum.Chunk(c); err != nil {
			r.t.Fatal(err)
		}
		if !c.Hole {
			found++
			err := reader.Frames(r.t.Context(), format.PackName(c.Pack), []format.Frame{c.Frame}, func(_ int, plain []byte) error {
				if !bytes.Equal(plain[c.At:c.At+c.Size], want.blocks[at/format.ImageBlock]) {
					r.t.Errorf("block %d differs", at/format.ImageBlock)
				}
				return nil
			})
			if err != nil {
				r.t.Fatal(err)
			}
		}
		at += c.Size
	}
	data := 0
	for _, b := range want.blocks {
		if len(bytes.Trim(b, "\x00")) > 0 {
			data++
		}
	}
	if found != data {
		r.t.Errorf("%d blocks instead of %d", found, data)
	}
	if at != want.size || sum.Sum() != e.SHA256 {
		r.t.Errorf("%d bytes of %d; sum %s, the entry says %s", at, want.size, sum.Sum(), e.SHA256)
	}
}

func extentsOf(t *testing.T, e *format.Entry) []format.Extent {
	t.Helper()
	if len(e.Extents) > 0 && e.Extents[0].Level > 0 {
		t.Fatal("extents of level 1")
	}
	return e.Extents
}

// An image is read once; after that only what has changed is, and the point is the one a full run makes.
func TestImages(t *testing.T) {
	r := newRig(t, 1)
	d := newDisks()
	r.source = d
	first := disk("snap-1", 5, 40, 1)
	for n := range first.blocks {
		if n/rangeOf == 3 {
			delete(first.blocks, n)
		}
	}
	first.blocks[100] = make([]byte, format.ImageBlock) // written with zeros
	first.blocks[5*rangeOf-1] = block(99)
	d.set("vol-1", first)
	res := r.run()
	diskOf(r, res.Point, "vol-1", "", first)
	if len(d.read) != len(first.blocks) || res.BytesRead != int64(len(first.blocks))*format.ImageBlock {
		t.Errorf("read %d blocks of %d, %d bytes", len(d.read), len(first.blocks), res.BytesRead)
	}

	second := first.clone("snap-2")
	changed := []int64{2*rangeOf + 7, 4*rangeOf + 1, 5*rangeOf - 1} // the last of them was there before
	for _, n := range changed {
		second.blocks[n] = block(uint64(n))
	}
	for n := range second.blocks {
		if n/rangeOf == 1 {
			delete(second.blocks, n)
			break
		}
	}
	d.set("vol-1", second)
	r.clock = r.clock.Add(24 * time.Hour)
	res = r.run()
	incremental := diskOf(r, res.Point, "vol-1", "", second)
	slices.Sort(d.read)
	if !slices.Equal(d.read, changed) || res.Changed != 1 || res.Added != 0 {
		t.Errorf("read %v instead of %v; %+v", d.read, changed, res)
	}

	// The same again in full, with the base gone.
	third := second.clone("snap-3")
	delete(d.snaps, "snap-2")
	d.set("vol-1", third)
	r.clock = r.clock.Add(24 * time.Hour)
	res = r.run()
	full := diskOf(r, res.Point, "vol-1", "", third)
	if len(d.read) != len(third.blocks) {
		t.Errorf("read %d blocks of %d", len(d.read), len(third.blocks))
	}
	if full.SHA256 != incremental.SHA256 || !slices.Equal(extentsOf(t, full), extentsOf(t, incremental)) {
		t.Errorf("a full run gives\n%+v\nan incremental one\n%+v", full, incremental)
	}
	if len(r.remarks) != 1 || !strings.Contains(r.remarks[0], "snap-2 is gone") {
		t.Errorf("remarks %q", r.remarks)
	}

	// And unchanged: nothing is asked for.
	r.clock = r.clock.Add(24 * time.Hour)
	if res = r.run(); len(d.read) != 0 || res.Changed != 0 {
		t.Errorf("read %v of an unchanged image; %+v", d.read, res)
	}
	diskOf(r, res.Point, "vol-1", "", third)
}

const rangeOf = format.ImageRange / format.ImageBlock

// Where all snapshots are kept, each is read beside the one before it.
func TestImagesOfAllSnapshots(t *testing.T) {
	r := newRig(t, 1)
	d := newDisks()
	d.versions = true
	r.source = d
	first := disk("snap-1", 3, 30, 5)
	d.set("vol-1", first)
	d.set("vol-2", disk("snap-a", 1, 3, 6))
	r.run()
	second := first.clone("snap-2")
	second.blocks[77] = block(77)
	d.set("vol-1", second)
	r.clock = r.clock.Add(24 * time.Hour)
	res := r.run()
	if !slices.Equal(d.read, []int64{77}) || res.Added != 1 {
		t.Errorf("read %v; %+v", d.read, res)
	}
	diskOf(r, res.Point, "vol-1", "snap-1", first)
	diskOf(r, res.Point, "vol-1", "snap-2", second)
	d.keys["vol-1"] = []string{"snap-2"} // the older one is gone
	r.clock = r.clock.Add(24 * time.Hour)
	res = r.run()
	diskOf(r, res.Point, "vol-1", "snap-2", second)
	third := second.clone("snap-3")
	delete(third.blocks, 77)
	d.keys["vol-1"] = nil
	d.set("vol-1", third)
	r.clock = r.clock.Add(24 * time.Hour)
	res = r.run()
	if len(d.read) != 0 {
		t.Errorf("read %v", d.read)
	}
	diskOf(r, res.Point, "vol-1", "snap-3", third)
}

// A disk of more ranges than an entry holds has pages of extents, of which the unchanged ones are used again.
func TestImageOfManyRanges(t *testing.T) {
	r := newRig(t, 1)
	d := newDisks()
	r.source = d
	first := disk("snap-1", 3000, 300, 7)
	d.set("vol-1", first)
	e := diskOf(r, r.run().Point, "vol-1", "", first)
	if len(e.Extents) != 3 || e.Extents[0].Level != 1 || e.Extents[2].Size != 952<<30 {
		t.Fatalf("extents %+v", e.Extents)
	}
	second := first.clone("snap-2")
	second.blocks[1500*rangeOf+3] = block(1)
	d.set("vol-1", second)
	r.clock = r.clock.Add(24 * time.Hour)
	now := diskOf(r, r.run().Point, "vol-1", "", second)
	if len(d.read) != 1 || now.Extents[0] != e.Extents[0] || now.Extents[2] != e.Extents[2] || now.Extents[1] == e.Extents[1] {
		t.Errorf("read %v; extents %+v, before %+v", d.read, now.Extents, e.Extents)
	}
	// It grew by a few ranges and lost a part of its blocks.
	third := second.clone("snap-3")
	third.size += 5 << 30
	third.blocks[third.size/format.ImageBlock-1] = block(2)
	for n := range third.blocks {
		if n%2 == 0 {
			delete(third.blocks, n)
		}
	}
	d.set("vol-1", third)
	r.clock = r.clock.Add(24 * time.Hour)
	diskOf(r, r.run().Point, "vol-1", "", third)
	if len(d.read) != 1 {
		t.Errorf("read %v", d.read)
	}
}

// What cannot be read leaves an incomplete point whose needs are right, and the next run reads the image.
func TestImagesThatFail(t *testing.T) {
	r := newRig(t, 1)
	d := newDisks()
	r.source = d
	first := disk("snap-1", 2, 30, 9)
	d.set("vol-1", first)
	d.set("vol-2", disk("snap-x", 1, 4, 3))
	r.run()
	for _, fail := range []error{source.ErrCorrupt, &source.Unreadable{Key: "vol-1", Reason: "access denied"}} {
		next := disk("snap-"+fail.Error()[:3], 2, 30, uint64(len(fail.Error())))
		d.fail = fail
		d.set("vol-1", next)
		r.clock = r.clock.Add(24 * time.Hour)
		res := r.run()
		if res.Status != format.StatusIncomplete || res.Missing != 1 {
			t.Errorf("after %v: %+v", fail, res)
		}
		r.contents(0, res.Point)
		r.clock = r.clock.Add(24 * time.Hour)
		res = r.run()
		if res.Status != format.StatusComplete {
			t.Errorf("then: %+v", res)
		}
		diskOf(r, res.Point, "vol-1", "", next)
	}
	// Gone while it was read: it is not in the point.
	next := disk("snap-gone", 2, 30, 77)
	d.set("vol-1", next)
	d.fail = source.ErrGone
	d.snaps["snap-gone"] = next
	d.keys["vol-1"] = []string{"snap-gone"}
	r.clock = r.clock.Add(24 * time.Hour)
	res := r.run()
	diskOf(r, res.Point, "vol-1", "", next) // it was there again
	// An error that is not the entry's ends the run.
	d.set("vol-1", disk("snap-err", 2, 30, 78))
	d.fail = errors.New("no network")
	if _, err := r.try(t.Context()); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("%v", err)
	}
}
