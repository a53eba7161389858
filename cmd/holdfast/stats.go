package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/stats"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
)

const statsHelp = `Say how much lies in a vault, how much of it the kept recovery points need, what sources and points share, how old it is, and what the
next points that are over set free.

No key is needed, and nothing is written: a reader's credential is enough. It costs a listing of the vault, and a reading of the commit
objects and needs lists.

  needed     by points that are kept: until their time is over, and the newest of each source longer
  unneeded   objects of the repository that no kept point needs: of points that are over, but also index segments and placements,
             which runs use. What of it can be deleted 'holdfast prune' says, which looks at locks
  other      versions on top of others, delete markers, and what is not of this repository

KEPT UNTIL says "newest" of the newest point of a source: it is kept until there is a newer one, and then to the end of its time. A point that is
held (see 'holdfast hold') is kept until its hold ends; one that is held and not in the vault is exit code 5.

ALONE is what nothing else needs: it is what a source, or a point, costs beside the others. What a point sets free when it is over can
be deleted three days after its lock has ended as well, which is longer by the slack.
` + readerHelp

// statsJSON is a line of stats, for scripts: kind says what it is about.
type statsJSON struct {
	Kind string `json:"kind"` // source, point, age, expiry

	Source  string    `json:"source,omitempty"`
	Point   string    `json:"point,omitempty"`
	Points  int       `json:"points,omitempty"`
	Oldest  string    `json:"oldest,omitempty"`
	Newest  string    `json:"newest,omitempty"`
	Held    string    `json:"held_until,omitempty"` // of a point: somebody holds it longer than it is kept
	Until   string    `json:"until,omitempty"`      // absent for the newest point of a source: it is kept until there is a newer one
	Content *int64    `json:"content,omitempty"`
	Needed  *sizeJSON `json:"needed,omitempty"`
	Alone   *sizeJSON `json:"alone,omitempty"`
	MaxDays *float64  `json:"max_days,omitempty"` // of an age: not older than this; absent: older than all before
	Stored  *sizeJSON `json:"stored,omitempty"`
	Frees   *sizeJSON `json:"frees,omitempty"`
}

type sizeJSON struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func sizeOf(s stats.Size) *sizeJSON { j := sizeJSON(s); return &j }

// statsTotal is the summary of stats, for scripts.
type statsTotal struct {
	Kind       string     `json:"kind"` // total
	Vault      string     `json:"vault"`
	Points     int        `json:"points"`       // kept
	Over       int        `json:"points_over"`  // and not deleted yet
	Unread     int        `json:"unread"`       // damaged: what only they need counts as unneeded
	Gone       int        `json:"held_missing"` // held, and not in the vault
	Stored     sizeJSON   `json:"stored"`
	Needed     sizeJSON   `json:"needed"`
	Content    sizeJSON   `json:"packs"` // of needed
	Shared     sizeJSON   `json:"shared_by_sources"`
	Common     sizeJSON   `json:"shared_by_points"`
	Unneeded   sizeJSON   `json:"unneeded"`
	Records    sizeJSON   `json:"records"`
	Other      sizeJSON   `json:"other"`
	Missing    sizeJSON   `json:"missing"`
	NextExpiry *statsJSON `json:"next_expiry"` // null: none
	Alarms     []string   `json:"alarms,omitempty"`
}

func (a *planCommands) statsCommand() *cobra.Command {
	var f readerFlags
	var points bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Say what lies in a vault, what needs it, and what the next expiry frees",
		Long:  statsHelp,
		Args:  takes(0, 0),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			return a.stats(ctx, &f, points)
		}),
	}
	f.add(cmd, a.app)
	cmd.Flags().BoolVar(&points, "points", false, "a line for each point as well, and for each day on which points are over")
	return cmd
}

func (a *planCommands) stats(ctx context.Context, f *readerFlags, points bool) (err error) {
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	scratch, err := r.renews.scratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	o := stats.Options{Repository: r.repo, In: r.vault.Reader, Scratch: scratch.Cache, Report: r.findings.add, Progress: &progress.Count{}, Now: a.now()}
	o.Misses = func(h evidence.Hold, listed []repo.Point) bool {
		return !needNot(r.config, r.vault.name, r.repo, h, listed)
	}
	stop := a.watch(ctx, "stats", false, o.Progress)
	sum, err := stats.Look(ctx, o)
	stop()
	said, alarm := r.alarms()
	if err != nil {
		return together{err, alarm}.orNil()
	}
	if sum.Unread > 0 {
		a.ui.warn("%s could not be read: what only that needs counts as unneeded; `holdfast verify` tells more", plural(sum.Unread, "point, or part of one,", "points, or parts of them,"))
	}
	all := together{alarm}
	for _, h := range sum.Gone {
		all = append(all, &marked{errDamage, fmt.Errorf("point %.12s of %s is held until %s and is not in vault %s: what it needs is counted as unneeded",
			h.Point, h.Source, stamp(h.Until.Time), r.vault.name)})
	}
	if a.ui.json {
		return append(all, a.statsLines(r.vault.name, sum, points, said.texts())).orNil()
	}
	return append(all, a.statsTable(r.vault.name, sum, points)).orNil()
}

