package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const pointsHelp = `List the recovery points of SOURCE, of all sources if none is named, oldest first.
--latest N, --since TIME and --until TIME leave out others, by the time SIGNED; what is left out
does not count for the exit code either.

A point that a guard marked says so in STATUS, and "acknowledged" where somebody looked at it and found it right: SOURCE@clean is the newest
complete point without a mark, or with acknowledged marks only. 'holdfast guard' has the reasons, as has "acknowledged" with --json.
"held" is a point that 'holdfast hold', or the guard, keeps longer: KEPT UNTIL is the end of the hold then. Without keys.reporter the guard leaves no record of that, and only PROTECTED UNTIL shows it.
"over" is a point that is neither kept nor held any more: 'holdfast prune' deletes it, but for the newest of its source.

No key is needed. SIGNED is the time that SOURCE@TIME goes by. A point that arrived over an hour after it was signed is marked late;
one that cannot be read any more is listed as damaged, and the exit code is then 5.

PROTECTED UNTIL is when the first lock ends of all that the point needs, as read back from the vault. Where that is before KEPT
UNTIL it says so, and the exit code is 5 as well. Of a vault with many stored objects the locks are read with --read-locks only.

Where no descriptor of the repository can be read any more, what is there is listed as unvouched, with full IDs: no signature can
be checked. Believe only an ID that stands on paper or in a report.
` + readerHelp

// pointJSON is one recovery point for scripts.
type pointJSON struct {
	Point       string   `json:"point"`
	Source      string   `json:"source"`
	Vault       string   `json:"vault"`
	TakenAt     string   `json:"taken_at"`
	SignedAt    string   `json:"signed_at"`
	ArrivedAt   string   `json:"arrived_at"`
	RetainUntil string   `json:"retain_until"`
	Protected   string   `json:"protected_until,omitempty"` // as the locks are; "none": something has no lock. Absent: they were not read
	Entries     int64    `json:"entries"`
	Bytes       int64    `json:"bytes"`
	Missing     int64    `json:"missing"`
	Status      string   `json:"status"`         // complete, incomplete, damaged
	Over        bool     `json:"over,omitempty"` // neither kept nor held any more: prune deletes it, unless it is the newest
	Late        bool     `json:"late"`
	Distrusted  bool     `json:"distrusted,omitempty"`
	Unvouched   bool     `json:"unvouched,omitempty"` // no descriptor can be read: nobody knows who signed it
	Marks       []string `json:"marks,omitempty"`     // empty: nothing was found, where there had been something
	Slots       []string `json:"slots,omitempty"`
	// Holds reach beyond retain_until, which stays as the point has it.
	Hold         *holdJSON `json:"hold,omitempty"`
	Acknowledged []ackJSON `json:"acknowledged,omitempty"` // of its marks, the newest first
	Mode         string    `json:"mode,omitempty"`
	SourceKind   string    `json:"source_kind,omitempty"`
	Error        string    `json:"error,omitempty"`
}

func (a *readCommands) pointsCommand() *cobra.Command {
	var f readerFlags
	var filter pointFilter
	var locks bool
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:               "points [SOURCE]",
		Short:             "List recovery points",
		Long:              pointsHelp,
		Args:              takes(0, 1),
		ValidArgsFunction: a.complete.completeSources(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if err := filter.parse(cmd, args, a.now()); err != nil {
				return err
			}
			return a.points(ctx, &f, filter, locks)
		}),
	}
	f.addUnvouched(cmd, a.app)
	filter.add(cmd, a.app)
	cmd.Flags().BoolVar(&locks, "read-locks", false, "read the lock of every stored object, however many there are: a request each")
	return cmd
}

