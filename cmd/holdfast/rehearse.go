package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/rehearse"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store"
)

const rehearseHelp = `Rehearse a restore: bring a random sample of a recovery point back, compare it, and say what follows.

The sample is drawn from the point's manifest, in proportion by kind and size, a few of
each at least. It is restored into a scratch folder, read again from the disk and compared
with the manifest by size and SHA-256. Runs of neighbouring entries are restored beside it,
to measure how long a restore of all of it would take. Both are said with their bounds at
95 %. Half of --sample-bytes is for the sample, half for those runs.

  --sample 1000        entries of the sample at most, up to 20,000
  --sample-bytes 10GB  bytes that are restored at most; entries larger than an eighth
                       of that are not drawn, and counted
  --whole              restores and compares everything, instead
  --seed N             draws the same sample again; the seed is printed and recorded
  --check 'CMD {}'     then runs a program on what was restored; {} is the folder
                       (repeatable). Its exit status decides. No shell reads it: words
                       are split at blanks, quotes hold them together, and a JSON list
                       is taken as it is. In its environment: HOLDFAST_POINT,
                       HOLDFAST_SOURCE, HOLDFAST_RESTORED

The scratch folder is a new one under the temporary directory, or --to DIR, which must be
empty or missing. What was restored is removed at the end, unless --keep is given. Only
the newest version of each key is restored; devices, fifos and sockets are not.

Exit codes: 0 all that was compared is as it was; 5 something is bad, and is named; 1 a
check failed (code check); 3 something could not be tested, or is not in the point; 4 the
vault was tampered with; 2 no restore key.
` + pointHelp + unvouchedHelp + readerHelp

// rehearseFlags are those of drill restore alone.
type rehearseFlags struct {
	sample, bytes string
	whole, keep   bool
	seed          uint64
	seeded        bool
	to            target
	checks        []string
	timeout       time.Duration

	most     int
	most64   int64 // bytes
	programs [][]string
}

