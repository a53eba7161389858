// Package totar restores into a tar stream (POSIX PAX), entries in order of keys.
//
// Names are keys as they are: nothing is written to a disk here, so keys that a directory must refuse (`a//b`, `../x`)
// are let through, and whoever unpacks the stream decides (GNU tar and bsdtar drop or refuse what would lead outside).
// Only what the format itself cannot say is refused: a NUL in a name, and content under a name that ends in a slash.
// What an object has beside content stands in PAX records: HOLDFAST.content-type and the like, HOLDFAST.metadata.NAME,
// HOLDFAST.tag.NAME; extended attributes in SCHILY.xattr.NAME, ACLs in SCHILY.acl.access and SCHILY.acl.default too. A
// record with an empty value is a value that is empty. Holes are written as zeros.
//
// A stream cannot take back what it has sent: content that turns out wrong in the middle of a large entry ends the
// stream there, without its end mark, so that no reader takes it for whole.
package totar

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxLinks bounds how many hard-linked files are remembered; beyond it each name is written as a file of its own.
const maxLinks = 100_000

// Target is a restore.Target. It serves one restore.
type Target struct {
	sink  *sink
	out   *bufio.Writer
	w     *tar.Writer
	job   restore.Job
	links map[inode]string    // Accept's: the first name of a file with several
	lost  map[string]struct{} // the receivers': first names that were not written after all

	mu    sync.Mutex
	notes map[string]int
}

type inode struct{ device, number uint64 }

var _ restore.Target = (*Target)(nil)

// New writes to w, which is not closed.
func New(w io.Writer) *Target {
	s := &sink{w: w}
	out := bufio.NewWriterSize(s, 256<<10)
	return &Target{sink: s, out: out, w: tar.NewWriter(out), links: make(map[inode]string), lost: make(map[string]struct{}), notes: make(map[string]int)}
}

// sink remembers that writing failed.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if err != nil {
		s.err = err
	}
	return n, err
}

// Begin implements restore.Target.
func (t *Target) Begin(_ context.Context, job restore.Job) error {
	t.job = job
	return nil
}

// KeepsVersions implements restore.Target: a tar stream holds current versions only.
func (t *Target) KeepsVersions() bool { return false }

// InOrder implements restore.Target.
func (t *Target) InOrder() bool { return true }

// Accept implements restore.Target. There is never anything at the target already, so Overwrite means nothing.
func (t *Target) Accept(_ context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	e := versions[len(versions)-1]
	switch {
	case strings.IndexByte(e.Key, 0) >= 0:
		return nil, 0, refuse("a tar stream cannot hold a name with a NUL byte")
	case strings.HasSuffix(e.Key, "/") && e.Size > 0:
		return nil, 0, refuse("in a tar stream a name that ends in a slash is a folder, and this key has content")
	case e.File != nil && strings.IndexByte(e.File.Target, 0) >= 0:
		return nil, 0, refuse("a tar stream cannot hold a link to a name with a NUL byte")
	}
	if e.Kind == format.KindSpecial && e.File.Type == "socket" {
		t.note("sockets were left out: a tar stream cannot hold them")
		return nil, restore.Ignore, nil
	}
	r := receiver{t: t}
	if e.Kind == format.KindFile && e.File.Links > 1 && e.File.Inode != 0 {
		at := inode{e.File.Device, e.File.Inode}
		if first, ok := t.links[at]; ok {
			r.link = first
			return r, restore.TakeEmpty, nil
		}
		if len(t.links) < maxLinks {
			t.links[at], r.first = e.Key, true
		}
	}
	if !e.Kind.HasContent() {
		return r, restore.TakeEmpty, nil
	}
	return r, restore.Take, nil
}

func refuse(text string) error {
	return fmt.Errorf("%w: %s; restore it to a bucket", restore.ErrRefused, text)
}

// Finish writes the end mark.
func (t *Target) Finish(context.Context) error {
	if err := t.w.Close(); err != nil {
		return fmt.Errorf("end the tar stream: %w", err)
	}
	return t.flush()
}

func (t *Target) flush() error {
	if err := t.out.Flush(); err != nil {
		return fmt.Errorf("write the tar stream: %w", err)
	}
	return nil
}

// Close implements restore.Target. A stream that was not finished is left without its end mark.
func (t *Target) Close() error { return nil }

func (t *Target) note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes[text]++
}

// Notes implements restore.Target.
func (t *Target) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for text, n := range t.notes {
		out = append(out, fmt.Sprintf("%s (%d)", text, n))
	}
	return out
}

// receiver writes one entry.
type receiver struct {
	t     *Target
	link  string // the name that was written first
	first bool   // others may follow that are links to this one
}

// Restore implements restore.Receiver.
func (r receiver) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	err := r.write(ctx, e, c)
	if err != nil && r.first {
		r.t.lost[e.Key] = struct{}{}
	}
	return err
}

