package ebsdirect_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// start serves one snapshot of as many written blocks, and gives a client for it.
func start(t *testing.T, blocks int, o ebs.Options) (*awstest.Server, *ebsdirect.Client, string) {
	t.Helper()
	content := map[int64][]byte{}
	for n := range int64(blocks) {
		content[n] = bytes.Repeat([]byte{byte(n), byte(n >> 8), 'b'}, format.ImageBlock/3+1)[:format.ImageBlock]
	}
	w := world.New()
	srv, err := awstest.Start(w, o, ec2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	v := w.AddVolume(world.Volume{SizeGiB: 1})
	id := w.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Content: world.NewBlocks(content)}).ID
	c, err := ebsdirect.New(ebsdirect.Options{
		Region: "eu-west-1", Endpoint: srv.URL, Write: true, MaxBackoff: time.Millisecond,
		Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return srv, c, id
}

// count gives how often an operation was asked for.
func count(log []ebs.Request, op string) (n int) {
	for _, r := range log {
		if r.Op == op {
			n++
		}
	}
	return n
}

// readAll reads every block of an image with as many workers as a run has.
func readAll(t *testing.T, img source.Image) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(64)
	for b, err := range img.Blocks(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		g.Go(func() error {
			_, err := img.Read(ctx, b.N, make([]byte, format.ImageBlock))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// Tokens that were refused are asked for anew by one worker for all, whether a few have expired, those of all workers, or
// every one of a listing.
func TestOneRenewalServesAll(t *testing.T) {
	for _, c := range []struct {
		name    string
		expired int
		most    int // listings: one to begin with, and the renewals
	}{{"three", 3, 4}, {"all workers", 64, 6}, {"none", 0, 1}} {
		t.Run(c.name, func(t *testing.T) {
			srv, client, id := start(t, 600, ebs.Options{Latency: time.Millisecond})
			img, err := client.Image(t.Context(), "vol", id, 1<<30, "")
			if err != nil {
				t.Fatal(err)
			}
			srv.EBS.Inject("GetSnapshotBlock", ebs.Fault{Kind: ebs.Expired}, c.expired)
			readAll(t, img)
			if n := count(srv.EBS.Log(), "ListSnapshotBlocks"); n > c.most {
				t.Errorf("%d listings for %d tokens that have expired, at most %d are needed", n, c.expired, c.most)
			}
		})
	}
	t.Run("a week later", func(t *testing.T) {
		srv, client, id := start(t, 600, ebs.Options{})
		img, err := client.Image(t.Context(), "vol", id, 1<<30, "")
		if err != nil {
			t.Fatal(err)
		}
		var all []int64
		for b, err := range img.Blocks(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b.N)
		}
		srv.World.Pass(ebs.BlockTokenLife + time.Hour)
		srv.EBS.Log()
		g, ctx := errgroup.WithContext(t.Context())
		g.SetLimit(64)
		for _, n := range all {
			g.Go(func() error {
				_, err := img.Read(ctx, n, make([]byte, format.ImageBlock))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		// The lowest that is being read when the first is refused may not be the lowest of all workers yet.
		if n := count(srv.EBS.Log(), "ListSnapshotBlocks"); n > 4 {
			t.Errorf("%d listings for one that has expired", n)
		}
	})
}

// A block that cannot be read whatever is tried is told apart from an image that cannot be read.
func TestBadBlock(t *testing.T) {
	for kind, want := range map[ebs.Kind]error{
		ebs.Corrupt: source.ErrCorrupt, ebs.Short: source.ErrCorrupt, ebs.NoChecksum: source.ErrCorrupt, ebs.WrongChecksum: source.ErrCorrupt,
		ebs.Internal: store.ErrTransient, ebs.Expired: nil, ebs.BadBlock: nil,
	} {
		srv, client, id := start(t, 8, ebs.Options{})
		img, err := client.Image(t.Context(), "vol", id, 1<<30, "")
		if err != nil {
			t.Fatal(err)
		}
		srv.EBS.Break("GetSnapshotBlock", id, 5, kind)
		buf := make([]byte, format.ImageBlock)
		_, err = img.Read(t.Context(), 5, buf)
		var bad *source.BadBlock
		if !errors.As(err, &bad) || bad.N != 5 || want != nil && !errors.Is(err, want) {
			t.Errorf("fault %d: %v", kind, err)
		}
		if n := count(srv.EBS.Log(), "GetSnapshotBlock"); kind != ebs.BadBlock && n < 5 {
			t.Errorf("fault %d: asked for %d times only", kind, n)
		}
		if _, err := img.Read(t.Context(), 6, buf); err != nil {
			t.Errorf("fault %d: its neighbour: %v", kind, err)
		}
		srv.EBS.Break("GetSnapshotBlock", id, 5, ebs.None)
		if _, err := img.Read(t.Context(), 5, buf); err != nil {
			t.Errorf("fault %d, when it is over: %v", kind, err)
		}
	}
	for _, kind := range []ebs.Kind{ebs.Denied, ebs.Gone} {
		srv, client, id := start(t, 8, ebs.Options{})
		img, err := client.Image(t.Context(), "vol", id, 1<<30, "")
		if err != nil {
			t.Fatal(err)
		}
		srv.EBS.Break("GetSnapshotBlock", id, 5, kind)
		if _, err = img.Read(t.Context(), 5, make([]byte, format.ImageBlock)); err == nil || errors.As(err, new(*source.BadBlock)) {
			t.Errorf("fault %d is the whole image's: %v", kind, err)
		}
	}
}

// What AWS's table of errors calls worth another try is tried again, and what it does not is not.
func TestPutIsTriedAgain(t *testing.T) {
	block := bytes.Repeat([]byte{7}, format.ImageBlock)
	for kind, again := range map[ebs.Kind]bool{
		ebs.BlockData: true, ebs.Stale: true, ebs.Internal: true, ebs.Throttling: true, ebs.Concurrency: true, ebs.LoseAnswer: true, ebs.BadBlock: false,
	} {
		srv, client, _ := start(t, 1, ebs.Options{})
		id, err := client.Start(t.Context(), ebsdirect.NewSnapshot{Size: 1 << 30, Token: "t"})
		if err != nil {
			t.Fatal(err)
		}
		srv.EBS.Inject("PutSnapshotBlock", ebs.Fault{Kind: kind}, 3)
		err = client.Put(t.Context(), id, 3, block, sha256.Sum256(block))
		n := count(srv.EBS.Log(), "PutSnapshotBlock")
		if again && (err != nil || n != 4) || !again && (err == nil || n != 1) {
			t.Errorf("fault %d: sent %d times, %v", kind, n, err)
		}
	}
}
