// Package ec2source is the machines of one AWS account and region as a source: AMIs with their snapshots, instances, and the
// network, templates and groups they stand in, each as one JSON document.
//
// A document holds what AWS's Describe calls say of one resource, in AWS's own field names, sorted, without what changes by
// itself: so it is another one only if somebody changed the resource, and a diff of two points reads like a change log. They
// are content, as they hold user data: sealed to the restore keys and to nothing else, and on disk, while they are
// collected, sealed as well. Everything is asked for in Freeze, since AWS offers no other way to learn what changed.
//
// The package asks and changes nothing: its transport refuses every action that does not begin with Describe.
package ec2source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Tag selects what has it.
type Tag struct{ Key, Value string }

// Options says what is protected and how it is reached.
type Options struct {
	Region   string
	Endpoint string // URL, of every service; empty: AWS
	// Tags: only AMIs, instances, volumes and launch templates that have all of these. What they stand in (VPCs, subnets,
	// security groups, ..) is kept whole, and an AMI's snapshots come with it.
	Tags        []Tag
	Credentials store.CredentialsFunc

	Exclude []string // globs against the whole key

	// Snapshot begins to read a snapshot of size bytes, that of an AMI. Nil: AMIs are kept without their snapshots.
	Snapshot func(ctx context.Context, key, id string, size int64) (source.Image, error)

	Spool      string        // folder for what is collected; default the system's for temporary files
	Rate       float64       // requests a second; default 20, as fast as EC2's token buckets refill
	MaxBackoff time.Duration // longest wait between tries; default 20 s

	Transport http.RoundTripper // default: one of its own
	Now       func() time.Time  // default time.Now
}

// Source is the machines of one account and region.
type Source struct {
	o       Options
	exclude glob.Set
	clients clients
	idle    *http.Transport // our own, to be drained; nil if injected
}

// New checks the options; nothing is sent until Freeze.
func New(o Options) (*Source, error) {
	if o.Region == "" {
		return nil, errors.New("ec2 source: no region given")
	}
	if o.Credentials == nil {
		return nil, errors.New("ec2 source: no credentials given")
	}
	for _, t := range o.Tags {
		if t.Key == "" {
			return nil, errors.New("ec2 source: a tag without a name")
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Spool == "" {
		o.Spool = os.TempDir()
	}
	if o.Rate <= 0 {
		o.Rate = 20
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 20 * time.Second
	}
	set, err := glob.ParseSet(o.Exclude)
	if err != nil {
		return nil, fmt.Errorf("ec2 source: exclude: %w", err)
	}
	s := &Source{o: o, exclude: set}
	s.connect()
	return s, nil
}

// Kind is "ec2".
func (s *Source) Kind() string { return "ec2" }

// UnusedExcludes implements source.Excluder.
func (s *Source) UnusedExcludes() []string { return s.exclude.Unused() }

// kindsAtOnce is how many kinds of resources are asked for at once; the rate is what limits.
const kindsAtOnce = 6

// Freeze asks for everything there is. What cannot be read for want of a right is an entry with Missing set; any other
// failure is an error.
func (s *Source) Freeze(ctx context.Context) (source.View, error) {
	p, err := newSpool(s.o.Spool)
	if err != nil {
		return nil, fmt.Errorf("ec2 source: %w", err)
	}
	r := &reading{Source: s, spool: p, denied: map[string]bool{}, groups: newGrouped()}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(kindsAtOnce)
	for _, k := range kinds() {
		g.Go(func() error { return r.kind(gctx, k) })
	}
	if err := g.Wait(); err != nil {
		s.drain()
		return nil, errors.Join(err, p.close())
	}
	r.found = slices.DeleteFunc(r.found, func(f found) bool { return s.exclude.Match(f.key) })
	r.remarks = slices.DeleteFunc(r.remarks, func(m source.Remark) bool { return s.exclude.Match(m.Key) })
	slices.SortFunc(r.found, func(a, b found) int { return strings.Compare(a.key, b.key) })
	for i := 1; i < len(r.found); i++ {
		if r.found[i].key == r.found[i-1].key {
			s.drain()
			return nil, errors.Join(fmt.Errorf("ec2 source: two resources are named %s", r.found[i].key), p.close())
		}
	}
	r.remarkNothing()
	slices.SortFunc(r.remarks, func(a, b source.Remark) int { return strings.Compare(a.Key+a.Text, b.Key+b.Text) })
	return &view{Source: s, spool: p, found: r.found, remarks: r.remarks, groups: r.groups}, nil
}

// found is what is known of one entry while the view lives.
type found struct {
	key      string
	modified time.Time
	missing  string

	at  spooled // documents
	sum format.Hash

	image *snapshot // AMIs' snapshots
}

// reading is one Freeze.
type reading struct {
	*Source
	spool *spool

	mu      sync.Mutex
	found   []found
	remarks []source.Remark
	denied  map[string]bool // keys of what could not be read that were said already
	groups  *grouped
}

// kind reads one kind of resource.
func (r *reading) kind(ctx context.Context, k kind) error {
	err := k.list(ctx, r)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if why, ok := refused(err); ok {
		r.lost(k.name+"/*", why+" ("+actionOf(err, k.action)+")")
		return nil
	}
	return awsclient.Explain("ec2 source: list "+k.name+" in "+r.o.Region, err)
}

// lost records what could not be read, once.
func (r *reading) lost(key, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.denied[key] {
		r.denied[key] = true
		r.found = append(r.found, found{key: key, missing: why, modified: epoch})
	}
}

// remark says what of a resource cannot be had back.
func (r *reading) remark(key, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remarks = append(r.remarks, source.Remark{Key: key, Text: text})
}

// isSurrounding tells networks, roles and the like, which are listed whatever is selected, from what runs or could be started.
func isSurrounding(key string) bool {
	kind, _, _ := strings.Cut(key, "/")
	return !slices.Contains([]string{"image", "instance", "volume", "launch-template"}, kind)
}

// remarkNothing says so if there is nothing that runs or could be started: nobody sets up a source for that, but in the
// wrong region it looks so.
func (r *reading) remarkNothing() {
	for _, f := range r.found {
		if !isSurrounding(f.key) {
			return
		}
	}
	r.remark("ec2://"+r.o.Region, "no AMI, instance, volume or launch template is selected: check the region, the account and the tags")
}

// epoch stands for the time of what has none of its own.
var epoch = time.Unix(0, 0).UTC()

// keep stores one resource's document.
func (r *reading) keep(kind, id string, created *time.Time, d document) error {
	if id == "" {
		return fmt.Errorf("ec2 source: a %s without an ID", kind)
	}
	b, err := d.encode()
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, id, err)
	}
	at, err := r.spool.put(b)
	if err != nil {
		return fmt.Errorf("ec2 source: %w", err)
	}
	f := found{key: keyOf(kind, id), at: at, sum: sumOf(b), modified: epoch}
	if created != nil {
		f.modified = created.UTC()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = append(r.found, f)
	return nil
}
