// Package part is a part of a recovery point that is looked at as if it were the whole: the folder or the one entry that
// PREFIX names in POINT:PREFIX. Keys count from there.
//
// It only cuts names. It must never change the order of keys, nor give two keys one name: readers and targets rely on both.
package part

import (
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Root is the key of a folder's own entry where that folder is the root, as directories have it.
const Root = "./"

// Part is the part that is meant. The zero value is the whole point.
type Part struct {
	folder string // ends in a slash
	entry  string // or the one key
}

// Folder is what lies below a folder, which is named with the slash at its end or without; "" is the whole point.
func Folder(name string) Part {
	if name != "" && !strings.HasSuffix(name, "/") {
		name += "/"
	}
	return Part{folder: name}
}

// Entry is the one entry of this key, with all its versions.
func Entry(key string) Part { return Part{entry: key} }

// Single gives the key of the one entry, and reports whether it is one.
func (p Part) Single() (key string, ok bool) { return p.entry, p.entry != "" }

// IsWhole reports whether it is all of the point.
func (p Part) IsWhole() bool { return p == Part{} }

// String is the folder or the key in the point; "" for the whole.
func (p Part) String() string { return p.folder + p.entry }

// Full gives the key in the point of a key, or of the beginning of one, in the part.
func (p Part) Full(key string) string {
	switch {
	case p.entry == "":
		return p.folder + key
	case strings.HasPrefix(p.base(), key):
		return p.entry
	}
	return p.entry + "/" + key // which is in no part of one entry
}

// Range gives the keys of the point that can be in the part and begin with prefix there: from is the least, and end
// is beyond them; "" is no bound.
func (p Part) Range(prefix string) (from, end string) {
	if p.entry != "" {
		return p.entry, p.entry + "\x00"
	}
	if p.folder != "" && (strings.HasPrefix(Root, prefix) || strings.HasPrefix(prefix, Root)) {
		prefix = "" // the folder's own entry may be meant, which stands before all others in the point
	}
	from = p.folder + prefix
	return from, after(from)
}

// Take gives an entry of the point the key that it has in the part, and reports whether it is in there. An object that only
// stands for the folder itself is not: the root is no object.
func (p Part) Take(e *format.Entry) bool {
	switch {
	case p.entry != "":
		if e.Key != p.entry {
			return false
		}
		e.Key = p.base()
	case p.folder == "":
	case e.Key == p.folder:
		if e.Kind != format.KindDir {
			return false
		}
		e.Key = Root
	case !strings.HasPrefix(e.Key, p.folder):
		return false
	default:
		e.Key = e.Key[len(p.folder):]
	}
	return true
}

// base is the last segment of the one entry's key.
func (p Part) base() string {
	name := strings.TrimSuffix(p.entry, "/")
	return p.entry[strings.LastIndexByte(name, '/')+1:]
}

// after is the least string that is greater than all that begin with prefix; "" if there is none.
func after(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}
