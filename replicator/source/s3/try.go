package s3source

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	tryPages   = 3       // of a listing, and two short ones
	tryLooks   = 20      // objects that are looked at for one that is stored compressed
	tryContent = 8 << 20 // the largest object that is read
)

// Try implements source.Trier: it meets the server's habits by listing a few pages and reading a few objects. What cannot be
// read for another reason tells nothing here; only a failure of the source as a whole is an error.
func (v *view) Try(ctx context.Context) error {
	var items []listItem
	for _, c := range []cursor{{limit: 2}, {}} {
		got, err := v.tryPages(ctx, c)
		if err != nil {
			return err
		}
		items = got
	}
	read := 0
	for i := range items {
		if read == trials {
			break
		}
		if items[i].size == 0 || items[i].size > trialBytes || items[i].bad != "" || items[i].marker {
			continue
		}
		read++
		if err := v.tryObject(ctx, &items[i]); err != nil {
			return err
		}
	}
	packed := findPacked(ctx, v.meta, items)
	if packed == nil {
		return ctx.Err()
	}
	return v.tryObject(ctx, packed)
}

// tryPages lists some pages from the start.
func (v *view) tryPages(ctx context.Context, c cursor) ([]listItem, error) {
	var items []listItem
	var last listItem
	n := 0
	for p, err := range v.list.pages(ctx, c) {
		if err != nil {
			return nil, err
		}
		if err := v.list.pageInOrder(p, &last, v.list.repeats(p, &last)); err != nil && !errors.Is(err, source.ErrOrder) {
			return nil, err
		}
		if len(p.items) > 0 {
			last = p.items[len(p.items)-1]
		}
		items = append(items, p.items...)
		if n++; n == tryPages {
			break
		}
	}
	return items, nil
}

// tryObject reads an object whole, as a run would.
func (v *view) tryObject(ctx context.Context, it *listItem) error {
	e := it.entry(v.s.all())
	r, err := v.Open(ctx, e, 0, -1)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	switch {
	case err == nil, errors.As(err, new(*source.Unreadable)), errors.Is(err, source.ErrChanged), errors.Is(err, source.ErrGone), errors.Is(err, source.ErrCorrupt):
		return ctx.Err()
	}
	return err
}

// findPacked looks for an object that is stored compressed, those first whose names say that a browser reads them.
func findPacked(ctx context.Context, meta *describing, items []listItem) *listItem {
	looks := 0
	for _, likely := range []bool{true, false} {
		for i := range items {
			it := &items[i]
			if it.size == 0 || it.size > tryContent || it.bad != "" || it.marker || web(it.key) != likely {
				continue
			}
			if looks++; looks > tryLooks || ctx.Err() != nil {
				return nil
			}
			e := &format.Entry{Key: it.key, Version: it.version}
			if out, err := meta.headObject(ctx, e, "gzip"); err == nil && str(out.ContentEncoding) != "" {
				return it
			}
		}
	}
	return nil
}

func web(key string) bool {
	for _, end := range [...]string{".gz", ".html", ".js", ".css", ".svg", ".json", ".log", ".txt", ".xml"} {
		if strings.HasSuffix(key, end) {
			return true
		}
	}
	return false
}
