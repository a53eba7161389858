package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	aws "github.com/holdfast-backup/holdfast/replicator/awstest/world"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/dirstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

const (
	hugeTiB     = 16
	hugeRanges  = hugeTiB << 40 / format.ImageRange
	rangeBlocks = format.ImageRange / format.ImageBlock
	spots       = 64 // places on the disk where something changed ..
	spotBlocks  = 32 // .. and how much: 1 GiB in all
)

// hugeDiskImage reads a disk of 16 TiB that is full and of which 1 GiB has changed since a point that is made up, since
// nobody can read 16 TiB here: all its ranges refer to one page and all its blocks to a few chunks.
func hugeDiskImage(ctx context.Context, w *world) error {
	in := aws.New()
	srv, err := startAWS(w, in)
	if err != nil {
		return err
	}
	v := in.AddVolume(aws.Volume{SizeGiB: hugeTiB << 10})
	const blocks = hugeRanges * rangeBlocks
	changed := func(n int64) bool { return n%(blocks/spots) < spotBlocks }
	version := func(then bool) func(int64) uint64 {
		return func(n int64) uint64 {
			if !then && changed(n) {
				return 2
			}
			return 1
		}
	}
	add := func(ago time.Duration, then bool) *aws.Snapshot {
		return in.AddSnapshot(aws.Snapshot{VolumeID: v.ID, SizeGiB: v.SizeGiB, Started: time.Now().Add(-ago), Content: &aws.Full{Blocks: blocks, Version: version(then)}})
	}
	old := add(2*time.Hour, true)
	vault := dirAt(w.path("vault"))
	j, err := newJob(ctx, w, place{"ebs://eu-west-1?endpoint=" + srv.URL, awsKey}, vault, vault)
	if err != nil {
		return err
	}
	if err := makeUp(ctx, j, &format.Entry{Kind: format.KindImage, Key: v.ID, Size: hugeTiB << 40, ETag: old.ID, Modified: format.At(old.Started)}); err != nil {
		return err
	}
	add(time.Hour, false)
	m, err := j.run(ctx, "16 TiB, of which 1 GiB changed")
	if err != nil {
		return err
	}
	const all = spots * spotBlocks * format.ImageBlock
	w.bar(m.BytesRead == all, "read %d B of the %d that changed", m.BytesRead, all)
	w.bar(m.BytesStored < all+all/20, "stored %d B, %.3f times what changed", m.BytesStored, float64(m.BytesStored)/all)
	w.inMemory(m.cost)
	return nil
}

