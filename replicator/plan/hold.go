package plan

import (
	"github.com/holdfast-backup/holdfast/replicator/prices"
	"github.com/holdfast-backup/holdfast/store/meter"
)

// Hold is what holding a point would do in one vault.
type Hold struct {
	Locks     int64   // looked at
	Longer    int64   // lengthened
	ByteHours float64 // bound by that, beside what was before
}

// Cost is what it costs at the vault until the hold is over.
func (h Hold) Cost(p prices.Price) Cost {
	c := Cost{
		Currency: p.Table.Currency, Of: p.Name(), Longer: p.Month(1) * h.ByteHours / prices.Month.Hours(),
		Requests: p.Requests(meter.Asked{Lock: h.Longer, Get: h.Locks + h.Longer}),
	}
	c.Amount = c.Longer + c.Requests
	return c
}
