package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// backUp makes the keys and the repository, and runs twice with a day's work in between.
func (d *demo) backUp(ctx context.Context) error {
	d.story.act("Two backups, with the program that everybody gets")
	recipients, err := d.makeKeys(ctx)
	if err != nil {
		return err
	}
	if err := d.writeConfiguration(recipients); err != nil {
		return err
	}
	d.job.knows("SOURCE", d.reader)
	d.job.knows("VAULT", d.writer)
	d.job.knows("CLOUD", newAccount("cloud-reader"))
	if _, err := d.job.holdfast(ctx, []int{0}, "init"); err != nil {
		return err
	}
	if err := d.runOnce(ctx, 0); err != nil {
		return err
	}
	w, err := aDaysWork(ctx, d.primary.client(d.primary.root), liveBucket, d.live)
	if err != nil {
		return err
	}
	d.story.say("A day passes: %s changed, %d new, %d deleted.", plural(w.changed, "object"), w.added, w.deleted)
	if err := d.runOnce(ctx, 1); err != nil {
		return err
	}
	if err := d.readPoints(ctx); err != nil {
		return err
	}
	d.vault, d.list, err = inspect(ctx, d.offsite.client(d.offsite.root), vaultBucket)
	if err != nil {
		return err
	}
	d.story.say("The vault holds %s, %s, every one locked until %s or later.",
		plural(len(d.vault), "object"), bytesOf(d.vault.bytes()), d.vault.until().Format(time.DateOnly))
	return nil
}

// makeKeys makes two restore keys, which then lie in a safe and not on the machine.
func (d *demo) makeKeys(ctx context.Context) (recipients []string, err error) {
	if err := os.Mkdir(filepath.Join(d.dir, "safe"), 0o700); err != nil {
		return nil, err
	}
	d.story.say("Two restore keys, made once and put into a safe; the machine keeps their public halves only:")
	for _, name := range []string{"restore-1.key", "restore-2.key"} {
		r, err := d.job.holdfast(ctx, []int{0}, "keygen", "--out", "../safe/"+name)
		if err != nil {
			return nil, err
		}
		recipients = append(recipients, strings.TrimSpace(r.out))
	}
	return recipients, nil
}

func (d *demo) writeConfiguration(recipients []string) error {
	text := fmt.Sprintf(`vaults:
  - name: offsite
    url: %s
    credentials: env:VAULT
    lock: {mode: compliance, slack: 10d, ceiling: 400d}
keys:
  recipients:
    - %s
  host: host.key
sources:
  - name: %s
    url: %s
    credentials: env:SOURCE
  - name: %s
    url: ec2://%s?endpoint=%s
    credentials: env:CLOUD
retention: {daily: 35d, weekly: 12w, monthly: 12mo}
`, d.vaultURL(), strings.Join(recipients, "\n    - "), sourceName, d.liveURL(), machinesName, region, d.machines.URL)
	if d.verbose {
		d.story.say("holdfast.yaml:")
		d.story.say("%s", text)
	}
	return os.WriteFile(filepath.Join(d.job.dir, "holdfast.yaml"), []byte(text), 0o600)
}

// runOnce makes the nth point, and records for the judgement at the end what the bucket held.
func (d *demo) runOnce(ctx context.Context, n int) (err error) {
	if d.points[n].bucket, err = record(ctx, d.primary.client(d.primary.root), liveBucket); err != nil {
		return err
	}
	if err := d.points[n].bucket.complete(); err != nil {
		return err
	}
	_, err = d.job.holdfast(ctx, []int{0}, "run")
	return err
}

// readPoints learns the points' IDs, oldest first.
func (d *demo) readPoints(ctx context.Context) error {
	r, err := d.job.quiet(ctx, []int{0}, "points", sourceName, "--json")
	if err != nil {
		return err
	}
	type line struct {
		Point   string    `json:"point"`
		TakenAt time.Time `json:"taken_at"`
		Status  string    `json:"status"`
		Entries int       `json:"entries"`
	}
	var list []line
	for text := range strings.Lines(r.out) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return fmt.Errorf("holdfast points --json: %w", err)
		}
		if l.Point != "" {
			list = append(list, l)
		}
	}
	if len(list) != len(d.points) {
		return fmt.Errorf("there are %d points after two runs", len(list))
	}
	if list[0].TakenAt.After(list[1].TakenAt) {
		list[0], list[1] = list[1], list[0]
	}
	for i, l := range list {
		if l.Status != "complete" || l.Entries != len(d.points[i].bucket) {
			return errors.New("a point is not complete")
		}
		d.points[i].id = l.Point
	}
	return nil
}