func (a *readCommands) rehearseCommand() *cobra.Command {
	var f readerFlags
	var rf rehearseFlags
	cmd := &cobra.Command{
		Use:               "restore POINT --identity FILE",
		Short:             "Restore a random sample, compare it, and say what follows for all of it",
		Long:              rehearseHelp,
		Args:              takes(1, 1),
		ValidArgsFunction: a.complete.completePoints(&f, 1),
	}
	cmd.RunE = a.action(func(ctx context.Context, args []string) error {
		rf.seeded = cmd.Flags().Changed("seed")
		if err := rf.parse(cmd.Flags().Changed("sample") || cmd.Flags().Changed("sample-bytes")); err != nil {
			return err
		}
		return a.rehearse(ctx, &f, &rf, args[0])
	})
	f.addUnvouched(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with a restore key")
	f.addAllowIncomplete(cmd)
	s := cmd.Flags()
	s.StringVar(&rf.sample, "sample", "1000", "`NUMBER` of entries to draw")
	s.StringVar(&rf.bytes, "sample-bytes", "10GB", "bytes to restore at most: a `SIZE`")
	s.BoolVar(&rf.whole, "whole", false, "restore and compare everything")
	s.Uint64Var(&rf.seed, "seed", 0, "draw the sample that this `NUMBER` gives (default: by chance)")
	s.StringVar(&rf.to.text, "to", "", "restore into this `DIR`, which must be empty or missing (default: a new temporary one)")
	s.BoolVar(&rf.keep, "keep", false, "leave there what was restored")
	s.StringArrayVar(&rf.checks, "check", nil, "run `'CMD {}'` on what was restored (repeatable)")
	s.DurationVar(&rf.timeout, "check-timeout", time.Hour, "how long each check may take")
	return cmd
}

// parse checks the flags. chosen: the size of the sample was given.
func (rf *rehearseFlags) parse(chosen bool) (err error) {
	if rf.whole && (chosen || rf.seeded) {
		return usage(errors.New("--whole restores everything: leave out --sample, --sample-bytes and --seed"))
	}
	if _, err := fmt.Sscanf(rf.sample+"\n", "%d\n", &rf.most); err != nil || rf.most < 1 || rf.most > rehearse.MaxSample {
		return usage(fmt.Errorf("--sample %s: give a number from 1 to %s; --whole restores everything", safe(rf.sample), thousands(rehearse.MaxSample)))
	}
	if rf.most64, err = config.ParseSize(rf.bytes); err != nil || rf.most64 < 1 {
		return usage(fmt.Errorf("--sample-bytes %s: give a size such as 10GB", safe(rf.bytes)))
	}
	if rf.timeout < time.Second {
		return usage(errors.New("--check-timeout: give at least 1s"))
	}
	for _, c := range rf.checks {
		argv, err := wordsOf(c)
		if err != nil {
			return usage(fmt.Errorf("--check: %w", err))
		}
		rf.programs = append(rf.programs, argv)
	}
	if rf.to.text == "" {
		return nil
	}
	rf.to.scratch = true
	if err := rf.to.parse(); err != nil {
		return err
	}
	if !rf.to.at.Local() {
		return usage(fmt.Errorf("--to %s: a rehearsal restores into a directory of this machine", safe(rf.to.text)))
	}
	return nil
}

func (a *readCommands) rehearse(ctx context.Context, f *readerFlags, rf *rehearseFlags, spec string) (err error) {
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if len(r.ids) == 0 {
		return &marked{errNoRestoreKey, errors.New("no restore key given, and nothing can be restored without: give one with --identity FILE; " +
			"`holdfast verify --sample 5%` reads and hashes what is stored without a key, and restores nothing")}
	}
	in, err := r.content()
	if err != nil {
		return err
	}
	p, err := r.point(ctx, spec)
	if err != nil {
		return together{err, r.alarm()}.orNil()
	}
	if rf.to.text != "" {
		landmark, err := r.landmark(ctx, spec)
		if err == nil {
			err = rf.to.apart(ctx, r, landmark)
		}
		if err != nil {
			return together{err, r.alarm()}.orNil()
		}
	}
	s, err := openScratch(rf)
	if err != nil {
		return err
	}
	defer func() { err = together{err, s.clear()}.orNil() }()
	x := &rehearsing{restoring: r.restores, flags: rf, point: p, scratch: s, began: a.now()}
	return x.run(ctx, rehearse.Options{
		Reader: in, Commit: p.Commit, Scratch: s.dir, Whole: rf.whole, Most: rf.most, Bytes: rf.most64, Seed: rf.seedOr(rand.Uint64),
		Memory: max(r.memory(), restore.MinMemory), Concurrency: r.connections(), Room: x.room,
		Target: func(folder string) (restore.Target, error) {
			return r.restores.openTarget(ctx, &target{text: folder, at: location.Location{Kind: location.File, Text: folder, Path: folder}})
		},
	})
}

// seedOr gives the seed that was asked for, or one by chance that is not long to type.
func (rf *rehearseFlags) seedOr(chance func() uint64) uint64 {
	if rf.seeded {
		return rf.seed
	}
	const digits = 1_000_000_000_000
	return chance() % digits
}

// scratch is the folder that is restored into.
type scratch struct {
	dir  string
	made bool // by this command
	keep bool
}

// openScratch makes the folder, or takes one that is empty.
func openScratch(rf *rehearseFlags) (*scratch, error) {
	s := &scratch{keep: rf.keep}
	if rf.to.text == "" {
		dir, err := os.MkdirTemp("", "holdfast-drill-") // with mode 0700
		if err != nil {
			return nil, fmt.Errorf("make a scratch folder: %w", err)
		}
		s.dir, s.made = dir, true
		return s, nil
	}
	s.dir = rf.to.at.Path
	list, err := os.ReadDir(s.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.made = true
		if err := os.MkdirAll(filepath.Dir(s.dir), 0o700); err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
		if err := os.Mkdir(s.dir, 0o700); err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("--to: %w", err)
	case len(list) > 0:
		return nil, &marked{errTarget, fmt.Errorf("--to %s is not empty: a rehearsal removes at the end what lies there; name a folder that is empty or missing", safe(rf.to.text))}
	}
	return s, nil
}

// clear takes away what was restored.
func (s *scratch) clear() error {
	if s.keep {
		return nil
	}
	if s.made {
		return prefixedRemoval(rehearse.Remove(s.dir))
	}
	list, err := os.ReadDir(s.dir)
	for _, e := range list {
		err = errors.Join(err, rehearse.Remove(filepath.Join(s.dir, e.Name())))
	}
	return prefixedRemoval(err)
}

func prefixedRemoval(err error) error {
	if err != nil {
		err = fmt.Errorf("remove what was restored: %w", err)
	}
	return err
}

// rehearsing is one rehearsal.
type rehearsing struct {
	*restoring
	flags   *rehearseFlags
	point   browse.Point
	scratch *scratch
	began   time.Time
	listed  int
	broken  error // of printing
	total   progress.Count
}

// room refuses to begin where the scratch folder's disk is too small.
func (x *rehearsing) room(bytes, entries int64) error {
	const block = 4 << 10 // what an entry costs beside its content
	need := bytes + entries*block
	x.total.Total.Store(bytes)
	free, err := rehearse.Free(x.scratch.dir)
	if err != nil {
		return fmt.Errorf("how much is free in %s: %w", safe(x.scratch.dir), err)
	}
	if free < need {
		return &marked{store.ErrNoSpace, fmt.Errorf("%s are to be restored at once, and %s are free in %s: name a folder with more room (--to DIR), or draw less (--sample-bytes SIZE)",
			size(need), size(free), safe(x.scratch.dir))}
	}
	x.ui.remark("Restoring %s at once into %s, where %s are free; seed %s.", size(need), safe(x.scratch.dir), size(free), x.seedText())
	return nil
}

func (x *rehearsing) run(ctx context.Context, o rehearse.Options) error {
	x.flags.seed = o.Seed
	o.Found = x.found
	o.Progress = func(n int64) { x.total.Done.Add(n) }
	stop := x.watch(ctx, "drill restore", true, &x.total)
	res, err := rehearse.Run(ctx, o)
	stop()
	if n := x.listed - maxListed; n > 0 && !x.ui.json {
		x.ui.warn("and %d more", n)
	}
	if errors.Is(err, rehearse.ErrTooSmall) {
		err = usage(fmt.Errorf("--sample-bytes %s: %w", safe(x.flags.bytes), err))
	}
	said, alarm := x.alarms()
	if err != nil {
		kind := err
		if errors.Is(err, rehearse.ErrTooMany) {
			kind = &marked{errDamage, err}
		}
		return together{kind, x.broken, alarm}.orNil()
	}
	checks, failed := x.check(ctx, res)
	if err := ctx.Err(); err != nil {
		return err
	}
	line := x.line(res, checks, said)
	all := together{x.broken, x.print(line, res), alarm, failed}
	all = append(all, x.verdict(res)...)
	did := newActivity(x.began)
	did.line(line.recorded())
	return append(all, x.verifies.record(ctx, "rehearsal", did)).orNil()
}

// verdict is what the command comes to.
func (x *rehearsing) verdict(res *rehearse.Result) (all together) {
	if n := res.AllBad(); n > 0 {
		all = append(all, &marked{errDamage, fmt.Errorf("%s bad: what is damaged in this vault may be whole in another (--vault NAME) or in another point (`holdfast find KEY`)",
			plural(n, "entry is", "entries are"))})
	}
	if n := res.Untested; n > 0 {
		all = append(all, &marked{errIncomplete, fmt.Errorf("%s drawn could not be tested here; the lines above say why", plural(n, "entry that was", "entries that were"))})
	}
	if n := res.Missing; n > 0 {
		all = append(all, &marked{errIncomplete, fmt.Errorf("%s not in the recovery point, or not all of it: `holdfast ls` names them", plural(n, "entry is", "entries are"))})
	}
	if res.Entries > 0 && res.Compared+res.AllBad()+res.Untested == 0 {
		all = append(all, usage(fmt.Errorf("nothing was restored: every entry is larger than an eighth of --sample-bytes %s; give more, or --whole", safe(x.flags.bytes))))
	}
	return all
}
