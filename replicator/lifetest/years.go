package lifetest

import (
	"context"
	"fmt"
	"time"
)

// Figures are what months of daily runs came to.
type Figures struct {
	Days     int
	Points   int     // living at the end
	Objects  int64   // stored at the end
	Stored   int64   // bytes at the end
	Living   int64   // of them
	Waste    float64 // stored by living bytes, the most there was on any day after a pruning
	Packs    float64 // calls that lengthen the lock of a pack, for each pack in a slack period: the most of any period after the first month
	First    float64 // the most of any period of the first month, in which there are few packs and every kind of point is new
	PacksAll float64 // and over all periods
	All      float64 // the same of all stored objects, over all periods
	Pruned   int     // versions
	Read     int64   // bytes read from the source
	Written  int64   // of them, changed there
}

// Live runs every day and prunes every week. After each it audits every lock; what is asked for and stored is added up.
func (w *World) Live(ctx context.Context, days int, tell func(day int, waste float64)) (Figures, error) {
	f := Figures{Days: days}
	slack := int(w.o.Slack / (24 * time.Hour))
	var packCalls, packs, calls, objects int64
	for day := range days {
		res, err := w.Run(ctx)
		if err == nil {
			err = w.Audit(ctx)
		}
		if err == nil && day%7 == 6 {
			if _, err = w.Prune(ctx, w.Remover(), nil); err == nil {
				err = w.Audit(ctx)
			}
		}
		if err != nil {
			return f, fmt.Errorf("day %d, %s: %w", day, w.Clock.Format(time.DateOnly), err)
		}
		f.Read += res.BytesRead
		f.Written += res.Added*int64(w.o.Size) + res.Changed*int64(w.o.Size)
		if day%7 == 6 || day%slack == slack-1 {
			total, kinds, err := w.Sizes(ctx)
			if err != nil {
				return f, err
			}
			waste := float64(total.Bytes) / float64(total.Living)
			if day%7 == 6 {
				f.Waste = max(f.Waste, waste)
				f.Objects, f.Stored, f.Living = total.Objects, total.Bytes, total.Living
			}
			if day%slack == slack-1 {
				made := w.Extended()
				most := &f.First
				if day > 30 {
					most = &f.Packs
				}
				*most = max(*most, float64(made["packs"])/float64(kinds["packs"].Objects))
				packCalls, packs = packCalls+made["packs"], packs+kinds["packs"].Objects
				for _, n := range made {
					calls += n
				}
				objects += total.Objects
			}
			if tell != nil {
				tell(day, waste)
			}
		}
		w.Pass(24 * time.Hour)
	}
	for _, n := range w.Removed {
		f.Pruned += n
	}
	f.Points = w.Living()
	f.PacksAll, f.All = float64(packCalls)/float64(max(packs, 1)), float64(calls)/float64(max(objects, 1))
	return f, nil
}
