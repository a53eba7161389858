package tree

import (
	"context"
	"fmt"
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// ReadExtent reads one extent page and proves its hash. A repo.Reader's and a repo.Session's Extent are such.
type ReadExtent func(ctx context.Context, x format.Extent) ([]byte, error)

// Chunks gives where the content of e is, in order: the references in the entry, or those on its extent pages, which are
// held against what refers to them. Each has its hash, also where the entry's stands for it.
func Chunks(ctx context.Context, read ReadExtent, e *format.Entry) iter.Seq2[format.Chunk, error] {
	return func(yield func(format.Chunk, error) bool) {
		for _, c := range e.Chunks {
			if len(e.Chunks) == 1 && !c.Hole {
				c.Sum = e.SHA256
			}
			if !yield(c, nil) {
				return
			}
		}
		for x, err := range Extents(ctx, read, e, 0, nil) {
			if err != nil {
				yield(format.Chunk{}, err)
				return
			}
			for c, err := range ExtentChunks(ctx, read, x) {
				if !yield(c, err) || err != nil {
					return
				}
			}
		}
	}
}

// Extents gives the extents of level 0 of e that end behind byte from, in order. visit, if not nil, is told of each page of
// level 1 on the way before it is read. An error ends the sequence; its extent is the one whose page it is about.
func Extents(ctx context.Context, read ReadExtent, e *format.Entry, from int64, visit func(format.Extent)) iter.Seq2[format.Extent, error] {
	return func(yield func(format.Extent, error) bool) {
		for _, x := range e.Extents {
			if x.From+x.Size <= from {
				continue
			}
			if x.Level == 0 {
				if !yield(x, nil) {
					return
				}
				continue
			}
			if visit != nil {
				visit(x)
			}
			for inner, err := range innerExtents(ctx, read, e.Kind, x) {
				if err != nil {
					yield(x, err)
					return
				}
				if inner.From+inner.Size > from && !yield(inner, nil) {
					return
				}
			}
		}
	}
}

// innerExtents gives the lines of a page of level 1.
func innerExtents(ctx context.Context, read ReadExtent, kind format.Kind, x format.Extent) iter.Seq2[format.Extent, error] {
	return func(yield func(format.Extent, error) bool) {
		page, err := read(ctx, x)
		if err != nil {
			yield(x, fmt.Errorf("extents from byte %d: %w", x.From, err))
			return
		}
		at, n := x.From, 0
		for line, err := range format.PageLines(page) {
			var inner format.Extent
			if err == nil {
				inner, err = format.ParseExtent(line)
			}
			if err == nil && (inner.Level != 0 || inner.From != at || inner.Size > x.From+x.Size-at || kind == format.KindImage && !wholeRange(inner, x)) {
				err = fmt.Errorf("extent of %d bytes from %d does not fit: %w", inner.Size, inner.From, format.ErrMalformed)
			}
			if err == nil {
				err = inner.In(kind)
			}
			if n++; err == nil && n > format.MaxInner {
				err = fmt.Errorf("more than %d extents on a page: %w", format.MaxInner, format.ErrBounds)
			}
			if err != nil {
				yield(x, fmt.Errorf("extents from byte %d: %w", x.From, err))
				return
			}
			at += inner.Size
			if !yield(inner, nil) {
				return
			}
		}
		if at != x.From+x.Size {
			yield(x, fmt.Errorf("extents from byte %d end at %d instead of %d: %w", x.From, at, x.From+x.Size, format.ErrMalformed))
		}
	}
}

// wholeRange reports whether an extent on a page of level 1 is a whole range of an image, or the last of the page.
func wholeRange(inner, x format.Extent) bool {
	return inner.From%format.ImageRange == 0 && (inner.Size == format.ImageRange || inner.Size < format.ImageRange && inner.From+inner.Size == x.From+x.Size)
}

// ExtentChunks gives the chunks of one extent of level 0; a hole is one chunk.
func ExtentChunks(ctx context.Context, read ReadExtent, x format.Extent) iter.Seq2[format.Chunk, error] {
	return func(yield func(format.Chunk, error) bool) {
		if x.Hole {
			yield(format.Chunk{Hole: true, Size: x.Size}, nil)
			return
		}
		fail := func(err error) { yield(format.Chunk{}, fmt.Errorf("extent page at byte %d: %w", x.From, err)) }
		page, err := read(ctx, x)
		if err != nil {
			fail(err)
			return
		}
		left := x.Size
		for line, err := range format.PageLines(page) {
			var c format.Chunk
			if err == nil {
				c, err = format.ParseChunk(line)
			}
			if err == nil && c.Size > left {
				err = fmt.Errorf("more than its %d bytes: %w", x.Size, format.ErrMalformed)
			}
			if err != nil {
				fail(err)
				return
			}
			left -= c.Size
			if !yield(c, nil) {
				return
			}
		}
		if left != 0 {
			fail(fmt.Errorf("%d of its %d bytes: %w", x.Size-left, x.Size, format.ErrMalformed))
		}
	}
}
