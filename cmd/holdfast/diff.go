package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const diffHelp = `Say what changed from one recovery point to another.

Content, metadata, headers, tags, modes and owners are compared; what both points share is
not even read. The exit code is 0 whether they differ or not. --stat gives sums only.
` + pointHelp + namesHelp + readerHelp

// changeJSON is one difference between two points.
type changeJSON struct {
	Change string     `json:"change"` // added, removed, changed
	Key    string     `json:"key"`
	KeyB64 string     `json:"key_b64,omitempty"`
	What   []string   `json:"what,omitempty"` // of a changed one: content, metadata, tags, ..
	Old    *entryJSON `json:"old,omitempty"`
	New    *entryJSON `json:"new,omitempty"`
}

func (a *readCommands) diffCommand() *cobra.Command {
	var f readerFlags
	var stat bool
	cmd := &cobra.Command{
		Use:               "diff POINT POINT",
		Short:             "Say what changed from one recovery point to another",
		Long:              diffHelp,
		Args:              takes(2, 2),
		ValidArgsFunction: a.complete.completePoints(&f, 2),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.look(ctx, &f, func(r *reading, in *repo.Reader, out *listing) error {
				return r.shows.diff(ctx, in, out, args[0], args[1], stat)
			})
		}),
	}
	a.lookFlags(cmd, &f)
	f.addAllowIncomplete(cmd)
	cmd.Flags().BoolVar(&stat, "stat", false, "how much changed, in numbers and bytes, instead of a line for each change")
	return cmd
}

// statJSON is how much changed. Bytes are of content; those of what changed count where the content did.
type statJSON struct {
	From           string `json:"from"`
	To             string `json:"to"`
	Added          int64  `json:"added"`
	AddedBytes     int64  `json:"added_bytes"`
	Changed        int64  `json:"changed"`
	ChangedContent int64  `json:"changed_content"` // of those: their content did
	ChangedBytes   int64  `json:"changed_bytes"`   // of their new content
	Removed        int64  `json:"removed"`
	RemovedBytes   int64  `json:"removed_bytes"`
}

func (s *statJSON) add(c browse.Change) {
	switch c.Kind {
	case browse.Added:
		s.Added, s.AddedBytes = s.Added+1, s.AddedBytes+c.New.Size
	case browse.Removed:
		s.Removed, s.RemovedBytes = s.Removed+1, s.RemovedBytes+c.Old.Size
	default:
		if s.Changed++; slices.Contains(c.What, "content") {
			s.ChangedContent, s.ChangedBytes = s.ChangedContent+1, s.ChangedBytes+c.New.Size
		}
	}
}

func (s *statJSON) text() string {
	return fmt.Sprintf("added    %d, %s\nchanged  %d, of them %d in content, %s\nremoved  %d, %s",
		s.Added, size(s.AddedBytes), s.Changed, s.ChangedContent, size(s.ChangedBytes), s.Removed, size(s.RemovedBytes))
}

func (r *showing) diff(ctx context.Context, in *repo.Reader, out *listing, from, to string, stat bool) error {
	older, err := r.point(ctx, from)
	if err != nil {
		return err
	}
	newer, err := r.point(ctx, to)
	if err != nil {
		return err
	}
	counts := statJSON{From: older.ID.String(), To: newer.ID.String()}
	for c, err := range browse.Diff(ctx, in, older.Commit, newer.Commit) {
		if err != nil {
			return err
		}
		if counts.add(c); stat {
			continue
		}
		line := changeJSON{Change: string(c.Kind), Key: c.Key, KeyB64: b64(c.Key), What: c.What}
		for _, side := range []struct {
			to *(*entryJSON)
			e  *format.Entry
		}{{&line.Old, c.Old}, {&line.New, c.New}} {
			if side.e != nil {
				j := showEntry(side.e)
				*side.to = &j
			}
		}
		if err := out.line(line, changeText(c)); err != nil {
			return err
		}
	}
	if stat {
		return out.line(counts, counts.text())
	}
	r.ui.remark("%d added, %d changed, %d removed.", counts.Added, counts.Changed, counts.Removed)
	return nil
}

func changeText(c browse.Change) string {
	switch c.Kind {
	case browse.Added:
		return "+ " + safe(c.Key)
	case browse.Removed:
		return "- " + safe(c.Key)
	}
	return "~ " + safe(c.Key) + "  (" + strings.Join(c.What, ", ") + ")"
}
