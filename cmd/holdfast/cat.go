package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/part"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/toraw"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const wholeHelp = `
Every piece is verified before it is written, and the whole at its end: what was written is
whole only if the exit code is 0 or 4.

Exit codes: 0 whole; 1 failed, or no such entry; 2 the key does not open it; 3 the point does not
have it whole; 4 whole, and the vault was tampered with; 5 something in the vault is lost.
`

const catHelp = `Write the content of one entry to standard output, and nothing else there.

KEY is the entry's whole key, as 'holdfast ls' gives it; 'cat POINT:KEY' is the same. Of several versions the current one
is written, or --version-id. Holes of disk images and sparse files are written as zeros.
` + wholeHelp + pointHelp + partHelp + unvouchedHelp + readerHelp

const dumpHelp = `Write a folder to standard output as a tar stream, or one entry as its bytes.

Without PREFIX it is the whole point. 'dump POINT PREFIX' is 'dump POINT:PREFIX': a folder's name, with
a slash at its end or without, or the whole key of one entry. Names in the stream count from
there. It is the stream that 'holdfast restore POINT:PREFIX --to -' writes, which also puts one entry into
a tar stream; a summary goes to standard error.

  holdfast dump site@latest etc | tar -x -C /tmp/etc
  holdfast dump db@latest dumps/sales.sql | psql sales_again
` + wholeHelp + pointHelp + partHelp + unvouchedHelp + readerHelp

func (a *readCommands) catCommand() *cobra.Command {
	var f readerFlags
	var version string
	cmd := &cobra.Command{
		Use:               "cat POINT KEY | POINT:KEY",
		Short:             "Write the content of one entry to standard output",
		Long:              catHelp,
		Args:              takes(1, 2),
		ValidArgsFunction: a.complete.completePoints(&f, 1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if len(args) == 1 {
				point, key := browse.Split(args[0])
				if key == "" {
					return usage(errors.New("which entry? the command is: holdfast cat POINT KEY, or holdfast cat POINT:KEY"))
				}
				args = []string{point, key}
			}
			return a.pour(ctx, &f, args[0], func(r *reading, in *repo.Reader, p browse.Point, of part.Part) error {
				return r.restores.cat(ctx, in, p, of.Full(args[1]), version)
			})
		}),
	}
	f.addUnvouched(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with a restore key")
	f.addAllowIncomplete(cmd)
	cmd.Flags().StringVar(&version, "version-id", "", "this `VERSION` of KEY instead of the current one")
	return cmd
}

func (a *readCommands) dumpCommand() *cobra.Command {
	var f readerFlags
	rf := restoreFlags{to: target{text: "-"}, overwrite: string(restore.Never)}
	cmd := &cobra.Command{
		Use:               "dump POINT [PREFIX]",
		Short:             "Write a folder as a tar stream, or one entry, to standard output",
		Long:              dumpHelp,
		Args:              takes(1, 2),
		ValidArgsFunction: a.complete.completePoints(&f, 1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if err := rf.check(); err != nil {
				return err
			}
			return a.pour(ctx, &f, args[0], func(r *reading, in *repo.Reader, p browse.Point, of part.Part) (err error) {
				if len(args) > 1 && args[1] != "" {
					if of, err = browse.FindPart(ctx, in, p.Commit, of.Full(args[1])); err != nil {
						return err
					}
				}
				return r.restores.dump(ctx, in, p, of, &rf)
			})
		}),
	}
	f.addUnvouched(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with a restore key")
	f.addAllowIncomplete(cmd)
	rf.addGlobs(cmd)
	return cmd
}

// pour opens what a command reads that writes content to standard output.
func (a *readCommands) pour(ctx context.Context, f *readerFlags, spec string, do func(*reading, *repo.Reader, browse.Point, part.Part) error) (err error) {
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	in, err := r.content()
	if err != nil {
		return err
	}
	p, of, err := partOf(ctx, r, in, spec)
	if err == nil {
		err = do(r, in, p, of)
	}
	return together{err, r.alarm()}.orNil()
}

// dump writes a folder as a tar stream, one entry as its bytes.
func (r *restoring) dump(ctx context.Context, in *repo.Reader, p browse.Point, of part.Part, rf *restoreFlags) error {
	if key, ok := of.Single(); ok {
		if len(rf.include)+len(rf.exclude) > 0 {
			return usage(fmt.Errorf("%s is one entry: --include and --exclude are for folders", safe(key)))
		}
		return r.cat(ctx, in, p, key, "")
	}
	to, err := r.openTarget(ctx, &rf.to)
	if err != nil {
		return err
	}
	o := r.options(in, p, to)
	o.Part, o.Include, o.Exclude = of, rf.include, rf.exclude
	return r.runRestore(ctx, o, p, rf)
}

// cat writes the content of one entry. key is its key in the point.
func (r *restoring) cat(ctx context.Context, in *repo.Reader, p browse.Point, key, version string) error {
	e, err := entryOf(ctx, in, p, key, version)
	if errors.Is(err, errNoEntry) && version == "" {
		// Whoever gave the name of a folder, or mistyped one, is told.
		of, perr := browse.FindPart(ctx, in, p.Commit, key)
		if _, single := of.Single(); perr == nil && !single && !of.IsWhole() {
			err = &marked{errNoEntry, fmt.Errorf("%s is a folder: `holdfast dump` writes it as a tar stream", safe(of.String()))}
		} else if errors.Is(perr, browse.ErrNoPart) {
			err = perr
		}
	}
	if err != nil {
		return err
	}
	if err := hasBytes(e); err != nil {
		return err
	}
	var written progress.Count
	written.Total.Store(e.Size)
	o := r.options(in, p, toraw.New(r.ui.out, version))
	o.Part = part.Entry(key)
	o.Progress = func(_, n int64) { written.Done.Add(n) }
	stop := func() {}
	if f, ok := r.ui.sticky.to.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) { // else the bar would stand in the content
		stop = r.watch(ctx, "cat", true, &written)
	}
	res, err := restore.Run(ctx, o)
	stop()
	for _, f := range res.Failures {
		if version != "" && f.Version != version && f.Version != "" {
			continue // another version of it is lost
		}
		return notWhole(key, f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", safe(key), err)
	}
	r.ui.detail("%s: %s written, whole.", safe(key), size(e.Size))
	return nil
}

// hasBytes refuses what has no content of its own.
func hasBytes(e *format.Entry) error {
	why := ""
	switch {
	case e.Kind == format.KindSymlink && e.File != nil:
		why = "is a link to " + safe(e.File.Target) + ", and has no content: name that"
	case e.Kind == format.KindDir:
		why = "is a folder: `holdfast dump` writes it as a tar stream"
	case !e.Kind.HasContent():
		why = "has no content"
	default:
		return nil
	}
	return &marked{errNoEntry, fmt.Errorf("%s %s", safe(e.Key), why)}
}

// notWhole says that what was written is not what the entry is, and what that comes to.
func notWhole(key string, f restore.Failure) error {
	err := fmt.Errorf("%s: what was written is not whole, do not use it: %w", safe(key), f.Err)
	if f.Missing {
		return &marked{errIncomplete, err}
	}
	return err
}
