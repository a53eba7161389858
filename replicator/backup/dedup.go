package backup

import (
	"context"
	"sync"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// dedup finds content that is stored already, or on its way.
type dedup struct {
	s    *repo.Session
	thin *thinning // packs that are let go are not used; may be nil

	mu     sync.Mutex
	flying map[format.Hash]*spot // by chunk ID: cut in this run, not yet in the cache's index
	usable map[format.Hash]bool  // by pack, so that each is asked about once in a while
}

// maxUsable bounds the memory of usable; the answers are cheap to get again.
const maxUsable = 1 << 16

func newDedup(s *repo.Session, thin *thinning) *dedup {
	return &dedup{s: s, thin: thin, flying: map[format.Hash]*spot{}, usable: map[format.Hash]bool{}}
}

// find gives the place of a chunk that is stored or on its way. Otherwise it registers a new spot in f, and fresh is
// true: the caller must add the chunk to f and send f on its way.
func (d *dedup) find(ctx context.Context, sum format.Hash, size int64, f *frame) (p piece, fresh bool, err error) {
	id := d.s.Writer.ChunkID(sum)
	d.mu.Lock()
	sp, ok := d.flying[id]
	d.mu.Unlock()
	if ok {
		return piece{spot: sp}, false, nil
	}
	known, ok, err := d.s.Cache().Chunks.Get(id)
	if err != nil {
		return piece{}, false, err
	}
	if ok && known.Size == size {
		if ok, err = d.canUse(ctx, known.Pack); err != nil {
			return piece{}, false, err
		}
		if ok {
			known.Sum = sum
			return piece{known: known}, false, nil
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if sp, ok := d.flying[id]; ok {
		return piece{spot: sp}, false, nil
	}
	sp = &spot{frame: f, size: size, sum: sum, id: id}
	d.flying[id] = sp
	return piece{spot: sp}, true, nil
}

func (d *dedup) canUse(ctx context.Context, pack format.Hash) (bool, error) {
	if d.thin.leavesPack(pack) {
		return false, nil
	}
	d.mu.Lock()
	ok, asked := d.usable[pack]
	d.mu.Unlock()
	if asked {
		return ok, nil
	}
	ok, err := d.s.Content.Usable(ctx, format.PackName(pack))
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	if len(d.usable) >= maxUsable {
		clear(d.usable)
	}
	d.usable[pack] = ok
	d.mu.Unlock()
	return ok, nil
}

// landed forgets spots whose chunks are in the index now.
func (d *dedup) landed(spots []*spot) {
	d.mu.Lock()
	for _, s := range spots {
		delete(d.flying, s.id)
	}
	d.mu.Unlock()
}
