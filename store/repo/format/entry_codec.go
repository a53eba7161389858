package format

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"strconv"
)

// AppendLine appends e as one JSON line with its newline. It refuses what ParseEntry would refuse; a refused entry leaves
// b as it was.
func (e *Entry) AppendLine(b []byte) ([]byte, error) {
	if e.line != "" {
		return append(append(b, e.line...), '\n'), nil
	}
	if err := cmp.Or(e.Unusable, e.check(), e.checkPath()); err != nil {
		return b, fmt.Errorf("encode entry %q: %w", clip([]byte(e.Key)), err)
	}
	start := len(b)
	b = append(b, '{')
	b = optText(b, "kind", string(e.Kind))
	b = appendText(b, "key", e.Key)
	b = optText(b, "version_id", e.Version)
	b = appendInt(b, "size", e.Size)
	b = optTime(b, "modified", e.Modified)
	b = optText(b, "etag", e.ETag)
	b = optText(b, "storage_class", e.StorageClass)
	b = optText(b, "content_type", e.ContentType)
	b = optText(b, "content_encoding", e.ContentEncoding)
	b = optText(b, "content_language", e.ContentLanguage)
	b = optText(b, "content_disposition", e.ContentDisposition)
	b = optText(b, "cache_control", e.CacheControl)
	b = optText(b, "expires", e.Expires)
	b = optText(b, "website_redirect_location", e.WebsiteRedirect)
	b = optTexts(b, "metadata", e.Metadata)
	b = optInt(b, "missing_meta", int64(e.MissingMeta))
	b = optTexts(b, "tags", e.Tags)
	b = optInt(b, "tags_read", e.TagsRead)
	b = optTexts(b, "checksums", e.Checksums)
	b = optText(b, "checksum_type", e.ChecksumType)
	if e.File != nil {
		b = append(appendName(b, "file", ""), '{')
		b = append(e.File.appendMembers(b), '}')
	}
	b = optHash(b, "sha256", e.SHA256)
	b = optTrue(b, "sparse", e.Sparse)
	if len(e.Chunks) > 0 {
		b = append(appendName(b, "chunks", ""), '[')
		for i := range e.Chunks {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.Chunks[i].append(b, len(e.Chunks) > 1)
		}
		b = append(b, ']')
	}
	if len(e.Extents) > 0 {
		b = append(appendName(b, "extents", ""), '[')
		for i := range e.Extents {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.Extents[i].append(b)
		}
		b = append(b, ']')
	}
	b = optText(b, "missing", e.Missing)
	if len(e.Unread) > 0 {
		b = append(appendName(b, "unread", ""), '[')
		for i, u := range e.Unread {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '{')
			b = appendInt(b, "from", u.From)
			b = appendInt(b, "size", u.Size)
			b = append(optExt(appendText(b, "reason", u.Reason), u.Ext), '}')
		}
		b = append(b, ']')
	}
	b = optTrue(b, "recheck", e.Recheck)
	b = optTrue(b, "unsettled", e.Unsettled)
	b = optExt(b, e.Ext)
	b = append(b, '}', '\n')
	if len(b)-start > MaxLine {
		return b[:start], fmt.Errorf("encode entry %q: %w", clip([]byte(e.Key)), fmt.Errorf("line of %d bytes: %w", len(b)-start, ErrBounds))
	}
	return b, nil
}

func (f *File) appendMembers(b []byte) []byte {
	b = append(appendName(b, "mode", ""), '"')
	for shift := 9; shift >= 0; shift -= 3 {
		b = append(b, '0'+byte(f.Mode>>shift&7))
	}
	b = append(b, '"')
	b = optText(b, "type", f.Type)
	b = optUint(b, "uid", uint64(f.UID))
	b = optUint(b, "gid", uint64(f.GID))
	b = optText(b, "user", f.User)
	b = optText(b, "group", f.Group)
	b = optTime(b, "changed", f.Changed)
	b = optUint(b, "inode", f.Inode)
	b = optUint(b, "device", f.Device)
	b = optUint(b, "links", f.Links)
	b = optUint(b, "rdev", f.Rdev)
	b = optText(b, "target", f.Target)
	return optExt(optXattrs(b, f.Xattrs), f.Ext)
}

// ParseEntry parses what AppendLine wrote, with or without the newline at its end, and nothing else. An entry that may cost
// itself alone, and not the page it stands on, is given with Unusable set.
func ParseEntry(line []byte) (*Entry, error) {
	s, err := scanLine(line)
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	e := &Entry{Kind: Kind(s.optText("kind"))}
	check := e.check
	if e.Kind.known() {
		e.scan(&s)
	} else {
		e.scanForeign(&s)
		check = func() error { return cmp.Or(e.checkKey(), e.Ext.orNone()) }
	}
	s.want('}')
	if err := s.end(); err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	if err := check(); err != nil {
		return nil, fmt.Errorf("entry %q: %w", clip([]byte(e.Key)), err)
	}
	if e.Unusable != nil {
		e.line = string(s.b)
		return e, nil
	}
	if err := e.checkPath(); err != nil {
		return e.unusable(err), nil
	}
	return e, nil
}

