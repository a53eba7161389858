package format

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"unicode/utf8"
)

// scanner reads one JSON line in the one spelling this format has. Members are asked for in their documented order, so an
// unknown, repeated or misplaced member is simply never consumed and the line is refused at its end. After the first
// error everything is a no-op. Nothing it allocates is larger than the line.
type scanner struct {
	b   []byte
	pos int
	err error
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%s at byte %d: %w", what, s.pos, ErrMalformed)
	}
}

// take consumes c if it is next.
func (s *scanner) take(c byte) bool {
	if s.err != nil || s.pos >= len(s.b) || s.b[s.pos] != c {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) want(c byte) {
	if !s.take(c) {
		s.fail(fmt.Sprintf("expected %q", c))
	}
}

// end refuses what follows the object.
func (s *scanner) end() error {
	if s.err == nil && s.pos != len(s.b) {
		s.fail("unknown, repeated or misplaced bytes")
	}
	return s.err
}

// member consumes the name of the next member if it is name+suffix.
func (s *scanner) member(name, suffix string) bool {
	if s.err != nil {
		return false
	}
	p := s.pos
	if s.b[p-1] != '{' {
		if p >= len(s.b) || s.b[p] != ',' {
			return false
		}
		p++
	}
	rest := s.b[p:]
	n := len(name) + len(suffix)
	if len(rest) < n+3 || rest[0] != '"' || rest[n+1] != '"' || rest[n+2] != ':' ||
		string(rest[1:1+len(name)]) != name || string(rest[1+len(name):n+1]) != suffix {
		return false
	}
	s.pos = p + n + 3
	return true
}

// must is member for what is never left out.
func (s *scanner) must(name string) {
	if !s.member(name, "") {
		s.fail("no " + name)
	}
}

// raw consumes a string and gives what is between its quotes, escapes untouched.
func (s *scanner) raw() (raw []byte, escaped bool) {
	s.want('"')
	if s.err != nil {
		return nil, false
	}
	start := s.pos
	for s.pos < len(s.b) {
		switch c := s.b[s.pos]; {
		case c == '"':
			raw = s.b[start:s.pos]
			s.pos++
			return raw, escaped
		case c == '\\':
			escaped = true
			s.pos++ // whatever is escaped is not the end
		case c < 0x20:
			s.fail("control character in a string")
			return nil, false
		}
		s.pos++
	}
	s.fail("string without end")
	return nil, false
}

// quoted consumes a string of valid UTF-8.
func (s *scanner) quoted() string {
	raw, escaped := s.raw()
	if s.err != nil {
		return ""
	}
	if !utf8.Valid(raw) {
		s.fail("string is not UTF-8")
		return ""
	}
	if !escaped {
		return string(raw)
	}
	return s.unescape(raw)
}

// unescape accepts exactly the escapes appendQuoted writes.
func (s *scanner) unescape(raw []byte) string {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '\\' {
			out = append(out, c)
			continue
		}
		i++ // raw never ends within an escape of one character
		switch raw[i] {
		case '"', '\\':
			c = raw[i]
		case 'b':
			c = '\b'
		case 't':
			c = '\t'
		case 'n':
			c = '\n'
		case 'f':
			c = '\f'
		case 'r':
			c = '\r'
		case 'u':
			v, ok := controlEscape(raw[i+1:])
			if !ok {
				s.fail("escape")
				return ""
			}
			c = v
			i += 4
		default:
			s.fail("escape")
			return ""
		}
		out = append(out, c)
	}
	return string(out)
}

// controlEscape reads the four digits of a control character that has no shorter escape.
func controlEscape(d []byte) (byte, bool) {
	if len(d) < 4 || d[0] != '0' || d[1] != '0' || d[2] > '1' {
		return 0, false
	}
	hi, lo := unhex(d[2]), unhex(d[3])
	if hi > 15 || lo > 15 {
		return 0, false
	}
	c := hi<<4 | lo
	return c, !bytes.ContainsRune([]byte("\b\t\n\f\r"), rune(c))
}

// unhex gives the value of a lower-case hexadecimal digit, 16 or more for anything else.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 16
}

// base64 consumes a string of standard base64 with padding; non-zero padding bits are refused.
func (s *scanner) base64() []byte {
	raw, escaped := s.raw()
	if s.err != nil {
		return nil
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Strict().Decode(out, raw)
	if err != nil || escaped {
		s.fail("base64")
		return nil
	}
	return out[:n]
}

// foreign consumes base64 of what is not UTF-8; anything else has another spelling.
func (s *scanner) foreign() string {
	v := s.base64()
	if s.err == nil && utf8.Valid(v) {
		s.fail("base64 of valid UTF-8")
	}
	return string(v)
}
