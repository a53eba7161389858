package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const pointsHelp = `List the recovery points of SOURCE, of all sources if none is named, oldest first.

No key is needed. SIGNED is the time that SOURCE@TIME goes by. A point that arrived over an hour after it was signed is marked late;
one that cannot be read any more is listed as damaged, and the exit code is then 5.
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
	Entries     int64    `json:"entries"`
	Bytes       int64    `json:"bytes"`
	Missing     int64    `json:"missing"`
	Status      string   `json:"status"` // complete, incomplete, damaged
	Late        bool     `json:"late"`
	Slots       []string `json:"slots,omitempty"`
	Mode        string   `json:"mode,omitempty"`
	SourceKind  string   `json:"source_kind,omitempty"`
	Error       string   `json:"error,omitempty"`
}

func (a *app) pointsCommand() *cobra.Command {
	var f readerFlags
	cmd := &cobra.Command{
		Use:               "points [SOURCE]",
		Short:             "List recovery points",
		Long:              pointsHelp,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeSources(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.points(ctx, &f, append(args, "")[0])
		}),
	}
	f.add(cmd, a)
	return cmd
}

func (a *app) points(ctx context.Context, f *readerFlags, source string) (err error) {
	if source != "" && !format.ValidName(source) {
		return usage(fmt.Errorf("%q is no name of a source: lower-case letters, digits, - and _, at most 40", source))
	}
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	table := tabwriter.NewWriter(a.ui.out, 0, 0, 2, ' ', 0)
	var damaged together
	n := 0
	for p, err := range browse.Points(ctx, r.view(), source) {
		if err != nil {
			return err
		}
		if n++; n == 1 && !a.ui.json {
			fmt.Fprintln(table, "POINT\tSOURCE\tSIGNED\tKEPT UNTIL\tENTRIES\tSIZE\tSTATUS")
		}
		if p.Err != nil {
			damaged = append(damaged, &marked{errDamage, p.Err})
		}
		if err := r.printPoint(table, p); err != nil {
			return err
		}
	}
	if n == 0 {
		if source != "" {
			if err := r.noPoints(ctx, source); err != nil {
				return err
			}
		}
		a.ui.remark("There are no recovery points%s in vault %s.", of(source), safe(r.vault.name))
	}
	return append(damaged, table.Flush(), r.alarm()).orNil()
}

func of(source string) string {
	if source == "" {
		return ""
	}
	return " of " + source
}

func (r *reading) printPoint(table *tabwriter.Writer, p browse.Point) error {
	line := pointJSON{
		Point: p.ID.String(), Source: p.Source, Vault: r.vault.name, SignedAt: moment(p.SignedAt), ArrivedAt: moment(format.At(p.Arrived)),
		TakenAt: moment(p.SignedAt), Status: "damaged", Late: p.Late,
	}
	until, size1 := "-", "-"
	if c := p.Commit; c != nil {
		line.TakenAt, line.RetainUntil, line.Status = moment(c.TakenAt), moment(c.RetainUntil), c.Status
		line.Entries, line.Bytes, line.Missing = c.Entries, c.Bytes, c.Missing
		line.Slots, line.Mode, line.SourceKind = c.Slots, c.Mode, c.SourceKind
		until, size1 = day(line.RetainUntil), size(c.Bytes)
	} else {
		line.Error = p.Err.Error()
	}
	if r.ui.json {
		return r.ui.object(line)
	}
	status := line.Status
	if p.Late {
		status += ", late"
	}
	_, err := fmt.Fprintf(table, "%.12s\t%s\t%s\t%s\t%d\t%s\t%s\n", line.Point, line.Source, p.SignedAt.UTC().Format(timeForm), until, line.Entries, size1, status)
	return err
}

// nearPoints gives the IDs of a directory vault's points for completion; any failure is an empty list.
func (a *app) nearPoints(cmd *cobra.Command, f *readerFlags) []string {
	quiet := *a
	quiet.ui = &ui{out: discard{}, err: discard{}, quiet: true}
	quiet.ui.settle()
	r := &reading{app: &quiet, flags: f}
	places, err := r.places()
	if err != nil || len(places) == 0 || places[0].url.Kind != "file" || r.open(cmd.Context(), places[0], "") != nil {
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
