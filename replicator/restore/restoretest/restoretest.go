// Package restoretest makes recovery points for the tests of restore and its targets: whole ones through the backup engine,
// and ones that no honest writer would make. It must never be reachable from a production binary.
package restoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Repo is a repository in memory.
type Repo struct {
	T        testing.TB
	Store    *memstore.Store
	Identity keys.Identity
	host     *keys.HostKey
	vault    *repo.Vault
	cache    string
	clock    time.Time

	mu       sync.Mutex
	findings []repo.Finding
}

// New makes an empty repository.
func New(t testing.TB) *Repo {
	t.Helper()
	r := &Repo{T: t, cache: t.TempDir(), clock: time.Date(2025, 11, 23, 12, 0, 0, 0, time.UTC)}
	var err error
	r.Identity, err = keys.GenerateIdentity(keys.X25519)
	r.check(err)
	r.host, err = keys.GenerateHostKey(keys.X25519)
	r.check(err)
	r.Store = memstore.New(memstore.Options{Now: r.now})
	r.vault = &repo.Vault{
		Name: "vault", Read: r.Store, Write: r.Store, Lock: r.Store, Inspect: r.Store,
		Locking: repo.Locking{Mode: store.Compliance, Slack: 240 * time.Hour, Ceiling: 9600 * time.Hour},
	}
	_, err = repo.Init(t.Context(), repo.InitOptions{
		Vaults: []*repo.Vault{r.vault}, HostKey: r.host, Recipients: []keys.Recipient{r.Identity.Recipient()}, Need: 840 * time.Hour, Now: r.now,
	})
	r.check(err)
	return r
}

func (r *Repo) now() time.Time { return r.clock }

func (r *Repo) check(err error) {
	r.T.Helper()
	if err != nil {
		r.T.Fatal(err)
	}
}

// Session opens the repository for writing; it is closed with the test.
func (r *Repo) Session() *repo.Session {
	r.T.Helper()
	s, err := repo.OpenSession(r.T.Context(), repo.SessionOptions{
		Vaults: []*repo.Vault{r.vault}, HostKey: r.host, Now: r.now,
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(r.cache, cache.Options{Memory: 16 << 20}) },
	})
	r.check(err)
	r.check(s.Begin(r.clock.Add(840 * time.Hour)))
	return s
}

// Backup makes a point of a source.
func (r *Repo) Backup(src source.Source) *format.Commit {
	r.T.Helper()
	s := r.Session()
	defer func() { r.check(s.Close()) }()
	day, err := retain.Parse("35d")
	r.check(err)
	r.clock = r.clock.Add(time.Hour)
	res, err := backup.Run(r.T.Context(), backup.Options{
		Source: src, Name: "src", Session: s, Retention: retain.Policy{Daily: day}, TagsMaxAge: -1, Memory: 64 << 20, Now: r.now,
	})
	r.check(err)
	points, err := s.Repository().Points(r.T.Context(), r.Store, "src", nil)
	r.check(err)
	for _, p := range points {
		if p.ID == res.Point {
			c, err := s.Repository().Commit(r.T.Context(), r.Store, p, nil)
			r.check(err)
			return c
		}
	}
	r.T.Fatalf("the point is not there: %+v", res)
	return nil
}

// Pack stores frames as one pack and gives a chunk for each, whole.
func (r *Repo) Pack(frames ...[]byte) []format.Chunk {
	r.T.Helper()
	s := r.Session()
	defer func() { r.check(s.Close()) }()
	b, err := pack.NewBuilder(s.Writer.Recipients(), nil)
	r.check(err)
	var out []format.Chunk
	for _, plain := range frames {
		f := s.Writer.Encoder().Frame(nil, plain)
		off, err := b.Add(f)
		r.check(err)
		out = append(out, format.Chunk{
			Frame: format.Frame{Offset: off, Length: int64(len(f)), Plain: int64(len(plain))},
			Size:  int64(len(plain)), Sum: sha256.Sum256(plain),
		})
	}
	sealed, err := b.Close()
	r.check(err)
	r.check(s.Writer.Store(r.T.Context(), format.PackName(sealed.Sum), sealed))
	for i := range out {
		out[i].Pack = sealed.Sum
	}
	return out
}

