package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const storeHelp = `Store a change of keys that the owner made on another machine.

FILE comes from 'holdfast key rotate', 'add-recipient' or 'drop-recipient' with --out. The
change is checked against the repository and its owners, put into every vault of the
configuration, and pinned. A new host key in FILE takes its place in keys.host; the old one
is kept beside it with .old behind its name. If keys.recipients change with it, change the
configuration of this machine too, or the next run refuses. Delete FILE afterwards.

If interrupted, run it again; it continues. A vault that cannot be reached is brought up to
date by the next run.`

// preparedChange is a change of keys that was written to a file, for scripts.
type preparedChange struct {
	File        string `json:"file"`
	Fingerprint string `json:"fingerprint"`
	Descriptor  int    `json:"descriptor"`
	Recipients  int    `json:"recipients"`
	NewHostKey  bool   `json:"new_host_key"`
}

func (a *keyCommands) keyStoreCommand() *cobra.Command {
	var fingerprint string
	cmd := &cobra.Command{
		Use: "store FILE", Short: "Store a change of keys that the owner signed", Long: storeHelp,
		Args: takes(1, 1),
		RunE: a.action(func(ctx context.Context, args []string) error { return a.storeKeys(ctx, args[0], fingerprint) }),
	}
	addFingerprint(cmd, &fingerprint)
	return cmd
}

// ownerAmong is the owner key of the repository that belongs to one of these restore keys; nil where none does.
func ownerAmong(r *repo.Repository, ids []keys.Identity) ed25519.PrivateKey {
	for _, id := range ids {
		if slices.Contains(r.Keys().Owners(), keys.OwnerOf(id)) {
			return keys.OwnerKey(id)
		}
	}
	return nil
}

// pointsToTrust gives the IDs of points that are named by IDs or beginnings of them, from any vault.
func (j *keyChanges) pointsToTrust(ctx context.Context, r *repo.Repository, specs []string) (out []format.Hash, err error) {
	if len(specs) == 0 {
		return nil, nil
	}
	ids := map[format.Hash]bool{}
	for _, v := range j.repoVaults(nil) {
		listed, err := r.Points(ctx, v.Read, "", nil)
		if err != nil {
			return nil, prefixed(err, "vault "+v.Name)
		}
		for _, p := range listed {
			ids[p.ID] = true
		}
	}
	for _, spec := range specs {
		var found []format.Hash
		for id := range ids {
			if len(spec) >= 4 && strings.HasPrefix(id.String(), spec) {
				found = append(found, id)
			}
		}
		if len(found) != 1 {
			return nil, usage(fmt.Errorf("--trust %s: %s with that ID; give at least 4 digits of one, from `holdfast points`", safe(spec), plural(len(found), "point", "points")))
		}
		out = append(out, found[0])
	}
	return out, nil
}

// prepareFile signs a change and writes it to a file. Nothing is stored.
func (c *keyChange) prepareFile(ctx context.Context, out string, rotate bool) error {
	p, err := c.prepared(ctx, rotate)
	if err != nil || p == nil {
		return err
	}
	text, err := p.Marshal()
	if err != nil {
		return err
	}
	if err := keys.WriteSecretFile(out, text); err != nil {
		return fmt.Errorf("writing the change of keys: %w", err)
	}
	line := preparedChange{out, p.Fingerprint.String(), p.Descriptor.Number, len(p.Descriptor.Recipients), p.HostKey != nil}
	if c.ui.json {
		return c.ui.object(line)
	}
	_, err = fmt.Fprintf(c.ui.out, "%s: descriptor %d signed, not stored yet\n", out, line.Descriptor)
	c.ui.remark("Take it to the job's machine and run: holdfast key store %s", out)
	if p.HostKey != nil {
		c.ui.remark("It holds the new host key. Delete it once it is stored.")
	}
	return err
}

// prepared signs a change; nil where there is nothing to change, which is said.
func (c *keyChange) prepared(ctx context.Context, rotate bool) (p *repo.Prepared, err error) {
	o := c.options
	if o.New = c.was.key; rotate {
		if o.New, err = c.was.key.Rotated(o.FreshStart); err != nil {
			return nil, err
		}
	}
	if p, err = repo.Prepare(ctx, o); err == nil && p == nil {
		c.ui.remark("There was nothing to change: the restore keys of the configuration are in force.")
	}
	return p, err
}

// changeAsOwner signs a change with the owner key at hand and stores it. It is on the disk before any vault hears of it: a second one
// of the same number, made because the first was broken off, would be a fork.
func (c *keyChange) changeAsOwner(ctx context.Context, rotate bool) error {
	file := c.path + ".change"
	p, err := readPrepared(file)
	wanted := true
	switch {
	case err == nil && fits(p, c.was.repo.Chain):
		wanted = c.wants(p, rotate)
		c.ui.remark("Going on with %s, which a change that was broken off has left.", file)
	case err == nil:
		return fmt.Errorf("%s is a change of keys that was broken off and does not fit the repository any more: delete it", file)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		if p, err = c.prepared(ctx, rotate); err != nil || p == nil {
			return err
		}
		text, err := p.Marshal()
		if err != nil {
			return err
		}
		if err := keys.WriteSecretFile(file, text); err != nil {
			return fmt.Errorf("writing the change of keys: %w", err)
		}
	}
	if err := c.storePrepared(ctx, p); err != nil {
		return err
	}
	if err := os.Remove(file); err != nil || wanted {
		return err
	}
	return errors.New("a change of keys that was broken off was finished; it is not the one that is asked for now, which was not made: run the command again")
}

