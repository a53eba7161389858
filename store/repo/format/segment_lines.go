package format

import (
	"cmp"
	"fmt"
	"strings"
)

// AppendLine appends p as one line of a placements object.
func (p Placement) AppendLine(b []byte) ([]byte, error) {
	if err := p.check(); err != nil {
		return b, fmt.Errorf("encode placement: %w", err)
	}
	b = append(b, '{')
	b = appendText(b, "name", p.Name)
	b = optText(b, "version", p.Version)
	b = appendInt(b, "size", p.Size)
	b = optText(b, "mode", p.Mode)
	b = optTime(b, "until", p.Until)
	b = optExt(optFrames(b, "index", p.Index), p.Ext)
	return append(b, '}', '\n'), nil
}

// ParsePlacement parses a line of a placements object.
func ParsePlacement(line []byte) (Placement, error) {
	var p Placement
	scan := func(s *members) {
		s.must("name")
		p.Name = s.quoted()
		p.Version = s.optText("version")
		s.must("size")
		p.Size = s.int()
		p.Mode = s.optText("mode")
		p.Until = s.optTime("until")
		p.Index = s.optFrames("index")
		p.Ext = s.ext()
	}
	if err := parseLine("placement", line, scan, func() error { return p.check() }); err != nil {
		return Placement{}, err
	}
	return p, nil
}

func (p *Placement) check() error {
	if p.Size < 1 || p.Size > MaxPack {
		return fmt.Errorf("object of %d bytes: %w", p.Size, ErrBounds)
	}
	if p.Mode != "" && p.Mode != "compliance" && p.Mode != "governance" {
		return fmt.Errorf("lock mode %q: %w", clip([]byte(p.Mode)), ErrMalformed)
	}
	if err := p.checkIndex(); err != nil {
		return err
	}
	if (p.Mode == "") != p.Until.IsZero() {
		return fmt.Errorf("a lock is a mode and a time: %w", ErrMalformed)
	}
	if err := checkTime(p.Until); err != nil {
		return err
	}
	name := storedName(p.Name)
	if _, ok := WithFolder(p.Name); ok {
		name = nil
	}
	if !Placed(p.Name) {
		name = fmt.Errorf("it has no placement: %w", badName(p.Name))
	}
	return cmp.Or(name, p.Ext.orNone())
}

// Placed reports whether objects of such names stand in placements. Those that do not are found by their names.
func Placed(name string) bool {
	return !strings.HasPrefix(name, PrefixPoints) && !strings.HasPrefix(name, PrefixPlacements) && !strings.HasPrefix(name, PrefixReports)
}

// checkIndex holds the frames of index segments against the object: they are of a meta object, in order, and in it.
func (p *Placement) checkIndex() error {
	if len(p.Index) == 0 {
		return nil
	}
	if !strings.HasPrefix(p.Name, PrefixMeta) {
		return fmt.Errorf("index: %w", badName(p.Name))
	}
	if len(p.Index) > maxIndexFrames {
		return fmt.Errorf("%d index segments: %w", len(p.Index), ErrBounds)
	}
	end := int64(0)
	for _, f := range p.Index {
		if err := checkFrame(f); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if f.Plain == 0 || f.Offset < end {
			return fmt.Errorf("index: frames are not in order: %w", ErrMalformed)
		}
		end = f.Offset + f.Length
	}
	return nil
}

// AppendLine appends l as one line of an index segment.
func (l IndexLine) AppendLine(b []byte) ([]byte, error) {
	if err := l.check(); err != nil {
		return b, fmt.Errorf("encode index line: %w", err)
	}
	b = append(b, '{')
	b = appendHash(b, "id", l.ID)
	b = appendHash(b, "pack", l.Pack)
	b = appendFrame(b, l.Frame)
	b = optInt(b, "at", l.At)
	b = optExt(appendInt(b, "size", l.Size), l.Ext)
	return append(b, '}', '\n'), nil
}

// ParseIndexLine parses a line of an index segment.
func ParseIndexLine(line []byte) (IndexLine, error) {
	var l IndexLine
	scan := func(s *members) {
		s.must("id")
		l.ID = s.hash()
		s.must("pack")
		l.Pack = s.hash()
		l.Frame = s.frame()
		l.At = s.optInt("at")
		s.must("size")
		l.Size = s.int()
		l.Ext = s.ext()
	}
	if err := parseLine("index line", line, scan, func() error { return l.check() }); err != nil {
		return IndexLine{}, err
	}
	return l, nil
}

func (l *IndexLine) check() error {
	if l.ID.IsZero() || l.Pack.IsZero() {
		return fmt.Errorf("no ID or no pack: %w", ErrMalformed)
	}
	return cmp.Or(checkWithin(l.Frame, l.At, l.Size), l.Ext.orNone())
}
