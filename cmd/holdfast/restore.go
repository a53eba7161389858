package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo"
)

const restoreHelp = `Bring a recovery point back, whole or in part. Every byte is verified before it counts.

--to URL is a bucket (s3://BUCKET[/PREFIX]?endpoint=URL&region=R, with --to-credentials),
a directory (a path or file:///PATH), or - for a tar stream on standard output. Disk
images become sparse files in a directory; --to - --raw writes one as it is,
--to device:/dev/NAME onto a block device (with --overwrite always), and
--to ebs://REGION makes a new EBS snapshot of each. --to ec2://REGION restores AMIs with
their snapshots (--include image/ami-ID.json for some), and --to DIRECTORY --format
terraform writes machine definitions as .tf.json, to be reviewed. What is
at the target is left as it is unless --overwrite says otherwise, so an interrupted
restore can simply be run again:

  --overwrite never    (default) leaves everything that is there, and names what
                       visibly differs from the point (exit 3)
  --overwrite changed  puts right what is not as in the point: content, headers,
                       metadata, tags, modes and so on
  --overwrite always   restores everything again

Nothing at the target is ever deleted. A directory that was there before keeps its own mode,
owner and time. --include and --exclude take globs against the
whole key: * within a segment, ** across, ?, [a-z]. So 'docs/**' takes what is in the
folder docs. Of POINT:PREFIX the key counts from PREFIX. An --include that matches nothing is an error (exit 1).

Exit codes: 0 everything is back; 3 something is not, or differs, and is listed; 4 the vault was
tampered with; 5 something in the vault is lost; 2 the key does not open the content. With 4 and 5
too the last lines, and failed in JSON, say whether everything is back.
` + pointHelp + partHelp + unvouchedHelp + readerHelp

// restoreFlags are those of restore alone.
type restoreFlags struct {
	to               target
	include, exclude []string
	overwrite        string
	dry              bool
}

// restoredJSON is the summary for scripts.
type restoredJSON struct {
	Point    string        `json:"point"`
	Source   string        `json:"source"`
	Vault    string        `json:"vault"`
	Prefix   string        `json:"prefix,omitempty"` // of POINT:PREFIX
	Target   string        `json:"target"`
	Entries  int64         `json:"entries"`
	Bytes    int64         `json:"bytes"`
	Skipped  int64         `json:"skipped"` // there already
	Differs  int64         `json:"differs"` // of those: not as in the point, and left
	Ignored  int64         `json:"ignored"` // what this kind of target does not hold
	Failed   int64         `json:"failed"`
	Missing  int64         `json:"missing"`        // not in the recovery point
	Requests int64         `json:"requests"`       // to the vault, the search for the point included
	Received int64         `json:"bytes_received"` // from the vault
	Seconds  float64       `json:"seconds"`
	DryRun   bool          `json:"dry_run,omitempty"`
	Failures []failureJSON `json:"failures,omitempty"`
	Notes    []string      `json:"notes,omitempty"`
	NoMatch  []string      `json:"no_match,omitempty"` // what --include was given for nothing
	Alarms   []string      `json:"alarms,omitempty"`
}

// failureJSON is one entry, or a stretch of the manifest, that is not back.
type failureJSON struct {
	Key       string `json:"key"`
	KeyB64    string `json:"key_b64,omitempty"`
	VersionID string `json:"version_id,omitempty"`
	Entries   int64  `json:"entries"`
	Missing   bool   `json:"missing,omitempty"` // the point never had it
	Differs   bool   `json:"differs,omitempty"` // something else is at the target, and was left
	Error     string `json:"error"`
}

