package verify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// maxVersions is how many versions of one name are kept to be looked at, the oldest ones: nothing of ours has more than
// a few, so more are an attacker's, laid on top.
const maxVersions = 64

// group is what the vault lists under one name.
type group struct {
	versions, markers int
	kept              []store.Info // versions, newest first: the maxVersions oldest
}

// listing walks the vault's versions once, in order of name, one prefix after another.
type listing struct {
	ctx    context.Context
	in     store.Reader
	passed func(name string, g group) error // told of names that are not asked for; may be nil
	prefix string
	next   func() (store.Info, error, bool)
	stop   func()
	head   store.Info
	more   bool
	odd    error // what passed said of a name out of order
}

// find gives what is listed under name. Names must be asked for in byte order.
func (l *listing) find(name string) (group, error) {
	dir, _, _ := strings.Cut(name, "/")
	if prefix := dir + "/"; prefix != l.prefix {
		if err := l.rest(); err != nil {
			return group{}, err
		}
		if err := l.open(prefix); err != nil {
			return group{}, err
		}
	}
	for l.more && l.head.Name < name {
		if err := l.pass(); err != nil {
			return group{}, err
		}
	}
	if !l.more || l.head.Name != name {
		return group{}, nil
	}
	return l.group()
}

// drain passes everything under one prefix.
func (l *listing) drain(prefix string) error {
	if err := l.open(prefix); err != nil {
		return err
	}
	return l.rest()
}

func (l *listing) open(prefix string) error {
	l.close()
	l.prefix = prefix
	l.next, l.stop = iter.Pull2(store.InOrder(l.in.Versions(l.ctx, prefix, ""), func(info store.Info) {
		if l.passed != nil {
			l.odd = errors.Join(l.odd, l.passed(info.Name, group{versions: 1}))
		}
	}))
	return l.advance()
}

// rest passes what is left under the prefix, if anybody wants to know.
func (l *listing) rest() error {
	for l.more && l.passed != nil {
		if err := l.pass(); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) pass() error {
	if l.passed == nil {
		return l.advance()
	}
	name := l.head.Name
	g, err := l.group()
	if err != nil {
		return err
	}
	return l.passed(name, g)
}

// group takes everything that is listed under the name at hand.
func (l *listing) group() (group, error) {
	var g group
	for name := l.head.Name; l.more && l.head.Name == name; {
		if l.head.DeleteMarker {
			g.markers++
		} else {
			g.versions++
			if len(g.kept) == maxVersions {
				g.kept = append(g.kept[:0], g.kept[1:]...)
			}
			g.kept = append(g.kept, l.head)
		}
		if err := l.advance(); err != nil {
			return group{}, err
		}
	}
	return g, nil
}

func (l *listing) advance() error {
	var err error
	if l.head, err, l.more = l.next(); err != nil {
		l.more = false
		return fmt.Errorf("list %s: %w", l.prefix, err)
	}
	return l.odd
}

func (l *listing) close() {
	if l.stop != nil {
		l.stop()
		l.stop = nil
	}
}

// maxPages is how many pages of needs lists are kept: lists that are walked side by side share most of theirs.
const maxPages = 64

// pageCache keeps the pages loaded last.
type pageCache struct {
	next  tree.Load
	mu    sync.Mutex
	pages map[format.Hash][]byte
	order []format.Hash
}

func newPageCache(next tree.Load) *pageCache {
	return &pageCache{next: next, pages: map[format.Hash][]byte{}}
}

func (c *pageCache) load(ctx context.Context, ref format.PageRef) ([]byte, error) {
	c.mu.Lock()
	page, ok := c.pages[ref.Sum]
	c.mu.Unlock()
	if ok {
		return page, nil
	}
	page, err := c.next(ctx, ref)
	if err != nil || len(page) > 1<<20 {
		return page, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.pages[ref.Sum]; !ok {
		if len(c.order) == maxPages {
			delete(c.pages, c.order[0])
			c.order = append(c.order[:0], c.order[1:]...)
		}
		c.pages[ref.Sum] = page
		c.order = append(c.order, ref.Sum)
	}
	return page, nil
}
