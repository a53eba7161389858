package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of Open. The zero value is good for most.
type Options struct {
	// Memory is about how many bytes the cache may keep, 32 MiB if 0; less than 16 MiB is taken as 16 MiB. Two memtables of
	// 4 MiB, a counter's buffer and tables are in it; the rest holds blocks.
	Memory int64
}

const (
	defaultMemory = 32 << 20
	memtable      = 4 << 20
	overhead      = 2*memtable + spill + 1<<20
	minBlocks     = 4 << 20
	openFiles     = 128
	filterBits    = 10
	maxTable      = 16 << 20 // larger tables have filters that push all else out of a small block cache
	maxBatch      = 512 << 10
)

func (o Options) blocks() int64 {
	m := o.Memory
	if m <= 0 {
		m = defaultMemory
	}
	return max(m-overhead, minBlocks)
}

// Cache is an open cache folder. It is safe for concurrent use; nothing may be under way when it is closed.
type Cache struct {
	*core

	Chunks   *Chunks
	Places   *Places
	Segments *Segments
	Notes    *Notes
	Points   *Points
	Said     *SaidLists
	Proofs   *Proofs

	mu       sync.Mutex
	counters map[string]bool // open ones
}

// core is the open database, and what all parts of a cache share.
type core struct {
	dir    string
	lock   *pebble.Lock
	db     *pebble.DB
	health *health
	closed atomic.Bool
	hots   hots
}

// Open opens the cache in dir, which it makes if need be. A cache of another version, or one that is corrupt, is moved
// aside to dir with ".bad-" and a number added, in place of the one that was there before, and the cache starts empty.
//
// Errors: [ErrBusy] if another run has it open; else what the file system says.
func Open(dir string, o Options) (*Cache, error) { return open(dir, o, vfs.Default) }

func open(dir string, o Options, fs vfs.FS) (*Cache, error) {
	dir, err := prepare(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the local cache: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the local cache %s: %w", dir, err)
	}
	c := &core{dir: dir, lock: lock}
	if err := c.start(o, fs); err != nil {
		return nil, fmt.Errorf("opening the local cache %s: %w", dir, errors.Join(err, lock.Close()))
	}
	return &Cache{
		core: c, Chunks: &Chunks{c}, Places: &Places{c}, Segments: &Segments{c}, Notes: &Notes{c}, Points: &Points{c}, Said: &SaidLists{c}, Proofs: &Proofs{c},
		counters: make(map[string]bool),
	}, nil
}

// start opens the database, a second time from nothing if what lies there cannot be used.
func (c *core) start(o Options, fs vfs.FS) error {
	if !versionFits(c.dir) {
		if err := setAside(c.dir); err != nil {
			return err
		}
	}
	err := c.openDB(o, fs)
	if err != nil && !environmental(err) {
		if err := setAside(c.dir); err != nil {
			return err
		}
		err = c.openDB(o, fs)
	}
	return err
}

func (c *core) openDB(o Options, fs vfs.FS) error {
	if err := writeVersion(c.dir); err != nil {
		return err
	}
	path := filepath.Join(c.dir, dbDir)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	c.health = &health{}
	blocks := pebble.NewCache(o.blocks())
	defer blocks.Unref()
	db, err := pebble.Open(path, settings(c.health, blocks, fs))
	if err != nil {
		return errors.Join(err, c.health.failure())
	}
	c.db = db
	if err := errors.Join(c.dropScratch(), c.health.failure()); err != nil {
		c.db = nil
		return errors.Join(err, db.Close())
	}
	return nil
}

