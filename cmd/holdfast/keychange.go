package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const rotateHelp = `Make a new host key and put it in force in every vault of the configuration.

In a repository with owners the owner key of the restore key given signs the change. Do it
where that is kept: with --out FILE the change is written to FILE, and nothing is stored. The
machine needs this configuration and may read a vault. Take FILE to the job's machine and run
'holdfast key store FILE' there. FILE holds the new host key: delete it afterwards.

In a repository without owners the old host key signs: the file that keys.host names or,
where that is lost, the copy in the vault that a restore key opens.

The new host key takes the place of the old one, which is kept beside it with .old behind
its name. Deduplication goes on. keys.owners of the configuration are the owners from then on.

After a theft give --distrust-after with the last moment you are sure of: what the old key
signed counts from then on only if the vault had it by that time. Points that came later
are marked, left out of SOURCE@latest and SOURCE@TIME, and not built upon; their IDs still
take them. What they held is read from the source again. Change the vault writer's
credentials as well, since a new host key does not take those away from a thief.

Points that stay are listed in the change, so that a copied vault keeps them. A later change
gives trust back: with a later --distrust-after, which counts instead of the one before, or
with --trust and the ID of a point.

If interrupted, run it again; it continues. A vault that cannot be reached is brought up to
date by the next run; this command would rotate once more. While a run of this machine is
under way the command refuses.`

const outHelp = `
In a repository with owners the owner key of the restore key given signs the change. With
--out FILE the change is written to FILE, on the machine where the restore key is kept, and
the job's machine stores it with 'holdfast key store FILE'.
`

const addRecipientHelp = `Seal what is stored from now on to more restore keys.

Add the new recipient to keys.recipients in the configuration, then run this: it writes
what the configuration says into every vault.
` + outHelp + `
A new restore key cannot open what is stored already: content that is deduplicated onto
old packs stays closed to it. With --fresh-start deduplication begins anew, and the next
run reads and stores everything again, sealed to all restore keys.`

const dropRecipientHelp = `Seal what is stored from now on to fewer restore keys.

Take the recipient out of keys.recipients in the configuration, then run this with one of
the others. Only a repository with owners can drop a restore key.

A dropped restore key still opens what was sealed to it, and what is deduplicated onto that.
With --fresh-start deduplication begins anew. If it was stolen, take it out of keys.owners as
well, and drop it with the other owner's restore key.
` + outHelp

// changedKeys is one vault after a change of keys, for scripts.
type changedKeys struct {
	Vault         string `json:"vault"`
	Fingerprint   string `json:"fingerprint"`
	Descriptor    int    `json:"descriptor"`
	HostKey       string `json:"host_key"`
	Recipients    int    `json:"recipients"`
	DistrustAfter string `json:"distrust_after,omitempty"`
	FreshStart    bool   `json:"fresh_start,omitempty"`
	Error         string `json:"error,omitempty"`
}

// keyFlags are those of the commands that change keys.
type keyFlags struct {
	identities            []string
	fingerprint, distrust string
	out                   string
	trust                 []string
	fresh, yes            bool

	key, name, role string // of a reporter that is added: its file, its name, what it is
	replace         bool   // another key of that name
}

func (f *keyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.identities, "identity", "i", nil, "`FILE` with a restore key, - for standard input (repeatable)")
	addFingerprint(cmd, &f.fingerprint)
	addYes(cmd, &f.yes)
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "write the change to `FILE`, for 'holdfast key store FILE' on the job's machine, and store nothing")
	cmd.Flags().BoolVar(&f.fresh, "fresh-start", false, "begin deduplication anew: the next run stores everything again")
}

// addYes adds --yes.
func addYes(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "yes", false, "go on without asking; without a terminal nothing is asked, and nothing done that would have to be")
}

// keyChangeCommand is a command that changes keys in one way.
func (a *keyCommands) keyChangeCommand(f *keyFlags, action keyAction, use, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: takes(0, 0), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.action(func(ctx context.Context, _ []string) error { return a.changeKeys(ctx, f, action) }),
	}
	f.add(cmd)
	return cmd
}

