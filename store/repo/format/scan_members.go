package format

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// members reads the members of this format's objects, of which many kinds have the same.
type members struct{ scanner }

// text reads a member that is always there, as name or name_b64.
func (s *members) text(name string) string {
	if s.member(name, "_b64") {
		return s.foreign()
	}
	s.must(name)
	return s.quoted()
}

// optText reads a member that is left out when empty.
func (s *members) optText(name string) string {
	if s.member(name, "") {
		v := s.quoted()
		if v == "" {
			s.fail("empty " + name)
		}
		return v
	}
	if s.member(name, "_b64") {
		return s.foreign()
	}
	return ""
}

// number consumes an integer without sign, leading zeros, fraction or exponent.
func (s *scanner) number(limit uint64) uint64 {
	if s.err != nil {
		return 0
	}
	start, n := s.pos, uint64(0)
	for s.pos < len(s.b) && s.b[s.pos] >= '0' && s.b[s.pos] <= '9' {
		d := uint64(s.b[s.pos] - '0')
		if n > (math.MaxUint64-d)/10 {
			s.fail("number too large")
			return 0
		}
		n = n*10 + d
		s.pos++
	}
	if s.pos == start || s.b[start] == '0' && s.pos > start+1 {
		s.fail("number")
		return 0
	}
	if n > limit {
		s.fail("number too large")
		return 0
	}
	return n
}

func (s *scanner) int() int64 { return int64(s.number(math.MaxInt64)) }

// optUint reads a number that is left out when zero.
func (s *members) optUint(name string, limit uint64) uint64 {
	if !s.member(name, "") {
		return 0
	}
	n := s.number(limit)
	if n == 0 {
		s.fail("zero " + name)
	}
	return n
}

func (s *members) optInt(name string) int64 { return int64(s.optUint(name, math.MaxInt64)) }

// hash consumes a hash; zero is no hash.
func (s *scanner) hash() (h Hash) {
	if s.err != nil {
		return h
	}
	if len(s.b)-s.pos < hashText+2 || s.b[s.pos] != '"' || s.b[s.pos+hashText+1] != '"' {
		s.fail("hash")
		return h
	}
	digits := s.b[s.pos+1 : s.pos+1+hashText]
	for i := range h {
		hi, lo := unhex(digits[2*i]), unhex(digits[2*i+1])
		if hi > 15 || lo > 15 {
			s.fail("hash")
			return Hash{}
		}
		h[i] = hi<<4 | lo
	}
	if h.IsZero() {
		s.fail("zero hash")
	}
	s.pos += hashText + 2
	return h
}

func (s *members) optHash(name string) Hash {
	if !s.member(name, "") {
		return Hash{}
	}
	return s.hash()
}

// optTime reads a time that is left out when zero.
func (s *members) optTime(name string) Time {
	if !s.member(name, "") {
		return Time{}
	}
	raw, _ := s.raw()
	if s.err != nil {
		return Time{}
	}
	t, ok := parseTime(raw)
	if !ok || t.IsZero() {
		s.fail("time")
		return Time{}
	}
	return t
}

// frame consumes the member "frame".
func (s *members) frame() Frame {
	s.must("frame")
	return s.place()
}

// place consumes [OFFSET,LENGTH,PLAIN].
func (s *members) place() (f Frame) {
	s.want('[')
	f.Offset = s.int()
	s.want(',')
	f.Length = s.int()
	s.want(',')
	f.Plain = s.int()
	s.want(']')
	return f
}

// optFrames reads what the function of that name writes.
func (s *members) optFrames(name string) (list []Frame) {
	if s.member(name, "") {
		s.list(maxIndexFrames, func() { list = append(list, s.place()) })
	}
	return list
}

// optTexts reads what the function of that name writes.
func (s *members) optTexts(name string) map[string]string {
	var m map[string]string
	if s.member(name, "") {
		m = make(map[string]string)
		s.pairs(s.quoted, func(k string) {
			m[k] = s.quoted()
		})
	}
	if s.member(name, "_b64") {
		if m == nil {
			m = make(map[string]string)
		}
		s.pairs(func() string { return string(s.base64()) }, func(k string) {
			v := string(s.base64())
			if _, twice := m[k]; twice || utf8.ValidString(k) && utf8.ValidString(v) {
				s.fail(name + "_b64")
				return
			}
			m[k] = v
		})
	}
	return m
}

// optXattrs reads what the function of that name writes.
func (s *members) optXattrs() map[string][]byte {
	var m map[string][]byte
	if s.member("xattrs", "") {
		m = make(map[string][]byte)
		s.pairs(s.quoted, func(k string) { m[k] = s.base64() })
	}
	if s.member("xattrs", "_b64") {
		if m == nil {
			m = make(map[string][]byte)
		}
		s.pairs(s.foreign, func(k string) { m[k] = s.base64() })
	}
	return m
}

// pairs consumes an object of at least one pair, strictly ascending by the bytes of the names.
func (s *scanner) pairs(name func() string, value func(k string)) {
	s.want('{')
	last := ""
	for n := 0; s.err == nil; n++ {
		if n == maxPairs {
			s.err = fmt.Errorf("more than %d pairs: %w", maxPairs, ErrBounds)
			return
		}
		k := name()
		if n > 0 && k <= last {
			s.fail("names out of order")
		}
		last = k
		s.want(':')
		if s.err != nil {
			return
		}
		value(k)
		if !s.take(',') {
			s.want('}')
			return
		}
	}
}

// list consumes an array of at least one and at most limit elements.
func (s *scanner) list(limit int, element func()) {
	s.want('[')
	for n := 0; s.err == nil; n++ {
		if n == limit {
			s.err = fmt.Errorf("list of more than %d: %w", limit, ErrBounds)
			return
		}
		element()
		if !s.take(',') {
			s.want(']')
			return
		}
	}
}

// parseTime accepts exactly what timeLayout writes.
func parseTime(b []byte) (Time, bool) {
	const whole = len("2006-01-02T15:04:05")
	if len(b) < whole+1 || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[len(b)-1] != 'Z' {
		return Time{}, false
	}
	var bad bool
	digits := func(from, to int) (n int) {
		for _, c := range b[from:to] {
			bad = bad || c < '0' || c > '9'
			n = n*10 + int(c-'0')
		}
		return n
	}
	year, month, day := digits(0, 4), digits(5, 7), digits(8, 10)
	hour, minute, second := digits(11, 13), digits(14, 16), digits(17, 19)
	nano := 0
	if n := len(b) - 1 - whole; n > 0 {
		if n < 2 || n > 10 || b[whole] != '.' || b[len(b)-2] == '0' {
			return Time{}, false
		}
		nano = digits(whole+1, whole+n)
		for range 10 - n {
			nano *= 10
		}
	}
	if bad || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC)
	return Time{t}, t.Day() == day
}

// optTrue scans a member that can only be true: false is left out.
func (s *members) optTrue(name string) bool {
	if !s.member(name, "") {
		return false
	}
	for _, c := range []byte("true") {
		s.want(c)
	}
	return true
}