// scan reads what follows the kind.
func (e *Entry) scan(s *members) {
	e.Key = s.text("key")
	e.Version = s.optText("version_id")
	s.must("size")
	e.Size = s.int()
	e.Modified = s.optTime("modified")
	e.ETag = s.optText("etag")
	e.StorageClass = s.optText("storage_class")
	e.ContentType = s.optText("content_type")
	e.ContentEncoding = s.optText("content_encoding")
	e.ContentLanguage = s.optText("content_language")
	e.ContentDisposition = s.optText("content_disposition")
	e.CacheControl = s.optText("cache_control")
	e.Expires = s.optText("expires")
	e.WebsiteRedirect = s.optText("website_redirect_location")
	e.Metadata = s.optTexts("metadata")
	e.MissingMeta = int32(s.optUint("missing_meta", math.MaxInt32))
	e.Tags = s.optTexts("tags")
	e.TagsRead = s.optInt("tags_read")
	e.Checksums = s.optTexts("checksums")
	e.ChecksumType = s.optText("checksum_type")
	if s.member("file", "") {
		e.File = new(File)
		s.want('{')
		e.File.scan(s)
		s.want('}')
	}
	e.SHA256 = s.optHash("sha256")
	e.Sparse = s.optTrue("sparse")
	if s.member("chunks", "") {
		s.list(MaxEntryChunks, func() {
			var c Chunk
			c.scan(s)
			e.Chunks = append(e.Chunks, c)
		})
		e.ownSum(s)
	}
	if s.member("extents", "") {
		s.list(MaxExtents, func() {
			var x Extent
			x.scan(s)
			e.Extents = append(e.Extents, x)
		})
	}
	e.Missing = s.optText("missing")
	if s.member("unread", "") {
		s.list(MaxUnread, func() {
			s.want('{')
			var u Unread
			s.must("from")
			u.From = s.int()
			s.must("size")
			u.Size = s.int()
			u.Reason = s.text("reason")
			u.Ext = s.ext()
			s.want('}')
			e.Unread = append(e.Unread, u)
		})
	}
	e.Recheck = s.optTrue("recheck")
	e.Unsettled = s.optTrue("unsettled")
	e.Ext = s.ext()
}

// ownSum gives the only chunk of an entry the entry's hash, which is spelled once.
func (e *Entry) ownSum(s *members) {
	if len(e.Chunks) != 1 || e.Chunks[0].Hole {
		return
	}
	if !e.Chunks[0].Sum.IsZero() {
		s.fail("only chunk repeats the entry's sha256")
	}
	e.Chunks[0].Sum = e.SHA256
}

func (f *File) scan(s *members) {
	s.must("mode")
	raw, _ := s.raw()
	if s.err == nil {
		f.Mode = parseMode(s, raw)
	}
	f.Type = s.optText("type")
	f.UID = uint32(s.optUint("uid", math.MaxUint32))
	f.GID = uint32(s.optUint("gid", math.MaxUint32))
	f.User = s.optText("user")
	f.Group = s.optText("group")
	f.Changed = s.optTime("changed")
	f.Inode = s.optUint("inode", math.MaxUint64)
	f.Device = s.optUint("device", math.MaxUint64)
	f.Links = s.optUint("links", math.MaxUint64)
	f.Rdev = s.optUint("rdev", math.MaxUint64)
	f.Target = s.optText("target")
	f.Xattrs = s.optXattrs()
	f.Ext = s.ext()
}

func parseMode(s *members, raw []byte) uint32 {
	n, err := strconv.ParseUint(string(raw), 8, 12)
	if err != nil || len(raw) != 4 {
		s.fail("mode")
	}
	return uint32(n)
}

// scanLine bounds a line, takes off its newline and begins its object.
func scanLine(line []byte) (members, error) {
	if len(line) > MaxLine {
		return members{}, fmt.Errorf("line of %d bytes: %w", len(line), ErrBounds)
	}
	s := members{scanner{b: bytes.TrimSuffix(line, []byte{'\n'})}}
	s.want('{')
	return s, s.err
}

// AppendListing appends the listing fields of e in an unambiguous binary form. The digest in a PageRef is computed from
// these bytes, entry after entry; it is compared with others of this program's and never interpreted.
func (e *Entry) AppendListing(b []byte) []byte {
	b = appendSized(b, string(e.Kind))
	b = appendSized(b, e.Key)
	b = appendSized(b, e.Version)
	b = appendUint64(b, uint64(e.Size))
	b = appendMoment(b, e.Modified)
	b = appendSized(b, e.ETag)
	b = appendSized(b, e.StorageClass)
	f := e.File
	if f == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	b = appendUint64(b, uint64(f.Mode))
	b = appendSized(b, f.Type)
	b = appendUint64(b, uint64(f.UID)<<32|uint64(f.GID))
	b = appendMoment(b, f.Changed)
	b = appendUint64(b, f.Inode)
	b = appendUint64(b, f.Device)
	b = appendUint64(b, f.Rdev)
	return appendSized(b, f.Target)
}

func appendSized(b []byte, s string) []byte {
	return append(appendUint64(b, uint64(len(s))), s...)
}

func appendMoment(b []byte, t Time) []byte {
	return appendUint64(appendUint64(b, uint64(t.Unix())), uint64(t.Nanosecond()))
}

func appendUint64(b []byte, n uint64) []byte {
	return append(b, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
