package restore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// window collects small items whose content is fetched together.
type window struct {
	items []*item
	bytes int64
	frame format.Frame // of the chunk added last
	pack  format.Hash
}

// full reports whether it must be fetched before it can be added. A frame that the window is in the middle of is not
// fetched twice for the sake of a few bytes.
func (w *window) full(it *item, l limits) bool {
	if len(w.items) == 0 || len(w.items) < l.maxWindow && w.bytes < l.window {
		return false
	}
	if len(w.items) >= 2*l.maxWindow || w.bytes >= 2*l.window || len(it.e.Chunks) == 0 {
		return true
	}
	return it.e.Chunks[0].Pack != w.pack || it.e.Chunks[0].Frame != w.frame
}

func (w *window) add(it *item) {
	w.items = append(w.items, it)
	w.bytes += it.cost
	if n := len(it.e.Chunks); n > 0 {
		w.pack, w.frame = it.e.Chunks[n-1].Pack, it.e.Chunks[n-1].Frame
	}
}

// piece is one chunk that is wanted, and where it goes.
type piece struct {
	chunk *format.Chunk
	sum   format.Hash
	dst   []byte
	room  func() ([]byte, error) // gives dst, with room for decoding, when its turn comes; nil: it is given
	lax   bool                   // the whole is checked later, and this chunk then
	there bool
	// arrived is told once, with nil or with why it will not come.
	arrived func(error) error
}

// wanted is one frame of a pack and the pieces that lie in it.
type wanted struct {
	frame  format.Frame
	pieces []piece
}

// flush starts the fetching of the window and empties it.
func (w *walker) flush(ctx context.Context) error {
	items := w.window.items
	w.window = window{}
	if len(items) == 0 {
		return nil
	}
	packs := make(packs)
	for _, it := range items {
		if err := w.want(ctx, packs, it); err != nil {
			return err
		}
	}
	for _, job := range packs.jobs(jobPlain) {
		if err := w.fetches.Acquire(ctx, 1); err != nil {
			return err
		}
		w.inFlight.Add(1)
		w.work.Go(func() error {
			defer w.inFlight.Done()
			defer w.fetches.Release(1)
			return w.fetch(ctx, job)
		})
	}
	return nil
}

// want enters an item's chunks.
func (w *walker) want(ctx context.Context, packs packs, it *item) error {
	it.buf = make([]byte, it.e.Size)
	for i := range it.e.Chunks {
		if !it.e.Chunks[i].Hole {
			it.left++
		}
	}
	if it.left == 0 {
		return w.arrivedWhole(ctx, it)
	}
	at := int64(0)
	for i := range it.e.Chunks {
		c := &it.e.Chunks[i]
		if !c.Hole {
			packs.add(piece{chunk: c, sum: sumOf(it.e, c), dst: it.buf[at : at+c.Size], arrived: func(err error) error {
				if !it.arrive(err) {
					return nil
				}
				return w.arrivedWhole(ctx, it)
			}})
		}
		at += c.Size
	}
	return nil
}

// arrivedWhole checks the content of a small item as a whole, unless its one chunk was that, and hands it over.
func (r *run) arrivedWhole(ctx context.Context, it *item) error {
	if it.err == nil && !isOneChunk(it.e) && sha256.Sum256(it.buf) != it.e.SHA256 {
		it.err = mismatch("its chunks are right and its SHA-256 is not")
	}
	return r.arrived(ctx, it)
}

// isOneChunk reports whether the entry's hash is its only chunk's.
func isOneChunk(e *format.Entry) bool { return len(e.Chunks) == 1 && !e.Chunks[0].Hole }

// sumOf gives the hash of one chunk of e: the only one's may be left to the entry.
func sumOf(e *format.Entry, c *format.Chunk) format.Hash {
	if isOneChunk(e) {
		return e.SHA256
	}
	return c.Sum
}

// packs groups pieces by pack and frame.
type packs map[format.Hash]map[format.Frame]*wanted

