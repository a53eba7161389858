package s3source

import (
	"context"
)

// sorted lists a range at a server that keeps another order: all of it is read, sorted with the sorter's bounded memory,
// and only then handed on. One key is asked for by prefix, which costs no order.
func (v *listing) sorted(ctx context.Context, from, to string, give func(*listItem) bool) (err error) {
	s := &sorter{dir: v.s.o.TempDir, memory: v.s.o.SortMemory}
	defer s.close()
	if err := v.collect(ctx, from, to, s); err != nil {
		return err
	}
	// Versions come newest first, and a view has the oldest first: each key's are turned round by the sorting.
	key, seen := "", map[string]bool{}
	return s.each(ctx, func(it *listItem) error {
		if it.key != key {
			key = it.key
			clear(seen)
		}
		if len(seen) < maxHistory { // what is repeated is repeated at the boundary of a page
			if seen[it.version] {
				return nil
			}
			seen[it.version] = true
		}
		if v.s.all() && v.tooNew(it.modified) {
			return nil
		}
		if !give(it) {
			return errStop
		}
		return nil
	})
}

// collect puts the items of a range into the sorter as they come.
func (v *listing) collect(ctx context.Context, from, to string, s *sorter) error {
	var c cursor
	if from != "" && to == from+"\x00" {
		c.prefix = from
	}
	for p, err := range v.pages(ctx, c) {
		if err != nil {
			return err
		}
		for i := range p.items {
			it := &p.items[i]
			if err := v.ofPrefix(it); err != nil {
				return err
			}
			if it.key < from || to != "" && it.key >= to {
				continue
			}
			if err := s.add(ctx, it, v.s.all()); err != nil {
				return err
			}
		}
	}
	return nil
}
