package browse

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/holdfast-backup/holdfast/replicator/part"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// List gives a point's entries whose keys begin with prefix, in order of key, of one key the oldest version first. The
// reader has a key that opens metadata. Only the pages that can hold such keys are loaded. A stretch of the manifest that is lost comes as
// a *tree.Lost, and a *tree.NotNewest behind a key of which newer versions may be lost; the list goes on behind them, if the caller does.
func List(ctx context.Context, r *repo.Reader, c *format.Commit, prefix string) iter.Seq2[*format.Entry, error] {
	from, end := part.Part{}.Range(prefix)
	return list(ctx, r, c, from, end)
}

// list is List of the keys from one on, up to and without another; "" is no bound.
func list(ctx context.Context, r *repo.Reader, c *format.Commit, from, end string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		last := ""
		for leaf, err := range r.Leaves(ctx, c, from, end, nil) {
			if errors.As(err, new(*tree.Lost)) || errors.As(err, new(*tree.NotNewest)) {
				if !yield(nil, err) {
					return
				}
				continue
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if end != "" && leaf.First >= end {
				return
			}
			var n int64
			for e, err := range tree.LeafEntries(ctx, r.Page, leaf) {
				if err == nil && e.Key < last {
					err = fmt.Errorf("key %.200q stands after %.200q: %w", e.Key, last, format.ErrMalformed)
				}
				if repo.Classify(ctx, err).Lost() {
					err = &tree.Lost{From: max(leaf.First, last), Entries: max(leaf.Entries-n, 1), Object: leaf.Object, Err: err, Leaf: true}
					if yield(nil, err) {
						break
					}
					return
				}
				if err != nil {
					yield(nil, err)
					return
				}
				n++
				last = e.Key
				if e.Key >= from && (end == "" || e.Key < end) && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// Hit is an entry that Find found, and the point it is in.
type Hit struct {
	Point Point
	Entry *format.Entry
}

// Find gives the entries of all points of source ("": of all sources) whose keys match pattern, newest point first,
// incomplete points included. What cannot be read of a point because it is lost or damaged is reported, and the search
// goes on with the next.
func Find(ctx context.Context, v View, r *repo.Reader, source string, pattern Pattern) iter.Seq2[Hit, error] {
	prefix := pattern.prefix()
	return func(yield func(Hit, error) bool) {
		for p, err := range NewestFirst(ctx, v, source) {
			if err != nil {
				yield(Hit{}, err)
				return
			}
			if p.Err != nil {
				v.report(p.Name, p.Err)
				continue
			}
			for e, err := range List(ctx, r, p.Commit, prefix) {
				if lost, ok := errors.AsType[*tree.Lost](err); ok {
					v.report(lost.Object, lost)
					continue
				}
				if _, ok := errors.AsType[*tree.NotNewest](err); ok {
					continue // what is found is there, whatever else is lost
				}
				if repo.Classify(ctx, err).Lost() {
					v.report(p.Commit.Manifest.Object, err)
					break
				}
				if err != nil {
					yield(Hit{}, err)
					return
				}
				if pattern.Match(e.Key) && !yield(Hit{p, e}, nil) {
					return
				}
			}
		}
	}
}
