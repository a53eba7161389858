// Package retain decides, when a recovery point is written, how long it is kept: grandfather-father-son without ever
// deleting anything.
//
// A point that is the first complete one of its hour, day, week, month or year fills that slot and is locked for the
// slot's span; afterwards nothing about it changes. The package is arithmetic: it reads no clock and touches no vault, it must
// never shorten what was decided, and all of it is in UTC, so that no time zone or daylight-saving rule can move a slot.
package retain

import (
	"fmt"
	"slices"
	"time"
)

// Policy says how long the points that fill each kind of slot are kept. A zero span turns the kind off.
type Policy struct {
	Hourly  Span
	Daily   Span
	Weekly  Span
	Monthly Span
	Yearly  Span
}

// Earlier is what Decide needs to know of a point of the same source that exists already.
type Earlier struct {
	TakenAt     time.Time
	RetainUntil time.Time
	Complete    bool
	Slots       []string // as Decide gave them when it was written
}

// Decision is what becomes of a new point.
type Decision struct {
	RetainUntil time.Time // UTC
	Slots       []string  // the slots it fills if it turns out complete, shortest period first
}

// Decide gives the retention of a point taken at at, after the earlier ones of the same source, in any order.
//
// A slot is named by its period, such as "hourly-2026-11-23t02", "daily-2026-11-23", "weekly-2026-w48" (ISO week),
// "monthly-2026-11", "yearly-2026", so that a run that ends after midnight still fills the day it began in. It is open unless a
// complete earlier point filled it, one that was taken in that period and is kept as long as the slot asks: what a point says of
// its slots alone is not believed. An incomplete point keeps the lock it was given and leaves its slots open. The point is kept
// as long as the longest-lasting slot it fills asks; one that fills none is kept for the shortest span that is not zero.
// A policy of zeros keeps nothing: RetainUntil is at.
func Decide(p Policy, at time.Time, earlier []Earlier) Decision {
	at = at.UTC()
	d := Decision{RetainUntil: at}
	for _, k := range kinds(p) {
		if k.span.IsZero() {
			continue
		}
		name := k.slot(at)
		filled := func(e Earlier) bool {
			return e.Complete && slices.Contains(e.Slots, name) && k.slot(e.TakenAt.UTC()) == name &&
				!e.RetainUntil.Before(k.span.AddTo(e.TakenAt.UTC()).Truncate(time.Second))
		}
		if !slices.ContainsFunc(earlier, filled) {
			d.Slots = append(d.Slots, name)
			d.RetainUntil = Later(d.RetainUntil, k.span.AddTo(at))
		}
	}
	if len(d.Slots) == 0 {
		d.RetainUntil = Shortest(p, at)
	}
	return d
}

// Longest is the longest that any point taken at at can be kept.
func Longest(p Policy, at time.Time) time.Duration {
	end := at.UTC()
	for _, k := range kinds(p) {
		end = Later(end, k.span.AddTo(at))
	}
	return end.Sub(at)
}

// Shortest gives until when a point taken at at is kept that fills no slot: for the shortest span that is not zero.
func Shortest(p Policy, at time.Time) time.Time {
	var end time.Time
	for _, k := range kinds(p) {
		if k.span.IsZero() {
			continue
		}
		if t := k.span.AddTo(at); end.IsZero() || t.Before(end) {
			end = t
		}
	}
	if end.IsZero() {
		return at
	}
	return end
}

// Later gives the later of two times.
func Later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// AnyNow reports whether one of these slots is of the hour, day, week, month or year that a time falls into: others are filled for good,
// or stay open.
func AnyNow(slots []string, at time.Time) bool {
	for _, k := range kinds(Policy{}) {
		if slices.Contains(slots, k.slot(at.UTC())) {
			return true
		}
	}
	return false
}

// kind is one kind of slot.
type kind struct {
	span Span
	slot func(time.Time) string // the name of the slot that t falls into
}

func kinds(p Policy) [5]kind {
	return [5]kind{
		{p.Hourly, func(t time.Time) string { return t.Format("hourly-2006-01-02t15") }},
		{p.Daily, func(t time.Time) string { return t.Format("daily-2006-01-02") }},
		{p.Weekly, func(t time.Time) string {
			y, w := t.ISOWeek()
			return fmt.Sprintf("weekly-%04d-w%02d", y, w)
		}},
		{p.Monthly, func(t time.Time) string { return t.Format("monthly-2006-01") }},
		{p.Yearly, func(t time.Time) string { return t.Format("yearly-2006") }},
	}
}
