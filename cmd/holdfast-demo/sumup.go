package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// sumUp ends the story with a table, and with an error if anything was lost.
func (d *demo) sumUp() error {
	d.story.act("What was tried, and what survived")
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	row := func(cells ...any) { fmt.Fprintf(t, "%s\t%s\t%s\n", cells...) }
	row("TRIED", "WITH", "RESULT")
	row("delete everything on the primary", "primary administrator's key", plural(d.lost, "version")+" gone")
	row("delete the AMI and its snapshots", "cloud administrator's key", fmt.Sprintf("1 AMI, %s gone", plural(len(d.machines.Snapshots), "snapshot")))
	for _, key := range []string{"vault-writer key", "vault administrator's key"} {
		refused, harmless, breaches := 0, 0, 0
		for _, o := range d.outcomes {
			switch {
			case o.key != key:
			case o.breach():
				breaches++
			case o.accepted > 0:
				harmless++
			default:
				refused++
			}
		}
		row(fmt.Sprintf("%d ways to delete or weaken the copy", refused+breaches), key, fmt.Sprintf("%d refused, %d allowed", refused, breaches))
		row(plural(harmless, "way")+" to add, overwrite or hide", key, "allowed, without effect")
	}
	row("", "", "")
	row("SURVIVED", "WHERE", "DIFFERENCES")
	row(plural(len(d.vault)-len(d.harmed), "object")+" of "+number(len(d.vault)), "vault, still locked", number(len(d.harmed)))
	for i, r := range d.restored {
		p := d.points[i].bucket
		row(fmt.Sprintf("point %d: %s, %s", i+1, plural(len(p), "object"), bytesOf(p.bytes())), r.where+" in "+seconds(r.took), number(len(r.differences)))
	}
	row(fmt.Sprintf("AMI with %s, %s", plural(len(d.disks), "disk"), bytesOf(int64(len(d.disks))*diskSize)), "an empty account in "+seconds(d.imageTook), number(len(d.imageDiffers)))
	if err := t.Flush(); err != nil {
		return err
	}
	d.story.say("%s", table.String())
	d.story.say("%s in all. What this does not show: a vendor account that is closed takes its locks with it,", seconds(time.Since(d.story.began)))
	d.story.say("so keep the vault's billing apart from the primary's, or use two vaults.")
	return d.verdict()
}

// verdict is nil if nothing at all was lost.
func (d *demo) verdict() error {
	var errs []error
	for i, r := range d.restored {
		const most = 10
		for n, line := range r.differences {
			if n == most {
				line = fmt.Sprintf("and %d more", len(r.differences)-most)
			}
			if n <= most {
				d.story.say("DIFFERS in point %d: %s", i+1, line)
			}
		}
		if len(r.differences) > 0 {
			errs = append(errs, fmt.Errorf("%w: point %d: %s", errDiffers, i+1, plural(len(r.differences), "difference")))
		}
	}
	for _, line := range d.imageDiffers {
		d.story.say("DIFFERS in the AMI: %s", line)
		errs = append(errs, fmt.Errorf("%w: %s", errDiffers, line))
	}
	if len(d.harmed) > 0 {
		errs = append(errs, fmt.Errorf("the attack harmed %s in the vault", plural(len(d.harmed), "object")))
	}
	for _, o := range d.outcomes {
		if o.breach() {
			errs = append(errs, fmt.Errorf("%s: the vault's server allowed it (%s)", o.what, o.key))
		}
	}
	return errors.Join(errs...)
}
