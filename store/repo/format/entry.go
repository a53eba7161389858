package format

import (
	"fmt"
	"slices"
)

// Kind says what an entry is. The empty kind is an object, the common case.
type Kind string

const (
	KindObject  Kind = ""        // an object version in a bucket
	KindMarker  Kind = "marker"  // a delete marker (versions: all)
	KindFile    Kind = "file"    // a regular file
	KindDir     Kind = "dir"     // a directory; its key ends in "/" unless it is the root, whose key is "./"
	KindSymlink Kind = "symlink" // File.Target holds what it points at
	KindSpecial Kind = "special" // device, socket, fifo: recorded, restored only where asked
	KindImage   Kind = "image"   // a disk: Size bytes in blocks of ImageBlock; see ImageSum for its SHA256
)

// HasContent reports whether entries of the kind have bytes.
func (k Kind) HasContent() bool { return k == KindObject || k == KindFile || k == KindImage }

// Entry is one line of a manifest leaf page: everything needed to restore one thing. Entries are sorted by the bytes of
// Key, then oldest version first; of the entries of one key the last is the current one.
//
// A source's listing gives an Entry with only the listing fields set (Kind, Key, Version, Size, Modified, ETag,
// StorageClass and, for files, File without xattrs). A read completes it. The writer keeps the listing fields exactly as
// listed, because the digest of an unchanged stretch is computed from them (see AppendListing).
//
// In JSON, text that is not valid UTF-8 (Key, header values, File.Target, ..) stands in a member with "_b64" behind its
// name, in base64; pairs of Metadata, Tags and Checksums that are not stand in such a member too, name and value both in
// base64. Members that are zero are left out, except key and size. Only objects, files and images have a Size.
type Entry struct {
	Kind         Kind
	Key          string // raw bytes
	Version      string // the source's version ID; empty for unversioned objects and files
	Size         int64  // bytes of content
	Modified     Time   // source's own last-modified; a file's mtime with nanoseconds
	ETag         string // as listed, without quotes
	StorageClass string

	ContentType        string
	ContentEncoding    string
	ContentLanguage    string
	ContentDisposition string
	CacheControl       string
	Expires            string // the raw header
	WebsiteRedirect    string
	Metadata           map[string]string // user metadata, names lower-case without the x-amz-meta- prefix
	MissingMeta        int32             // x-amz-missing-meta: metadata S3 could not express
	Tags               map[string]string
	TagsRead           int64             // unix seconds when tags were last read; 0: never
	Checksums          map[string]string // the source's own, algorithm in lower case ("crc64nvme") to base64 value as given
	ChecksumType       string            // "FULL_OBJECT" or "COMPOSITE", as given

	File *File // files, directories, symlinks, specials

	SHA256  Hash     // of the whole content (an image: its ImageSum); of no bytes for an empty object; zero where there is no content
	Sparse  bool     // a file with large holes: SHA256 is the ImageSum of its content, of which zeros are no part
	Chunks  []Chunk  // the content in order; nil for an empty object or when Extents is used
	Extents []Extent // instead of Chunks for more than MaxEntryChunks of them, and always for images; at most MaxExtents

	Missing string   // why the content could not be read; then SHA256, Chunks and Extents are unset and the point is incomplete
	Unread  []Unread // images: what of the content could not be read; zeros stand for it, and the point is incomplete
	Recheck bool     // read so soon after a change that the next may look the same, or listed with another length than it has: look again, whatever the listing says

	// Unsettled: a file that others wrote to while it was read. Its content is as long as the file was at one moment, and may be
	// of several. It is looked at again, whatever the listing says.
	Unsettled bool

	Ext Ext

	// Unusable says why an entry that was read can be named and nothing else: its kind is unknown (ErrUnknownKind), or its key is
	// no path although its kind needs one (ErrMalformed). Only Kind, Key, Version, Size and Missing are set beside it.
	Unusable error
	line     string // of an unknown kind: as it was read
}

// Unread is a stretch of an image, whole blocks, that could not be read: its bytes are not known. Entries list them in
// ascending order with something between. In JSON: {"from":N,"size":N,"reason":TEXT}.
type Unread struct {
	From   int64
	Size   int64
	Reason string // short, for people
	Ext    Ext
}

// Versioned reports whether there can be other versions of the entry's key. An image has the ID of its snapshot for a version, and is the
// only one of its volume.
func (e *Entry) Versioned() bool {
	return e.Kind == KindMarker || e.Kind == KindObject && e.Version != ""
}

// Lost says in one line what of the entry could not be read; "" if nothing was left out.
func (e *Entry) Lost() string {
	if e.Missing != "" || len(e.Unread) == 0 {
		return e.Missing
	}
	u := e.Unread[0]
	s := fmt.Sprintf("bytes %d to %d could not be read: %s", u.From, u.From+u.Size-1, u.Reason)
	if n := len(e.Unread) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more ranges)", n)
	}
	return s
}

// File is what a file system knows beside content.
type File struct {
	Mode    uint32            // permission, setuid, setgid and sticky bits as in st_mode & 07777
	Type    string            // specials only: "fifo", "socket", "char", "block"
	UID     uint32            //
	GID     uint32            //
	User    string            // name at the source, if it has one
	Group   string            //
	Changed Time              // ctime
	Inode   uint64            //
	Device  uint64            // st_dev
	Links   uint64            // st_nlink; files with the same Device and Inode in one point are hard links
	Rdev    uint64            // device files
	Target  string            // symlinks
	Xattrs  map[string][]byte // user.*, security.*, system.posix_acl_*; base64 in JSON
	Ext     Ext
}