// fits reports whether a change is in the chain, or follows from its end.
func fits(p *repo.Prepared, chain []repo.Link) bool {
	if n := p.Descriptor.Number; n < len(chain) {
		return chain[n].Sum == p.Sum
	}
	return p.Descriptor.Previous == chain[len(chain)-1].Sum
}

// wants reports whether a change that was signed before is the one that is asked for now. One that gives trust back to points is not
// compared, and counts as another.
func (c *keyChange) wants(p *repo.Prepared, rotate bool) bool {
	o, d := c.options, p.Descriptor
	recipients, err := keys.ParseRecipients(d.Recipients)
	if err != nil || !sameRecipients(recipients, o.Recipients) || len(o.Trust) > 0 {
		return false
	}
	var owners []string
	for _, k := range d.Keys {
		if k.Use == format.UseOwner {
			owners = append(owners, string(k.Key))
		}
	}
	missing := func(w keys.Owner) bool { return !slices.Contains(owners, string(w.Public())) }
	if len(o.Owners) > 0 && (len(o.Owners) != len(owners) || slices.ContainsFunc(o.Owners, missing)) {
		return false
	}
	for _, r := range o.Reporters {
		if !slices.ContainsFunc(d.Keys, func(k format.Key) bool { return k.Use == r.Use && k.Name == r.Name && bytes.Equal(k.Key, r.Key) }) {
			return false
		}
	}
	after := o.DistrustAfter.UTC().Truncate(time.Second)
	return rotate == (p.HostKey != nil) && o.FreshStart == d.FreshStart &&
		(o.DistrustAfter.IsZero() && d.DistrustAfter.IsZero() || after.Equal(d.DistrustAfter.Time))
}

// storePrepared stores a change that is signed.
func (c *keyChange) storePrepared(ctx context.Context, p *repo.Prepared) error {
	if p.HostKey != nil && c.was.file != c.path || p.HostKey != nil && !p.HostKey.Equal(c.was.key) {
		c.to, c.fresh = p.HostKey, true
	}
	var err error
	if c.options.Recipients, err = keys.ParseRecipients(p.Descriptor.Recipients); err != nil {
		return err
	}
	c.options.DistrustAfter, c.options.FreshStart = p.Descriptor.DistrustAfter.Time, p.Descriptor.FreshStart
	return c.change(ctx, p)
}

// writeNext puts the host key that is to hold on the disk, once the change is known to be right and before any vault hears of it.
func (c *keyChange) writeNext() error {
	switch left, err := c.trusts.readHostKeyFile(c.next); {
	case errors.Is(err, fs.ErrNotExist):
		return keys.WriteHostKeyFile(c.next, c.to)
	case err != nil:
		return err
	case !left.Equal(c.to):
		return fmt.Errorf("%s is there from another change of keys: finish that, or move it away", c.next)
	}
	return nil
}

func readPrepared(file string) (*repo.Prepared, error) {
	text, err := keys.ReadSecretFile(file, repo.MaxPrepared)
	if err != nil {
		return nil, fmt.Errorf("reading the change of keys: %w", err)
	}
	p, err := repo.ParsePrepared(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// storeKeys stores a change of keys from a file.
func (a *keyCommands) storeKeys(ctx context.Context, file, fingerprint string) (err error) {
	pin, err := parsePin(fingerprint)
	if err != nil {
		return err
	}
	p, err := readPrepared(file)
	if err != nil {
		return usage(err)
	}
	j, err := a.openJob(everyVault)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	path, err := j.changes.hostKeyFile(p.HostKey != nil)
	if err != nil {
		return err
	}
	known, err := j.trusts.knownRepository(j.config, pin)
	if err != nil {
		return err
	}
	if known.Pin == "" {
		known.Pin = p.Fingerprint.String()
	}
	was, err := j.changes.hostKeyHere(ctx, p, known, path)
	if err != nil {
		return together{err, j.tells.alarm()}.orNil()
	}
	held, err := j.openCache(was.repo.CacheID()) // two changes at once, or a run meanwhile, would part the vaults' ways
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	c := j.changes.newKeyChange(path, was, known)
	err = c.storePrepared(ctx, p)
	if err == nil && !sameRecipients(c.options.Recipients, j.config.Keys.Recipients) {
		a.ui.warn("keys.recipients of %s are not the repository's any more: put these there before the next run: %s", j.config.Path, strings.Join(p.Descriptor.Recipients, ", "))
	}
	return together{err, j.tells.alarm()}.orNil()
}

// sameRecipients reports whether two lists name the same restore keys.
func sameRecipients(a, b []keys.Recipient) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r keys.Recipient) bool { return !slices.ContainsFunc(b, r.Equal) })
}

// hostKeyHere gives the host key in force on the job's machine, without any restore key. A machine that has none takes the one that
// comes with the change.
func (j *keyChanges) hostKeyHere(ctx context.Context, p *repo.Prepared, known repo.Known, path string) (hostKeyInForce, error) {
	var failed error
	for _, v := range j.repoVaults(nil) {
		r, err := repo.Find(ctx, v.Read, known.Pin, nil)
		if err != nil {
			failed = errors.Join(failed, prefixed(err, "vault "+v.Name))
			continue
		}
		h, file, err := j.hostKeyFor(r, path)
		if err != nil {
			return hostKeyInForce{}, err
		}
		if h == nil {
			h = p.HostKey
		}
		if h != nil {
			return hostKeyInForce{key: h, repo: r, file: file}, nil
		}
		failed = errors.Join(failed, prefixed(fmt.Errorf("%s: %w", path, repo.ErrHostKey), "vault "+v.Name))
	}
	return hostKeyInForce{}, failed
}
