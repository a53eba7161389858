package format

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// ErrUnknownKind: an entry of a kind that this version does not know. It can be listed and not restored, and stops nothing.
var ErrUnknownKind = errors.New("of a kind that this version does not know; a newer holdfast may know it")

// Bounds on an entry of an unknown kind.
const (
	maxForeignNests   = 16      // objects and arrays within each other
	maxForeignMembers = 1 << 14 // of one object
)

// known reports whether this version knows what such entries are.
func (k Kind) known() bool {
	switch k {
	case KindObject, KindMarker, KindFile, KindDir, KindSymlink, KindSpecial, KindImage:
		return true
	}
	return false
}

// hasPath reports whether keys of the kind are paths in a file system.
func (k Kind) hasPath() bool {
	return k == KindFile || k == KindDir || k == KindSymlink || k == KindSpecial
}

// scanForeign reads the line of an entry of an unknown kind: it begins as others do, and the rest is in the one spelling.
func (e *Entry) scanForeign(s *members) {
	if s.err == nil && !ValidName(string(e.Kind)) {
		s.fail("kind")
	}
	e.Key = s.text("key")
	e.Version = s.optText("version_id")
	if s.member("size", "") {
		e.Size = s.int()
	}
	seen := map[string]struct{}{"kind": {}, "key": {}, "key_b64": {}, "version_id": {}, "version_id_b64": {}, "size": {}}
	for s.err == nil && s.pos < len(s.b) && s.b[s.pos] == ',' {
		if e.Ext = s.ext(); e.Ext != "" {
			break
		}
		s.want(',')
		s.foreignMember(seen, 1)
	}
	e.Unusable = fmt.Errorf("%s is %w", e.Kind, ErrUnknownKind)
}

// foreignMember consumes one member of an object whose names are not known.
func (s *scanner) foreignMember(seen map[string]struct{}, depth int) {
	name := s.quoted()
	if _, twice := seen[name]; twice {
		s.fail("member twice")
	}
	if len(seen) == maxForeignMembers && s.err == nil {
		s.err = fmt.Errorf("object of more than %d members: %w", maxForeignMembers, ErrBounds)
	}
	seen[name] = struct{}{}
	s.want(':')
	s.foreignValue(depth)
}

// foreignValue consumes a value of a member whose meaning is not known. Members of objects stand in any order.
func (s *scanner) foreignValue(depth int) {
	if s.err != nil || s.pos >= len(s.b) {
		s.fail("value")
		return
	}
	switch c := s.b[s.pos]; {
	case c == '"':
		s.quoted()
	case c >= '0' && c <= '9':
		s.number(math.MaxUint64)
	case (c == '{' || c == '[') && depth == maxForeignNests:
		s.err = fmt.Errorf("more than %d levels: %w", maxForeignNests, ErrBounds)
	case s.take('{'):
		seen := map[string]struct{}{}
		s.foreignItems('}', func() { s.foreignMember(seen, depth+1) })
	case s.take('['):
		s.foreignItems(']', func() { s.foreignValue(depth + 1) })
	case !s.literal("true") && !s.literal("false"):
		s.fail("value")
	}
}

func (s *scanner) foreignItems(end byte, item func()) {
	for first := true; !s.take(end) && s.err == nil; first = false {
		if !first {
			s.want(',')
		}
		item()
	}
}

// checkPath holds the key of what lies in a file system to what a relative path is. It is the one rule whose breach costs the
// entry alone, as it would be no fault of the page.
func (e *Entry) checkPath() error {
	if !e.Kind.hasPath() {
		return nil
	}
	dir := e.Kind == KindDir
	if strings.HasSuffix(e.Key, "/") != dir {
		return fmt.Errorf("keys of directories, and only those, end in a slash: %w", ErrMalformed)
	}
	if dir && e.Key == "./" {
		return nil
	}
	if strings.IndexByte(e.Key, 0) >= 0 {
		return fmt.Errorf("a path with a zero byte: %w", ErrMalformed)
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(e.Key, "/"), "/") {
		switch part {
		case "":
			return fmt.Errorf("a path that begins with a slash, or has two in a row: %w", ErrMalformed)
		case ".", "..":
			return fmt.Errorf("a path with a segment %q: %w", part, ErrMalformed)
		}
	}
	return nil
}

// unusable gives what can be said of an entry that must not be used.
func (e *Entry) unusable(why error) *Entry {
	return &Entry{Kind: e.Kind, Key: e.Key, Version: e.Version, Size: e.Size, Missing: e.Missing, Unusable: why}
}
