package format

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

const (
	maxSlots = 16 // retention slots one point may fill
	maxMarks = 16 // marks one point may carry
)

// MarkEmpty is the mark of a point of a source in which nothing was found where there had been something before, as long as
// nobody said that this is right.
const MarkEmpty = "empty"

// Marked reports whether the point carries a mark.
func (c *Commit) Marked(mark string) bool { return slices.Contains(c.Marks, mark) }

// EncodeCommit writes a commit object. Its SHA-256 is the point's ID. Format and Kind may be left empty.
func EncodeCommit(c *Commit) ([]byte, error) {
	filled := *c
	filled.Format, filled.Kind = cmp.Or(c.Format, Version), cmp.Or(c.Kind, KindPoint)
	if err := filled.check(); err != nil {
		return nil, fmt.Errorf("encode commit object: %w", err)
	}
	b, err := marshal(&filled)
	if err != nil {
		return nil, fmt.Errorf("encode commit object: %w", err)
	}
	if len(b) > MaxCommit {
		return nil, fmt.Errorf("encode commit object: %d bytes: %w", len(b), ErrBounds)
	}
	return b, nil
}

// DecodeCommit reads a commit object. The caller has compared its SHA-256 with the ID in its signed name.
func DecodeCommit(b []byte) (*Commit, error) {
	if len(b) > MaxCommit {
		return nil, fmt.Errorf("commit object: %d bytes: %w", len(b), ErrBounds)
	}
	if err := checkHead(b, KindPoint); err != nil {
		return nil, fmt.Errorf("commit object: %w", err)
	}
	c := new(Commit)
	if err := unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("commit object: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("commit object: %w", err)
	}
	return c, nil
}

func (c *Commit) check() error {
	if err := checkKindOf(c.Format, c.Kind, KindPoint); err != nil {
		return err
	}
	if c.Repository.IsZero() || c.Descriptor.IsZero() {
		return fmt.Errorf("no repository or descriptor: %w", ErrMalformed)
	}
	if !ValidName(c.Source) || !ValidName(c.SourceKind) {
		return fmt.Errorf("source %q of kind %q: %w", clip([]byte(c.Source)), clip([]byte(c.SourceKind)), ErrMalformed)
	}
	for _, t := range []Time{c.TakenAt, c.SignedAt, c.RetainUntil} {
		if err := checkTime(t); err != nil {
			return err
		}
	}
	if c.SignedAt.IsZero() || c.SignedAt.Nanosecond() != 0 {
		return fmt.Errorf("signed time is not in whole seconds: %w", ErrMalformed)
	}
	if c.Mode != "" && c.Mode != "compliance" && c.Mode != "governance" {
		return fmt.Errorf("lock mode %q: %w", clip([]byte(c.Mode)), ErrMalformed)
	}
	if c.Status != StatusComplete && c.Status != StatusIncomplete {
		return fmt.Errorf("status %q: %w", clip([]byte(c.Status)), ErrMalformed)
	}
	if len(c.Slots) > maxSlots {
		return fmt.Errorf("%d slots: %w", len(c.Slots), ErrBounds)
	}
	for _, s := range c.Slots {
		if !ValidName(s) {
			return fmt.Errorf("slot %q: %w", clip([]byte(s)), ErrMalformed)
		}
	}
	if err := c.checkMarks(); err != nil {
		return err
	}
	if err := c.checkCounts(); err != nil {
		return err
	}
	return c.checkLinks()
}

func (c *Commit) checkMarks() error {
	if len(c.Marks) > maxMarks {
		return fmt.Errorf("%d marks: %w", len(c.Marks), ErrBounds)
	}
	for i, m := range c.Marks {
		if !ValidName(m) || i > 0 && c.Marks[i-1] >= m {
			return fmt.Errorf("mark %q: %w", clip([]byte(m)), ErrMalformed)
		}
	}
	return nil
}

func (c *Commit) checkCounts() error {
	for _, n := range []int64{c.Entries, c.Bytes, c.Missing, c.Added, c.Changed, c.Deleted} {
		if n < 0 {
			return fmt.Errorf("negative count: %w", ErrBounds)
		}
	}
	if c.Missing > c.Entries {
		return fmt.Errorf("%d missing of %d entries: %w", c.Missing, c.Entries, ErrBounds)
	}
	return nil
}

// checkLinks checks the roots and the predecessors.
func (c *Commit) checkLinks() error {
	if err := c.Manifest.check(); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if err := nameUnder(c.Manifest.Object, PrefixMeta); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if c.Manifest.First != "" || c.Manifest.Digest != "" {
		return fmt.Errorf("manifest: a commit object is plain and names no key and no digest: %w", ErrMalformed)
	}
	if err := c.Needs.check(); err != nil {
		return fmt.Errorf("needs: %w", err)
	}
	if err := nameUnder(c.Needs.Object, PrefixNeeds); err != nil {
		return fmt.Errorf("needs: %w", err)
	}
	if len(c.Predecessors) > MaxPredecessor {
		return fmt.Errorf("%d predecessors: %w", len(c.Predecessors), ErrBounds)
	}
	for i, p := range c.Predecessors {
		if p.IsZero() || i > 0 && bytes.Compare(c.Predecessors[i-1][:], p[:]) >= 0 {
			return fmt.Errorf("predecessors are not sorted: %w", ErrMalformed)
		}
	}
	return nil
}
