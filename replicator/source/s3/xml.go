package s3source

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// errXML: the body of an answer is not what it should be.
var errXML = errors.New("not a listing that can be read")

// xmlReader walks through elements. It knows no namespaces beyond dropping prefixes, and refuses document types.
type xmlReader struct {
	b     []byte
	i     int
	empty bool // the element just entered was <x/>
}

// child enters the next child element; false: the parent has ended (its end tag is read), or the document has.
func (x *xmlReader) child() (string, bool, error) {
	if x.empty {
		x.empty = false
		return "", false, nil
	}
	for {
		j := bytes.IndexByte(x.b[x.i:], '<')
		if j < 0 {
			return "", false, fmt.Errorf("%w: it breaks off", errXML)
		}
		x.i += j
		tag, closing, err := x.tag()
		if err != nil {
			return "", false, err
		}
		if tag != "" || closing {
			return tag, !closing, nil
		}
	}
}

// tag reads what begins with "<" here; an empty name that is not closing is a comment or instruction.
func (x *xmlReader) tag() (name string, closing bool, err error) {
	rest := x.b[x.i:]
	for _, skip := range [][2]string{{"<?", "?>"}, {"<!--", "-->"}, {"<![CDATA[", "]]>"}} {
		if bytes.HasPrefix(rest, []byte(skip[0])) {
			j := bytes.Index(rest, []byte(skip[1]))
			if j < 0 {
				return "", false, fmt.Errorf("%w: it breaks off", errXML)
			}
			x.i += j + len(skip[1])
			return "", false, nil
		}
	}
	if bytes.HasPrefix(rest, []byte("<!")) {
		return "", false, fmt.Errorf("%w: document types are refused", errXML)
	}
	j := bytes.IndexByte(rest, '>')
	if j < 0 {
		return "", false, fmt.Errorf("%w: it breaks off", errXML)
	}
	x.i += j + 1
	in := rest[1:j]
	if len(in) > 0 && in[0] == '/' {
		return "", true, nil
	}
	if len(in) > 0 && in[len(in)-1] == '/' {
		x.empty = true
		in = in[:len(in)-1]
	}
	if k := bytes.IndexAny(in, " \t\r\n"); k >= 0 {
		in = in[:k]
	}
	if k := bytes.IndexByte(in, ':'); k >= 0 {
		in = in[k+1:]
	}
	if len(in) == 0 {
		return "", false, fmt.Errorf("%w: an element without a name", errXML)
	}
	return elementName(in), false, nil
}

// elementName avoids allocating the names every entry repeats.
func elementName(b []byte) string {
	switch string(b) {
	case "Key":
		return "Key"
	case "LastModified":
		return "LastModified"
	case "ETag":
		return "ETag"
	case "Size":
		return "Size"
	case "StorageClass":
		return "StorageClass"
	case "Contents":
		return "Contents"
	case "VersionId":
		return "VersionId"
	}
	return string(b)
}

// text reads the text of the element just entered, and its end.
func (x *xmlReader) text() (string, error) {
	if x.empty {
		x.empty = false
		return "", nil
	}
	var out []byte
	for {
		j := bytes.IndexByte(x.b[x.i:], '<')
		if j < 0 {
			return "", fmt.Errorf("%w: it breaks off", errXML)
		}
		piece := x.b[x.i : x.i+j]
		x.i += j
		rest := x.b[x.i:]
		if bytes.HasPrefix(rest, []byte("</")) {
			if _, _, err := x.tag(); err != nil {
				return "", err
			}
			if out == nil && bytes.IndexByte(piece, '&') < 0 {
				return string(piece), nil
			}
			out, err := unentity(out, piece)
			return string(out), err
		}
		var err error
		if out, err = unentity(out, piece); err != nil {
			return "", err
		}
		if bytes.HasPrefix(rest, []byte("<![CDATA[")) {
			if k := bytes.Index(rest, []byte("]]>")); k >= 0 {
				out = append(out, rest[len("<![CDATA["):k]...)
			}
		}
		name, _, err := x.tag()
		if err != nil {
			return "", err
		}
		if name != "" {
			return "", fmt.Errorf("%w: an element <%.40s> where text belongs", errXML, name)
		}
		if out == nil {
			out = []byte{}
		}
	}
}

// skip leaves the element just entered.
func (x *xmlReader) skip(depth int) error {
	if depth > 32 {
		return fmt.Errorf("%w: nested too deep", errXML)
	}
	for {
		_, ok, err := x.child()
		if err != nil || !ok {
			return err
		}
		if err := x.skip(depth + 1); err != nil {
			return err
		}
	}
}

// unentity appends b to out with entities replaced.
func unentity(out, b []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(b, '&')
		if i < 0 {
			return append(out, b...), nil
		}
		out = append(out, b[:i]...)
		b = b[i+1:]
		j := bytes.IndexByte(b, ';')
		if j < 1 || j > 10 {
			return nil, fmt.Errorf("%w: a broken entity", errXML)
		}
		name := string(b[:j])
		b = b[j+1:]
		switch name {
		case "amp":
			out = append(out, '&')
		case "lt":
			out = append(out, '<')
		case "gt":
			out = append(out, '>')
		case "quot":
			out = append(out, '"')
		case "apos":
			out = append(out, '\'')
		default:
			r, err := charRef(name)
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
		}
	}
}

func charRef(name string) (rune, error) {
	if !strings.HasPrefix(name, "#") {
		return 0, fmt.Errorf("%w: unknown entity &%s;", errXML, name)
	}
	digits, base := name[1:], 10
	if strings.HasPrefix(digits, "x") {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) { //nolint:gosec // bounded just before
		return 0, fmt.Errorf("%w: broken character &%s;", errXML, name)
	}
	return rune(n), nil //nolint:gosec // bounded above
}
