package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/todevice"
	"github.com/holdfast-backup/holdfast/replicator/restore/toraw"
	"github.com/holdfast-backup/holdfast/replicator/restore/tosnapshot"
	"github.com/holdfast-backup/holdfast/replicator/source"
	ebssource "github.com/holdfast-backup/holdfast/replicator/source/ebs"
	"github.com/holdfast-backup/holdfast/store"
)

func diskSource(b *backends, s config.Source, get store.CredentialsFunc) (source.Source, error) {
	at := s.URL.AWS
	o := ebssource.Options{
		Region: at.Region, Endpoint: at.Endpoint, Credentials: get, Exclude: s.Excluded(), Snapshots: at.Snapshots,
		Volumes: at.Volumes, All: at.All, Create: at.Instances, Connections: b.connections, Requests: b.requests,
	}
	for _, t := range at.Tags {
		o.Tags = append(o.Tags, ebssource.Tag(t))
	}
	return ebssource.New(o)
}

// disks are the flags of restores that concern disk images only.
type disks struct {
	raw     bool
	encrypt bool
	kmsKey  string
}

// devicePrefix begins a --to that names a block device.
const devicePrefix = "device:"

// device is the block device that is restored to, "" if none is.
func (t *target) device() string {
	path, ok := strings.CutPrefix(t.text, devicePrefix)
	if !ok {
		return ""
	}
	return "/" + strings.TrimLeft(path, "/")
}

// checkDisks refuses what does not go together.
func (t *target) checkDisks() error {
	switch a := t.at.AWS; {
	case t.at.Kind == location.EBS && len(a.Snapshots)+len(a.Volumes)+len(a.Instances) > 0, t.at.Kind == location.EBS && a.All:
		return usage(errors.New("--to ebs://REGION makes new snapshots; besides endpoint only tag=KEY:VALUE has a meaning there: what they are tagged with"))
	case t.disks.raw && !t.stream():
		return usage(errors.New("--raw goes with --to - only: the content of one thing, without a tar stream around it"))
	case (t.disks.encrypt || t.disks.kmsKey != "") && t.at.Kind != location.EBS && t.at.Kind != location.EC2:
		return usage(errors.New("--encrypt and --kms-key are for --to ebs://REGION and ec2://REGION"))
	case t.disks.kmsKey != "" && !strings.HasPrefix(t.disks.kmsKey, "arn:"):
		return usage(errors.New("--kms-key takes the key's ARN: arn:aws:kms:REGION:ACCOUNT:key/ID"))
	}
	return nil
}

// openRaw makes the target of a bare content on standard output.
func (r *restoring) openRaw() (restore.Target, error) {
	if f, ok := r.ui.sticky.to.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return nil, usage(errors.New("--raw writes content as it is, which is nothing for a terminal; send it to a file or a pipe"))
	}
	return toraw.New(r.ui.out, ""), nil
}

func (t *target) openDevice() (restore.Target, error) {
	return todevice.New(todevice.Options{Path: t.device()})
}

// snapshotTarget makes the target of new EBS snapshots.
func snapshotTarget(r *reading, t *target, get store.CredentialsFunc) (restore.Target, error) {
	at := t.at.AWS
	client, err := ebsdirect.New(ebsdirect.Options{Region: at.Region, Endpoint: at.Endpoint, Credentials: get, Write: true})
	if err != nil {
		return nil, err
	}
	return tosnapshot.New(r.restores.snapshotOptions(t, client))
}

// snapshotOptions say how snapshots are made, for themselves or for AMIs.
func (r *restoring) snapshotOptions(t *target, client *ebsdirect.Client) tosnapshot.Options {
	at := t.at.AWS
	o := tosnapshot.Options{
		Client: client, Where: "ebs://" + at.Region + " " + at.Endpoint, Encrypted: t.disks.encrypt, KMSKey: t.disks.kmsKey, Tags: map[string]string{},
		Made: func(key, id string) { r.ui.detail("%s is in %s", safe(key), id) },
	}
	for _, tag := range at.Tags {
		o.Tags[tag.Key] = tag.Value
	}
	// Without a folder for notes, or with one that is somebody else's, a restore that broke off writes everything again.
	if dir, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(dir, "holdfast")
		if notes := filepath.Join(dir, "restores"); r.trusts.me().Folder(dir) == nil && r.trusts.me().Folder(notes) == nil {
			o.Journal = notes
		}
	}
	return o
}
