package backup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// What a source lists is made by others: anybody who may write into it can date a file in the year 60,000 or nest folders
// until a path has a megabyte. What no point can hold is missing from the point, under its name or as much of it as there is
// room for, and the rest goes on. This is the one place between sources and manifests where that is seen to.

// refusal says why the format cannot hold what is known of an entry; "" if it can. Content is left aside: it is the
// engine's own.
func (e *fetching) refusal(entry *format.Entry, scratch []byte) (string, []byte) {
	probe := *entry
	probe.SHA256, probe.Chunks, probe.Extents, probe.Unread, probe.Unsettled, probe.Sparse = format.Hash{}, nil, nil, nil, false, false
	if probe.Kind.HasContent() && probe.Missing == "" {
		probe.Missing = "?"
	}
	line, err := probe.AppendLine(scratch[:0])
	if err == nil {
		return "", line
	}
	return refusalOf(err), scratch
}

// refusalOf puts what the codec said of an entry into a reason.
func refusalOf(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without the key, which stands beside it
	}
	return "cannot be kept: " + err.Error()
}

// shorten gives an entry whose key is longer than the format's bound, or empty, the part of it that can be kept, as missing:
// the beginning, which keeps it in its place in the order of keys.
func shorten(entry *format.Entry) *format.Entry {
	switch {
	case entry.Key == "":
		return reduced(entry, "\x00", "cannot be kept: it has no name")
	case len(entry.Key) > format.MaxKey:
		why := fmt.Sprintf("cannot be kept: a name of %d bytes, of which these are the first %d; the SHA-256 of the whole begins with %.16s",
			len(entry.Key), format.MaxKey, format.Hash(sha256.Sum256([]byte(entry.Key))))
		return reduced(entry, entry.Key[:format.MaxKey], why)
	}
	return entry
}

// reasonTwice is why an entry is missing whose path another entry has already.
const reasonTwice = "cannot be kept: the source lists its path twice"

// once gives an entry whose path was listed before, perhaps as a folder, as missing: what lies in a file system is there once.
func (p *planner) once(entry *format.Entry) *format.Entry {
	if p.paths.See(entry) == nil {
		return entry
	}
	return nameless(entry, entry.Key, reasonTwice)
}

// nameless gives an entry that is missing as an object: those may have any key, as often as they like.
func nameless(entry *format.Entry, key, why string) *format.Entry {
	return &format.Entry{Key: key, Version: entry.Version, Missing: why}
}

// reduced gives what the format can hold of an entry that it cannot hold: as much of what the listing said as it takes.
func reduced(entry *format.Entry, key, why string) *format.Entry {
	listed := &format.Entry{
		Kind: entry.Kind, Key: key, Version: entry.Version, Size: entry.Size, Modified: entry.Modified,
		ETag: entry.ETag, StorageClass: entry.StorageClass, Missing: why,
	}
	bare := &format.Entry{Kind: entry.Kind, Key: key, Version: entry.Version, Missing: why}
	least := &format.Entry{Key: key, Missing: why}
	if f := entry.File; f != nil {
		listed.File = &format.File{
			Mode: f.Mode, Type: f.Type, UID: f.UID, GID: f.GID, Changed: f.Changed,
			Inode: f.Inode, Device: f.Device, Links: f.Links, Rdev: f.Rdev, Target: f.Target,
		}
		bare.File, least.File, least.Kind = &format.File{}, &format.File{}, format.KindFile
		if strings.HasSuffix(key, "/") {
			least.Kind = format.KindDir
		}
	}
	for _, n := range []*format.Entry{listed, bare, least} {
		if _, err := n.AppendLine(nil); err == nil {
			return n
		}
	}
	return nameless(&format.Entry{}, key, why) // its key is no path, as it would have to be
}