// Page stores lines as a page of its own, as extent pages are.
func (r *Repo) Page(plain []byte) (object string, frame format.Frame, sum format.Hash) {
	r.T.Helper()
	s := r.Session()
	defer func() { r.check(s.Close()) }()
	sink := s.Writer.MetaSink()
	slot, err := sink.Page(r.T.Context(), plain)
	r.check(err)
	r.check(sink.Seal(r.T.Context()))
	return slot.Object(), slot.Frame, sha256.Sum256(plain)
}

// Point makes a manifest of exactly these entries, in this order, leaf entries to a page, whatever a reader may think
// of it. The commit is neither signed nor stored.
func (r *Repo) Point(leaf int, entries ...*format.Entry) *format.Commit {
	r.T.Helper()
	ctx := r.T.Context()
	s := r.Session()
	defer func() { r.check(s.Close()) }()
	sink := s.Writer.MetaSink()
	b := tree.NewBuilder(sink, tree.Cut{Leaf: 64, Fanout: 128}, nil, nil).Salted("")
	for len(entries) > 0 {
		n := min(leaf, len(entries))
		var page []byte
		ref := format.PageRef{First: entries[0].Key, Entries: int64(n)}
		for _, e := range entries[:n] {
			line, err := anyLine(e)
			r.check(err)
			page = append(page, line...)
			ref.Bytes += e.Size
		}
		r.check(b.Leaf(ctx, ref, page))
		entries = entries[n:]
	}
	r.check(sink.Seal(ctx))
	root, err := b.Root(ctx)
	r.check(err)
	r.check(sink.Seal(ctx))
	return &format.Commit{Repository: s.Repository().ID, Source: "src", SourceKind: "s3", TakenAt: format.At(r.clock), Manifest: root, Entries: root.Entries}
}

// anyLine encodes an entry. One that every writer refuses for its key is written all the same, as a thief would.
func anyLine(e *format.Entry) ([]byte, error) {
	const stand = "stands-for-the-key"
	line, err := e.AppendLine(nil)
	if err == nil {
		return line, nil
	}
	good := *e
	good.Key = stand
	if e.Kind == format.KindDir {
		good.Key += "/"
	}
	if line, err = good.AppendLine(nil); err != nil {
		return nil, err
	}
	key, err := json.Marshal(e.Key)
	return bytes.Replace(line, []byte(strconv.Quote(good.Key)), key, 1), err
}

// Reader reads with the restore key alone, through in if it is not nil.
func (r *Repo) Reader(in store.Reader) *repo.Reader {
	r.T.Helper()
	if in == nil {
		in = r.Store
	}
	rp, err := repo.Find(r.T.Context(), in, "", nil)
	r.check(err)
	reader, err := repo.NewReader(rp, in, []keys.Identity{r.Identity}, nil, func(f repo.Finding) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.findings = append(r.findings, f)
	})
	r.check(err)
	return reader
}

// Findings gives what readers reported.
func (r *Repo) Findings() []repo.Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.findings
}

// Bytes gives what a name holds now.
func (r *Repo) Bytes(name string) []byte {
	r.T.Helper()
	body, err := r.Store.Open(r.T.Context(), store.Ref{Name: name}, 0, -1)
	r.check(err)
	b, err := io.ReadAll(body)
	r.check(err)
	r.check(body.Close())
	return b
}

// Cover puts other bytes on top of a stored object, as a stolen writer's key could.
func (r *Repo) Cover(name string, body []byte) {
	r.T.Helper()
	_, err := r.Store.Put(r.T.Context(), name, bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256(body)})
	r.check(err)
}

// Names gives the stored objects under a prefix.
func (r *Repo) Names(prefix string) []string {
	r.T.Helper()
	var out []string
	for info, err := range r.Store.Versions(context.Background(), prefix, "") {
		r.check(err)
		if info.Latest {
			out = append(out, info.Name)
		}
	}
	return out
}

// Object is an entry of one content, in the given chunks.
func Object(key string, body []byte, chunks ...format.Chunk) *format.Entry {
	return &format.Entry{
		Key: key, Size: int64(len(body)), SHA256: sha256.Sum256(body), Chunks: chunks,
		Modified: format.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
	}
}