func (a *readCommands) points(ctx context.Context, f *readerFlags, filter pointFilter, locks bool) (err error) {
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	table := tabwriter.NewWriter(a.ui.out, 0, 0, 2, ' ', 0)
	var damaged together
	var points []browse.Point
	for p, err := range browse.Points(ctx, r.view(), filter.source) {
		if err != nil {
			return err
		}
		points = append(points, p)
	}
	all := len(points)
	points = filter.of(points)
	if locks {
		for i := range points {
			if points[i], err = r.view().Read(ctx, points[i]); err != nil {
				return err
			}
		}
	}
	said, err := saidOf(ctx, r, points)
	if err != nil {
		return err
	}
	held, err := r.shows.protections(ctx, points, said, locks)
	if err != nil {
		return err
	}
	for i, p := range points {
		if i == 0 && !a.ui.json {
			fmt.Fprintln(table, "POINT\tSOURCE\tSIGNED\tKEPT UNTIL\tPROTECTED UNTIL\tENTRIES\tSIZE\tSTATUS")
		}
		switch {
		case p.Doubt != nil:
			damaged = append(damaged, &marked{errAlarm, fmt.Errorf("point %.12s of %s: %w", p.ID, p.Source, p.Doubt)})
		case p.Head != nil:
			damaged = append(damaged, &marked{errAlarm, p.Err})
		case p.Err != nil:
			damaged = append(damaged, &marked{errDamage, p.Err})
		}
		if short := shortfall(p, held[p.ID], said[p.ID]); short != nil {
			damaged = append(damaged, &marked{errDamage, short})
		}
		if err := r.shows.printPoint(table, p, held[p.ID], said[p.ID]); err != nil {
			return err
		}
	}
	if source := filter.source; all == 0 {
		if source != "" && r.repo.Vouched() {
			if err := r.shows.noPoints(ctx, source); err != nil {
				return err
			}
		}
		a.ui.remark("There are no recovery points%s in vault %s.", of(source), safe(r.vault.name))
	} else if len(points) < all {
		a.ui.remark("%d of %s shown.", len(points), plural(all, "point is", "points are"))
	}
	return append(damaged, table.Flush(), r.alarm()).orNil()
}

// namesSource refuses what can be no source's name.
func namesSource(s string) error {
	if format.ValidName(s) {
		return nil
	}
	return usage(fmt.Errorf("%q is no name of a source: lower-case letters, digits, - and _, at most 40", s))
}

func of(source string) string {
	if source == "" {
		return ""
	}
	return " of " + source
}

func (r *showing) printPoint(table *tabwriter.Writer, p browse.Point, held *renew.Protection, said pointSaid) error {
	line := pointJSON{
		Point: p.ID.String(), Source: p.Source, Vault: r.vault.name, SignedAt: moment(p.SignedAt), ArrivedAt: moment(format.At(p.Arrived)),
		TakenAt: moment(p.SignedAt), Status: "damaged", Late: p.Late, Distrusted: p.Distrusted, Unvouched: !r.repo.Vouched(),
	}
	until, size1, protected := "-", "-", "-"
	if c := p.Line; c != nil {
		line.TakenAt, line.RetainUntil, line.Status = moment(c.TakenAt), moment(c.RetainUntil), c.Status
		line.Entries, line.Bytes, line.Missing = c.Entries, c.Bytes, c.Missing
		line.Marks, line.Slots, line.Mode, line.SourceKind = c.Marks, c.Slots, c.Mode, c.SourceKind
		until, size1 = day(line.RetainUntil), size(c.Bytes)
	} else if h := p.Head; h != nil {
		line.RetainUntil, line.Status, line.Mode, line.Error = moment(h.RetainUntil), "newer", h.Mode, p.Err.Error()
		until = day(line.RetainUntil)
	} else {
		line.Error = p.Err.Error()
	}
	if h := said.hold; h != nil {
		line.Hold = &holdJSON{moment(h.Until), byWhom(*h), moment(h.At), h.Reporter, h.Reason}
		if c := p.Kept(); p.Line == nil && c == nil || said.keptUntil(p).Equal(h.Until.Time) {
			until = date(h.Until.Time)
		}
	}
	line.Acknowledged = acksOf(said.acks)
	end := said.keptUntil(p)
	line.Over = !end.IsZero() && !end.After(r.now())
	if held != nil {
		line.Protected = "none"
		if !held.Until.IsZero() {
			line.Protected = moment(format.At(held.Until))
		}
		protected = day(line.Protected)
	}
	if r.ui.json {
		return r.ui.object(line)
	}
	status := strings.Join(append([]string{line.Status}, line.Marks...), ", ")
	if len(line.Acknowledged) > 0 {
		status += " (acknowledged)"
	}
	if line.Hold != nil {
		status += ", held"
		if said.hold.By != "" {
			status += " by the " + safe(said.hold.By)
		}
	}
	if line.Over {
		status += ", over"
	}
	if p.Late {
		status += ", late"
	}
	if p.Distrusted {
		status += ", distrusted"
	}
	if line.Unvouched {
		status += ", unvouched"
	}
	if shortfall(p, held, said) != nil {
		status += ", not protected as long as it is kept"
	}
	id := line.Point
	if !line.Unvouched {
		id = id[:12]
	}
	_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n",
		id, line.Source, p.SignedAt.UTC().Format(timeForm), until, protected, line.Entries, size1, status)
	return err
}

// fewObjects is how many stored objects a point may need for all locks to be read without being asked to, and how many
// objects of placements there may be, junk among them: which is which is only known once each was read.
const fewObjects = 2000

