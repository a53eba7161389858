package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

const namesHelp = `
Names open with a restore key (--identity FILE), or with the configured host key.`

const lsHelp = `List what is in a recovery point, in order of key; only keys that begin with PREFIX.
After a space PREFIX is any beginning of keys, which stay whole; after a colon it is the root.

Without --long it gives the keys of what was current. --long and --json give every version
that the point holds, delete markers too.
` + pointHelp + partHelp + unvouchedHelp + namesHelp + readerHelp

// lookFlags adds the flags of commands that read names.
func (a *readCommands) lookFlags(cmd *cobra.Command, f *readerFlags) {
	f.add(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with a restore key, or the host key")
}

// look opens a vault and a reader of names for do, and reports what was noticed on the way.
func (a *readCommands) look(ctx context.Context, f *readerFlags, do func(*reading, *repo.Reader, *listing) error) (err error) {
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	reader, err := r.names()
	if err != nil {
		return err
	}
	out := a.ui.listing()
	err = do(r, reader, out)
	return together{err, out.end(), r.alarm()}.orNil()
}

func (a *readCommands) lsCommand() *cobra.Command {
	var f readerFlags
	var long bool
	cmd := &cobra.Command{
		Use:               "ls POINT [PREFIX]",
		Short:             "List what is in a recovery point",
		Long:              lsHelp,
		Args:              takes(1, 2),
		ValidArgsFunction: a.complete.completePoints(&f, 1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			f.unvouched = true
			return a.look(ctx, &f, func(r *reading, in *repo.Reader, out *listing) error {
				return r.shows.ls(ctx, in, out, args[0], append(args, "")[1], long)
			})
		}),
	}
	a.lookFlags(cmd, &f)
	f.addAllowIncomplete(cmd)
	cmd.Flags().BoolVarP(&long, "long", "l", false, "modes, sizes, times and versions too")
	return cmd
}

func (r *showing) ls(ctx context.Context, in *repo.Reader, out *listing, spec, prefix string, long bool) error {
	p, of, err := partOf(ctx, r.reading, in, spec)
	if err != nil {
		return err
	}
	all := long || r.ui.json
	var last *format.Entry // for the short form, which gives the last version of a key only
	show := func(e *format.Entry) error {
		if e == nil || !all && e.Kind == format.KindMarker {
			return nil
		}
		text := safe(e.Key)
		if long {
			text = longEntry(e)
		}
		return out.line(showEntry(e), text)
	}
	var lost lostKeys
	var paths tree.Paths
	refused := 0
	for e, err := range browse.List(ctx, in, p.Commit, of.Full(prefix)) {
		if l, ok := errors.AsType[*tree.Lost](err); ok {
			if lost.add(r.ui, l); last != nil && last.Key == l.From && last.Versioned() {
				last = nil // what is lost may be newer
			}
			continue
		}
		if n, ok := errors.AsType[*tree.NotNewest](err); ok {
			if lost.doubt(r.ui, n); last != nil && last.Key == n.Key {
				last = nil
			}
			continue
		}
		if err != nil {
			return err
		}
		twice := paths.See(e)
		if !of.Take(e) {
			continue
		}
		if why := cmp.Or(twice, e.Unusable); why != nil {
			if refused++; refused <= maxLostTold {
				r.ui.warn("%s: no restore takes it: %v", safe(e.Key), why)
			}
		}
		if all {
			last = e
			if err := show(e); err != nil {
				return err
			}
			continue
		}
		if last != nil && last.Key != e.Key {
			if err := show(last); err != nil {
				return err
			}
		}
		last = e
	}
	if !all {
		err = show(last)
	}
	if out.n == 0 && prefix != "" && lost.stretches == 0 {
		r.ui.remark("Nothing in this point begins with %s.", safe(prefix))
	}
	return together{err, lost.err()}.orNil()
}

// lostKeys counts what of a point's manifest cannot be read.
type lostKeys struct {
	entries   int64
	stretches int
	doubts    int // keys of which the newest version is not known
}

// maxLostTold is how many stretches are named one by one.
const maxLostTold = 100

func (k *lostKeys) add(u *ui, l *tree.Lost) {
	k.entries += l.Entries
	if k.stretches++; k.stretches <= maxLostTold {
		u.warn("%v", l)
	}
}

// doubt names a key of which an older version must not stand for the newest.
func (k *lostKeys) doubt(u *ui, n *tree.NotNewest) {
	if k.doubts++; k.doubts <= maxLostTold {
		u.warn("%v", n)
	}
}

func (k *lostKeys) err() error {
	var what string
	switch {
	case k.stretches > 0:
		what = fmt.Sprintf("%d entries of this point are not listed", k.entries)
	case k.doubts > 0:
		what = fmt.Sprintf("of %d keys of this point the newest version cannot be told", k.doubts)
	default:
		return nil
	}
	return &marked{errIncomplete, fmt.Errorf("%s, since pages of its manifest are lost in this vault; "+
		"they may be whole in another vault (--vault NAME), and `holdfast verify` names what is damaged", what)}
}
