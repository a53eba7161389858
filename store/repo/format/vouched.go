package format

import (
	"bytes"
	"fmt"
)

// Vouched is one line of a descriptor's list of vouched points: a point that keeps counting though its key was dropped, whenever a
// vault got it.
type Vouched struct {
	Point  string `json:"point"` // STAMP-ID, as in the point's name
	Source string `json:"source"`
	Ext    Ext    `json:"ext,omitzero"`
}

// Key is what the line of a point begins with, and what such lists are sorted by.
func (p PointID) Key() string { return p.SignedAt.UTC().Format(stampLayout) + "-" + p.ID.String() }

// AppendLine appends v as one line of a leaf page.
func (v Vouched) AppendLine(b []byte) ([]byte, error) {
	if err := v.check(); err != nil {
		return b, fmt.Errorf("encode vouched point: %w", err)
	}
	line, err := marshal(&v)
	return append(b, line...), err
}

// ParseVouched parses a line of a leaf page.
func ParseVouched(line []byte) (Vouched, error) {
	var v Vouched
	err := unmarshal(append(bytes.TrimSuffix(line, []byte("\n")), '\n'), &v)
	if err == nil {
		err = v.check()
	}
	if err != nil {
		return Vouched{}, fmt.Errorf("vouched point: %w", err)
	}
	return v, nil
}

func (v *Vouched) check() error {
	_, id, err := stampBefore(v.Point, v.Point)
	if err == nil {
		_, err = ParseHash(id)
	}
	if err != nil {
		return fmt.Errorf("point %q: %w", clip([]byte(v.Point)), ErrMalformed)
	}
	if !ValidName(v.Source) {
		return fmt.Errorf("source %q: %w", clip([]byte(v.Source)), ErrMalformed)
	}
	return nil
}