// protections reads how long points that are not over are held; a point that is not in it was not looked at.
func (r *showing) protections(ctx context.Context, points []browse.Point, said map[format.Hash]pointSaid, all bool) (_ map[format.Hash]*renew.Protection, err error) {
	if !r.vault.url.Locks() || !r.repo.Vouched() {
		return nil, nil
	}
	var most int64
	untold := 0
	for _, p := range points {
		if c := p.Kept(); c != nil {
			most = max(most, c.Needs.Entries)
		} else if p.Line != nil {
			untold++
		}
	}
	if untold > 0 { // those of whom a list told
		r.ui.remark("Locks were not read, as there are %d points: add --read-locks, or use `holdfast verify --level locks`.", len(points))
		return nil, nil
	}
	if most == 0 {
		return nil, nil
	}
	if most > fewObjects && !all {
		r.ui.remark("Locks were not read, as there are some %d of them: add --read-locks, or use `holdfast verify --level locks`.", most)
		return nil, nil
	}
	if !all {
		n := 0
		for info, err := range r.vault.Reader.Versions(ctx, format.PrefixPlacements, "") {
			if err != nil {
				return nil, fmt.Errorf("list placements: %w", err)
			}
			if r.repo.Trust().VouchPlacements(info.Name) != nil {
				continue // junk by its name, which nobody reads
			}
			if n++; n > fewObjects {
				r.ui.remark("Locks were not read, as there are over %d objects under %s: add --read-locks, or use `holdfast verify --level locks`.", fewObjects, format.PrefixPlacements)
				return nil, nil
			}
		}
	}
	scratch, err := r.renews.scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	vault := r.renews.asRepoVault()
	vault.Inspect, vault.Lock = nil, nil // a reader may not look at the bucket's settings
	known, err := repo.OpenRenewal(ctx, repo.RenewalOptions{Repository: r.repo, Vault: vault, Cache: scratch.Cache, Report: r.findings.add, Now: r.now})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, known.Close()) }()
	locks := renew.NewLocks(known)
	held := map[format.Hash]*renew.Protection{}
	for _, p := range points {
		c := p.Kept()
		if c == nil || p.Doubt != nil {
			continue
		}
		if !said[p.ID].keptUntil(p).After(known.Clock()) {
			// It is over, unless its own lock, which comes last, says that something holds it of which no record tells.
			if _, lock, err := r.vault.Reader.Stat(ctx, store.Ref{Name: p.Name, Version: p.Version}); err != nil || !lock.Until.After(known.Clock()) {
				continue
			}
		}
		h, err := locks.Protected(ctx, repo.Head{Point: p.Point, Commit: c})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.ui.warn("point %.12s: how long it is protected cannot be told: %v", p.ID, err)
			continue
		}
		held[p.ID] = &h
	}
	return held, nil
}

// shortfall says what is not locked as long as a point is kept.
func shortfall(p browse.Point, held *renew.Protection, said pointSaid) error {
	c := p.Kept()
	if held == nil || c == nil || c.Mode == "" {
		return nil
	}
	keep := said.keptUntil(p)
	if !held.Until.Before(keep) {
		return nil
	}
	until := "is not locked"
	if !held.Until.IsZero() {
		until = "is locked until " + held.Until.UTC().Format(time.RFC3339)
	}
	return fmt.Errorf("point %.12s is to be kept until %s, and %s, which it needs, %s: `holdfast renew` lengthens such locks",
		p.ID, keep.UTC().Format(time.RFC3339), held.Object, until)
}

// nearPoints gives the IDs of a directory vault's points for completion; any failure is an empty list.
func (a *readCommands) nearPoints(cmd *cobra.Command, f *readerFlags) []string {
	quiet := *a.app
	quiet.share() // its own: those of the app it is copied from speak
	quiet.ui = &ui{out: discard{}, err: discard{}, quiet: true}
	quiet.ui.settle()
	if quiet.standIns.fill(cmd) != nil {
		return nil
	}
	r := (&reading{app: &quiet, flags: f}).share()
	places, err := r.places()
	if err != nil || len(places) == 0 || !places[0].url.Local() || r.openFirst(cmd.Context(), places[:1], "") != nil {
		return nil
	}
	defer func() { _ = r.close() }()
	var ids []string
	for p, err := range browse.Points(cmd.Context(), r.view(), "") {
		if err != nil {
			break
		}
		ids = append(ids, fmt.Sprintf("%.12s\t%s %s", p.ID, p.Source, p.SignedAt.UTC().Format(timeForm)))
	}
	return ids
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
