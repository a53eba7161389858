// Package imagestest holds the tests of disk images from end to end: from the in-test AWS through a repository and back.
package imagestest

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	ebssource "github.com/holdfast-backup/holdfast/replicator/source/ebs"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

const (
	region    = "eu-west-1"
	blockSize = format.ImageBlock
)

var credentials = fixed.Credentials(store.Credentials{AccessKeyID: "AKIDTEST", SecretAccessKey: "secret"})

// rig is an AWS and a repository in memory.
type rig struct {
	t       *testing.T
	aws     *awstest.Server
	store   *memstore.Store
	vaults  []*repo.Vault
	host    *keys.HostKey
	restore keys.Identity
	cache   string
	o       ebssource.Options
	memory  int64

	mu      sync.Mutex
	remarks []string
	missing map[string]string
}

func newRig(t *testing.T, o ebs.Options) *rig {
	t.Helper()
	r := &rig{t: t, cache: t.TempDir(), memory: 64 << 20}
	var err error
	o.AccessKey = "AKIDTEST"
	if r.aws, err = awstest.Start(world.New(), o, ec2.Options{AccessKey: "AKIDTEST"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.aws.Close(); err != nil {
			t.Error(err)
		}
	})
	if r.restore, err = keys.GenerateIdentity(keys.X25519); err != nil {
		t.Fatal(err)
	}
	if r.host, err = keys.GenerateHostKey(keys.X25519); err != nil {
		t.Fatal(err)
	}
	r.store = memstore.New(memstore.Options{})
	r.vaults = []*repo.Vault{{
		Name: "vault", Read: r.store, Write: r.store, Lock: r.store, Inspect: r.store,
		Locking: repo.Locking{Mode: store.Compliance, Slack: 10 * 24 * time.Hour, Ceiling: 400 * 24 * time.Hour},
	}}
	if _, err := repo.Init(t.Context(), repo.InitOptions{
		Vaults: r.vaults, HostKey: r.host, Recipients: []keys.Recipient{r.restore.Recipient()}, Need: 35 * 24 * time.Hour,
	}); err != nil {
		t.Fatal(err)
	}
	r.o = ebssource.Options{
		Region: region, Endpoint: r.aws.URL, Credentials: credentials,
		Blocks: ebsdirect.Options{AnswerTimeout: 20 * time.Second, MaxBackoff: 200 * time.Millisecond, Lists: 1000, BlocksPerAccount: 5000, BlocksPerSnapshot: 5000},
	}
	return r
}