// makeUp commits a point of one image.
func makeUp(ctx context.Context, j *job, e *format.Entry) (err error) {
	host, err := keys.ReadHostKeyFile(filepath.Join(j.dir, "host.key"))
	if err != nil {
		return err
	}
	store, err := dirstore.Open(strings.TrimPrefix(j.vault.url, "file://"), dirstore.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	s, err := repo.OpenSession(ctx, repo.SessionOptions{
		Vaults:  []*repo.Vault{{Name: "offsite", Read: store, Write: store, Lock: store, Inspect: store}},
		HostKey: host, Now: time.Now,
		Cache: func(format.Hash) (*cache.Cache, error) {
			return cache.Open(j.w.path("cache"), cache.Options{Memory: 16 << 20})
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	until := time.Now().Add(40 * 24 * time.Hour).UTC().Truncate(time.Second)
	if err := s.Begin(until); err != nil {
		return err
	}
	f := &forger{s: s, needs: map[string]int64{}}
	root, err := f.manifest(ctx, e)
	if err != nil {
		return err
	}
	needs, err := f.needsList(ctx, root)
	if err != nil {
		return err
	}
	if err := s.Locks.SecureSegments(ctx); err != nil {
		return err
	}
	_, err = s.Commit(ctx, &format.Commit{
		Source: "tree", SourceKind: "ebs", TakenAt: format.At(s.Now()), RetainUntil: format.At(until), Status: format.StatusComplete,
		Entries: 1, Bytes: e.Size, Added: 1, Mode: string(s.Mode()), Manifest: root, Needs: needs,
	})
	return err
}

// forger makes up what a run would have stored.
type forger struct {
	s     *repo.Session
	needs map[string]int64 // bytes used, by object
	sums  []format.Hash    // of the blocks of a range
}

// page stores pages and says where they are.
func (f *forger) pages(ctx context.Context, pages ...[]byte) (slots []*tree.Slot, err error) {
	sink := f.s.Writer.MetaSink()
	for _, p := range pages {
		slot, err := sink.Page(ctx, p)
		if err != nil {
			return nil, err
		}
		slots = append(slots, slot)
	}
	return slots, sink.Seal(ctx)
}

// rangePage makes the page that every range has.
func (f *forger) rangePage(ctx context.Context) (format.Extent, error) {
	const chunks = 32
	b, err := pack.NewBuilder(f.s.Writer.Recipients(), nil)
	if err != nil {
		return format.Extent{}, err
	}
	noise := &aws.Full{Blocks: chunks, Version: func(int64) uint64 { return 77 }}
	var all []format.Chunk
	for n := range int64(chunks) {
		plain := make([]byte, format.ImageBlock)
		noise.Read(n, plain)
		frame := f.s.Writer.Encoder().Frame(nil, plain)
		off, err := b.Add(frame)
		if err != nil {
			return format.Extent{}, err
		}
		all = append(all, format.Chunk{Frame: format.Frame{Offset: off, Length: int64(len(frame)), Plain: format.ImageBlock}, Size: format.ImageBlock, Sum: sha256.Sum256(plain)})
	}
	sealed, err := b.Close()
	if err != nil {
		return format.Extent{}, err
	}
	name := format.PackName(sealed.Sum)
	if err := f.s.Writer.Store(ctx, name, sealed); err != nil {
		return format.Extent{}, err
	}
	var page []byte
	for n := range rangeBlocks {
		c := all[n%chunks]
		c.Pack = sealed.Sum
		f.sums = append(f.sums, c.Sum)
		f.needs[name] += hugeRanges * c.Share()
		if page, err = c.AppendLine(page); err != nil {
			return format.Extent{}, err
		}
	}
	slots, err := f.pages(ctx, page)
	if err != nil {
		return format.Extent{}, err
	}
	f.needs[slots[0].Object()] += hugeRanges * slots[0].Frame.Length
	return format.Extent{Size: format.ImageRange, Object: slots[0].Object(), Frame: slots[0].Frame, Sum: sha256.Sum256(page)}, nil
}

// manifest stores the image's extents and the one leaf page that has the entry.
func (f *forger) manifest(ctx context.Context, e *format.Entry) (root format.PageRef, err error) {
	one, err := f.rangePage(ctx)
	if err != nil {
		return root, err
	}
	const perPage = 1024
	sum := format.NewImageSum(e.Size)
	var pages [][]byte
	var page []byte
	for r := range int64(hugeRanges) {
		x := one
		x.From = r * format.ImageRange
		var content format.RangeSum
		listed := sha256.New()
		for i, s := range f.sums {
			n := r*rangeBlocks + int64(i)
			content.Block(n, s)
			listed.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
		}
		x.Content, x.Digest = content.Sum(), hex.EncodeToString(listed.Sum(nil)[:16])
		sum.Range(x.Content, x.Size)
		if page, err = x.AppendLine(page); err != nil {
			return root, err
		}
		if r%perPage == perPage-1 {
			pages, page = append(pages, page), nil
		}
	}
	slots, err := f.pages(ctx, pages...)
	if err != nil {
		return root, err
	}
	for i, s := range slots {
		f.needs[s.Object()] += s.Frame.Length
		e.Extents = append(e.Extents, format.Extent{
			Level: 1, From: int64(i) * perPage * format.ImageRange, Size: perPage * format.ImageRange, Object: s.Object(), Frame: s.Frame, Sum: sha256.Sum256(pages[i]),
		})
	}
	e.SHA256 = sum.Sum()
	line, err := e.AppendLine(nil)
	if err != nil {
		return root, err
	}
	sink := f.s.Writer.MetaSink()
	b := tree.NewBuilder(sink, tree.NewCut(f.s.Writer.ChunkKey(), f.s.Repository().Now().Parameters), nil, func(ref format.PageRef) { f.needs[ref.Object] += ref.Frame.Length }).Salted("")
	if err := b.Leaf(ctx, format.PageRef{First: e.Key, Entries: 1, Bytes: e.Size}, line); err != nil {
		return root, err
	}
	if root, err = b.Root(ctx); err != nil {
		return root, err
	}
	return root, sink.Seal(ctx)
}

// needsList stores what the point needs. The manifest's one leaf and its root are an object of their own.
func (f *forger) needsList(ctx context.Context, manifest format.PageRef) (root format.PageRef, err error) {
	all := f.s.Repository().Standing()
	for name, living := range f.needs {
		size, _, err := f.s.Content.Size(name)
		if err != nil {
			return root, err
		}
		n := format.Need{Name: name, Size: size, Living: living}
		if name == manifest.Object {
			n.Pages = format.Pages{0, living}
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b format.Need) int { return strings.Compare(a.Name, b.Name) })
	if err := f.s.Locks.Secure(ctx, func(yield func(format.Need, error) bool) {
		for _, n := range all {
			if !yield(n, nil) {
				return
			}
		}
	}); err != nil {
		return root, err
	}
	ref := format.PageRef{First: all[0].Name, Entries: int64(len(all))}
	var lines []byte
	for _, n := range all {
		ref.Bytes += n.Size
		if lines, err = n.AppendLine(lines); err != nil {
			return root, err
		}
	}
	sink := f.s.Writer.NeedsSink()
	held := map[string]bool{}
	b := tree.NewBuilder(sink, tree.NewCut([32]byte{}, f.s.Repository().Now().Parameters), nil, func(ref format.PageRef) { held[ref.Object] = true })
	if err := b.Leaf(ctx, ref, bytes.Clone(lines)); err != nil {
		return root, err
	}
	if root, err = b.Root(ctx); err != nil {
		return root, err
	}
	if err := sink.Seal(ctx); err != nil {
		return root, err
	}
	held[root.Object] = true
	return root, f.s.Locks.Secure(ctx, func(yield func(format.Need, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(held)) {
			if !yield(format.Need{Name: name, Size: -1}, nil) {
				return
			}
		}
	})
}
