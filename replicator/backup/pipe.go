package backup

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// task is one step of the manifest, in key order: an entry, a leaf page that is used again, or the end of a leaf page.
type task struct {
	reuse *format.PageRef // a leaf of the parent's manifest, unchanged
	cut   bool            // the leaf page ends here ..
	sum   string          // .. with this digest, unless something in it could not be read as listed

	entry   *format.Entry
	old     *format.Entry // the parent's, if it has one
	maybe   bool          // looked at again though listed as in old: whether it changed is seen by comparing the two
	again   bool          // its content is known, and read only to be stored anew: where that fails it stays where it is
	action  action
	kept    bool          // complete only: what the parent refers to still counts as used
	live    bool          // it is read as it is now, not as it was listed
	unlike  bool          // live: its length is not the one it is listed with
	held    int64         // bytes of the small budget, for content
	long    int64         // and for a long key
	fetched chan struct{} // closed when the fields below are final; nil where nothing is fetched

	data     []byte           // a small object's content
	pieces   []piece          // a large object's, or what became of data
	extents  []extent         // a very large object's earlier ranges
	earlier  earlier          // and where the parent has the same
	image    *imageTask       // a disk image's, to be read
	uses     map[string]int64 // what of extents uses, by object: see used
	seen     *guard.Bytes     // what the guard saw of its bytes; may be nil
	dropped  bool             // it is gone: not in the point
	unsure   bool             // read, but not as listed: the page gets no digest
	accepted bool             // unreadable, and recorded without making the point incomplete
}

type action int

const (
	carry    action = iota // exactly as in the parent
	read                   // read the content
	complete               // no content to read, or the content is known: metadata only
)

func (t *task) content() bool { return t.action == read }

// piece is where one chunk of an entry is: stored already, or on its way.
type piece struct {
	known format.Chunk
	spot  *spot // nil: known
}

// spot is where a new chunk is going to be.
type spot struct {
	frame *frame
	at    int64
	size  int64
	sum   format.Hash
	id    format.Hash
}

// frame is one frame on its way into a pack.
type frame struct {
	plain      []byte // in a buffer of the frame pool
	packed     []byte
	spots      []*spot
	compressed chan struct{} // closed when packed is set
	sealed     chan struct{} // closed when pack and at are set
	pack       format.Hash
	at         format.Frame
}

// chunk gives the reference, once the frame is sealed.
func (p piece) chunk() format.Chunk {
	if p.spot == nil {
		return p.known
	}
	f := p.spot.frame
	return format.Chunk{Pack: f.pack, Frame: f.at, At: p.spot.at, Size: p.spot.size, Sum: p.spot.sum}
}

// wait blocks until the piece has a place.
func (p piece) wait(ctx context.Context) error {
	if p.spot == nil {
		return nil
	}
	select {
	case <-p.spot.frame.sealed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// budget divides the memory: about two fifths for packs being filled and sent, an eighth for small objects read ahead,
// an eighth for frames, the rest for readers of large objects, the cache, buffers of connections and the collector.
type budget struct {
	packs   int // buffers of packTarget
	uploads int
	large   int // readers of large objects, each with a cutting buffer of 16 MiB
	frames  int // frames between cutting and compressing, at most 4 MiB each
	packed  int // and between compressing and packing
	small   *semaphore.Weighted
	most    int64 // of small
}

func newBudget(memory int64) budget {
	b := budget{
		packs: int(min(max(memory*2/5/packTarget, 2), 8)),
		large: int(min(max(memory/(80<<20), 1), 8)),
		most:  min(max(memory/8, 2*smallMax), 256<<20),
	}
	b.uploads = b.packs - 1
	b.frames = int(min(max(memory/8/(4<<20), 3), 32))
	b.packed = min(compressors(), b.frames) + 2
	b.small = semaphore.NewWeighted(b.most)
	return b
}

func (b budget) release(t *task) {
	if n := t.held + t.long; n > 0 {
		b.small.Release(n)
		t.held, t.long = 0, 0
	}
}

// pipe are the queues between the stages.
type pipe struct {
	seq      chan *task  // every task, in order: plan -> assemble
	small    chan *task  // plan -> fetchSmall
	large    chan *task  // plan -> fetchLarge
	frames   chan *frame // assemble, fetchLarge -> compress
	inOrder  chan *frame // the same frames as they were made, whichever is compressed first -> packFrames
	uploads  chan *upload
	manifest chan *task // assemble -> writeManifest

	images     chan [][]byte // the buffers of whoever reads a disk image
	frameBufs  chan []byte   // plain buffers; taking one is the right to have a frame on its way
	packedBufs chan []byte   // for compressed frames
	packBufs   chan []byte
	submitting sync.Mutex
	turn       chan struct{} // of the readers of large objects
	spare      chan *cutter  // of those who find that a small object is large

	waiting  atomic.Int64  // bytes of entries that wait in manifest
	pressed  atomic.Bool   // too many wait: packs are closed early
	press    chan struct{} // look at pressed
	relieved chan struct{} // pressed was taken back
}

func newPipe(b budget) *pipe {
	p := &pipe{
		seq: make(chan *task, 4096), small: make(chan *task, 4096), large: make(chan *task, 256),
		frames: make(chan *frame, b.frames), inOrder: make(chan *frame, b.frames+b.packed), uploads: make(chan *upload),
		manifest:  make(chan *task, 65_536),
		frameBufs: make(chan []byte, b.frames), packBufs: make(chan []byte, b.packs),
		packedBufs: make(chan []byte, b.packed), turn: make(chan struct{}, 1),
		press: make(chan struct{}, 1), relieved: make(chan struct{}, 1),
		images: make(chan [][]byte, 1), spare: make(chan *cutter, 1),
	}
	p.images <- newImagePool(b.most)
	for range b.frames {
		p.frameBufs <- nil
	}
	for range b.packs {
		p.packBufs <- nil
	}
	for range b.packed {
		p.packedBufs <- nil
	}
	p.turn <- struct{}{}
	return p
}

// submit sends a frame off to be compressed and, in the same order, to be packed. It does not wait: who has a frame has
// its buffer, and there is room for as many as there are buffers.
func (p *pipe) submit(f *frame) {
	p.submitting.Lock()
	defer p.submitting.Unlock()
	p.inOrder <- f
	p.frames <- f
}

// noMoreFrames ends both queues, behind the last frame.
func (p *pipe) noMoreFrames() {
	close(p.frames)
	close(p.inOrder)
}

// compressors is one per processor.
func compressors() int { return runtime.GOMAXPROCS(0) }

// send gives v to c unless the run ends first.
func send[T any](ctx context.Context, c chan<- T, v T) error {
	select {
	case c <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// receive takes from c; ok is false when it is closed.
func receive[T any](ctx context.Context, c <-chan T) (v T, ok bool, err error) {
	select {
	case v, ok = <-c:
		return v, ok, nil
	case <-ctx.Done():
		return v, false, ctx.Err()
	}
}
