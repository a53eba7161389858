package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
)

// listedHold is a hold in the list, for scripts.
type listedHold struct {
	Source      string `json:"source"`
	Point       string `json:"point"`
	SignedAt    string `json:"signed_at"`
	Vault       string `json:"vault"`
	Until       string `json:"until"`
	State       string `json:"state"`                  // held, over, not locked, gone, absent, unknown
	LockedUntil string `json:"locked_until,omitempty"` // of the point's own object, which is locked last
	By          string `json:"by"`                     // person, guard
	At          string `json:"at"`
	Reporter    string `json:"reporter"`
	Reason      string `json:"reason"`
}

// What a hold in the list comes to.
const (
	stateHeld  = "held"
	stateOver  = "over"
	stateShort = "not locked"
	stateGone  = "gone"
	stateNever = "absent"  // the vault never had the point: none of the source's, or it joined later
	stateWhat  = "unknown" // its lock cannot be read
)

func (h *holdCommands) list(ctx context.Context, f *holdFlags, sources []string) (err error) {
	for _, s := range sources {
		if err := namesSource(s); err != nil {
			return err
		}
	}
	r, err := h.openReading(ctx, &f.reader)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	l, err := evidence.List(ctx, r.view().Records(), maxSaidRecords)
	if err != nil {
		return err
	}
	if _, err := l.Latest(func(evidence.Found) bool { return true }); err != nil {
		return err
	}
	holds, err := l.Holds()
	if err != nil {
		return err
	}
	listed, err := r.repo.Points(ctx, r.vault.Reader, "", nil)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if err := knowsSource(r, s, holds, listed); err != nil {
			return err
		}
	}
	var all together
	table := tabwriter.NewWriter(h.ui.out, 0, 0, 2, ' ', 0)
	n := 0
	for _, x := range holds {
		if len(sources) > 0 && !slices.Contains(sources, x.Source) {
			continue
		}
		line, err := holdStands(ctx, r, x, listed)
		if ctx.Err() != nil {
			return err
		}
		all = append(all, err)
		if line.State == stateShort || line.State == stateGone {
			all = append(all, &marked{errShort, fmt.Errorf("point %.12s of %s is held until %s and is %s in vault %s", x.Point, x.Source, stamp(x.Until.Time), line.State, r.vault.name)})
		}
		if h.ui.json {
			all = append(all, h.ui.object(line))
			continue
		}
		if n++; n == 1 {
			fmt.Fprintln(table, "POINT\tSOURCE\tSIGNED\tHELD UNTIL\tSTATE\tBY\tREASON")
		}
		by := x.Reporter
		if x.By != "" {
			by += " (" + safe(x.By) + ")"
		}
		fmt.Fprintf(table, "%.12s\t%s\t%s\t%s\t%s\t%s, %s\t%s\n", x.Point, x.Source, x.SignedAt.UTC().Format(timeForm), stamp(x.Until.Time), line.State, by, date(x.At.Time), safe(x.Reason))
	}
	if n == 0 && !h.ui.json {
		h.ui.remark("Nothing%s is held in vault %s.", of(strings.Join(sources, " or ")), safe(r.vault.name))
	}
	return append(all, table.Flush(), r.alarm()).orNil()
}

// knowsSource refuses the name of a source that is not configured and of which the vault has neither points nor holds: most likely a slip, and
// "nothing is held" would be no answer to it.
func knowsSource(r *reading, name string, holds []evidence.Hold, listed []repo.Point) error {
	have := sourcesOf(listed, holds)
	if slices.Contains(have, name) {
		return nil
	}
	if r.config == nil {
		return usage(fmt.Errorf("vault %s has no points and no holds of a source %s; it has %s", safe(r.vault.name), name, cmp.Or(strings.Join(have, ", "), "none")))
	}
	if _, ok := r.config.Source(name); ok {
		return nil
	}
	return notConfigured(r.config, name)
}

// sourcesOf gives the names of the sources of points and holds, in order, each once.
func sourcesOf(points []repo.Point, holds []evidence.Hold) (names []string) {
	for _, p := range points {
		names = append(names, p.Source)
	}
	for _, h := range holds {
		names = append(names, h.Source)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// holdStands says how a hold stands in the vault.
func holdStands(ctx context.Context, r *reading, x evidence.Hold, listed []repo.Point) (listedHold, error) {
	line := listedHold{
		Source: x.Source, Point: x.Point.String(), SignedAt: moment(x.SignedAt), Vault: r.vault.name, Until: moment(x.Until), State: stateHeld, By: byWhom(x),
		At: moment(x.At), Reporter: x.Reporter, Reason: x.Reason,
	}
	i := slices.IndexFunc(listed, func(p repo.Point) bool { return p.ID == x.Point })
	switch {
	case x.Over(r.now()):
		line.State = stateOver
	case i < 0 && needNot(r.config, r.vault.name, r.repo, x, listed):
		line.State = stateNever
	case i < 0:
		line.State = stateGone
	}
	if i < 0 || !r.vault.url.Locks() {
		return line, nil
	}
	_, lock, err := r.vault.Reader.Stat(ctx, store.Ref{Name: listed[i].Name, Version: listed[i].Version})
	if err != nil {
		if line.State == stateHeld {
			line.State = stateWhat
		}
		return line, fmt.Errorf("read the lock of point %.12s: %w", x.Point, err)
	}
	if !lock.Until.IsZero() {
		line.LockedUntil = lock.Until.UTC().Format(time.RFC3339)
	}
	if line.State == stateHeld && lock.Until.Before(x.Until.Time) {
		line.State = stateShort
	}
	return line, nil
}