// try makes a recovery point.
func (r *rig) try(ctx context.Context) (*backup.Result, error) {
	src, err := ebssource.New(r.o)
	if err != nil {
		return nil, err
	}
	s, err := repo.OpenSession(ctx, repo.SessionOptions{
		Vaults: r.vaults, HostKey: r.host,
		Cache:  func(format.Hash) (*cache.Cache, error) { return cache.Open(r.cache, cache.Options{Memory: 16 << 20}) },
		Report: func(f repo.Finding) { r.t.Log(f) },
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	}()
	day, err := retain.Parse("35d")
	if err != nil {
		return nil, err
	}
	r.missing, r.remarks = map[string]string{}, nil
	return backup.Run(ctx, backup.Options{
		Source: src, Name: "disks", Session: s, Retention: retain.Policy{Daily: day}, TagsMaxAge: -1, Memory: r.memory,
		Missing: func(key, reason string) { r.mu.Lock(); defer r.mu.Unlock(); r.missing[key] = reason },
		Remark:  func(key, text string) { r.mu.Lock(); defer r.mu.Unlock(); r.remarks = append(r.remarks, key+": "+text) },
	})
}

func (r *rig) run() *backup.Result {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	res, err := r.try(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// reader reads the repository with the restore key alone.
func (r *rig) reader() *repo.Reader {
	r.t.Helper()
	rp, err := repo.Find(r.t.Context(), r.store, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	reader, err := repo.NewReader(rp, r.store, []keys.Identity{r.restore}, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return reader
}

func (r *rig) commit(id format.Hash) *format.Commit {
	r.t.Helper()
	rp := r.reader().Repository()
	points, err := rp.Points(r.t.Context(), r.store, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range points {
		if p.ID == id {
			c, err := rp.Commit(r.t.Context(), r.store, p, nil)
			if err != nil {
				r.t.Fatal(err)
			}
			return c
		}
	}
	r.t.Fatalf("no point %s", id)
	return nil
}

func (r *rig) entries(id format.Hash) (out []*format.Entry) {
	r.t.Helper()
	for e, err := range tree.Entries(r.t.Context(), r.reader().Page, r.commit(id).Manifest, "", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// restoreTo restores a point.
func (r *rig) restoreTo(id format.Hash, to restore.Target) (restore.Result, error) {
	return restore.Run(r.t.Context(), restore.Options{Reader: r.reader(), Commit: r.commit(id), Target: to, Memory: 64 << 20})
}

// reads are the blocks that were read since the log was looked at last, without those that were refused.
func (r *rig) reads() map[int64]bool {
	out := map[int64]bool{}
	for _, q := range r.aws.EBS.Log() {
		if q.Op == "GetSnapshotBlock" && q.Status == 200 {
			out[q.Block] = true
		}
	}
	return out
}

// block makes one of a few kilobytes' worth of information.
func block(seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	part := make([]byte, 512)
	for i := 0; i < len(part); i += 8 {
		binary.LittleEndian.PutUint64(part[i:], rnd.Uint64())
	}
	return bytes.Repeat(part, blockSize/len(part))
}

// disk makes blocks at random places of a volume.
func disk(gib int64, n int, seed uint64) map[int64][]byte {
	out := map[int64][]byte{}
	rnd := rand.New(rand.NewPCG(seed, 2))
	for i := range n {
		out[rnd.Int64N(gib<<30/blockSize)] = block(seed<<32 + uint64(i))
	}
	return out
}

// dataOf are the blocks that are not all zeros.
func dataOf(blocks map[int64][]byte) map[int64][]byte {
	out := map[int64][]byte{}
	for n, b := range blocks {
		if len(bytes.Trim(b, "\x00")) > 0 {
			out[n] = b
		}
	}
	return out
}

// holds checks that an image in a point is what the blocks are, and that each of its chunks can be had.
func (r *rig) holds(point format.Hash, key string, want map[int64][]byte) {
	r.t.Helper()
	reader := r.reader()
	for _, e := range r.entries(point) {
		if e.Key != key {
			continue
		}
		sum := format.NewImageSum(e.Size)
		at, found := int64(0), 0
		for c, err := range tree.Chunks(r.t.Context(), reader.Extent, e) {
			if err == nil {
				err = sum.Chunk(c)
			}
			if err != nil {
				r.t.Fatal(err)
			}
			if !c.Hole {
				found++
				err = reader.Frames(r.t.Context(), format.PackName(c.Pack), []format.Frame{c.Frame}, func(_ int, plain []byte) error {
					if !bytes.Equal(plain[c.At:][:c.Size], want[at/blockSize]) {
						r.t.Errorf("block %d differs", at/blockSize)
					}
					return nil
				})
				if err != nil {
					r.t.Fatal(err)
				}
			}
			at += c.Size
		}
		if found != len(dataOf(want)) || at != e.Size || sum.Sum() != e.SHA256 {
			r.t.Errorf("%d blocks of %d, %d bytes, sum %s of %s", found, len(dataOf(want)), at, sum.Sum(), e.SHA256)
		}
		return
	}
	r.t.Errorf("%s is not in the point", key)
}

// same holds a file against blocks.
func same(t *testing.T, at func(b []byte, off int64) (int, error), size int64, want map[int64][]byte) {
	t.Helper()
	buf, zeros := make([]byte, blockSize), make([]byte, blockSize)
	for n := range size / blockSize {
		if k, err := at(buf, n*blockSize); k != blockSize {
			t.Fatalf("block %d: %d bytes, %v", n, k, err)
		}
		expect := want[n]
		if expect == nil {
			expect = zeros
		}
		if !bytes.Equal(buf, expect) {
			t.Fatalf("block %d differs", n)
		}
	}
}

func contains(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v; want %q in it", err, text)
	}
}

func tagged(key, value string) []ebssource.Tag { return []ebssource.Tag{{Key: key, Value: value}} }
