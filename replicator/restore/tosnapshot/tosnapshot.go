// Package tosnapshot restores disk images to new EBS snapshots, in any account and region the credentials reach.
//
// A snapshot is started with a token made of what is restored and where to, so that a restore which broke off goes on with
// the same one. It is completed only when every byte was verified on the way from the vault, with the sum that AWS
// compares with what it has; then all of it is read back and compared with the manifest. It must never complete a
// snapshot whose content is not the image's, and never touch one that it did not start.
package tosnapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options say where to and how.
type Options struct {
	Client    *ebsdirect.Client // made to write
	Where     string            // the region and endpoint, for tokens and messages: ebs://eu-west-1
	Encrypted bool              // also if the image's volume was not; those that were always are
	KMSKey    string            // ARN of the key to encrypt with; empty: the account's default
	Tags      map[string]string // beside those of the snapshot that was backed up
	Journal   string            // a folder for notes on what is written, so that a restore goes on where it stopped; may be empty
	// Made is told of every snapshot that was restored and compared. May be nil; calls do not overlap.
	Made func(key, snapshot string)
}

// Target is a restore.Target. It serves one restore.
type Target struct {
	o     Options
	point string
	mem   int64

	mu    sync.Mutex
	notes []string
	other bool
}

var _ restore.Target = (*Target)(nil)

// New checks the options; nothing is sent.
func New(o Options) (*Target, error) {
	if o.Client == nil {
		return nil, errors.New("restore to a snapshot: no client given")
	}
	return &Target{o: o}, nil
}

// Begin implements restore.Target.
func (t *Target) Begin(_ context.Context, job restore.Job) error {
	t.point = job.Commit.Source + " " + job.Commit.Manifest.Sum.String()
	t.mem = job.Memory
	return nil
}

// KeepsVersions implements restore.Target: the current one is restored.
func (t *Target) KeepsVersions() bool { return false }

// InOrder implements restore.Target: images come one after the other, each with many requests at once.
func (t *Target) InOrder() bool { return true }

// Accept implements restore.Target.
func (t *Target) Accept(_ context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	e := versions[len(versions)-1]
	if e.Kind != format.KindImage {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.other = true
		return nil, restore.Ignore, nil
	}
	return receiver{t}, restore.Take, nil
}

// Finish implements restore.Target.
func (t *Target) Finish(context.Context) error { return nil }

// Close implements restore.Target. A snapshot that is not complete stays pending, and AWS gives it up in time.
func (t *Target) Close() error {
	t.o.Client.Close()
	return nil
}

// Notes implements restore.Target.
func (t *Target) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := slices.Clone(t.notes)
	if t.other {
		out = append(out, "only disk images were restored: nothing else can become a snapshot")
	}
	return out
}

type receiver struct{ t *Target }

// Restore implements restore.Receiver.
func (r receiver) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	id, err := Write(ctx, r.t.o, r.t.point, e, c, r.t.mem)
	if err != nil {
		return err
	}
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	r.t.notes = append(r.t.notes, fmt.Sprintf("%s is in %s", e.Key, id))
	if r.t.o.Made != nil {
		r.t.o.Made(e.Key, id)
	}
	return nil
}

// generations is how many snapshots that AWS gave up are passed over.
const generations = 16

// Write restores one image to a new snapshot and gives its ID; point tells recovery points apart. memory bounds the blocks
// in flight, in bytes; 0 for 32 MiB.
func Write(ctx context.Context, o Options, point string, e *format.Entry, c restore.Content, memory int64) (id string, err error) {
	n := ebsdirect.NewSnapshot{
		Size: e.Size, Description: fmt.Sprintf("%.60s as it was at %s, restored by holdfast", e.Key, e.Modified.UTC().Format("2006-01-02 15:04:05 UTC")),
		Tags: maps.Clone(e.Tags), Encrypted: o.Encrypted || o.KMSKey != "" || e.Metadata["encrypted"] == "true", KMSKey: o.KMSKey,
	}
	if n.Tags == nil {
		n.Tags = map[string]string{}
	}
	maps.Copy(n.Tags, o.Tags)
	for generation := 0; ; generation++ {
		n.Token = token(o, point, e, n, generation)
		id, err = o.Client.Start(ctx, n)
		if errors.Is(err, ebsdirect.ErrFailed) && generation < generations {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("restore %q to a snapshot: %w", e.Key, err)
		}
		break
	}
	done, err := o.Client.Readable(ctx, id)
	if err != nil {
		return "", err
	}
	if !done {
		w := &writer{o: o, id: id, token: n.Token, slots: slots(memory)}
		if err := w.write(ctx, e, c); err != nil {
			return "", fmt.Errorf("restore %q to %s: %w", e.Key, id, err)
		}
	}
	if err := compare(ctx, o.Client, e, id, slots(memory)); err != nil {
		return "", fmt.Errorf("read %s back, which %q was restored to: %w", id, e.Key, err)
	}
	return id, nil
}

// slots is how many blocks are in flight.
func slots(memory int64) int {
	if memory <= 0 {
		memory = 32 << 20
	}
	return int(min(max(memory/format.ImageBlock, 4), 64))
}

// token is the same for the same restore, and for no other.
func token(o Options, point string, e *format.Entry, n ebsdirect.NewSnapshot, generation int) string {
	h := sha256.New()
	parts := []string{
		"holdfast restore", o.Where, point, e.Key, e.Version, e.SHA256.String(), fmt.Sprint(e.Size), fmt.Sprint(n.Encrypted), n.KMSKey,
		n.Description, fmt.Sprint(generation),
	}
	for _, k := range slices.Sorted(maps.Keys(n.Tags)) {
		parts = append(parts, k, n.Tags[k])
	}
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return "holdfast-" + hex.EncodeToString(h.Sum(nil)[:20])
}
