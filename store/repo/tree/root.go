package tree

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A manifest's root is a page of references even above a single leaf, and begins with a line of its own that holds a salt: a
// root says what no other root says, and everything below it is the same page for every point. Plain trees have no such line.

// Salted makes the tree a manifest's. source is the URL of what it is of; it may be empty.
func (b *Builder) Salted(source string) *Builder {
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // which does not fail
	b.line = &format.RootLine{Salt: hex.EncodeToString(salt[:]), Source: source}
	return b
}

// isRoot reports whether the page being filled at level n is the root of a salted tree. All its children are there.
func (b *Builder) isRoot(n int) bool {
	l := b.levels[n-1]
	return b.line != nil && !l.closed && (n > 1 || l.pushed > 1 || l.lines[0].ref.Entries > 0)
}

// closeRoot ends the root page of a salted tree.
func (b *Builder) closeRoot(ctx context.Context, n int) error {
	l := b.levels[n-1]
	c := child{ref: l.agg}
	var err error
	c.slot, err = b.sink.Refs(ctx, func() ([]byte, error) {
		head, err := b.line.AppendLine(nil)
		if err != nil {
			return nil, err
		}
		plain, _, err := l.page("")
		plain = append(head, plain...)
		c.ref.Sum = sha256.Sum256(plain)
		return plain, err
	})
	if err != nil {
		return err
	}
	b.top = &c
	return b.note(ctx, c)
}

// isSalted reports whether the root of a tree begins with a salt: those of manifests do.
func isSalted(root format.PageRef) bool { return strings.HasPrefix(root.Object, format.PrefixMeta) }

// parseRoot is parseInner for the root of a tree.
func parseRoot(page []byte, root format.PageRef) ([]format.PageRef, error) {
	if isSalted(root) {
		line, rest, _ := bytes.Cut(page, []byte{'\n'})
		if _, err := format.ParseRootLine(line); err != nil {
			return nil, fmt.Errorf("root page: %w", err)
		}
		page = rest
	}
	return parseInner(page, root)
}