func (a *keyCommands) keyRotateCommand() *cobra.Command {
	var f keyFlags
	cmd := a.keyChangeCommand(&f, rotateKeys, "rotate --identity FILE [--distrust-after TIME] [--trust ID]... [--out FILE]", "Replace the host key", rotateHelp)
	cmd.Flags().StringArrayVar(&f.trust, "trust", nil, "vouch for the point with this `ID`, or beginning of one, whatever was thought of it before (repeatable)")
	cmd.Flags().StringVar(&f.distrust, "distrust-after", "", "distrust what the old host key signed and a vault got after `TIME` (RFC 3339, or a date: its end in UTC)")
	return cmd
}

func (a *keyCommands) keyAddRecipientCommand() *cobra.Command {
	return a.keyChangeCommand(&keyFlags{}, addKeys, "add-recipient --identity FILE", "Seal to more restore keys from now on", addRecipientHelp)
}

func (a *keyCommands) keyDropRecipientCommand() *cobra.Command {
	return a.keyChangeCommand(&keyFlags{}, dropKeys, "drop-recipient --identity FILE", "Seal to fewer restore keys from now on", dropRecipientHelp)
}

// keyAction is what is to be done about keys.
type keyAction int

const (
	rotateKeys keyAction = iota
	addKeys
	dropKeys
	addReporter
)

// changeKeys rotates the host key, or changes the restore keys under the one there is.
func (a *keyCommands) changeKeys(ctx context.Context, f *keyFlags, action keyAction) (err error) {
	if action == addReporter && f.key == "" {
		return usage(errors.New("say where the reporter's key is, or goes: --key FILE"))
	}
	if len(f.identities) == 0 {
		return usage(errors.New("give a restore key with --identity FILE: only who can restore may change keys"))
	}
	pin, err := parsePin(f.fingerprint)
	if err != nil {
		return err
	}
	distrust, err := parseMoment(f.distrust, a.now())
	if err != nil {
		return err
	}
	j, err := a.openJob(everyVault)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	path, err := j.changes.hostKeyFile(true)
	if err != nil {
		return err
	}
	known, err := j.trusts.knownRepository(j.config, pin)
	if err != nil {
		return err
	}
	was, err := j.changes.hostKeyBefore(ctx, f.identities, known, path)
	if err != nil {
		return together{err, j.tells.alarm()}.orNil()
	}
	strange := len(known.Strangers(was.repo)) > 0
	if err := j.changes.acceptChain(was, known, f); err != nil {
		return together{err, j.tells.alarm()}.orNil()
	}
	if err := j.changes.confirmDistrust(ctx, was.repo, distrust, f.yes); err != nil {
		return together{err, j.tells.alarm()}.orNil()
	}
	held, err := j.openCache(was.repo.CacheID()) // two changes at once, or a run meanwhile, would part the vaults' ways
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	c := j.changes.newKeyChange(path, was, known)
	o := &c.options
	o.Owner, o.Owners, o.Recipients = ownerAmong(was.repo, was.ids), j.config.Keys.Owners, j.config.Keys.Recipients
	o.DistrustAfter, o.FreshStart, o.Accept = distrust, f.fresh, strange
	if o.Trust, err = j.changes.pointsToTrust(ctx, was.repo, f.trust); err != nil {
		return err
	}
	if err := checkAction(action, was.repo.Now().Recipients, j.config.Keys.Recipients); err != nil {
		return err
	}
	if action == addReporter {
		k, err := f.reporterKey(was.repo.Now())
		if err != nil {
			return err
		}
		o.Reporters = []format.Key{format.ReporterKey(k.Public(), k.Name, k.Role)}
	}
	switch {
	case f.out != "":
		err = c.prepareFile(ctx, f.out, action == rotateKeys || f.fresh)
	case was.repo.Now().Owned():
		err = c.changeAsOwner(ctx, action == rotateKeys || f.fresh)
	default:
		if err := c.begin(action == rotateKeys, f.fresh, distrust); err != nil {
			return err
		}
		err = c.change(ctx, nil)
	}
	return together{err, j.tells.alarm()}.orNil()
}

