package todir

import (
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/restore"
)

const (
	maxSegment = 255 // bytes of one name in a directory, on every common file system
	tempPrefix = ".holdfast-part-"
)

// refuse says why a key cannot be a path here, and what to do about it.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format+"; restore it to a tar stream (`--to -`) or to a bucket", append([]any{restore.ErrRefused}, args...)...)
}

// path is a key taken apart.
type path struct {
	dir    []string // folders on the way
	name   string   // empty for the root itself
	folder bool     // the key ends in a slash
}

// rootKey is the entry of the source's own root.
const rootKey = "./"

// parse takes a key apart, or says why it cannot be a path below the target. Nothing is cleaned or changed: a key that is
// not exactly one path is refused.
func parse(key string) (path, error) {
	var p path
	if key == rootKey {
		p.folder = true
		return p, nil
	}
	rest := key
	if strings.HasSuffix(rest, "/") {
		p.folder, rest = true, rest[:len(rest)-1]
	}
	if n := strings.Count(rest, "/"); n > 0 {
		p.dir = make([]string, 0, n)
	}
	for {
		seg, next, more := strings.Cut(rest, "/")
		if err := checkSegment(seg); err != nil {
			return p, err
		}
		if !more {
			p.name = seg
			return p, nil
		}
		p.dir = append(p.dir, seg)
		rest = next
	}
}

func checkSegment(s string) error {
	switch {
	case s == "":
		return refuse("the key has an empty segment (a slash at its start, or two in a row), which no directory can hold")
	case s == "." || s == "..":
		return refuse("the key has a segment %q, which would lead elsewhere", s)
	case len(s) > maxSegment:
		return refuse("a segment of %d bytes is too long for a file name", len(s))
	case strings.IndexByte(s, 0) >= 0:
		return refuse("the key holds a NUL byte")
	case strings.HasPrefix(s, tempPrefix):
		return refuse("names that begin with %s are used while restoring", tempPrefix)
	}
	return nil
}
