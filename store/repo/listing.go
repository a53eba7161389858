package repo

import (
	"context"
	"fmt"
	"iter"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// listing walks a vault's versions under one prefix, in order of name, beside names that are asked for in that order.
type listing struct {
	next  func() (store.Info, error, bool)
	stop  func()
	head  store.Info
	more  bool
	err   error
	open  bool
	over  bool       // what has was asked of last lies on top of an older version
	moved bool       // what has was asked of last is not there, and other versions are under its name
	last  store.Info // what has was asked of last, as listed
}

func newListing(versions iter.Seq2[store.Info, error]) *listing {
	l := &listing{}
	l.next, l.stop = iter.Pull2(store.InOrder(versions, nil))
	return l
}

func (l *listing) close() { l.stop() }

func (l *listing) advance() {
	l.head, l.err, l.more = l.next()
	if l.err != nil {
		l.more = false
	}
}

// has reports whether the version placed is listed with its size, and what is wrong if not. Where a placement knows no
// version, any of the right size will do.
func (l *listing) has(p format.Placement) (bool, Finding, error) {
	if !l.open {
		l.open = true
		l.advance()
	}
	for l.more && l.head.Name < p.Name {
		l.advance()
	}
	there, sized, others := false, false, 0
	var size int64
	l.over, l.moved = false, false
	for l.more && l.head.Name == p.Name {
		if !l.head.DeleteMarker && (p.Version == "" || l.head.Version == p.Version) {
			there, size = true, l.head.Size
			if !sized && l.head.Size == p.Size {
				sized, l.last = true, l.head
			}
		} else {
			others++
			l.over = l.over || there && !l.head.DeleteMarker
		}
		l.advance()
	}
	switch {
	case l.err != nil:
		return false, Finding{}, l.err
	case sized:
		return true, Finding{}, nil
	case there:
		return false, Finding{Kind: Damaged, Detail: fmt.Sprintf("it has %d bytes instead of %d", size, p.Size)}, nil
	case others > 0:
		l.moved = true
		return false, Finding{Kind: Missing, Detail: fmt.Sprintf("the version that was stored is gone; %d other versions or delete markers are there", others)}, nil
	}
	return false, Finding{Kind: Missing, Detail: "it is gone"}, nil
}

// there asks for exactly what was placed.
func (k *namesOf) there(ctx context.Context, p format.Placement) (bool, error) {
	info, _, err := k.vault.Read.Stat(ctx, store.Ref{Name: p.Name, Version: p.Version})
	if Unreadable(ctx, err) { // servers also refuse version IDs that are none of theirs, in words of their own
		return false, nil
	}
	return err == nil && info.Size == p.Size, err
}