// change stores the change in every vault, one that is prepared already or one that is made here, and puts the host key that
// holds from then on into its place.
func (c *keyChange) change(ctx context.Context, p *repo.Prepared) error {
	o := c.options
	o.New, o.Prepared, o.Note = c.to, p, c.note
	done, err := repo.Change(ctx, o)
	if err != nil {
		return err // the prepared key stays: a vault may have it
	}
	if err := c.install(); err != nil {
		return err
	}
	return c.tell(done)
}

// checkAction refuses to drop a restore key where some are to be added, and the other way round.
func checkAction(action keyAction, have []string, want []keys.Recipient) error {
	var texts []string
	for _, r := range want {
		texts = append(texts, r.String())
	}
	lacks := func(list, of []string) bool {
		return slices.ContainsFunc(of, func(s string) bool { return !slices.Contains(list, s) })
	}
	switch {
	case action == dropKeys && lacks(have, texts):
		return usage(errors.New("keys.recipients names a restore key that the repository does not have: add it with `holdfast key add-recipient` first"))
	case action == dropKeys && !lacks(texts, have):
		return usage(errors.New("keys.recipients names every restore key of the repository: take the one out of it that is to be dropped"))
	case action != dropKeys && lacks(texts, have):
		return fmt.Errorf("%w. To drop it in a repository with owners: `holdfast key drop-recipient`", repo.ErrRecipientsLost)
	}
	return nil
}

// confirmDistrust shows the points of each vault that are going to be distrusted, and asks.
func (j *keyChanges) confirmDistrust(ctx context.Context, r *repo.Repository, after time.Time, yes bool) error {
	if after.IsZero() {
		return nil
	}
	show := []string{"What was signed so far counts only as far as a vault had it by " + after.UTC().Format(time.RFC3339) + ". Distrusted from now on:"}
	count := 0
	var again []string
	for _, v := range j.repoVaults(nil) {
		listed, err := r.Points(ctx, v.Read, "", nil)
		if err != nil {
			show = append(show, fmt.Sprintf("vault %s cannot be read: %v", v.Name, err))
			continue
		}
		for _, p := range listed {
			if p.Distrusted && r.Trust().Stays(p, after) {
				again = append(again, fmt.Sprintf("point %.12s of %s in vault %s, signed %s, is trusted again", p.ID, p.Source, v.Name, p.SignedAt.UTC().Format(time.RFC3339)))
			}
			if p.Distrusted || r.Trust().Stays(p, after) {
				continue
			}
			if count++; count <= maxListed {
				show = append(show, fmt.Sprintf("point %.12s of %s in vault %s, signed %s", p.ID, p.Source, v.Name, p.SignedAt.UTC().Format(time.RFC3339)))
			}
		}
	}
	show = append(show, plural(count, "point", "points")+" in all.")
	show = append(show, again[:min(len(again), maxListed)]...)
	if len(again) > maxListed {
		show = append(show, plural(len(again), "point is", "points are")+" trusted again in all.")
	}
	return j.trusts.confirm(show, "Distrust these?", yes, "--yes")
}

// parseMoment reads a time that is over, or none.
func parseMoment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := browse.ParseMoment(s)
	if err != nil {
		return t, usage(fmt.Errorf("--distrust-after %s: give a date such as 2026-11-23 or a time such as 2026-11-23T12:00:00Z", safe(s)))
	}
	if t.After(now) {
		return t, usage(fmt.Errorf("--distrust-after %s: that is still to come (a date means its end, in UTC)", safe(s)))
	}
	return t, nil
}

// hostKeyInForce is the host key that holds now, the repository as a vault has it, and the file that the key was found in.
type hostKeyInForce struct {
	key  *keys.HostKey
	repo *repo.Repository
	file string // empty: none
	ids  []keys.Identity
}

