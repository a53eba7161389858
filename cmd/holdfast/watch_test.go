package main

import (
	"context"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/rogpeppe/go-internal/testscript"
)

// shorten VARIABLE PREFIX [N] makes the governance locks of what lies below shorter, of N versions or all, as an administrator can.
func (w *world) shorten(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	c := b.on.Admin()
	left := 1 << 20
	if len(args) > 2 {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		left = n
	}
	until, mode := time.Now().Add(time.Hour).UTC().Truncate(time.Second), minio.Governance
	n := 0
	for o := range c.ListObjects(context.Background(), b.name, minio.ListObjectsOptions{Prefix: args[1], Recursive: true, WithVersions: true}) {
		ts.Check(o.Err)
		if o.IsDeleteMarker || n == left {
			continue
		}
		ts.Check(c.PutObjectRetention(context.Background(), b.name, o.Key, minio.PutObjectRetentionOptions{
			GovernanceBypass: true, Mode: &mode, RetainUntilDate: &until, VersionID: o.VersionID,
		}))
		n++
	}
	if n == 0 {
		ts.Fatalf("nothing lies below %s", args[1])
	}
}
