package format

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The append functions write the one spelling this format has: no spaces, members in the documented order, strings
// escaped as in RFC 8785 (nothing but quotes, backslashes and control characters), integers in decimal. Each takes the
// line so far, which starts at the object's "{".

const hexDigits = "0123456789abcdef"

// appendName appends the name of the next member.
func appendName(b []byte, name, suffix string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, suffix...)
	return append(b, '"', ':')
}

// appendQuoted appends valid UTF-8 as a JSON string.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

func appendBase64(b []byte, s []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, s)
	return append(b, '"')
}

// appendText appends a string member, under name_b64 where it is not UTF-8.
func appendText(b []byte, name, s string) []byte {
	if utf8.ValidString(s) {
		return appendQuoted(appendName(b, name, ""), s)
	}
	return appendBase64(appendName(b, name, "_b64"), []byte(s))
}

// The opt functions leave zero values out.

func optText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendText(b, name, s)
}

func appendInt(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(appendName(b, name, ""), n, 10)
}

func optUint(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(appendName(b, name, ""), n, 10)
}

func optInt(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return appendInt(b, name, n)
}

func appendHash(b []byte, name string, h Hash) []byte {
	b = append(appendName(b, name, ""), '"')
	b = hex.AppendEncode(b, h[:])
	return append(b, '"')
}

func optHash(b []byte, name string, h Hash) []byte {
	if h.IsZero() {
		return b
	}
	return appendHash(b, name, h)
}

func optTime(b []byte, name string, t Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(appendName(b, name, ""), '"')
	b = appendTime(b, t)
	return append(b, '"')
}

// appendTime is AppendFormat with timeLayout, in a quarter of the time. The year has four digits, see checkTime.
func appendTime(b []byte, t Time) []byte {
	u := t.UTC()
	year, month, day := u.Date()
	hour, minute, second := u.Clock()
	b = appendDigits(b, year, 1000)
	b = appendDigits(append(b, '-'), int(month), 10)
	b = appendDigits(append(b, '-'), day, 10)
	b = appendDigits(append(b, 'T'), hour, 10)
	b = appendDigits(append(b, ':'), minute, 10)
	b = appendDigits(append(b, ':'), second, 10)
	if nano := u.Nanosecond(); nano != 0 {
		b = appendDigits(append(b, '.'), nano, 100_000_000)
		b = bytes.TrimRight(b, "0")
	}
	return append(b, 'Z')
}

// appendDigits appends n with leading zeros; unit is the value of its first digit's place.
func appendDigits(b []byte, n, unit int) []byte {
	for ; unit > 0; unit /= 10 {
		b = append(b, '0'+byte(n/unit%10))
	}
	return b
}

func appendFrame(b []byte, f Frame) []byte { return f.append(appendName(b, "frame", "")) }

func (f Frame) append(b []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, f.Offset, 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, f.Length, 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, f.Plain, 10)
	return append(b, ']')
}

func optFrames(b []byte, name string, list []Frame) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(appendName(b, name, ""), '[')
	for i, f := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = f.append(b)
	}
	return append(b, ']')
}

// optTexts appends a map as up to two objects: name holds the pairs that are UTF-8, name_b64 the others with both name
// and value in base64. Both are sorted by the bytes of the names.
func optTexts(b []byte, name string, m map[string]string) []byte {
	if len(m) == 0 {
		return b
	}
	var room [16]string
	keys := slices.AppendSeq(room[:0], maps.Keys(m))
	slices.Sort(keys)
	plain := func(k string) bool { return utf8.ValidString(k) && utf8.ValidString(m[k]) }
	open, rest := false, false
	for _, k := range keys {
		if !plain(k) {
			rest = true
			continue
		}
		if !open {
			b, open = append(appendName(b, name, ""), '{'), true
		}
		b = pairSeparator(b)
		b = append(appendQuoted(b, k), ':')
		b = appendQuoted(b, m[k])
	}
	if open {
		b = append(b, '}')
	}
	if !rest {
		return b
	}
	b = append(appendName(b, name, "_b64"), '{')
	for _, k := range keys {
		if plain(k) {
			continue
		}
		b = pairSeparator(b)
		b = append(appendBase64(b, []byte(k)), ':')
		b = appendBase64(b, []byte(m[k]))
	}
	return append(b, '}')
}

// optXattrs appends extended attributes: values always in base64, names as in optTexts.
func optXattrs(b []byte, m map[string][]byte) []byte {
	if len(m) == 0 {
		return b
	}
	keys := slices.Sorted(maps.Keys(m))
	open, rest := false, false
	for _, k := range keys {
		if !utf8.ValidString(k) {
			rest = true
			continue
		}
		if !open {
			b, open = append(appendName(b, "xattrs", ""), '{'), true
		}
		b = append(appendQuoted(pairSeparator(b), k), ':')
		b = appendBase64(b, m[k])
	}
	if open {
		b = append(b, '}')
	}
	if !rest {
		return b
	}
	b = append(appendName(b, "xattrs", "_b64"), '{')
	for _, k := range keys {
		if !utf8.ValidString(k) {
			b = append(appendBase64(pairSeparator(b), []byte(k)), ':')
			b = appendBase64(b, m[k])
		}
	}
	return append(b, '}')
}

func pairSeparator(b []byte) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return b
}

// optTrue appends a member that is there only when it is true.
func optTrue(b []byte, name string, v bool) []byte {
	if !v {
		return b
	}
	return append(appendName(b, name, ""), "true"...)
}
