package format

import "fmt"

// AppendLine appends c as one line of an extent page.
func (c Chunk) AppendLine(b []byte) ([]byte, error) {
	if err := c.checkAlone(); err != nil {
		return b, fmt.Errorf("encode chunk: %w", err)
	}
	return append(c.append(b, true), '\n'), nil
}

// ParseChunk parses a line of an extent page.
func ParseChunk(line []byte) (Chunk, error) {
	var c Chunk
	if err := parseLine("chunk", line, c.scanMembers, func() error { return c.checkAlone() }); err != nil {
		return Chunk{}, err
	}
	return c, nil
}

func (c *Chunk) checkAlone() error {
	if !c.Hole && c.Sum.IsZero() {
		return fmt.Errorf("no sha256: %w", ErrMalformed)
	}
	return c.check()
}

func (c *Chunk) append(b []byte, sum bool) []byte {
	b = append(b, '{')
	if c.Hole {
		return append(optExt(appendInt(b, "hole", c.Size), c.Ext), '}')
	}
	b = appendHash(b, "pack", c.Pack)
	b = appendFrame(b, c.Frame)
	b = optInt(b, "at", c.At)
	b = appendInt(b, "size", c.Size)
	if sum {
		b = appendHash(b, "sha256", c.Sum)
	}
	return append(optExt(b, c.Ext), '}')
}

func (c *Chunk) scan(s *members) {
	s.want('{')
	c.scanMembers(s)
	s.want('}')
}

func (c *Chunk) scanMembers(s *members) {
	if s.err != nil {
		return
	}
	if s.member("hole", "") {
		c.Hole, c.Size, c.Ext = true, s.int(), s.ext()
		return
	}
	s.must("pack")
	c.Pack = s.hash()
	c.Frame = s.frame()
	c.At = s.optInt("at")
	s.must("size")
	c.Size = s.int()
	c.Sum = s.optHash("sha256")
	c.Ext = s.ext()
}

// AppendLine appends x as one line of an extent page of level 1.
func (x Extent) AppendLine(b []byte) ([]byte, error) {
	if err := x.check(); err != nil {
		return b, fmt.Errorf("encode extent: %w", err)
	}
	return append(x.append(b), '\n'), nil
}

// ParseExtent parses a line of an extent page of level 1.
func ParseExtent(line []byte) (Extent, error) {
	var x Extent
	if err := parseLine("extent", line, x.scanMembers, func() error { return x.check() }); err != nil {
		return Extent{}, err
	}
	return x, nil
}

func (x *Extent) append(b []byte) []byte {
	b = append(b, '{')
	b = optInt(b, "level", int64(x.Level))
	b = appendInt(b, "from", x.From)
	b = appendInt(b, "size", x.Size)
	if x.Hole {
		b = optTrue(b, "hole", true)
	} else {
		b = appendText(b, "object", x.Object)
		b = appendFrame(b, x.Frame)
		b = appendHash(b, "sha256", x.Sum)
		b = optHash(b, "content", x.Content)
	}
	return append(optExt(optText(b, "digest", x.Digest), x.Ext), '}')
}

func (x *Extent) scan(s *members) {
	s.want('{')
	x.scanMembers(s)
	s.want('}')
}

func (x *Extent) scanMembers(s *members) {
	if s.err != nil {
		return
	}
	x.Level = int(s.optUint("level", 1))
	s.must("from")
	x.From = s.int()
	s.must("size")
	x.Size = s.int()
	if x.Hole = s.optTrue("hole"); !x.Hole {
		s.must("object")
		x.Object = s.quoted()
		x.Frame = s.frame()
		s.must("sha256")
		x.Sum = s.hash()
		x.Content = s.optHash("content")
	}
	x.Digest = s.optText("digest")
	x.Ext = s.ext()
}