func (a *readCommands) restoreCommand() *cobra.Command {
	var f readerFlags
	var rf restoreFlags
	cmd := &cobra.Command{
		Use:               "restore POINT --to URL",
		Short:             "Bring a recovery point back to a bucket, a directory or a tar stream",
		Long:              restoreHelp,
		Args:              takes(1, 1),
		ValidArgsFunction: a.complete.completePoints(&f, 1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.restore(ctx, &f, &rf, args[0])
		}),
	}
	f.addUnvouched(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with a restore key")
	f.addAllowIncomplete(cmd)
	s := cmd.Flags()
	s.StringVar(&rf.to.text, "to", "", "where to: a bucket's or directory's `URL`, a path, - for a tar stream, device:/dev/NAME, ebs://REGION, or ec2://REGION")
	s.StringVar(&rf.to.credentials, "to-credentials", "", "where the target bucket's credentials lie: a `REF` (default: the AWS SDK's own chain)")
	s.BoolVar(&rf.to.inPlace, "in-place", false, "allow the target to be a configured source")
	s.BoolVar(&rf.to.owners, "owners", false, "into a directory: set owners even if not root, and fail where that fails")
	s.BoolVar(&rf.to.disks.raw, "raw", false, "with --to -: the bare content of one file or disk image instead of a tar stream")
	s.BoolVar(&rf.to.disks.encrypt, "encrypt", false, "into snapshots: encrypt them, also where the volume was not")
	s.StringVar(&rf.to.disks.kmsKey, "kms-key", "", "into snapshots: encrypt them with the KMS key of this `ARN`")
	s.StringVar(&rf.to.machines.suffix, "ami-suffix", "", "into AMIs: add `TEXT` to their names, where the old names are taken")
	s.StringVar(&rf.to.machines.format, "format", "", "into a directory: terraform writes machine definitions as .tf.json, to be reviewed")
	complete(cmd, "format", oneOf("terraform"))
	s.BoolVar(&rf.to.specials, "specials", false, "into a directory: make devices, fifos and sockets too")
	rf.addGlobs(cmd)
	s.StringVar(&rf.overwrite, "overwrite", "never", "what is at the target already is replaced `WHEN`: never, changed or always")
	complete(cmd, "overwrite", oneOf("never", "changed", "always"))
	s.BoolVar(&rf.dry, "dry-run", false, "say what would be restored, change nothing")
	return cmd
}

func (rf *restoreFlags) addGlobs(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&rf.include, "include", nil, "only keys that match the `GLOB` (repeatable)")
	cmd.Flags().StringArrayVar(&rf.exclude, "exclude", nil, "no keys that match the `GLOB` (repeatable)")
}

func (rf *restoreFlags) check() error {
	switch restore.Overwrite(rf.overwrite) {
	case restore.Never, restore.Changed, restore.Always:
	default:
		return usage(fmt.Errorf("--overwrite %s: use never, changed or always", safe(rf.overwrite)))
	}
	for flag, patterns := range map[string][]string{"--include": rf.include, "--exclude": rf.exclude} {
		if _, err := glob.ParseSet(patterns); err != nil {
			return usage(fmt.Errorf("%s: %w", flag, err))
		}
	}
	return nil
}

func (a *readCommands) restore(ctx context.Context, f *readerFlags, rf *restoreFlags, spec string) (err error) {
	if err := rf.check(); err != nil {
		return err
	}
	if err := rf.to.parse(); err != nil {
		return err
	}
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	bare, prefix := browse.Split(spec)
	landmark, err := r.landmark(ctx, bare)
	if err != nil {
		return together{err, r.alarm()}.orNil()
	}
	if prefix != "" && rf.to.wholeKeys() {
		return usage(errors.New("AMIs and machine definitions refer to each other by their whole keys: name the POINT alone, and choose with --include"))
	}
	if err := rf.to.apart(ctx, r, landmark); err != nil {
		return err
	}
	reader, err := r.content()
	if err != nil {
		return err
	}
	p, of, err := partOf(ctx, r, reader, spec)
	if err != nil {
		return together{err, r.alarm()}.orNil()
	}
	to, err := r.restores.openTarget(ctx, &rf.to)
	if err != nil {
		return err
	}
	o := r.restores.options(reader, p, to)
	o.Part, o.Include, o.Exclude = of, rf.include, rf.exclude
	o.Overwrite, o.DryRun = restore.Overwrite(rf.overwrite), rf.dry
	if rf.to.at.Kind == location.EC2 {
		if err := r.restores.chooseImages(ctx, &o, p); err != nil {
			return together{err, to.Close(), r.alarm()}.orNil()
		}
	}
	return r.restores.runRestore(ctx, o, p, rf)
}

// options are what every restore from a point has.
func (r *restoring) options(in *repo.Reader, p browse.Point, to restore.Target) restore.Options {
	return restore.Options{Reader: in, Commit: p.Commit, Target: to, Memory: max(r.memory(), restore.MinMemory), Concurrency: r.connections()}
}

// maxListed bounds how many failures are listed for people one by one.
const maxListed = 100