// nextExpiry is the next moment at which a point is over; nil where there is none.
func nextExpiry(s *stats.Summary) *stats.Expiry {
	if len(s.Expiries) == 0 {
		return nil
	}
	return &s.Expiries[0]
}

func expiryOf(e *stats.Expiry) *statsJSON {
	if e == nil {
		return nil
	}
	return &statsJSON{Kind: "expiry", Until: e.At.Format(time.RFC3339), Points: e.Points, Frees: sizeOf(e.Size)}
}

func (a *planCommands) statsLines(vault string, s *stats.Summary, points bool, alarms []string) error {
	var lines []statsJSON
	for _, x := range s.Sources {
		lines = append(lines, statsJSON{
			Kind: "source", Source: x.Name, Points: x.Points, Oldest: x.Oldest.Format(time.RFC3339), Newest: x.Newest.Format(time.RFC3339),
			Content: &x.Content, Needed: sizeOf(x.Needed), Alone: sizeOf(x.Alone),
		})
	}
	for _, x := range s.Ages {
		l := statsJSON{Kind: "age", Stored: sizeOf(x.Size)}
		if x.Upto > 0 {
			days := x.Upto.Hours() / 24
			l.MaxDays = &days
		}
		lines = append(lines, l)
	}
	if points {
		for _, p := range s.Points {
			l := statsJSON{Kind: "point", Source: p.Source, Point: p.ID.String(), Alone: sizeOf(p.Alone), Content: &p.Commit.Bytes}
			if !p.Until.IsZero() {
				l.Until = p.Until.UTC().Format(time.RFC3339)
			}
			if !p.Held.IsZero() {
				l.Held = p.Held.UTC().Format(time.RFC3339)
			}
			lines = append(lines, l)
		}
		for _, e := range s.Expiries {
			lines = append(lines, *expiryOf(&e))
		}
	}
	for _, l := range lines {
		if err := a.ui.object(l); err != nil {
			return err
		}
	}
	return a.ui.object(statsTotal{
		Kind: "total", Vault: vault, Points: len(s.Points), Over: s.Over, Unread: s.Unread, Gone: len(s.Gone), Stored: sizeJSON(s.Stored), Needed: sizeJSON(s.Needed),
		Content: sizeJSON(s.Content), Shared: sizeJSON(s.Shared), Common: sizeJSON(s.Common), Unneeded: sizeJSON(s.Unneeded), Records: sizeJSON(s.Records),
		Other: sizeJSON(s.Other), Missing: sizeJSON(s.Missing), NextExpiry: expiryOf(nextExpiry(s)), Alarms: alarms,
	})
}

func (a *planCommands) statsTable(vault string, s *stats.Summary, points bool) error {
	t := tabwriter.NewWriter(a.ui.out, 0, 0, 2, ' ', 0)
	row := func(what string, n stats.Size) {
		fmt.Fprintf(t, "%s\t%s\t%s\n", what, size(n.Bytes), plural(n.Objects, "object", "objects"))
	}
	fmt.Fprintf(t, "VAULT %s\t\t\n", safe(vault))
	row("stored", s.Stored)
	row("needed", s.Needed)
	row("  by several sources", s.Shared)
	row("  by several points", s.Common)
	row("unneeded", s.Unneeded)
	row("records", s.Records)
	row("other", s.Other)
	if s.Missing.Objects > 0 {
		row("needed and missing", s.Missing)
	}
	fmt.Fprintln(t, "\nSOURCE\tPOINTS\tNEWEST\tCONTENT\tNEEDED\tALONE")
	for _, x := range s.Sources {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", x.Name, x.Points, date(x.Newest), size(x.Content), size(x.Needed.Bytes), size(x.Alone.Bytes))
	}
	if points {
		fmt.Fprintln(t, "\nPOINT\tSOURCE\tSIGNED\tKEPT UNTIL\tCONTENT\tALONE")
		for _, p := range s.Points {
			until := "newest" // it is kept until there is a newer one
			if !p.Until.IsZero() {
				until = date(p.Until)
			}
			if !p.Held.IsZero() {
				until = date(p.Held) + " (held)"
			}
			fmt.Fprintf(t, "%.12s\t%s\t%s\t%s\t%s\t%s\n", p.ID, p.Source, date(p.SignedAt.Time), until, size(p.Commit.Bytes), size(p.Alone.Bytes))
		}
	}
	fmt.Fprintln(t, "\nSTORED SINCE\tBYTES\tOBJECTS")
	for _, x := range s.Ages {
		if x.Objects == 0 {
			continue
		}
		since := "longer"
		if x.Upto > 0 {
			since = "at most " + plural(int64(x.Upto.Hours()/24), "day", "days")
		}
		fmt.Fprintf(t, "%s\t%s\t%d\n", since, size(x.Bytes), x.Objects)
	}
	if points && len(s.Expiries) > 0 {
		fmt.Fprintln(t, "\nOVER ON\tPOINTS\tFREES")
		for _, e := range s.Expiries {
			fmt.Fprintf(t, "%s\t%d\t%s\n", date(e.At), e.Points, size(e.Bytes))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	next := "No point is over soon: each is the newest of its source."
	if e := nextExpiry(s); e != nil {
		next = fmt.Sprintf("The next expiry is on %s: %s, which nothing else needs.", date(e.At), size(e.Bytes))
	}
	return a.ui.text("\n" + next)
}
