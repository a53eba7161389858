package format

import "fmt"

// maxPlace bounds a source's URL.
const maxPlace = 4 << 10

// RootLine is the first line of a manifest's root page, and of no other page. The salt is random, so that the root's hash,
// which stands in the plain commit object, confirms no guess at what the page says. In JSON: {"salt":HEX,"source":TEXT}; source is
// left out when empty.
type RootLine struct {
	Salt   string // 32 hexadecimal digits
	Source string // the source's URL as configured, without secrets
	Ext    Ext
}

// AppendLine appends r with its newline.
func (r RootLine) AppendLine(b []byte) ([]byte, error) {
	if err := r.check(); err != nil {
		return b, fmt.Errorf("encode root line: %w", err)
	}
	b = appendText(append(b, '{'), "salt", r.Salt)
	b = optExt(optText(b, "source", r.Source), r.Ext)
	return append(b, '}', '\n'), nil
}

// ParseRootLine parses what AppendLine wrote.
func ParseRootLine(line []byte) (RootLine, error) {
	var r RootLine
	scan := func(s *members) {
		s.must("salt")
		r.Salt = s.quoted()
		r.Source = s.optText("source")
		r.Ext = s.ext()
	}
	if err := parseLine("root line", line, scan, func() error { return r.check() }); err != nil {
		return RootLine{}, err
	}
	return r, nil
}

func (r *RootLine) check() error {
	if !isDigest(r.Salt) {
		return fmt.Errorf("salt: %w", ErrMalformed)
	}
	if len(r.Source) > maxPlace {
		return fmt.Errorf("source of %d bytes: %w", len(r.Source), ErrBounds)
	}
	return r.Ext.orNone()
}
