package world

import "encoding/binary"

// Overlay is content with some blocks changed, others taken away (nil).
type Overlay struct {
	Base   Content
	Change map[int64][]byte
}

// Next implements Content.
func (o *Overlay) Next(from int64) (int64, bool) {
	n, ok := o.Base.Next(from)
	for ok {
		if b, changed := o.Change[n]; !changed || b != nil {
			break
		}
		n, ok = o.Base.Next(n + 1)
	}
	for k, b := range o.Change {
		if b != nil && k >= from && (!ok || k < n) {
			n, ok = k, true
		}
	}
	return n, ok
}

// Stamp implements Content.
func (o *Overlay) Stamp(n int64) uint64 {
	if b := o.Change[n]; b != nil {
		return StampOf(b)
	}
	return o.Base.Stamp(n)
}

// Read implements Content.
func (o *Overlay) Read(n int64, buf []byte) {
	if b := o.Change[n]; b != nil {
		copy(buf, b)
		return
	}
	o.Base.Read(n, buf)
}

// Full is content of which every block is written, made up by a formula: it takes no memory whatever its size.
type Full struct {
	Blocks  int64
	Version func(n int64) uint64 // what tells a block from itself at another time
}

// Next implements Content.
func (f *Full) Next(from int64) (int64, bool) { return max(from, 0), from < f.Blocks }

// Stamp implements Content.
func (f *Full) Stamp(n int64) uint64 { return f.Version(n) }

// Read implements Content: noise that depends on the block and its version.
func (f *Full) Read(n int64, buf []byte) {
	x := uint64(n)*0x9e3779b97f4a7c15 ^ f.Version(n)
	for i := 0; i+8 <= len(buf); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(buf[i:], x)
	}
}
