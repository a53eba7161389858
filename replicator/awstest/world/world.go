// Package world is the state that the in-test AWS servers share: volumes, snapshots with their blocks, instances, and a
// clock that tests move. It is not a model of AWS beyond what those servers enforce, and nothing outside tests and
// measurements may use it.
package world

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// BlockSize is the size in bytes of a snapshot's blocks.
const BlockSize = 512 << 10

// Account is the account that everything belongs to unless it says otherwise.
const Account = "123456789012"

// Content is what a snapshot holds. Blocks that were never written are not in it.
type Content interface {
	// Next gives the first written block at or behind from.
	Next(from int64) (n int64, ok bool)
	// Stamp tells blocks of one lineage apart: equal stamps, equal blocks.
	Stamp(n int64) uint64
	// Read copies a written block into buf, which has BlockSize bytes.
	Read(n int64, buf []byte)
}

// Snapshot is an EBS snapshot.
type Snapshot struct {
	ID, VolumeID, Owner, Description string
	State                            string // pending, completed, error
	StateMessage                     string
	Tier                             string // standard, archive
	SizeGiB                          int64
	Started                          time.Time
	Encrypted                        bool
	KMSKeyID                         string
	Tags                             map[string]string
	Public                           bool
	Region                           string // empty: the first of the server's
	Lineage                          string // snapshots of one lineage can be compared; "": the volume's
	Content                          Content

	// Of one that is written by the direct APIs.
	Parent   string
	Writable time.Time // blocks can be put from then on
	Sums     map[int64][32]byte
	Token    string    // ClientToken ..
	Request  string    // .. and what was asked for with it
	Done     time.Time // completed from then on
}

// Line is what must be equal for two snapshots to be compared.
func (s *Snapshot) Line() string {
	if s.Lineage != "" {
		return s.Lineage
	}
	return s.VolumeID
}

// Volume is an EBS volume.
type Volume struct {
	ID, Type, Zone, State string
	SizeGiB               int64
	IOPS, Throughput      int32
	Encrypted             bool
	KMSKeyID, SnapshotID  string
	MultiAttach           bool
	Tags                  map[string]string
	Content               Content // what a snapshot of it gets
	Instance              string  // that it is attached to
	Region                string  // empty: the first of the server's
}

// World is safe for concurrent use.
type World struct {
	mu        sync.Mutex
	now       func() time.Time
	moved     time.Duration
	serial    int
	snapshots map[string]*Snapshot
	volumes   map[string]*Volume
}

// New makes an empty world.
func New() *World {
	return &World{now: time.Now, snapshots: map[string]*Snapshot{}, volumes: map[string]*Volume{}}
}

// Now is the time there.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now().Add(w.moved)
}

// Pass lets time pass.
func (w *World) Pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved += d
}

// ID makes a new one of a kind, such as "snap".
func (w *World) ID(kind string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial++
	return fmt.Sprintf("%s-%017x", kind, 0xa000000000000+w.serial)
}

// AddSnapshot adds one, with defaults for what it does not say, and gives it.
func (w *World) AddSnapshot(s Snapshot) *Snapshot {
	if s.ID == "" {
		s.ID = w.ID("snap")
	}
	if s.Started.IsZero() {
		s.Started = w.Now().Truncate(time.Millisecond)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range []struct {
		field *string
		or    string
	}{{&s.Owner, Account}, {&s.State, "completed"}, {&s.Tier, "standard"}, {&s.VolumeID, "vol-ffffffff"}} {
		if *d.field == "" {
			*d.field = d.or
		}
	}
	if s.Content == nil {
		s.Content = NewBlocks(nil)
	}
	w.snapshots[s.ID] = &s
	return &s
}

// AddVolume adds one.
func (w *World) AddVolume(v Volume) *Volume {
	if v.ID == "" {
		v.ID = w.ID("vol")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.State == "" {
		v.State = "in-use"
	}
	if v.Type == "" {
		v.Type = "gp3"
	}
	w.volumes[v.ID] = &v
	return &v
}

// Remove deletes a snapshot or volume, as an attacker would.
func (w *World) Remove(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.snapshots, id)
	delete(w.volumes, id)
}

// Snapshot gives one, nil if there is none, as it is now.
func (w *World) Snapshot(id string) *Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.snapshots[id]
	if s == nil {
		return nil
	}
	if now := w.now().Add(w.moved); s.State == "pending" && !s.Done.IsZero() && !now.Before(s.Done) {
		s.State = "completed"
	}
	c := *s
	return &c
}

// Update changes a snapshot in place.
func (w *World) Update(id string, change func(*Snapshot)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.snapshots[id]
	if s != nil {
		change(s)
	}
	return s != nil
}

// Snapshots gives all, in order of ID.
func (w *World) Snapshots() []*Snapshot {
	w.mu.Lock()
	ids := slices.Sorted(maps.Keys(w.snapshots))
	w.mu.Unlock()
	var out []*Snapshot
	for _, id := range ids {
		if s := w.Snapshot(id); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// Volumes gives all, in order of ID.
func (w *World) Volumes() []Volume {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Volume
	for _, id := range slices.Sorted(maps.Keys(w.volumes)) {
		out = append(out, *w.volumes[id])
	}
	return out
}

// Started gives the snapshot that was started with a client token.
func (w *World) Started(token string) *Snapshot {
	for _, s := range w.Snapshots() {
		if token != "" && s.Token == token {
			return s
		}
	}
	return nil
}

// Blocks is Content in memory.
type Blocks struct {
	mu     sync.RWMutex
	blocks map[int64][]byte
	order  []int64
}

// NewBlocks makes content of blocks by number. They are not copied.
func NewBlocks(blocks map[int64][]byte) *Blocks {
	b := &Blocks{blocks: map[int64][]byte{}}
	maps.Copy(b.blocks, blocks)
	b.order = slices.Sorted(maps.Keys(b.blocks))
	return b
}

// Next implements Content.
func (b *Blocks) Next(from int64) (int64, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	i, _ := slices.BinarySearch(b.order, from)
	if i == len(b.order) {
		return 0, false
	}
	return b.order[i], true
}

// Stamp implements Content.
func (b *Blocks) Stamp(n int64) uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return StampOf(b.blocks[n])
}

// StampOf makes a stamp of a block's bytes.
func StampOf(block []byte) (s uint64) {
	for i, c := range sha256.Sum256(block) {
		if i < 8 {
			s = s<<8 | uint64(c)
		}
	}
	return s
}

// Read implements Content.
func (b *Blocks) Read(n int64, buf []byte) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	clear(buf)
	copy(buf, b.blocks[n])
}

// With gives a copy in which some blocks are others; nil takes one away.
func (b *Blocks) With(change map[int64][]byte) *Blocks {
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := maps.Clone(b.blocks)
	for n, block := range change {
		if block == nil {
			delete(all, n)
		} else {
			all[n] = block
		}
	}
	return NewBlocks(all)
}

// Put writes a block.
func (b *Blocks) Put(n int64, block []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.blocks[n]; !ok {
		i, _ := slices.BinarySearch(b.order, n)
		b.order = slices.Insert(b.order, i, n)
	}
	b.blocks[n] = block
}
