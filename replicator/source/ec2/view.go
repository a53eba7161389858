package ec2source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// view is what one Freeze collected.
type view struct {
	*Source
	spool   *spool
	found   []found // by key
	remarks []source.Remark
	groups  *grouped
}

// suffix ends the keys of documents.
const suffix = ".json"

// keyOf is where a resource stands: instance/i-0abc.json. Names that AWS does not choose are escaped, slashes kept.
func keyOf(kind, id string) string {
	return kind + "/" + strings.ReplaceAll(url.PathEscape(id), "%2F", "/") + suffix
}

func sumOf(b []byte) format.Hash { return sha256.Sum256(b) }

// Remarks gives what of the machines cannot be had back from a point.
func (v *view) Remarks() []source.Remark { return v.remarks }

// Entries implements source.View.
func (v *view) Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		start := sort.Search(len(v.found), func(i int) bool { return v.found[i].key >= from })
		for i := start; i < len(v.found) && (to == "" || v.found[i].key < to); i++ {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(v.found[i].entry(), nil) {
				return
			}
		}
	}
}

// entry gives the listing fields.
func (f *found) entry() *format.Entry {
	e := &format.Entry{Key: f.key, Modified: format.At(f.modified), Missing: f.missing}
	switch {
	case f.image != nil:
		e.Kind, e.Size, e.ETag = format.KindImage, f.image.size, f.image.id
	case f.missing == "":
		e.Size, e.ETag = f.at.size, f.sum.String()[:32]
	}
	return e
}

// find gives what was collected under e's key.
func (v *view) find(e *format.Entry) (*found, error) {
	i := sort.Search(len(v.found), func(i int) bool { return v.found[i].key >= e.Key })
	if i == len(v.found) || v.found[i].key != e.Key {
		return nil, source.ErrGone
	}
	f := &v.found[i]
	if f.missing != "" {
		return nil, &source.Unreadable{Key: e.Key, Reason: f.missing}
	}
	if is := f.entry(); is.ETag != e.ETag || is.Kind != e.Kind {
		return nil, source.ErrChanged
	}
	return f, nil
}

// Open implements source.View.
func (v *view) Open(ctx context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := v.find(e)
	if err != nil {
		return nil, err
	}
	if f.image != nil {
		return nil, fmt.Errorf("%s is a disk image, which is read block by block", e.Key)
	}
	b, err := v.spool.get(f.at)
	if err != nil {
		return nil, err
	}
	if sumOf(b) != f.sum {
		return nil, source.ErrCorrupt
	}
	if off < 0 || off > int64(len(b)) {
		return nil, fmt.Errorf("%s: no byte %d in %d", e.Key, off, len(b))
	}
	if off == 0 {
		v.complete(e)
	}
	b = b[off:]
	if n >= 0 {
		b = b[:min(n, int64(len(b)))]
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// complete adds what is not in the listing.
func (v *view) complete(e *format.Entry) {
	kind, rest, _ := strings.Cut(e.Key, "/")
	e.ContentType = "application/json"
	e.Metadata = map[string]string{"resource": kind, "id": strings.TrimSuffix(rest, suffix), "region": v.o.Region}
}

// Complete implements source.View.
func (v *view) Complete(_ context.Context, e *format.Entry) error {
	f, err := v.find(e)
	if err != nil {
		return err
	}
	if f.image == nil {
		v.complete(e)
	}
	return nil
}

// Image implements source.Images. A snapshot never changes and has a key of its own, so there is no base but itself.
func (v *view) Image(ctx context.Context, e, _ *format.Entry) (source.Image, error) {
	f, err := v.find(e)
	if err != nil {
		return nil, err
	}
	if f.image == nil || v.o.Snapshot == nil {
		return nil, errors.New("not a disk image")
	}
	img, err := v.o.Snapshot(ctx, e.Key, f.image.id, f.image.size)
	if err != nil {
		return nil, err
	}
	e.Metadata = maps.Clone(f.image.about)
	return img, nil
}

// Clock implements source.View.
func (v *view) Clock() time.Time { return v.o.Now() }

// Close forgets what was collected.
func (v *view) Close() error {
	v.drain()
	return v.spool.close()
}

// Surrounds implements source.Surroundings.
func (v *view) Surrounds(key string) bool { return isSurrounding(key) }
