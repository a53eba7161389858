package backup

import (
	"errors"
	"fmt"
	"io"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // registers the algorithm the descriptor names

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// cutter finds chunk boundaries by content. It belongs to one goroutine and keeps one buffer.
type cutter struct {
	p   format.Parameters
	buf []byte
}

// chunker starts cutting r. Boundaries are part of the format.
func (c *cutter) chunker(r io.Reader) (*chunkers.Chunker, error) {
	if c.buf == nil {
		c.buf = make([]byte, 2*c.p.MaxChunk)
	}
	return chunkers.NewChunkerBuffer(c.p.Chunker, r, &chunkers.ChunkerOpts{MinSize: c.p.MinChunk, NormalSize: c.p.AvgChunk, MaxSize: c.p.MaxChunk}, c.buf)
}

// cut gives visit each chunk of r; the bytes are valid during the call.
func (c *cutter) cut(r io.Reader, visit func(chunk []byte) error) error {
	ch, err := c.chunker(r)
	if err != nil {
		return fmt.Errorf("cut content: %w", err)
	}
	for {
		chunk, err := ch.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return shortRead(err)
		}
		if len(chunk) > 0 {
			if err := visit(chunk); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// cutRuns cuts r in runs: what the buffer holds at once, some 12 MiB. look is given each chunk as it is cut, and emit what
// it made of a run's; the bytes are valid until emit returns.
func (c *cutter) cutRuns(r io.Reader, look func(chunk []byte) cutChunk, emit func(run []cutChunk) error) error {
	in := &filling{r: r}
	ch, err := c.chunker(in)
	if err != nil {
		return fmt.Errorf("cut content: %w", err)
	}
	var run []cutChunk
	for {
		// With less than the largest chunk at hand the next call reads, and moves what the buffer holds.
		if in.gave-in.cut < int64(c.p.MaxChunk) && !in.ended && len(run) > 0 {
			if err := emit(run); err != nil {
				return err
			}
			run = run[:0]
		}
		chunk, err := ch.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return shortRead(err)
		}
		if len(chunk) > 0 {
			run = append(run, look(chunk))
			in.cut += int64(len(chunk))
		}
		if err != nil {
			return emit(run)
		}
	}
}

// filling fills all the room there is with each call.
type filling struct {
	r         io.Reader
	gave, cut int64
	err       error // for the next call
	ended     bool  // err was given
}

func (f *filling) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) && f.err == nil {
		var m int
		m, f.err = f.r.Read(b[n:])
		n += m
	}
	f.gave += int64(n)
	if n > 0 {
		return n, nil
	}
	f.ended = f.err != nil
	return 0, f.err
}

// cutChunk is a chunk in the cutter's buffer.
type cutChunk struct {
	b    []byte
	sum  format.Hash
	hole bool
}