func (p packs) add(x piece) {
	frames := p[x.chunk.Pack]
	if frames == nil {
		frames = make(map[format.Frame]*wanted)
		p[x.chunk.Pack] = frames
	}
	f := frames[x.chunk.Frame]
	if f == nil {
		f = &wanted{frame: x.chunk.Frame}
		frames[x.chunk.Frame] = f
	}
	f.pieces = append(f.pieces, x)
}

// job is a run of frames of one pack.
type job struct {
	pack   format.Hash
	frames []*wanted
}

// A job is cut so that one fetch does for it and several processors have something to decode.
const jobPlain = 4 << 20

// jobs gives the work, pack by pack in order of offset, each of at most so many plain bytes.
func (p packs) jobs(most int64) []job {
	var out []job
	for pack, frames := range p {
		all := make([]*wanted, 0, len(frames))
		for _, f := range frames {
			all = append(all, f)
		}
		slices.SortFunc(all, func(a, b *wanted) int { return cmp.Compare(a.frame.Offset, b.frame.Offset) })
		for len(all) > 0 {
			n, plain := 0, int64(0)
			for _, f := range all {
				if n > 0 && (plain+f.frame.Plain > most || f.frame.Offset+f.frame.Length-all[0].frame.Offset > 2*most) {
					break
				}
				plain += f.frame.Plain
				n++
			}
			out = append(out, job{pack, all[:n:n]})
			all = all[n:]
		}
	}
	return out
}

// fetch reads the frames of a job and hands every piece on. A frame that fails fails alone: what the others hold may be
// right. It gives an error only if the run is to end.
func (r *run) fetch(ctx context.Context, j job) error {
	var fatal error // of arrived, which is not the vault's fault
	visit := func(f *wanted, plain []byte) error {
		ok := true
		for i := range f.pieces {
			x := &f.pieces[i]
			if x.there {
				continue
			}
			b := plain[x.chunk.At:][:x.chunk.Size]
			if !x.lax && sha256.Sum256(b) != x.sum {
				if x.room != nil {
					return repo.ErrWrongBytes // those behind it must not come before it
				}
				ok = false
				continue
			}
			if x.room != nil {
				if x.dst, fatal = x.room(); fatal != nil {
					return fatal
				}
			}
			if len(b) > 0 && &b[0] != &x.dst[0] {
				copy(x.dst, b)
			}
			x.there = true
			if fatal = x.arrived(nil); fatal != nil {
				return fatal
			}
		}
		if !ok {
			return repo.ErrWrongBytes
		}
		return nil
	}
	room := func(f *wanted) (dst []byte, err error) {
		// A chunk that is a frame of its own is decoded to where it is wanted.
		if x := &f.pieces[0]; x.room != nil && len(f.pieces) == 1 && x.chunk.At == 0 && x.chunk.Size == f.frame.Plain {
			dst, fatal = x.room()
		}
		return dst, fatal
	}
	err := r.frames(ctx, j.pack, j.frames, room, visit)
	for _, f := range j.frames {
		if err == nil || fatal != nil || ctx.Err() != nil {
			break
		}
		if !f.missing() {
			continue
		}
		ferr := err
		if len(j.frames) > 1 {
			ferr = r.frames(ctx, j.pack, []*wanted{f}, room, visit)
		}
		fatal = f.give(ferr)
	}
	if fatal == nil {
		fatal = ctx.Err()
	}
	return fatal
}

func (r *run) frames(ctx context.Context, pack format.Hash, all []*wanted, room func(*wanted) ([]byte, error), visit func(*wanted, []byte) error) error {
	frames := make([]format.Frame, len(all))
	for i, f := range all {
		frames[i] = f.frame
	}
	return r.o.Reader.FramesTo(ctx, format.PackName(pack), frames,
		func(i int) ([]byte, error) { return room(all[i]) },
		func(i int, plain []byte) error { return visit(all[i], plain) })
}

// missing reports whether a piece of the frame has not arrived.
func (f *wanted) missing() bool {
	return slices.ContainsFunc(f.pieces, func(x piece) bool { return !x.there })
}

// give tells the pieces that have not arrived that they will not.
func (f *wanted) give(err error) error {
	for i := range f.pieces {
		if x := &f.pieces[i]; !x.there {
			x.there = true
			if err := x.arrived(err); err != nil {
				return err
			}
		}
	}
	return nil
}