// settings are for little memory and few files. The default comparer takes a whole key as its prefix, which is what the
// filters are made of.
func settings(h *health, blocks *pebble.Cache, fs vfs.FS) *pebble.Options {
	o := &pebble.Options{
		Cache:                       blocks,
		FS:                          guardFS{fs, h},
		Comparer:                    pebble.DefaultComparer,
		Merger:                      adder(),
		MemTableSize:                memtable,
		MemTableStopWritesThreshold: 2,
		MaxOpenFiles:                openFiles,
		// Loading an index comes in one burst: better many small tables for a while than a stalled run.
		L0StopWritesThreshold: 256,
		// Each opening adds a small table, and merging them rewrites most of the database: not every fourth time.
		L0CompactionThreshold:      12,
		FormatMajorVersion:         pebble.FormatNewest,
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
		Logger:                     h,
		EventListener:              h.listener(),
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
	}
	size := int64(2 << 20)
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = size
		size = min(size*2, maxTable)
	}
	return o
}

// Sync makes everything that was put so far outlast the process and a power cut. Without it the last puts may be lost, and
// none of them while a later one is kept.
func (c *Cache) Sync() error { return c.sync() }

func (c *core) sync() error {
	if err := c.usable(); err != nil {
		return fmt.Errorf("syncing the local cache: %w", err)
	}
	return c.outcome("syncing the local cache", c.db.LogData(nil, pebble.Sync))
}

// Close closes the cache and lets another run open it. A second Close does nothing.
func (c *Cache) Close() error {
	if c.usable() == nil {
		_ = c.keepHot() // what is not kept is looked up
	}
	if c.closed.Swap(true) {
		return nil
	}
	err := errors.Join(c.db.Close(), c.lock.Close())
	if err != nil {
		return fmt.Errorf("closing the local cache %s: %w", c.dir, err)
	}
	return nil
}

// usable says why the database must not be touched, if so.
func (c *core) usable() error {
	if c.closed.Load() {
		return ErrClosed
	}
	return c.health.failure()
}

// outcome words the result of an operation on the database. Corruption is remembered on the disk for the next Open.
func (c *core) outcome(doing string, err error) error {
	if err == nil {
		err = c.health.failure()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrCorrupt), pebble.IsCorruptionError(err):
		// Without its version file the folder is set aside when it is next opened. Should that fail as well, the next run
		// meets the same corruption and says so again.
		_ = os.Remove(filepath.Join(c.dir, versionFile))
		if !errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return fmt.Errorf("%s in %s: %w (start again: it is rebuilt from the vault)", doing, c.dir, err)
	default:
		return fmt.Errorf("%s in %s: %w", doing, c.dir, err)
	}
}

// get looks one key up and calls found with its value, which is valid during the call only. An iterator is the only way to
// have the lowest level's filters asked: a miss then costs no read.
func (c *core) get(doing string, key []byte, found func(value []byte) error) (ok bool, err error) {
	if err := c.usable(); err != nil {
		return false, fmt.Errorf("%s: %w", doing, err)
	}
	it, err := c.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return false, c.outcome(doing, err)
	}
	if it.SeekPrefixGE(key) {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			ok, err = true, found(value)
		}
	}
	if err = errors.Join(err, it.Close()); err != nil {
		return false, c.outcome(doing, err)
	}
	return ok, nil
}

// write commits what fill puts into a batch, in pieces, unsynced.
func (c *core) write(doing string, fill func(w *writer) error) error {
	if err := c.usable(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	w := &writer{db: c.db, batch: c.db.NewBatch()}
	err := fill(w)
	if err == nil {
		err = w.flush()
	}
	return c.outcome(doing, errors.Join(err, w.batch.Close()))
}

// writer cuts many puts into batches that fit the memtable.
type writer struct {
	db    *pebble.DB
	batch *pebble.Batch
}

func (w *writer) set(key, value []byte) error {
	return errors.Join(w.batch.Set(key, value, nil), w.full())
}

func (w *writer) merge(key, value []byte) error {
	return errors.Join(w.batch.Merge(key, value, nil), w.full())
}

func (w *writer) drop(key []byte) error {
	return errors.Join(w.batch.Delete(key, nil), w.full())
}

func (w *writer) full() error {
	if w.batch.Len() < maxBatch {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	if w.batch.Empty() {
		return nil
	}
	err := errors.Join(w.batch.Commit(pebble.NoSync), w.batch.Close())
	w.batch = w.db.NewBatch()
	return err
}
