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

	maxWriter  = 64       // bytes of a program's name and version
	maxFurther = 16 << 10 // bytes of the lines behind head and body
)

// MarkEmpty is the mark of a point of a source in which nothing was found where there had been something before, as long as
// nobody said that this is right.
const MarkEmpty = "empty"

// MarkSuspect is the mark of a point at which the guard of the run gave an alarm, and of each after it, as long as nobody
// acknowledged that.
const MarkSuspect = "suspect"

// Marked reports whether the point carries a mark.
func (c *Commit) Marked(mark string) bool { return slices.Contains(c.Marks, mark) }

// HeadOnly reports whether only the head is filled in: a later version wrote the rest, or features are required that this one
// does not know.
func (c *Commit) HeadOnly() bool { return knownVersion(c.Format, c.Requires) != nil }

// commitHead is the first line of a commit object, the same in every version of the format: what listing, verifying,
// renewing and pruning go by. Members and their order never change.
type commitHead struct {
	Format      string   `json:"format"`
	Kind        string   `json:"kind"`
	Requires    []string `json:"requires,omitempty"`
	Repository  Hash     `json:"repository"`
	Descriptor  Hash     `json:"descriptor"`
	Source      string   `json:"source"`
	SignedAt    Time     `json:"signed_at"`
	RetainUntil Time     `json:"retain_until"`
	Mode        string   `json:"mode,omitempty"`
	Status      string   `json:"status"`
	Needs       PageRef  `json:"needs"`
	Points      PageRef  `json:"points"`
	Ext         Ext      `json:"ext,omitzero"`
}

// commitBody is the second line, this version's own.
type commitBody struct {
	Writer       string        `json:"writer,omitempty"`
	SourceKind   string        `json:"source_kind"`
	TakenAt      Time          `json:"taken_at"`
	Slots        []string      `json:"slots,omitempty"`
	Marks        []string      `json:"marks,omitempty"`
	Entries      int64         `json:"entries"`
	Bytes        int64         `json:"bytes"`
	Missing      int64         `json:"missing,omitempty"`
	Added        int64         `json:"added"`
	Changed      int64         `json:"changed"`
	Deleted      int64         `json:"deleted"`
	Manifest     PageRef       `json:"manifest"`
	Predecessors []Predecessor `json:"predecessors,omitempty"`
	Ext          Ext           `json:"ext,omitzero"`
}

func (c *Commit) head() *commitHead {
	return &commitHead{c.Format, c.Kind, c.Requires, c.Repository, c.Descriptor, c.Source, c.SignedAt, c.RetainUntil, c.Mode, c.Status, c.Needs, c.Points, c.Ext}
}

func (c *Commit) body() *commitBody {
	return &commitBody{
		c.Writer, c.SourceKind, c.TakenAt, c.Slots, c.Marks, c.Entries, c.Bytes, c.Missing, c.Added, c.Changed, c.Deleted, c.Manifest, c.Predecessors, c.BodyExt,
	}
}

// EncodeCommit writes a commit object. Its SHA-256 is the point's ID. Format and Kind may be left empty, and Points where there
// are no earlier points.
func EncodeCommit(c *Commit) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("encode commit object: %w", err) }
	filled := *c
	filled.Format, filled.Kind = cmp.Or(c.Format, Version), cmp.Or(c.Kind, KindPoint)
	if filled.Points == (PageRef{}) {
		filled.Points = EmptyTree(c.Needs.Object)
	}
	if filled.Format != Version || len(filled.Requires) > 0 {
		return fail(fmt.Errorf("format version %q, features %q: %w", filled.Format, filled.Requires, ErrNewer))
	}
	if err := cmp.Or(filled.checkHead(), filled.checkBody()); err != nil {
		return fail(err)
	}
	b, err := marshal(filled.head())
	if err != nil {
		return fail(err)
	}
	body, err := marshal(filled.body())
	if err != nil {
		return fail(err)
	}
	if b = append(append(b, body...), c.Further...); len(b) > MaxCommit {
		return fail(fmt.Errorf("%d bytes: %w", len(b), ErrBounds))
	}
	return b, nil
}