func (r receiver) write(ctx context.Context, e *format.Entry, c restore.Content) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h := r.t.header(e)
	if r.link != "" {
		if _, ok := r.t.lost[r.link]; ok {
			return fmt.Errorf("a hard link to %q, which was not restored", r.link)
		}
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, r.link, 0
		return r.t.begin(h)
	}
	b, ok := c.Whole()
	if !ok {
		return r.stream(ctx, h, c)
	}
	if err := r.t.begin(h); err != nil {
		return err
	}
	_, err := r.t.w.Write(b)
	return stop(err)
}

// stream writes a large entry as it comes. The header is only written when the first bytes are there, so that an entry
// that cannot be had at all fails alone.
func (r receiver) stream(ctx context.Context, h *tar.Header, c restore.Content) error {
	begun := false
	for p, err := range c.Pieces(ctx) {
		switch {
		case err != nil && !begun:
			return err
		case err != nil:
			return fmt.Errorf("%w: the stream ends in the middle of %q; leave it out with --exclude and begin again: %w", restore.ErrStop, h.Name, err)
		case !begun:
			if err := r.t.begin(h); err != nil {
				return err
			}
			begun = true
		}
		if err := restore.WriteTo(r.t.w, p); err != nil {
			return stop(err)
		}
	}
	return nil
}

// begin writes a header. One that the format cannot hold fails by itself: nothing of it was written.
func (t *Target) begin(h *tar.Header) error {
	err := t.w.WriteHeader(h)
	if err != nil && t.sink.err == nil {
		return refuse(err.Error())
	}
	return stop(err)
}

// stop says that a stream that cannot be written to is the end.
func stop(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: write the tar stream: %w", restore.ErrStop, err)
}

// header says everything about an entry that is not its content.
func (t *Target) header(e *format.Entry) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Key, Size: e.Size, ModTime: e.Modified.Time, Mode: 0o644, Format: tar.FormatPAX, PAXRecords: map[string]string{}}
	switch e.Kind {
	case format.KindDir:
		h.Typeflag = tar.TypeDir
	case format.KindSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.File.Target
	case format.KindSpecial:
		t.special(h, e.File)
	case format.KindObject, format.KindImage:
		if strings.HasSuffix(e.Key, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		t.object(h, e)
	}
	if f := e.File; f != nil {
		h.Mode, h.Uid, h.Gid, h.Uname, h.Gname = int64(f.Mode), int(f.UID), int(f.GID), f.User, f.Group
		for name, value := range f.Xattrs {
			t.record(h, "SCHILY.xattr."+name, string(value))
			t.list(h, name, value)
		}
	}
	return h
}

// list adds an ACL as text, which is the form that tar programs read (GNU tar and bsdtar with --acls).
func (t *Target) list(h *tar.Header, name string, value []byte) {
	record, ok := map[string]string{acl.Access: "SCHILY.acl.access", acl.Default: "SCHILY.acl.default"}[name]
	if !ok {
		return
	}
	if l, err := acl.Parse(value); err == nil {
		h.PAXRecords[record] = l.String()
	}
}

func (t *Target) special(h *tar.Header, f *format.File) {
	h.Typeflag = map[string]byte{"fifo": tar.TypeFifo, "char": tar.TypeChar, "block": tar.TypeBlock}[f.Type]
	if h.Typeflag != tar.TypeFifo {
		h.Devmajor, h.Devminor = int64(major(f.Rdev)), int64(minor(f.Rdev))
	}
}

// major and minor take a Linux device number apart.
func major(dev uint64) uint64 { return dev>>8&0xfff | dev>>32&^0xfff }
func minor(dev uint64) uint64 { return dev&0xff | dev>>12&^0xff&0xffffffff }

// object puts into records what an object has beside content.
func (t *Target) object(h *tar.Header, e *format.Entry) {
	for name, value := range map[string]string{
		"content-type": e.ContentType, "content-encoding": e.ContentEncoding, "content-language": e.ContentLanguage,
		"content-disposition": e.ContentDisposition, "cache-control": e.CacheControl, "expires": e.Expires,
		"website-redirect-location": e.WebsiteRedirect, "storage-class": e.StorageClass, "version-id": e.Version, "etag": e.ETag,
	} {
		if value != "" { // an entry tells no empty header from none
			t.record(h, "HOLDFAST."+name, value)
		}
	}
	if e.MissingMeta > 0 {
		t.record(h, "HOLDFAST.missing-meta", strconv.Itoa(int(e.MissingMeta)))
	}
	for name, value := range e.Metadata {
		t.record(h, "HOLDFAST.metadata."+name, value)
	}
	for name, value := range e.Tags {
		t.record(h, "HOLDFAST.tag."+name, value)
	}
}

// record adds one, unless the format cannot hold it. An empty value is written as one, as GNU tar does for extended
// attributes: POSIX has it undo a record of the same name in a global header, and this stream has none.
func (t *Target) record(h *tar.Header, name, value string) {
	switch {
	case strings.ContainsAny(name, "=\x00"):
		t.note("attributes, metadata or tags have names that a tar stream cannot hold")
	default:
		h.PAXRecords[name] = value
	}
}
