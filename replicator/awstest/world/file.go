package world

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// File is Content of a raw disk image. Its blocks of zeros count as never written.
type File struct {
	f      *os.File
	stamps []uint64 // by block; 0: not written
}

// OpenFile reads an image through once. The caller closes it.
func OpenFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	c := &File{f: f}
	buf, zeros := make([]byte, BlockSize), make([]byte, BlockSize)
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			clear(buf[n:])
			stamp := uint64(0)
			if !bytes.Equal(buf, zeros) {
				stamp = max(StampOf(buf), 1)
			}
			c.stamps = append(c.stamps, stamp)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return c, nil
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
}

// Close lets go of the file.
func (c *File) Close() error { return c.f.Close() }

// Next implements Content.
func (c *File) Next(from int64) (int64, bool) {
	for n := max(from, 0); n < int64(len(c.stamps)); n++ {
		if c.stamps[n] != 0 {
			return n, true
		}
	}
	return 0, false
}

// Stamp implements Content.
func (c *File) Stamp(n int64) uint64 {
	if n < int64(len(c.stamps)) {
		return c.stamps[n]
	}
	return 0
}

// Read implements Content.
func (c *File) Read(n int64, buf []byte) {
	k, _ := c.f.ReadAt(buf, n*BlockSize) // the image may end within its last block
	clear(buf[k:])
}
