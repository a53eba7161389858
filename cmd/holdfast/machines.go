package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/toami"
	"github.com/holdfast-backup/holdfast/replicator/source"
	ec2source "github.com/holdfast-backup/holdfast/replicator/source/ec2"
	"github.com/holdfast-backup/holdfast/store"
)

// machineSource reads the snapshots of AMIs by the EBS direct APIs.
func machineSource(_ *backends, s config.Source, get store.CredentialsFunc) (source.Source, error) {
	at := s.URL.AWS
	blocks, err := ebsdirect.New(ebsdirect.Options{Region: at.Region, Endpoint: at.Endpoint, Credentials: get})
	if err != nil {
		return nil, err
	}
	o := ec2source.Options{
		Region: at.Region, Endpoint: at.Endpoint, Credentials: get, Exclude: s.Excluded(),
		Snapshot: func(ctx context.Context, key, id string, size int64) (source.Image, error) {
			return blocks.Image(ctx, key, id, size, "")
		},
	}
	for _, t := range at.Tags {
		o.Tags = append(o.Tags, ec2source.Tag(t))
	}
	return ec2source.New(o)
}

// machines are the flags of restores that concern machine definitions only.
type machines struct {
	suffix string // of AMIs' names
	format string
}

const formatTerraform = "terraform"

func (m machines) terraform() bool { return m.format == formatTerraform }

// checkMachines refuses what does not go together.
func (t *target) checkMachines() error {
	switch m := t.machines; {
	case m.format != "" && !m.terraform():
		return usage(fmt.Errorf("--format %s: there is terraform; without --format everything is restored as it is", safe(m.format)))
	case m.terraform() && !t.at.Local():
		return usage(errors.New("--format terraform writes files: --to takes a directory with it"))
	case m.suffix != "" && t.at.Kind != location.EC2:
		return usage(errors.New("--ami-suffix is for --to ec2://REGION"))
	}
	return nil
}

// wholeKeys reports whether what is restored there refers to other entries of the point by their keys.
func (t *target) wholeKeys() bool { return t.at.Kind == location.EC2 || t.machines.terraform() }

// imageTarget makes the target of new AMIs.
func imageTarget(r *reading, t *target, get store.CredentialsFunc) (restore.Target, error) {
	at := t.at.AWS
	client, err := ebsdirect.New(ebsdirect.Options{Region: at.Region, Endpoint: at.Endpoint, Credentials: get, Write: true})
	if err != nil {
		return nil, err
	}
	return toami.New(toami.Options{
		Region: at.Region, Endpoint: at.Endpoint, Credentials: get, Suffix: t.machines.suffix, Snapshots: r.restores.snapshotOptions(t, client),
		Made: func(key, id string) { r.ui.detail("%s is %s", safe(key), id) },
	})
}

// chooseImages turns the globs of a restore to AMIs into the keys of those AMIs and of their snapshots.
func (r *restoring) chooseImages(ctx context.Context, o *restore.Options, p browse.Point) error {
	needed, err := toami.Needed(ctx, o.Reader, p.Commit, o.Include, o.Exclude)
	if err != nil {
		return err
	}
	if len(needed) == 0 && len(o.Include) > 0 {
		return noMatch(o.Include)
	}
	if len(needed) == 0 {
		return &marked{errNoEntry, fmt.Errorf("point %.12s holds no AMIs: they are the entries image/ami-ID.json of an ec2:// source", p.ID)}
	}
	o.Include, o.Exclude = needed, nil
	return nil
}
