package process

import "bytes"

// maxLine is from what length on a line is told in pieces, in bytes.
const maxLine = 4 << 10

// lineWriter tells what is written to it by lines. It is written to by one goroutine.
type lineWriter struct {
	tell func(string)
	rest []byte
}

// Write implements io.Writer.
func (l *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			i = len(p)
		}
		room := min(i, maxLine-len(l.rest))
		l.rest = append(l.rest, p[:room]...)
		p = p[room:]
		switch {
		case len(p) > 0 && (p[0] == '\n' || p[0] == '\r'):
			p = p[1:]
			l.flush()
		case len(l.rest) == maxLine:
			l.flush()
		}
	}
	return n, nil
}

// flush tells what has no end of line yet.
func (l *lineWriter) flush() {
	if len(l.rest) > 0 && l.tell != nil {
		l.tell(string(l.rest))
	}
	l.rest = l.rest[:0]
}
