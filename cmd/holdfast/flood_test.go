package main

import (
	"context"
	"crypto/sha256"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// flood VARIABLE PREFIX N stores N junk objects under names that placements have, in the repository at PREFIX.
func (w *world) flood(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: flood VARIABLE PREFIX N")
	}
	b := w.find(ts, args[0])
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	c := b.on.Admin()
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(16)
	for i := range n {
		name := args[1] + "/" + format.PlacementsID{Vault: "offsite", Written: format.At(time.Now().Add(-time.Minute)),
			Sum: sha256.Sum256([]byte(strconv.Itoa(i))), Hint: "00000000", Signature: make([]byte, 64)}.Name()
		g.Go(func() error {
			_, err := c.PutObject(ctx, b.name, name, strings.NewReader("junk"), 4, minio.PutObjectOptions{DisableContentSha256: true, SendContentMd5: true})
			return err
		})
	}
	ts.Check(g.Wait())
	b.on.ResetLog()
}

// asked VARIABLE N demands that no more than N requests went to the bucket since the last flood or asked.
func (w *world) asked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: asked VARIABLE N")
	}
	b := w.find(ts, args[0])
	most, err := strconv.Atoi(args[1])
	ts.Check(err)
	n := 0
	for _, r := range b.on.Log() {
		if strings.HasPrefix(r.Path, "/"+b.name) {
			n++
		}
	}
	if n > most {
		ts.Fatalf("%d requests; at most %d were expected", n, most)
	}
}