func (r *restoring) runRestore(ctx context.Context, o restore.Options, p browse.Point, rf *restoreFlags) error {
	var written progress.Count
	o.Progress = func(_, n int64) { written.Done.Add(n) }
	matches, err := newMatches(o.Target, rf.include)
	if err != nil {
		return err
	}
	o.Target = matches
	listed := 0
	o.Failed = func(f restore.Failure) {
		matches.see(f.Key)
		if listed++; listed <= maxListed && !r.ui.json {
			where := safe(f.Key)
			if f.Key == "" {
				where = "from the beginning of the point"
			}
			r.ui.warn("%s: %v", where, f.Err)
		}
	}
	if len(rf.include)+len(rf.exclude) == 0 && o.Part.IsWhole() { // else it is not known before the end
		written.Total.Store(o.Commit.Bytes)
	}
	stop := r.watch(ctx, "restore", true, &written)
	res, err := restore.Run(ctx, o)
	stop()
	if listed > maxListed && !r.ui.json {
		r.ui.warn("and %d more", listed-maxListed)
	}
	if err != nil && !strings.Contains(err.Error(), "restore to ") {
		err = fmt.Errorf("restore to %s: %w", safe(rf.to.text), err)
	}
	said, alarm := r.alarms()
	if err != nil && !errors.Is(err, restore.ErrStop) {
		return together{err, alarm}.orNil()
	}
	var none []string
	if err == nil && res.Failed == 0 { // else it may be among what could not be read
		none = matches.none()
	}
	all := together{err, r.printRestored(res, p, o.Part.String(), rf, said.texts(), none, err != nil), alarm}
	if len(none) > 0 {
		all = append(all, noMatch(none))
	}
	if n := res.Differs; n > 0 {
		all = append(all, &marked{errIncomplete, fmt.Errorf("%s left as found; --overwrite changed puts right what differs", plural(n, "entry at the target differs from the point and was", "entries at the target differ from the point and were"))})
	}
	if n := res.Failed + res.Missing; n > 0 {
		all = append(all, &marked{errIncomplete, fmt.Errorf("%s not restored: %d failed, %d not in the recovery point%s", entries(n), res.Failed, res.Missing, notRestored(res))})
	}
	return all.orNil()
}

// notRestored says what to do about entries that are not back; why each is not was said before.
func notRestored(res restore.Result) string {
	if res.Failed == 0 {
		return "; another point may have them: `holdfast find KEY` looks in all"
	}
	for _, f := range res.Failures {
		if code, _ := exitOfOne(f.Err); code == exitDamage {
			return "; what is damaged in this vault may be whole in another (--vault NAME) or in another point (`holdfast find KEY`): run the command again with that"
		}
	}
	return "; mend what the lines above say and run the command again: it goes on with what is missing"
}

func (r *restoring) printRestored(res restore.Result, p browse.Point, prefix string, rf *restoreFlags, alarms, none []string, stopped bool) error {
	for _, n := range res.Notes {
		if rf.to.at.AWS == nil || r.ui.json {
			r.ui.remark("Note: %s", n)
			continue
		}
		// What was made has an ID that nobody knew before: that is a result.
		if err := r.ui.text(printable(n)); err != nil {
			return err
		}
	}
	if res.Skipped > res.Differs && restore.Overwrite(rf.overwrite) == restore.Never {
		r.ui.remark("%s there already, left as is; --overwrite changed also compares content.", entries(res.Skipped-res.Differs))
	}
	line := restoredJSON{
		Point: p.ID.String(), Source: p.Source, Vault: r.vault.name, Prefix: prefix, Target: rf.to.text, Entries: res.Entries, Bytes: res.Bytes,
		Skipped: res.Skipped, Differs: res.Differs, Ignored: res.Ignored, Failed: res.Failed, Missing: res.Missing, Seconds: roundSeconds(res.Seconds),
		DryRun: rf.dry, Notes: res.Notes, NoMatch: none, Alarms: alarms,
		Requests: r.vault.requests.Snapshot().All(), Received: r.vault.counted.Snapshot().BytesIn,
	}
	for _, f := range res.Failures {
		line.Failures = append(line.Failures, failureJSON{f.Key, b64(f.Key), f.Version, f.Entries, f.Missing, f.Differs, f.Err.Error()})
	}
	var extra []string
	for _, x := range []struct {
		n    int64
		what string
	}{
		{res.Skipped, "there already"}, {res.Differs, "of them different"}, {res.Ignored, "not for this kind of target"}, {res.Failed, "failed"}, {res.Missing, "not in the point"},
	} {
		if x.n > 0 {
			extra = append(extra, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	verb := "restored"
	switch {
	case stopped:
		verb = "stopped, with the rest to do; restored"
	case rf.dry:
		verb = "would restore"
	}
	if prefix != "" {
		prefix = ":" + safe(prefix)
	}
	text := fmt.Sprintf("%s@%.12s%s: %s %s, %s, to %s", p.Source, line.Point, prefix, verb, entries(res.Entries), size(res.Bytes), safe(rf.to.text))
	if len(extra) > 0 {
		text += " (" + strings.Join(extra, ", ") + ")"
	}
	text += fmt.Sprintf("; %.1f s", res.Seconds)
	return r.ui.summary(line, text, rf.to.stream())
}
