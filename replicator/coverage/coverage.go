// Package coverage holds what lies in the accounts that sources read against what those sources make points of: what is in
// no source is in no copy, and nobody is told until it is missed.
//
// It lists buckets, disks, snapshots, machines and AMIs, and of a bucket that nothing protects the first objects, for its size. It
// reads no content, and must never send what could change an account: its transports refuse it.
package coverage

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Kinds of resources.
const (
	KindBucket    = "bucket"
	KindVolume    = "volume"
	KindSnapshots = "snapshots" // those of one volume that is gone, or one that was made of none
	KindInstance  = "instance"
	KindImage     = "ami"
)

// Unknown is a number of bytes that nobody knows: an instance has disks, which count for themselves.
const Unknown = -1

// Resource is one thing in an account.
type Resource struct {
	URL     string // s3://BUCKET, ebs://REGION/vol-.., ec2://REGION/i-..; of a server that is not AWS with its endpoint
	Kind    string
	Name    string    // its tag Name, if it has one
	Bytes   int64     // or Unknown
	AtLeast bool      // there are more bytes than were counted
	Made    time.Time // the zero Time: not known. Of snapshots when the newest was made

	By     []string // the sources that have it, by name
	Parts  []string // of a bucket: the prefixes that sources have, where none has all of it
	Reason string   // why it needs no source

	keys      []string // all of them have to be entries of one source
	instances []string // that a volume is attached to
	region    string
	bucket    bucketKey
}

// bucketKey tells buckets of several servers apart.
type bucketKey struct{ endpoint, name string }

// Protected reports whether a source has all of it.
func (r *Resource) Protected() bool { return len(r.By) > 0 }

// Holding is what one source puts into its next point.
type Holding struct {
	Source string // its name

	Bucket, Prefix, Endpoint string // of a bucket

	Region    string          // of disks and machines
	Keys      map[string]bool // of their entries that can be read
	Instances []string        // whose disks the source makes snapshots of itself
}

// Match says by which sources each resource is held.
func Match(all []Resource, by []Holding) {
	for i := range all {
		r := &all[i]
		for _, h := range by {
			switch whole, part := h.has(r); {
			case whole:
				r.By = append(r.By, h.Source)
			case part:
				r.Parts = append(r.Parts, h.Prefix)
			}
		}
		if r.Protected() {
			r.Parts = nil
		}
	}
}

// has reports whether the source has all of a resource, or a part of it.
func (h *Holding) has(r *Resource) (whole, part bool) {
	if r.Kind == KindBucket {
		same := h.Bucket == r.bucket.name && normal(h.Endpoint) == r.bucket.endpoint
		return same && h.Prefix == "", same
	}
	if h.Region != r.region {
		return false, false
	}
	if slices.ContainsFunc(r.instances, func(id string) bool { return slices.Contains(h.Instances, id) }) {
		return true, false
	}
	for _, k := range r.keys {
		if !h.Keys[k] {
			return false, false
		}
	}
	return len(r.keys) > 0, false
}

// normal is an endpoint as it is compared.
func normal(endpoint string) string { return strings.ToLower(strings.TrimRight(endpoint, "/")) }

// Sorted gives each resource once, however many accounts showed it, in order: what nothing protects first, then what needs no
// protection, then the rest.
func Sorted(all []Resource) []Resource {
	rank := func(r Resource) int {
		switch {
		case r.Protected():
			return 2
		case r.Reason != "":
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b Resource) int { return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.Kind, b.Kind)) })
	all = slices.CompactFunc(all, func(a, b Resource) bool { return a.URL == b.URL && a.Kind == b.Kind })
	slices.SortStableFunc(all, func(a, b Resource) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}
