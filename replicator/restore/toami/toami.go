// Package toami brings AMIs back: their snapshots as new EBS snapshots, and of these new AMIs with every field as it was, in
// any account and region the credentials reach.
//
// RegisterImage has defaults that make an image which does not start (i386, paravirtual), so every field that was recorded is
// given, and the new AMI is described again and compared before it counts. What nobody can give back, billing above all, is
// said in the notes. The package sends Describe calls and RegisterImage and nothing else: it must never deregister an image,
// delete a snapshot, or take an AMI for restored that differs from the one in the point.
package toami

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/tosnapshot"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options say where to and how.
type Options struct {
	Region      string
	Endpoint    string // URL; empty: AWS
	Credentials store.CredentialsFunc

	Snapshots tosnapshot.Options // how the snapshots are restored; Made is called through
	Suffix    string             // behind every AMI's name, where the old names are taken

	// Made is told of every AMI that was registered and compared, or was found to be there already. May be nil.
	Made func(key, image string)
	Wait time.Duration // for a new AMI to become available; default 10 min
}

// Keys of what this target takes, as ec2:// sources give them.
const (
	imagePrefix    = "image/"
	snapshotPrefix = "snapshot/"
	suffix         = ".json"
	maxDocument    = 4 << 20
)

// Target is a restore.Target. It serves one restore.
type Target struct {
	o         Options
	api       *client
	snapshots *tosnapshot.Target
	fail      func(key string, err error)

	mu     sync.Mutex
	images map[string]*Definition // by key
	made   map[string]string      // old snapshot to new
	notes  []string
	others bool
}

var _ restore.Target = (*Target)(nil)

// New checks the options; nothing is sent.
func New(o Options) (*Target, error) {
	if o.Region == "" || o.Credentials == nil {
		return nil, errors.New("restore to an AMI: no region or no credentials given")
	}
	if o.Wait <= 0 {
		o.Wait = 10 * time.Minute
	}
	t := &Target{o: o, api: connect(o), images: map[string]*Definition{}, made: map[string]string{}}
	inner, tell := o.Snapshots, o.Snapshots.Made
	inner.Made = func(key, id string) {
		t.mu.Lock()
		t.made[strings.TrimPrefix(key, snapshotPrefix)] = id
		t.mu.Unlock()
		if tell != nil {
			tell(key, id)
		}
	}
	var err error
	t.snapshots, err = tosnapshot.New(inner)
	return t, err
}

// Definition is an AMI as a document of an ec2:// source describes it.
type Definition struct {
	Image          types.Image
	ImageAttribute struct {
		LaunchPermissions []types.LaunchPermission
		UefiData          *types.AttributeValue
	}
}

// ParseDefinition reads a document.
func ParseDefinition(doc []byte) (*Definition, error) {
	d := &Definition{}
	if err := json.Unmarshal(doc, d); err != nil {
		return nil, fmt.Errorf("the definition of an AMI: %w: %w", format.ErrMalformed, err)
	}
	if aws.ToString(d.Image.Name) == "" || d.Image.Architecture == "" || len(d.Image.BlockDeviceMappings) == 0 {
		return nil, fmt.Errorf("the definition of an AMI has no name, architecture or devices: %w", format.ErrMalformed)
	}
	return d, nil
}

// Snapshots gives the IDs of the snapshots that it is made of.
func (d *Definition) Snapshots() []string {
	var out []string
	for _, m := range d.Image.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			out = append(out, *m.Ebs.SnapshotId)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Begin implements restore.Target.
func (t *Target) Begin(ctx context.Context, job restore.Job) error {
	t.fail = job.Fail
	return t.snapshots.Begin(ctx, job)
}

// KeepsVersions implements restore.Target.
func (t *Target) KeepsVersions() bool { return false }

// InOrder implements restore.Target: documents come before snapshots.
func (t *Target) InOrder() bool { return true }

// Accept implements restore.Target.
func (t *Target) Accept(ctx context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	e := versions[len(versions)-1]
	switch {
	case e.Kind == format.KindImage && strings.HasPrefix(e.Key, snapshotPrefix):
		return t.snapshots.Accept(ctx, versions)
	case e.Kind == format.KindObject && strings.HasPrefix(e.Key, imagePrefix) && strings.HasSuffix(e.Key, suffix) && e.Size <= maxDocument:
		return document{t}, restore.Take, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.others = true
	return nil, restore.Ignore, nil
}

// document takes the definition of an AMI; it is registered when its snapshots are there.
type document struct{ t *Target }

// Restore implements restore.Receiver.
func (r document) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	var doc []byte
	for p, err := range c.Pieces(ctx) {
		if err != nil {
			return err
		}
		doc = append(append(doc, p.Data...), make([]byte, p.Hole)...)
	}
	d, err := ParseDefinition(doc)
	if err != nil {
		return err
	}
	if d.Image.RootDeviceType == types.DeviceTypeInstanceStore {
		return fmt.Errorf("%w: its content is in S3 (instance store), at %s; restore that, and register it from there", restore.ErrRefused, aws.ToString(d.Image.ImageLocation))
	}
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	r.t.images[e.Key] = d
	return nil
}

// Finish registers the AMIs. One that fails does not keep the others from coming back.
func (t *Target) Finish(ctx context.Context) error {
	if err := t.snapshots.Finish(ctx); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(t.images)) {
		id, err := t.image(ctx, t.images[key])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			t.fail(key, err)
			continue
		}
		t.note("%s is %s", key, id)
		if t.o.Made != nil {
			t.o.Made(key, id)
		}
	}
	return nil
}

func (t *Target) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// Close implements restore.Target.
func (t *Target) Close() error {
	t.api.close()
	return t.snapshots.Close()
}

// Notes implements restore.Target.
func (t *Target) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, n := range t.snapshots.Notes() {
		if !strings.HasPrefix(n, "only disk images") {
			out = append(out, n)
		}
	}
	out = append(out, t.notes...)
	if t.others {
		out = append(out, "only AMIs and their snapshots were restored: other definitions come back as files (--to DIRECTORY, or --format terraform)")
	}
	return out
}
