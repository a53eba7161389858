package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// attackPrimary is what happened in 2014: whoever has the panel has everything that hangs off it.
func (d *demo) attackPrimary(ctx context.Context) error {
	d.story.act("The attack on the primary: somebody has its administrator key")
	began := time.Now()
	admin := d.primary.client(d.primary.root)
	buckets, deleted, err := destroy(ctx, admin)
	if err != nil {
		return fmt.Errorf("the attack on the primary: %w", err)
	}
	d.lost = deleted
	d.story.say("Deleted: %s, old ones among them, and %s. (%s)", plural(deleted, "object version"), plural(buckets, "bucket"), seconds(time.Since(began)))
	if err := d.deleteMachines(ctx); err != nil {
		return fmt.Errorf("the attack on the machines: %w", err)
	}
	d.story.say("The machine that ran the backups goes too: its configuration, host key and cache are wiped.")
	d.primary.stop()
	if d.keep {
		return os.Rename(d.job.dir, filepath.Join(d.dir, "wiped"))
	}
	return errors.Join(os.RemoveAll(filepath.Join(d.dir, "primary")), os.RemoveAll(d.job.dir))
}

// attackVault tries everything against the copy.
func (d *demo) attackVault(ctx context.Context) error {
	d.story.act("The attack on the vault: the writer key was on that machine, so it is stolen as well")
	owner := d.offsite.client(d.offsite.root)
	for _, thief := range []struct {
		key, intro string
		account    account
		attempts   []attempt
	}{
		{"vault-writer key", "With the vault-writer key, on every object in the vault:", d.writer, writerAttempts()},
		{"vault administrator's key", "And had even the vault administrator's key been stolen:", d.offsite.root, ownerAttempts()},
	} {
		d.story.say("%s", thief.intro)
		t := target{c: d.offsite.client(thief.account), bucket: vaultBucket, prefix: vaultPrefix, list: d.list}
		for _, a := range thief.attempts {
			o, err := a.try(ctx, thief.key, t)
			if err != nil {
				return err
			}
			d.outcomes = append(d.outcomes, o)
			d.story.say("  %-44s %-8s %s", o.what, o.verdict(), o.explain())
		}
	}
	after, _, err := inspect(ctx, owner, vaultBucket)
	if err != nil {
		return err
	}
	d.after, d.harmed = len(after), harm(d.vault, after)
	for _, h := range d.harmed {
		d.story.say("HARMED: %s", h)
	}
	d.story.say("Afterwards: of %s stored before the attack, %d are gone, changed or less locked.", plural(len(d.vault), "version"), len(d.harmed))
	d.story.say("On top of them lie %s of junk.", plural(len(after)-len(d.vault), "version"))
	return nil
}

// explain is the server's answer, or why it does not matter.
func (o outcome) explain() string {
	if o.accepted > 0 && o.harmless != "" {
		return fmt.Sprintf("%d of %d: %s", o.accepted, o.tries, o.harmless)
	}
	return fmt.Sprintf("%d of %d: %s", o.tries-o.accepted, o.tries, o.answer)
}
