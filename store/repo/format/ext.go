package format

import (
	"bytes"
	"fmt"
	"math"
)

// Bounds on Ext.
const (
	MaxExt   = 4 << 10 // bytes
	maxNests = 4       // objects and arrays within each other
)

// Ext is the member "ext", with which any object of the format may end: a JSON object that a later version wrote. It never
// changes what is restored, verified, renewed or pruned. Its spelling is checked and its content ignored; whoever carries a
// line over carries it along, byte for byte. Empty: there is none.
type Ext string

// IsZero reports whether there is none.
func (e Ext) IsZero() bool { return e == "" }

// MarshalJSON gives the object as it was read.
func (e Ext) MarshalJSON() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return []byte(e), nil
}

// UnmarshalJSON takes an object in the one spelling.
func (e *Ext) UnmarshalJSON(b []byte) error {
	*e = Ext(b)
	return e.check()
}

// orNone is check for an object that may have none.
func (e Ext) orNone() error {
	if e == "" {
		return nil
	}
	return e.check()
}

// optExt appends the member, which is an object's last.
func optExt(b []byte, e Ext) []byte {
	if e == "" {
		return b
	}
	return append(appendName(b, "ext", ""), e...)
}

// ext reads the member as it is spelt; orNone checks the rest.
func (s *members) ext() Ext {
	if !s.member("ext", "") {
		return ""
	}
	from := s.pos
	s.value(0)
	if s.err != nil {
		return ""
	}
	return Ext(s.b[from:s.pos])
}

// check refuses all but one spelling: no white space, names sorted by their bytes and each once, integers, strings, true,
// false, arrays and objects.
func (e Ext) check() error {
	if len(e) > MaxExt {
		return fmt.Errorf("ext of %d bytes: %w", len(e), ErrBounds)
	}
	s := scanner{b: []byte(e)}
	if len(s.b) <= len("{}") || s.b[0] != '{' {
		return fmt.Errorf("ext is no object with members: %w", ErrMalformed)
	}
	s.value(0)
	if err := s.end(); err != nil {
		return fmt.Errorf("ext: %w", err)
	}
	return nil
}

// value consumes any value in the one spelling.
func (s *scanner) value(depth int) {
	if s.err != nil {
		return
	}
	if s.pos >= len(s.b) {
		s.fail("value")
		return
	}
	switch c := s.b[s.pos]; {
	case c == '"':
		s.quoted()
	case c >= '0' && c <= '9':
		s.number(math.MaxInt64)
	case c == '{' && depth < maxNests:
		s.object(depth + 1)
	case c == '[' && depth < maxNests:
		s.array(depth + 1)
	case !s.literal("true") && !s.literal("false"):
		s.fail("value")
	}
}

func (s *scanner) object(depth int) {
	s.want('{')
	for first, last := true, ""; !s.take('}'); first = false {
		if !first {
			s.want(',')
		}
		name := s.quoted()
		if s.err == nil && !first && name <= last {
			s.fail("members out of order")
		}
		s.want(':')
		s.value(depth)
		if s.err != nil {
			return
		}
		last = name
	}
}

func (s *scanner) array(depth int) {
	s.want('[')
	for first := true; !s.take(']'); first = false {
		if !first {
			s.want(',')
		}
		s.value(depth)
		if s.err != nil {
			return
		}
	}
}

func (s *scanner) literal(text string) bool {
	if !bytes.HasPrefix(s.b[s.pos:], []byte(text)) {
		return false
	}
	s.pos += len(text)
	return true
}
