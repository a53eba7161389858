package guard

import (
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	fewest   = 14  // runs that have to be known before amounts say anything
	weeks    = 4   // of each weekday, before it is held against its own kind
	unusual  = 4.0 // robust deviations
	least    = 0.3 // of log1p: below that, nothing deviates
	floor    = 30  // entries
	share    = 0.03
	bytesMin = 64 << 20
)

// unusualAmounts says which of a run's amounts are far above what is usual.
func unusualAmounts(runs []Amounts, now Amounts, t Totals) (out []string) {
	runs = slices.DeleteFunc(slices.Clone(runs), func(r Amounts) bool { return r.Alarm })
	if len(runs) < fewest {
		return nil
	}
	alike := sameWeekday(runs, now.At)
	over := func(name string, of func(Amounts) int64, least int64, unit string) {
		x := of(now)
		if x < least {
			return
		}
		z, med := deviation(runs, of, x)
		if alike != nil && z >= unusual {
			z, med = deviation(alike, of, x)
		}
		if z >= unusual {
			out = append(out, fmt.Sprintf("%d %s%s, where %d is usual", x, unit, name, med))
		}
	}
	few := max(floor, int64(share*float64(t.Entries)))
	over("added", func(a Amounts) int64 { return a.Added }, few, "")
	over("changed", func(a Amounts) int64 { return a.Changed }, few, "")
	over("deleted", func(a Amounts) int64 { return a.Deleted }, few, "")
	over("stored anew", func(a Amounts) int64 { return a.Bytes }, max(bytesMin, t.Bytes/10), "bytes ")
	return out
}

// sameWeekday gives the runs of the same day of the week, once there are enough of them.
func sameWeekday(runs []Amounts, at time.Time) (out []Amounts) {
	if at.Sub(runs[0].At) < weeks*7*24*time.Hour {
		return nil
	}
	for _, r := range runs {
		if r.At.Weekday() == at.Weekday() {
			out = append(out, r)
		}
	}
	if len(out) < weeks {
		return nil
	}
	return out
}

// deviation is how many robust deviations x lies above the median of the logarithms, and that median. What is not known of
// some runs is left out; of too few nothing deviates.
func deviation(runs []Amounts, of func(Amounts) int64, x int64) (z float64, usual int64) {
	var logs []float64
	for _, r := range runs {
		if v := of(r); v >= 0 {
			logs = append(logs, math.Log1p(float64(v)))
		}
	}
	if len(logs) < weeks {
		return 0, 0
	}
	med := median(logs)
	away := make([]float64, len(logs))
	for i, v := range logs {
		away[i] = math.Abs(v - med)
	}
	return (math.Log1p(float64(x)) - med) / max(1.4826*median(away), least), int64(math.Round(math.Expm1(med)))
}

func median(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}