// DecodeCommit reads a commit object. The caller has compared its SHA-256 with the ID in its signed name. Of one that a
// later version wrote, or that requires a feature this version does not know, it gives what stands in the head, together
// with ErrNewer: enough to list, verify, renew and prune by, see Commit.
func DecodeCommit(b []byte) (*Commit, error) {
	fail := func(err error) (*Commit, error) { return nil, fmt.Errorf("commit object: %w", err) }
	if len(b) > MaxCommit {
		return fail(fmt.Errorf("%d bytes: %w", len(b), ErrBounds))
	}
	first, rest := cutLine(b)
	h := new(commitHead)
	if err := unmarshal(first, h); err != nil {
		return fail(err)
	}
	c := &Commit{
		Format: h.Format, Kind: h.Kind, Requires: h.Requires, Repository: h.Repository, Descriptor: h.Descriptor, Source: h.Source,
		SignedAt: h.SignedAt, RetainUntil: h.RetainUntil, Mode: h.Mode, Status: h.Status, Needs: h.Needs, Points: h.Points, Ext: h.Ext,
	}
	if err := c.checkHead(); err != nil {
		return fail(err)
	}
	if err := knownVersion(h.Format, h.Requires); err != nil {
		return c, fmt.Errorf("commit object: %w", err)
	}
	second, further := cutLine(rest)
	c.Further = string(further)
	d := new(commitBody)
	if err := unmarshal(second, d); err != nil {
		return fail(err)
	}
	c.Writer, c.SourceKind, c.TakenAt, c.Slots, c.Marks = d.Writer, d.SourceKind, d.TakenAt, d.Slots, d.Marks
	c.Entries, c.Bytes, c.Missing, c.Added, c.Changed, c.Deleted = d.Entries, d.Bytes, d.Missing, d.Added, d.Changed, d.Deleted
	c.Manifest, c.Predecessors, c.BodyExt = d.Manifest, d.Predecessors, d.Ext
	if err := c.checkBody(); err != nil {
		return fail(err)
	}
	return c, nil
}

// cutLine splits off the first line, with its line feed.
func cutLine(b []byte) (line, rest []byte) {
	n := bytes.IndexByte(b, '\n') + 1
	return b[:n], b[n:]
}

// checkHead checks what stands in the head of any version.
func (c *Commit) checkHead() error {
	if c.Kind != KindPoint {
		return fmt.Errorf("kind %q instead of %q: %w", clip([]byte(c.Kind)), KindPoint, ErrMalformed)
	}
	if err := checkVersion(c.Format, c.Requires); err != nil {
		return err
	}
	if c.Repository.IsZero() || c.Descriptor.IsZero() {
		return fmt.Errorf("no repository or descriptor: %w", ErrMalformed)
	}
	if !ValidName(c.Source) {
		return fmt.Errorf("source %q: %w", clip([]byte(c.Source)), ErrMalformed)
	}
	for _, t := range []Time{c.SignedAt, c.RetainUntil} {
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
	if err := c.Needs.check(); err != nil {
		return fmt.Errorf("needs: %w", err)
	}
	if err := nameUnder(c.Needs.Object, PrefixNeeds); err != nil {
		return fmt.Errorf("needs: %w", err)
	}
	if err := c.Points.check(); err != nil {
		return fmt.Errorf("points: %w", err)
	}
	if err := nameUnder(c.Points.Object, PrefixNeeds); err != nil {
		return fmt.Errorf("points: %w", err)
	}
	return nil
}

// checkBody checks what this version says of a point beside its head.
func (c *Commit) checkBody() error {
	if c.Writer != "" && (!isPrintable(c.Writer) || len(c.Writer) > maxWriter) {
		return fmt.Errorf("writer: %w", ErrMalformed)
	}
	if !ValidName(c.SourceKind) {
		return fmt.Errorf("source of kind %q: %w", clip([]byte(c.SourceKind)), ErrMalformed)
	}
	if err := checkTime(c.TakenAt); err != nil {
		return err
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
	if len(c.Further) > maxFurther {
		return fmt.Errorf("%d bytes behind the body: %w", len(c.Further), ErrBounds)
	}
	if c.Further != "" && c.Further[len(c.Further)-1] != '\n' {
		return fmt.Errorf("a last line that does not end: %w", ErrMalformed)
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

// checkLinks checks the manifest's root and the predecessors.
func (c *Commit) checkLinks() error {
	if err := c.Manifest.check(); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if err := nameUnder(c.Manifest.Object, PrefixMeta); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if c.Manifest.Level == 0 && c.Manifest.Entries > 0 {
		return fmt.Errorf("manifest: its root is no page of references: %w", ErrMalformed)
	}
	if c.Manifest.First != "" || c.Manifest.Digest != "" {
		return fmt.Errorf("manifest: a commit object is plain and names no key and no digest: %w", ErrMalformed)
	}
	return checkPredecessors(c.Predecessors)
}
