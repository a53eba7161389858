package store

import (
	"errors"
	"fmt"
	"strings"
)

// ErrName: the name of a stored object is not one that every vault can hold.
var ErrName = errors.New("object name not allowed")

const (
	// MaxName is the longest name of a stored object in bytes: S3's 1,024 less room for a vault's prefix.
	MaxName = 900
	// maxSegment is what directories take between two slashes.
	maxSegment = 255
)

// CheckName refuses a name that some vault would refuse, change or confuse with another: anything but plain printable
// ASCII without space, backslash and the characters that file systems and URLs quarrel over; empty, "." and ".."
// segments; a segment over 255 bytes or a name over MaxName. Every driver calls it, so that a vault can be copied
// between any two of them.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: %d bytes", ErrName, len(name))
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fmt.Errorf("%w: %q has the byte %#02x", ErrName, name, name[i])
		}
	}
	for seg := range strings.SplitSeq(name, "/") {
		if seg == "" || seg == "." || seg == ".." || len(seg) > maxSegment {
			return fmt.Errorf("%w: %q has the segment %q", ErrName, name, seg)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("/!$&'()+,-.:;=@_~", c) >= 0
}