// hostKeyBefore gives the host key that holds now: the configured one or, where that is gone or another's, the copy in a vault.
// In any case the restore keys given have to be the repository's.
func (j *keyChanges) hostKeyBefore(ctx context.Context, identities []string, known repo.Known, path string) (hostKeyInForce, error) {
	var none hostKeyInForce
	var ids []keys.Identity
	for _, file := range identities {
		some, err := j.readIdentities(file)
		if err != nil {
			return none, err
		}
		ids = append(ids, some...)
	}
	var failed error
	for _, v := range j.repoVaults(nil) {
		r, err := repo.Find(ctx, v.Read, known.Pin, nil)
		if err != nil {
			failed = errors.Join(failed, prefixed(err, "vault "+v.Name))
			continue
		}
		if !slices.ContainsFunc(ids, func(id keys.Identity) bool { return slices.Contains(r.Now().Recipients, id.Recipient().String()) }) {
			return none, &marked{errNoRestoreKey, fmt.Errorf("none of the keys given is a restore key of this repository (fingerprint %.16s)", r.Fingerprint)}
		}
		h, file, err := j.hostKeyFor(r, path)
		if err != nil {
			return none, err
		}
		if h == nil {
			h, err = repo.RecoverHostKey(ctx, r, v.Read, ids, j.findings.add)
		}
		if err == nil {
			return hostKeyInForce{h, r, file, ids}, nil
		}
		failed = errors.Join(failed, prefixed(err, "vault "+v.Name))
	}
	return none, failed
}

// hostKeyFor gives the host key that a repository's newest descriptor names: the configured one, or one that a change that was
// broken off has left beside it; nil where it is neither.
func (j *keyChanges) hostKeyFor(r *repo.Repository, path string) (*keys.HostKey, string, error) {
	for _, file := range []string{path, path + ".next"} {
		h, err := j.trusts.readHostKeyFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
		if err == nil && repo.CheckHostKey(r, h) == nil {
			r.PinTo(h)
			return h, file, nil
		}
	}
	return nil, "", nil
}

// acceptChain asks where a change would build on descriptors that this machine did not make, or on a host key that only the
// vault knows: whoever stole the host key before can have put both there.
func (j *keyChanges) acceptChain(was hostKeyInForce, known repo.Known, f *keyFlags) error {
	switch {
	case len(known.Strangers(was.repo)) > 0:
		return j.trusts.confirmChain(was.repo, known, "This machine did not make all of these changes of keys. Are all of them, and every restore key, on your papers?", f.yes, "--yes")
	case was.file == "" && known.Pin == "":
		return j.trusts.confirmChain(was.repo, known, "The host key comes from the vault. Is this your repository, and are all restore keys on your papers?", f.yes, "--fingerprint HEX or --yes")
	}
	return nil
}

// keyChange moves the host key's files.
type keyChange struct {
	*job
	path, next string
	was        hostKeyInForce
	to         *keys.HostKey
	fresh      bool // to comes with the change, and is not on the disk yet
	options    repo.ChangeOptions
}

// newKeyChange is a change of keys from what is in force, that changes nothing yet.
func (j *keyChanges) newKeyChange(path string, was hostKeyInForce, known repo.Known) keyChange {
	return keyChange{job: j.job, path: path, next: path + ".next", was: was, to: was.key, options: repo.ChangeOptions{
		Vaults: j.repoVaults(nil), Old: was.key, Pin: known.Pin, Need: longestKeep(j.config, j.now()), Report: j.findings.add, Now: j.now,
	}}
}

// hostKeyFile is the file that keys.host names, also to be written.
func (j *keyChanges) hostKeyFile(written bool) (string, error) {
	if !written {
		return j.config.HostKeyPath(j.env)
	}
	path, err := j.config.WritableHostKeyPath(j.env)
	return path, usage(err)
}

// begin decides about the host key that is to hold. A change that was broken off once a vault had taken it is finished; it
// is all there is to do, unless more is asked for now.
func (c *keyChange) begin(rotate, fresh bool, distrust time.Time) error {
	if c.was.file == c.next {
		c.ui.remark("Going on with %s, which a change that was broken off has left.", c.next)
		if err := c.install(); err != nil {
			return err
		}
		now := c.was.repo.Now()
		if (!fresh || now.FreshStart) && (distrust.IsZero() || now.DistrustAfter.Equal(distrust.UTC().Truncate(time.Second))) {
			return nil
		}
	}
	if rotate || fresh {
		return c.prepare(fresh)
	}
	return nil
}