// Frame is one zstd frame inside a stored object's payload (what remains after age for packs and meta objects, the
// object itself for needs): Length bytes at Offset, which decode to Plain bytes.
// In JSON it is the array [offset, length, plain].
type Frame struct {
	Offset int64
	Length int64
	Plain  int64
}

// Chunk refers to Size bytes of content: those at At in the decoded frame of a pack, with SHA-256 Sum. A hole is a run
// of zero bytes that is stored nowhere: Hole is true and only Size counts.
//
// In JSON: {"pack":HEX,"frame":[o,l,p],"at":N,"size":N,"sha256":HEX}; "at" is left out when 0, "sha256" is left out when
// the entry has exactly this one chunk, whose hash is then the entry's own. A hole is {"hole":N}.
type Chunk struct {
	Pack  Hash
	Frame Frame
	At    int64
	Size  int64
	Sum   Hash
	Hole  bool
	Ext   Ext
}

// Extent refers to an extent page: chunk references (one a line) that cover Size bytes of the entry's content from From.
// Where there are more than MaxExtents of them they stand on pages of Level 1. A hole refers to nothing. In JSON:
// {"level":N,"from":N,"size":N,"object":NAME,"frame":[o,l,p],"sha256":HEX,"content":HEX,"digest":HEX}; level, content and
// digest are left out when zero. A hole is {"from":N,"size":N,"hole":true,"digest":HEX}.
type Extent struct {
	Level   int
	From    int64
	Size    int64
	Hole    bool
	Object  string // meta/..
	Frame   Frame
	Sum     Hash   // SHA-256 of the plain page
	Content Hash   // images, level 0: the RangeSum of what it covers
	Digest  string // images, level 0: of what the source's listing said of the range, 32 hex digits; empty: look again
	Ext     Ext
}

// PageRef is one line of an inner page, and the root in a commit object: where a page is and what is below it.
//
// In JSON: {"level":N,"first":KEY,"entries":N,"bytes":N,"object":NAME,"frame":[o,l,p],"sha256":HEX,"digest":HEX,
// "tags_read":N,"missing":N}; "first_b64" where the key is not UTF-8; level, digest, tags_read and missing are left out
// when zero, and object where it is the one that the page with this line is in.
type PageRef struct {
	Level    int    // 0: a leaf
	First    string // the first key below; empty in a commit object, which is plain
	Entries  int64  // leaf lines below
	Bytes    int64  // content bytes (manifest) or stored bytes (needs) below
	Object   string // meta/.. or needs/..; empty only in a page as it is stored: the object that the page itself is in
	Frame    Frame
	Sum      Hash   // SHA-256 of the plain page
	Digest   string // of what the source's listing said of these keys: 32 hex digits; empty: look again
	TagsRead int64  // the oldest Entry.TagsRead below; 0 with no tags policy
	Missing  int64  // entries below whose content could not be read
	Ext      Ext
}

// Need is one line of a needs list: a stored object the point depends on. Lines are sorted by Name.
// Living is how many of its payload bytes the point refers to, counted once per reference (see Chunk.Share; for a page its
// frame's length), so it can exceed Size where content repeats; for objects that are needed whole it is Size.
type Need struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Living int64  `json:"living"`
	Pages  Pages  `json:"pages,omitempty"` // of a meta object: which pages of the point's manifest are in it
	Ext    Ext    `json:"ext,omitzero"`
}

// Placement is where one stored object is in one vault. Retention is what was read back.
type Placement struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Size    int64  `json:"size"`
	Mode    string `json:"mode,omitempty"` // "compliance" or "governance"
	Until   Time   `json:"until,omitzero"` // retain-until as read back
	// Index are the frames of a meta object that are index segments, so that a fresh cache finds them without listing meta/.
	Index []Frame `json:"index,omitempty"`
	Ext   Ext     `json:"ext,omitzero"`
}

// Equal reports whether two say the same.
func (p Placement) Equal(q Placement) bool {
	return p.Name == q.Name && p.Version == q.Version && p.Size == q.Size && p.Mode == q.Mode && p.Until.Equal(q.Until.Time) && slices.Equal(p.Index, q.Index) && p.Ext == q.Ext
}

// IndexLine is one line of an index segment: where the chunk with this ID is.
type IndexLine struct {
	ID    Hash  `json:"id"` // HMAC of the chunk's SHA-256, see attest.ChunkID
	Pack  Hash  `json:"pack"`
	Frame Frame `json:"frame"`
	At    int64 `json:"at,omitempty"`
	Size  int64 `json:"size"`
	Ext   Ext   `json:"ext,omitzero"`
}

// Share is how many payload bytes of the frame a chunk accounts for: its part of Length, rounded up. It is exact in
// addition, so needs lists can be kept up to date by adding and subtracting.
func (c Chunk) Share() int64 {
	if c.Hole || c.Frame.Plain <= 0 {
		return 0
	}
	return (c.Frame.Length*c.Size + c.Frame.Plain - 1) / c.Frame.Plain
}
