package evidence

import (
	"context"
	"encoding/json"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TypeAcknowledge is the type of records in which somebody says that they looked at a point's mark and found it right.
const TypeAcknowledge = "acknowledge"

// Ack is one point that was acknowledged.
type Ack struct {
	Source   string      `json:"source"`
	Point    format.Hash `json:"point"`
	SignedAt format.Time `json:"signed_at"` // the point's
	Reason   string      `json:"reason"`

	Time     time.Time `json:"-"` // of the record
	Reporter string    `json:"-"`
}

// maxAckRecords is how many records are looked through for acknowledgements, the newest first.
const maxAckRecords = 2000

// Acks gives what was acknowledged in a vault, the newest first; where a record says nothing that can be read it is passed by.
// A vault that withholds records withholds acknowledgements: then an alarm stands. Of Options it needs Vault, Repository and Key.
func Acks(ctx context.Context, o Options) (out []Ack, err error) {
	_, err = Latest(ctx, o, maxAckRecords, func(f Found) bool {
		out = append(out, AcksOf(f)...)
		return true
	})
	return out, err
}

// AcksOf gives what one record acknowledges; nothing, where it is of another type or says nothing that can be read.
func AcksOf(f Found) (out []Ack) {
	var b struct {
		Lines []Ack `json:"lines"`
	}
	if f.Newer || f.Record.Type != TypeAcknowledge || json.Unmarshal(f.Record.Body, &b) != nil {
		return nil
	}
	for _, a := range b.Lines {
		if a.Point.IsZero() || a.Source == "" {
			continue
		}
		a.Time, a.Reporter = f.Record.Time.Time, f.Reporter
		out = append(out, a)
	}
	return out
}
