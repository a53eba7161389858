package cache

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// The first byte of a key says what it is for. Names that others chose are preceded by their length, so that no two differ
// in meaning and agree in bytes.
const (
	keyChunk     = 'c' // + chunk ID
	keyPlacement = 'p' // + vault + name of the object
	keyLoaded    = 'l' // + vault + name of the segment
	keySaid      = 's' // + vault + name of a placements object
	keySaidIn    = 't' // + vault + name of a placements object + 0 + number of the part
	keyProof     = 'v' // + hash of a signature that was verified
	keyNote      = 'o' // + vault + what it is about
	keyUnproved  = 'q' // + vault + name of an object whose placement was not held against a listing yet
	keyIndexed   = 'i' // + vault + name of a meta object that holds index segments
	keyHot       = 'h' // + vault
	keyScratch   = 'n' // + counter + key; void once its run is over
)

func chunkKey(id format.Hash) []byte { return append([]byte{keyChunk}, id[:]...) }

// namedKey is kind, then name with its length before it, then rest.
func namedKey(kind byte, name, rest string) ([]byte, error) {
	if len(name) > math.MaxUint8 {
		return nil, fmt.Errorf("a name of %d bytes, at most %d: %w", len(name), math.MaxUint8, format.ErrBounds)
	}
	if len(rest) > format.MaxKey {
		return nil, fmt.Errorf("a key of %d bytes, at most %d: %w", len(rest), format.MaxKey, format.ErrBounds)
	}
	k := make([]byte, 0, 2+len(name)+len(rest))
	k = append(k, kind, byte(len(name)))
	k = append(k, name...)
	return append(k, rest...), nil
}

// after is the first key that does not start with prefix. There always is one: no kind is 0xff.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; ; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
}

// encodeChunk is the pack, then five unsigned varints.
func encodeChunk(b []byte, c format.Chunk) ([]byte, error) {
	if !plausible(c) {
		return nil, fmt.Errorf("a chunk that cannot be: %w", format.ErrBounds)
	}
	b = append(b, c.Pack[:]...)
	for _, n := range [...]int64{c.Frame.Offset, c.Frame.Length, c.Frame.Plain, c.At, c.Size} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b, nil
}

func decodeChunk(b []byte) (format.Chunk, error) {
	var c format.Chunk
	r := reader{b: b}
	copy(c.Pack[:], r.take(len(c.Pack)))
	for _, n := range [...]*int64{&c.Frame.Offset, &c.Frame.Length, &c.Frame.Plain, &c.At, &c.Size} {
		*n = r.count()
	}
	if !r.done() || !plausible(c) {
		return format.Chunk{}, fmt.Errorf("%w: the record of a chunk", ErrCorrupt)
	}
	return c, nil
}

// plausible tells whether a chunk can be where it says it is.
func plausible(c format.Chunk) bool {
	f := c.Frame
	return f.Offset >= 0 && f.Length > 0 && f.Offset <= format.MaxPack && f.Length <= format.MaxPack &&
		f.Plain > 0 && f.Plain <= format.MaxFrame && c.At >= 0 && c.Size > 0 && c.At <= f.Plain && c.Size <= f.Plain-c.At
}

const flagIndex = 1

// encodePlacement is flags, size, retain-until in seconds and nanoseconds, mode, the number and places of the frames that are
// index segments, if there are any, and version. The name is in the key.
func encodePlacement(b []byte, p format.Placement) ([]byte, error) {
	if p.Size < 0 || len(p.Mode) > math.MaxUint8 || len(p.Version) > maxVersion {
		return nil, fmt.Errorf("the placement of %q: %w", p.Name, format.ErrBounds)
	}
	var flags byte
	if len(p.Index) > 0 {
		flags |= flagIndex
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(p.Size))
	b = binary.AppendVarint(b, p.Until.Unix())
	b = binary.AppendUvarint(b, uint64(p.Until.Nanosecond()))
	b = append(b, byte(len(p.Mode)))
	b = append(b, p.Mode...)
	if len(p.Index) > 0 {
		b = binary.AppendUvarint(b, uint64(len(p.Index)))
	}
	for _, f := range p.Index {
		for _, n := range [...]int64{f.Offset, f.Length, f.Plain} {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return append(b, p.Version...), nil
}

// maxVersion bounds a version ID; S3's own bound is 1,024.
const maxVersion = 4 << 10

func decodePlacement(name string, b []byte) (format.Placement, error) {
	r := reader{b: b}
	flags := r.byte()
	p := format.Placement{Name: name, Size: r.count()}
	sec, nsec := r.signed(), r.count()
	p.Mode = string(r.take(int(r.byte())))
	for n := r.places(flags); n > 0 && !r.bad; n-- {
		p.Index = append(p.Index, format.Frame{Offset: r.count(), Length: r.count(), Plain: r.count()})
	}
	p.Version = string(r.take(len(r.b)))
	if !r.done() || flags&^flagIndex != 0 || nsec >= int64(time.Second) || len(p.Version) > maxVersion {
		return format.Placement{}, fmt.Errorf("%w: the placement of %q", ErrCorrupt, name)
	}
	p.Until = format.At(time.Unix(sec, nsec))
	return p, nil
}

// places is how many frames of a placement are index segments.
func (r *reader) places(flags byte) int64 {
	if flags&flagIndex == 0 {
		return 0
	}
	n := r.count()
	r.bad = r.bad || n == 0
	return n
}

// reader takes a record apart. After something that was not there it gives zeros and done is false.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) count() int64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > math.MaxInt64 {
		r.bad = true
		return 0
	}
	r.take(n)
	return int64(v)
}

func (r *reader) signed() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }
