// Package tree builds and walks the shallow page trees of manifests and needs lists.
//
// Pages are runs of JSON lines in key order. Where one page ends and the next begins depends on the keys alone (a keyed
// hash), so that an unchanged stretch of keys gives the same page as last time and is referred to instead of written
// again; references to pages are the lines of inner pages, cut the same way. The package knows nothing of sealing or
// storing: it is handed a Sink to write pages to and a Load to read them with, and it must never hold more than one
// page a level and the references that wait for their object's name.
package tree

import (
	"strconv"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// MaxLeafBytes is the most plain bytes a leaf page grows to before it is cut wherever it stands.
const MaxLeafBytes = 1 << 20

// capFactor times the average is the most lines a page gets.
const capFactor = 4

// Cut decides where pages end. The zero key is used for needs lists, whose names are hashes anyway.
type Cut struct {
	Key    [32]byte // a manifest's: the host key's chunk key
	Leaf   int      // average lines of a leaf page
	Fanout int      // average lines of an inner page
}

// NewCut takes a repository's parameters.
func NewCut(key [32]byte, p format.Parameters) Cut {
	return Cut{Key: key, Leaf: p.LeafKeys, Fanout: p.Fanout}
}

// LeafBefore reports whether a new leaf page must begin before key, when the current one already holds lines lines and
// size bytes. Entries of one key stay together unless the cap forces them apart.
func (c Cut) LeafBefore(key string, sameKey bool, lines, size int) bool {
	if lines == 0 {
		return false
	}
	if lines >= capFactor*c.Leaf || size >= MaxLeafBytes {
		return true
	}
	return !sameKey && attest.CutHash(c.Key, "leaf", []byte(key)) < threshold(c.Leaf)
}

// innerBefore is the same for a page of level >= 1 and the first key of the next reference. A page has at least two lines,
// the last of a level excepted, so that every level is shorter than the one below and the tree ends.
func (c Cut) innerBefore(level int, first string, lines, size int) bool {
	if lines < 2 {
		return false
	}
	// Long keys fill a page before its lines do, and a page must fit a frame.
	if lines >= capFactor*c.Fanout || size >= MaxLeafBytes {
		return true
	}
	return attest.CutHash(c.Key, "inner "+strconv.Itoa(level), []byte(first)) < threshold(c.Fanout)
}

// threshold is 2^64/avg: a uniform hash is below it once in avg times.
func threshold(avg int) uint64 {
	if avg <= 1 {
		return ^uint64(0)
	}
	return ^uint64(0) / uint64(avg)
}