// prepare writes the new host key to the disk before any vault hears of it, or takes the one that a broken-off change left.
func (c *keyChange) prepare(fresh bool) error {
	left, err := c.trusts.readHostKeyFile(c.next)
	switch {
	case err == nil:
		c.ui.remark("Going on with %s, which a change that was broken off has left.", c.next)
		c.to = left
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return c.make(fresh)
}

func (c *keyChange) make(fresh bool) (err error) {
	if c.to, err = c.was.key.Rotated(fresh); err != nil {
		return err
	}
	return keys.WriteHostKeyFile(c.next, c.to)
}

// note pins the new descriptor in the file of the host key that signs under it, before any vault hears of it.
func (c *keyChange) note() error {
	if c.fresh {
		if err := c.writeNext(); err != nil {
			return err
		}
	}
	file := c.path
	if left, err := c.trusts.readHostKeyFile(c.next); err == nil && left.Equal(c.to) {
		file = c.next
	}
	return c.trusts.keepPin(c.config, file, c.to)
}

// install puts the new host key into its place.
func (c *keyChange) install() error {
	left, err := c.trusts.readHostKeyFile(c.next)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // the host key is the same
	case err != nil:
		return err
	case !left.Equal(c.to):
		c.ui.warn("%s is left from another change of keys, and not the host key in force: it stays where it is", c.next)
		return nil
	}
	for n := 0; ; n++ {
		kept := c.path + ".old"
		if n > 0 {
			kept = fmt.Sprintf("%s.old%d", c.path, n)
		}
		err := os.Link(c.path, kept)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep the old host key: %w", err)
		}
		break
	}
	if err := os.Rename(c.next, c.path); err != nil {
		return fmt.Errorf("the new host key is in force and lies in %s; put it into its place: %w", c.next, err)
	}
	return nil
}

func (c *keyChange) tell(done []repo.Changed) error {
	var all together
	distrust, fresh := c.options.DistrustAfter, c.options.FreshStart
	before, had, have := c.was.repo.Now().Number, len(c.was.repo.Now().Recipients), len(c.options.Recipients)
	changed := slices.ContainsFunc(done, func(d repo.Changed) bool { return d.Err != nil || d.Number > before })
	for _, d := range done {
		line := changedKeys{Vault: d.Vault, Fingerprint: c.was.repo.Fingerprint.String(), Descriptor: d.Number, HostKey: c.path, Recipients: have, FreshStart: fresh}
		if !distrust.IsZero() {
			line.DistrustAfter = distrust.UTC().Format(time.RFC3339)
		}
		if d.Err != nil {
			line.Error = d.Err.Error()
			if err := d.Err; store.Retryable(err) {
				all = append(all, fmt.Errorf("%w; the next run brings it up to date", err))
			} else {
				all = append(all, err)
			}
		}
		var err error
		switch {
		case c.ui.json:
			err = c.ui.object(line)
		case d.Err != nil:
			_, err = fmt.Fprintf(c.ui.out, "%s: not changed yet\n", d.Vault)
		default:
			_, err = fmt.Fprintf(c.ui.out, "%s: descriptor %d holds: host key %s, %s\n", d.Vault, d.Number, c.path, plural(line.Recipients, "restore key", "restore keys"))
		}
		if err != nil {
			return err
		}
	}
	switch {
	case fresh:
		c.ui.remark("The next run of every source reads and stores everything again, sealed to all restore keys.")
	case c.to == c.was.key && !changed:
		c.ui.remark("There was nothing to change: descriptor %d is in force.", before)
	case c.to == c.was.key && had > have:
		c.ui.remark("A dropped restore key still opens what was sealed to it, and new points refer to that: --fresh-start stores everything again.")
	case c.to == c.was.key && had < have:
		c.ui.remark("A new restore key opens what is stored from now on. What is stored already stays closed to it, and new points refer to that: --fresh-start stores everything again.")
	}
	if !distrust.IsZero() {
		c.ui.remark("Points that the old key signed and that came after %s are marked, and not taken by SOURCE@latest. Give the vault's writer new credentials too.", distrust.UTC().Format(timeForm))
	}
	return all.orNil()
}
