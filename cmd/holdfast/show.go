package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// timeForm is how moments are printed for people, always in UTC.
const timeForm = "2006-01-02 15:04:05Z"

// safe prints a name that anybody may have chosen: one with control characters, other invisible ones or bytes that are not
// UTF-8 is quoted, so that it cannot steer a terminal or pass for another line.
func safe(s string) string {
	if !utf8.ValidString(s) || strings.HasPrefix(s, `"`) || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// shortKey gives a key for people: of a very long one the beginning, the end, and a hash that tells it from others like it.
func shortKey(s string) string {
	const head, tail = 200, 40
	if len(s) <= 2*(head+tail) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%s...%s (%d bytes, SHA-256 %x)", s[:head], s[len(s)-tail:], len(s), sum[:8])
}

// printable is text for the terminal with what could steer it written out; line ends and tabs stay.
func printable(s string) string {
	plain := func(r rune) bool { return r == '\n' || r == '\t' || r != utf8.RuneError && strconv.IsPrint(r) }
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if plain(r) {
			b.WriteRune(r)
		} else {
			q := strconv.Quote(s[:n])
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// entryJSON is one entry for scripts. Key and texts that are not UTF-8 stand in a _b64 member too, in base64, and are
// otherwise only near to what they are.
type entryJSON struct {
	Key      string `json:"key"`
	KeyB64   string `json:"key_b64,omitempty"`
	Kind     string `json:"kind,omitempty"` // marker, file, dir, symlink, special; absent: an object
	Size     int64  `json:"size"`
	Modified string `json:"modified"`
	SHA256   string `json:"sha256"` // empty where there is no content; of an image or a sparse file the image sum of docs/format.md
	Sparse   bool   `json:"sparse,omitempty"`

	VersionID    string       `json:"version_id,omitempty"`
	Deleted      bool         `json:"deleted,omitempty"`   // a delete marker
	Missing      string       `json:"missing,omitempty"`   // why the content could not be read
	Unusable     string       `json:"unusable,omitempty"`  // why it can be named and not restored: its kind is unknown, or its key no path
	Unread       []unreadJSON `json:"unread,omitempty"`    // of a disk image: what of it could not be read
	Unsettled    bool         `json:"unsettled,omitempty"` // written to while it was read
	ETag         string       `json:"etag,omitempty"`
	StorageClass string       `json:"storage_class,omitempty"`

	ContentType        string            `json:"content_type,omitempty"`
	ContentEncoding    string            `json:"content_encoding,omitempty"`
	ContentLanguage    string            `json:"content_language,omitempty"`
	ContentDisposition string            `json:"content_disposition,omitempty"`
	CacheControl       string            `json:"cache_control,omitempty"`
	Expires            string            `json:"expires,omitempty"`
	WebsiteRedirect    string            `json:"website_redirect,omitempty"`
	Metadata           map[string]string `json:"metadata,omitempty"`
	MetadataB64        map[string]string `json:"metadata_b64,omitempty"` // pairs that are not UTF-8, name and value in base64
	Tags               map[string]string `json:"tags,omitempty"`
	TagsB64            map[string]string `json:"tags_b64,omitempty"`

	Mode      string `json:"mode,omitempty"` // octal
	UID       *int64 `json:"uid,omitempty"`
	GID       *int64 `json:"gid,omitempty"`
	User      string `json:"user,omitempty"`
	Group     string `json:"group,omitempty"`
	Target    string `json:"target,omitempty"` // of a symbolic link
	TargetB64 string `json:"target_b64,omitempty"`
	Device    string `json:"device_type,omitempty"` // fifo, socket, char, block
}

// unreadJSON is a range of a disk image that could not be read: zeros stand for it.
type unreadJSON struct {
	From   int64  `json:"from"`
	Size   int64  `json:"size"`
	Reason string `json:"reason"`
}

func showEntry(e *format.Entry) entryJSON {
	j := entryJSON{
		Key: e.Key, KeyB64: b64(e.Key), Kind: string(e.Kind), Size: e.Size, Modified: moment(e.Modified),
		VersionID: e.Version, Deleted: e.Kind == format.KindMarker, Missing: e.Missing, Unsettled: e.Unsettled, Sparse: e.Sparse, ETag: e.ETag, StorageClass: e.StorageClass,
		ContentType: e.ContentType, ContentEncoding: e.ContentEncoding, ContentLanguage: e.ContentLanguage,
		ContentDisposition: e.ContentDisposition, CacheControl: e.CacheControl, Expires: e.Expires, WebsiteRedirect: e.WebsiteRedirect,
	}
	if e.Unusable != nil {
		j.Unusable = e.Unusable.Error()
	}
	j.Metadata, j.MetadataB64 = pairs(e.Metadata)
	j.Tags, j.TagsB64 = pairs(e.Tags)
	if !e.SHA256.IsZero() {
		j.SHA256 = e.SHA256.String()
	}
	for _, u := range e.Unread {
		j.Unread = append(j.Unread, unreadJSON{u.From, u.Size, u.Reason})
	}
	if f := e.File; f != nil {
		uid, gid := int64(f.UID), int64(f.GID)
		j.Mode, j.UID, j.GID, j.User, j.Group = fmt.Sprintf("%04o", f.Mode), &uid, &gid, f.User, f.Group
		j.Target, j.TargetB64, j.Device = f.Target, b64(f.Target), f.Type
	}
	return j
}

// b64 is for what JSON cannot say; empty where it can.
func b64(s string) string {
	if utf8.ValidString(s) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}

func pairs(m map[string]string) (plain, coded map[string]string) {
	put := func(to *map[string]string, k, v string) {
		if *to == nil {
			*to = map[string]string{}
		}
		(*to)[k] = v
	}
	for k, v := range m {
		if utf8.ValidString(k) && utf8.ValidString(v) {
			put(&plain, k, v)
		} else {
			put(&coded, base64.StdEncoding.EncodeToString([]byte(k)), base64.StdEncoding.EncodeToString([]byte(v)))
		}
	}
	return plain, coded
}

// moment is a time for scripts: RFC 3339 in UTC, empty for none.
func moment(t format.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// longEntry is one entry for people, in columns.
func longEntry(e *format.Entry) string {
	what := ""
	switch {
	case e.Unusable != nil:
		what = "  (" + e.Unusable.Error() + ")"
	case e.Kind == format.KindMarker:
		what = "  (deleted)"
	case len(e.Unread) > 0:
		what = "  (in part: " + safe(e.Lost()) + ")"
	case e.Missing != "":
		what = "  (not in this point: " + safe(e.Missing) + ")"
	case e.Unsettled:
		what = "  (written to while it was read)"
	case e.Kind == format.KindSymlink && e.File != nil:
		what = " -> " + safe(e.File.Target)
	}
	mode := ""
	if e.File != nil {
		mode = fmt.Sprintf("%04o  ", e.File.Mode)
	}
	version := ""
	if e.Version != "" {
		version = "  version " + safe(e.Version)
	}
	modified := "-"
	if !e.Modified.IsZero() {
		modified = e.Modified.UTC().Format(timeForm)
	}
	return fmt.Sprintf("%s%10s  %-20s  %s%s%s", mode, size(e.Size), modified, safe(e.Key), what, version)
}

// listing writes many lines of results, buffered; end flushes.
type listing struct {
	ui *ui
	w  *bufio.Writer
	n  int64 // lines
}

func (u *ui) listing() *listing { return &listing{ui: u, w: bufio.NewWriterSize(u.out, 64<<10)} }

// line prints text, or with --json the object.
func (l *listing) line(object any, text string) error {
	l.n++
	if !l.ui.json {
		_, err := l.w.WriteString(text + "\n")
		return err
	}
	b, err := marshal(object)
	if err == nil {
		_, err = l.w.Write(b)
	}
	return err
}

func (l *listing) end() error { return l.w.Flush() }
