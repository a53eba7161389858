package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const findHelp = `Find entries by name in all recovery points, the newest first.

PATTERN is a bare name, which is found in every folder ('invoice.pdf'), or a glob that is matched
against the whole key: * within a segment, ** across, ?, [a-z]. So '**/*.pdf' finds every PDF file, and
'**invoice**' every key with that word.

An entry that is the same in several points is one line: the newest point that has it comes first, the
others at its end. With --json every point that has it is a line of its own.
` + namesHelp + readerHelp

// hitJSON is one entry that find found.
type hitJSON struct {
	Point    string `json:"point"`
	Source   string `json:"source"`
	TakenAt  string `json:"taken_at"`
	SignedAt string `json:"signed_at"`
	entryJSON
}

func (a *readCommands) findCommand() *cobra.Command {
	var f readerFlags
	var source string
	cmd := &cobra.Command{
		Use:               "find PATTERN",
		Short:             "Find entries by name in all recovery points",
		Long:              findHelp,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.action(func(ctx context.Context, args []string) error {
			pattern, err := browse.ParsePattern(args[0])
			if err != nil {
				return usage(err)
			}
			if source != "" && !format.ValidName(source) {
				return usage(fmt.Errorf("--source %q is no name of a source", source))
			}
			return a.look(ctx, &f, func(r *reading, in *repo.Reader, out *listing) error {
				return r.shows.find(ctx, in, out, source, pattern)
			})
		}),
	}
	a.lookFlags(cmd, &f)
	cmd.Flags().StringVar(&source, "source", "", "only in points of this `SOURCE`")
	complete(cmd, "source", a.complete.sourceNames)
	return cmd
}

func (r *showing) find(ctx context.Context, in *repo.Reader, out *listing, source string, pattern browse.Pattern) error {
	g := gathered{ui: r.ui, out: out}
	for hit, err := range browse.Find(ctx, r.view(), in, source, pattern) {
		if err == nil {
			err = g.add(hit)
		}
		if err != nil {
			return errors.Join(err, g.flush())
		}
	}
	if err := g.flush(); err != nil {
		return err
	}
	if out.n == 0 && source != "" {
		if err := r.noPoints(ctx, source); err != nil {
			return err
		}
	}
	switch {
	case out.n > 0:
	case pattern.Bare():
		r.ui.remark("No point has an entry named %s; '**%s**' finds it within names and paths.", safe(pattern.String()), safe(pattern.String()))
	default:
		r.ui.remark("No point has a key that matches %s; a glob is held against the whole key, and ** crosses slashes.", safe(pattern.String()))
	}
	return nil
}

// gathered puts an entry that several points have, the same in each, on one line. With --json nothing is gathered.
type gathered struct {
	ui    *ui
	out   *listing
	order []*same
	by    map[sameAs]*same
	told  bool
}

// sameAs is what makes entries of two points the same for a reader.
type sameAs struct {
	source, text string
	size         int64
	sum          format.Hash
}

// same is an entry, and the points that have it.
type same struct {
	text  string   // of the newest of them
	also  []string // some of the others
	more  int      // those that are not in also
	since string   // when the oldest was signed
}

// mostGathered bounds how many entries are held at once, and mostAlso how many points are named beside the newest.
const (
	mostGathered = 50_000
	mostAlso     = 4
)

func (g *gathered) add(hit browse.Hit) error {
	p, long := hit.Point, longEntry(hit.Entry)
	line := hitJSON{p.ID.String(), p.Source, moment(p.Commit.TakenAt), moment(p.SignedAt), showEntry(hit.Entry)}
	signed := p.SignedAt.UTC().Format(timeForm)
	if g.ui.json {
		return g.out.line(line, "")
	}
	id := sameAs{p.Source, long, hit.Entry.Size, hit.Entry.SHA256}
	if s := g.by[id]; s != nil {
		if s.since = signed; len(s.also) < mostAlso {
			s.also = append(s.also, line.Point[:12])
		} else {
			s.more++
		}
		return nil
	}
	if len(g.order) == mostGathered {
		if err := g.flush(); err != nil {
			return err
		}
		if !g.told {
			g.told = true
			g.ui.remark("Over %d entries are found: one that several points have may stand on several lines.", mostGathered)
		}
	}
	if g.by == nil {
		g.by = map[sameAs]*same{}
	}
	s := &same{text: fmt.Sprintf("%.12s  %s  %s  %s", line.Point, line.Source, signed, long)}
	g.by[id], g.order = s, append(g.order, s)
	return nil
}

// flush prints what was gathered, in the order in which it was found.
func (g *gathered) flush() error {
	for _, s := range g.order {
		text := s.text
		if len(s.also) > 0 {
			text += "  (also in " + strings.Join(s.also, ", ")
			if s.more > 0 {
				text += fmt.Sprintf(" and %d more", s.more)
			}
			text += ", back to " + s.since + ")"
		}
		if err := g.out.line(nil, text); err != nil {
			return err
		}
	}
	g.order, g.by = nil, nil
	return nil
}
