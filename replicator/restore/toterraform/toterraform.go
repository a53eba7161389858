// Package toterraform writes machine definitions of an ec2:// source as Terraform configuration in JSON (.tf.json): VPCs,
// subnets, security groups with their rules, instances, launch templates and addresses.
//
// What it writes is a draft for people: every file says that it was never applied, and names what of its resource it leaves
// out. A resource that would lack an argument which the provider requires is not written. The files hold user data, and so
// only their owner can read them. The package must never run Terraform or talk to AWS.
package toterraform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Label stands in every file.
const Label = "Written by holdfast from a recovery point, to be reviewed: it was not applied, and holds what AWS described, not what somebody wrote. " +
	"IDs of what is not in this folder are the old ones."

// maxDocument bounds one definition, and maxAll those that are collected before the first file is written.
const (
	maxDocument = 4 << 20
	maxAll      = 256 << 20
)

// Options say where to.
type Options struct {
	Root string // the folder; it is made if it is not there
}

// Target is a restore.Target. It serves one restore.
type Target struct {
	o    Options
	job  restore.Job
	root *os.Root

	mu     sync.Mutex
	size   int64
	found  []definition
	notes  []string
	others bool
}

var _ restore.Target = (*Target)(nil)

// definition is one resource's document.
type definition struct {
	key, kind, id string
	doc           []byte
}

// New checks the options; nothing is touched.
func New(o Options) (*Target, error) {
	if o.Root == "" {
		return nil, errors.New("restore to terraform: no folder given")
	}
	return &Target{o: o}, nil
}

// Begin implements restore.Target.
func (t *Target) Begin(_ context.Context, job restore.Job) error {
	t.job = job
	if job.DryRun {
		return nil
	}
	if err := os.MkdirAll(t.o.Root, 0o700); err != nil {
		return fmt.Errorf("restore to %s: %w", t.o.Root, err)
	}
	var err error
	if t.root, err = os.OpenRoot(t.o.Root); err != nil {
		return fmt.Errorf("restore to %s: %w", t.o.Root, err)
	}
	return nil
}

// KeepsVersions implements restore.Target.
func (t *Target) KeepsVersions() bool { return false }

// InOrder implements restore.Target.
func (t *Target) InOrder() bool { return true }

// Accept implements restore.Target.
func (t *Target) Accept(_ context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	e := versions[len(versions)-1]
	kind, id, ok := strings.Cut(strings.TrimSuffix(e.Key, ".json"), "/")
	if _, known := converters()[kind]; e.Kind != format.KindObject || !ok || !known || !plainName(id) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.others = true
		return nil, restore.Ignore, nil
	}
	if e.Size > maxDocument {
		return nil, 0, fmt.Errorf("%w: a definition of %d bytes", restore.ErrRefused, e.Size)
	}
	return receiver{t, kind, id}, restore.Take, nil
}

// plainName reports whether an ID can name a file and a resource.
func plainName(id string) bool {
	return id != "" && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == "" && id[0] != '.'
}

type receiver struct {
	t        *Target
	kind, id string
}

// Restore implements restore.Receiver: documents are collected, since they refer to each other.
func (r receiver) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	var doc []byte
	for p, err := range c.Pieces(ctx) {
		if err != nil {
			return err
		}
		doc = append(append(doc, p.Data...), make([]byte, p.Hole)...)
	}
	t := r.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size += int64(len(doc)); t.size > maxAll {
		return fmt.Errorf("%w: more than %d MiB of definitions at once; choose some with --include", restore.ErrStop, maxAll>>20)
	}
	t.found = append(t.found, definition{e.Key, r.kind, r.id, doc})
	return nil
}

// Finish writes the files.
func (t *Target) Finish(ctx context.Context) error {
	refs := references{}
	for _, d := range t.found {
		if resource := converters()[d.kind].resource; resource != "" {
			refs[d.id] = resource + "." + nameOf(d.id)
		}
	}
	for _, d := range t.found {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := t.write(d, refs)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, restore.ErrStop) {
			return fmt.Errorf("restore to %s: %w: %w", t.o.Root, restore.ErrStop, err)
		}
		if err != nil {
			t.job.Fail(d.key, err)
		}
	}
	return nil
}

// write converts and writes one definition.
func (t *Target) write(d definition, refs references) error {
	all, err := converters()[d.kind].convert(d, refs)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return nil
	}
	resources := map[string]map[string]any{}
	for _, r := range all {
		if err := r.check(); err != nil {
			return fmt.Errorf("%w: %w", restore.ErrRefused, err)
		}
		if resources[r.kind] == nil {
			resources[r.kind] = map[string]any{}
		}
		resources[r.kind][r.name] = r.arguments
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(map[string]any{"//": Label, "resource": resources}); err != nil {
		return err
	}
	return t.put(d.id+".tf.json", b.Bytes())
}

// put writes a file under its name once it is whole.
func (t *Target) put(name string, text []byte) error {
	was, err := t.root.ReadFile(name)
	switch {
	case err == nil && (t.job.Overwrite == restore.Never || t.job.Overwrite == ""):
		if !bytes.Equal(was, text) {
			t.notes = append(t.notes, name+" is there already and differs; it was left (--overwrite changed replaces it)")
		}
		return nil
	case err == nil && t.job.Overwrite == restore.Changed && bytes.Equal(was, text):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	part := "." + name + ".part"
	f, err := t.root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = t.root.Rename(part, name)
	}
	if err != nil {
		_ = t.root.Remove(part) // it is not whole
	}
	return err
}

// Close implements restore.Target.
func (t *Target) Close() error {
	if t.root == nil {
		return nil
	}
	return t.root.Close()
}

// Notes implements restore.Target.
func (t *Target) Notes() []string {
	out := slices.Clone(t.notes)
	out = append(out, "what was written is to be reviewed and was not applied: `terraform plan` shows what it would do")
	if t.others {
		out = append(out, "only VPCs, subnets, security groups, instances, launch templates and addresses were written; a plain restore to a directory gives every definition")
	}
	return out
}
