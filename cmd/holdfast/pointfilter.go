package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/retain"
)

// pointFilter says which points are listed.
type pointFilter struct {
	source       string
	newest       string
	latest       int
	since, until string

	from, to time.Time // zero: no bound
}

func (f *pointFilter) add(cmd *cobra.Command, a *app) {
	s := cmd.Flags()
	s.StringVar(&f.source, "source", "", "only points of this `SOURCE`, as the argument")
	s.StringVar(&f.newest, "latest", "", "only the newest `N` of each source")
	s.StringVar(&f.since, "since", "", "only points signed at or after `TIME`: RFC 3339, a date (its beginning in UTC), or a span such as 7d (ago)")
	s.StringVar(&f.until, "until", "", "only points signed at or before `TIME`: RFC 3339, a date (its end in UTC), or a span such as 7d (ago)")
	complete(cmd, "source", a.complete.sourceNames)
}

// parse checks the flags. args are the command's: a source, or none.
func (f *pointFilter) parse(cmd *cobra.Command, args []string, now time.Time) error {
	switch {
	case len(args) > 0 && f.source != "" && f.source != args[0]:
		return usage(fmt.Errorf("two sources are named, %s and %s: give one, or none for all", safe(args[0]), safe(f.source)))
	case len(args) > 0:
		f.source = args[0]
	}
	if f.source != "" {
		if err := namesSource(f.source); err != nil {
			return err
		}
	}
	var err error
	if cmd.Flags().Changed("latest") {
		if f.latest, err = strconv.Atoi(f.newest); err != nil || f.latest < 1 {
			return usage(fmt.Errorf("--latest %s: give a number from 1", safe(f.newest)))
		}
	}
	if f.from, err = bound("--since", f.since, now, false); err != nil {
		return err
	}
	if f.to, err = bound("--until", f.until, now, true); err != nil {
		return err
	}
	if !f.from.IsZero() && !f.to.IsZero() && f.to.Before(f.from) {
		return usage(errors.New("--until lies before --since: no point can be between them"))
	}
	return nil
}

// bound reads a time, or a span back from now. A date is its first moment, or its last second.
func bound(flag, text string, now time.Time, end bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil && !end {
		return day, nil
	}
	if t, err := browse.ParseMoment(text); err == nil {
		return t, nil
	}
	if ago, err := retain.Parse(text); err == nil && !ago.IsZero() {
		return retain.Span{Duration: -ago.Duration, Months: -ago.Months}.AddTo(now), nil
	}
	return time.Time{}, usage(fmt.Errorf("%s %s: give a time such as 2026-11-23T12:00:00Z, a date such as 2026-11-23, or a span such as 36h, 7d or 3mo", flag, safe(text)))
}

// of gives those of some points, which are in order of source and time, that are listed.
func (f *pointFilter) of(points []browse.Point) []browse.Point {
	var out []browse.Point
	for _, p := range points {
		at := p.SignedAt.Time
		if (f.from.IsZero() || !at.Before(f.from)) && (f.to.IsZero() || !at.After(f.to)) {
			out = append(out, p)
		}
	}
	if f.latest == 0 {
		return out
	}
	left := map[string]int{}
	for _, p := range out {
		left[p.Source]++
	}
	kept := out[:0]
	for _, p := range out {
		if left[p.Source] <= f.latest {
			kept = append(kept, p)
		}
		left[p.Source]--
	}
	return kept
}
