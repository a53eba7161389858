package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// rig is a repository in memory with everything a run needs.
type rig struct {
	t       *testing.T
	clock   time.Time
	restore keys.Identity
	host    *keys.HostKey
	vaults  []*repo.Vault
	stores  []*memstore.Store
	cache   string
	kept    *cache.Kept // nil: nothing is kept
	source  source.Source
	memory  int64
	tags    time.Duration
	missing []string // of the last run, keys and reasons

	unsettled backup.Unsettled
	policy    retain.Policy // zero: daily, 35 days
	before    retain.Policy // how the policy was read before
	allow     bool          // --allow-empty
	guard     *backup.Guarding
	dry       bool
	most      int64 // Options.Most
	params    format.Parameters
	pace      repo.Pace
	slept     *atomic.Int64 // how far all clocks have moved during a run
	set       *atomic.Int64 // how far this machine's alone was set

	mu      *sync.Mutex
	remarks []string
	found   []repo.Finding // by sessions, since saw was asked last
}

func (r *rig) now() time.Time { return r.clock.Add(time.Duration(r.slept.Load())) }

// local is the time this machine's clock shows.
func (r *rig) local() time.Time { return r.now().Add(time.Duration(r.set.Load())) }

func newRig(t *testing.T, vaults int) *rig { return newRigWith(t, vaults, format.Parameters{}) }

func newRigWith(t *testing.T, vaults int, p format.Parameters) *rig {
	t.Helper()
	r := &rig{
		t: t, mu: new(sync.Mutex), slept: new(atomic.Int64), set: new(atomic.Int64), params: p,
		clock: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), cache: t.TempDir(), memory: 64 << 20, tags: -1,
	}
	var err error
	if r.restore, err = keys.GenerateIdentity(keys.X25519); err != nil {
		t.Fatal(err)
	}
	if r.host, err = keys.GenerateHostKey(keys.X25519); err != nil {
		t.Fatal(err)
	}
	for i := range vaults {
		r.addVault(fmt.Sprintf("vault%d", i))
	}
	r.init()
	return r
}

func (r *rig) addVault(name string) {
	s := memstore.New(memstore.Options{Now: r.now})
	r.stores = append(r.stores, s)
	r.vaults = append(r.vaults, &repo.Vault{
		Name: name, Read: s, Write: s, Lock: s, Inspect: s,
		Locking: repo.Locking{Mode: store.Compliance, Slack: 10 * 24 * time.Hour, Ceiling: 400 * 24 * time.Hour},
	})
}

func (r *rig) init() {
	r.t.Helper()
	if _, err := repo.Init(r.t.Context(), repo.InitOptions{
		Vaults: r.vaults, HostKey: r.host, Recipients: []keys.Recipient{r.restore.Recipient()}, Need: 35 * 24 * time.Hour, Now: r.now, Parameters: r.params,
	}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) session(ctx context.Context) (*repo.Session, error) {
	return repo.OpenSession(ctx, repo.SessionOptions{
		Vaults: r.vaults, HostKey: r.host, Now: r.local, Pace: r.pace,
		Cache:  func(format.Hash) (*cache.Cache, error) { return cache.Open(r.cache, cache.Options{Memory: 16 << 20}) },
		Kept:   r.kept,
		Report: r.report,
	})
}

func (r *rig) report(f repo.Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = append(r.found, f)
	if len(r.found) < 200 { // a listing without end has a finding for each name
		r.t.Log(f)
	}
}

// saw reports whether a finding of that kind names an object with that beginning, and forgets all findings.
func (r *rig) saw(kind repo.FindingKind, prefix string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := slices.ContainsFunc(r.found, func(f repo.Finding) bool { return f.Kind == kind && strings.HasPrefix(f.Name, prefix) })
	r.found = nil
	return seen
}

func (r *rig) try(ctx context.Context) (*backup.Result, error) {
	s, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	}()
	policy := r.policy
	if policy == (retain.Policy{}) {
		policy.Daily = retain.Span{Duration: 35 * 24 * time.Hour}
	}
	r.missing = nil
	return backup.Run(ctx, backup.Options{
		Source: r.source, Name: "uploads", Session: s, Retention: policy, Before: r.before, AllowEmpty: r.allow, Guard: r.guard, DryRun: r.dry, TagsMaxAge: r.tags, Memory: r.memory, Now: r.local,
		Unsettled: r.unsettled, Most: r.most,
		Missing: func(key, reason string) { r.missing = append(r.missing, key+": "+reason) },
		Remark:  func(key, text string) { r.remarks = append(r.remarks, key+": "+text) },
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
	for _, v := range res.Vaults {
		r.t.Logf("%s: %+v %v", v.Vault, v.Calls, v.Err)
	}
	return res
}

// contents reads a whole point back with nothing but the restore key and one vault.
func (r *rig) contents(vault int, id format.Hash) map[string][]byte {
	r.t.Helper()
	ctx := r.t.Context()
	in := r.stores[vault]
	rp, err := repo.Find(ctx, in, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	points, err := rp.Points(ctx, in, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	reader, err := repo.NewReader(rp, in, []keys.Identity{r.restore}, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range points {
		if p.ID != id {
			continue
		}
		c, err := rp.Commit(ctx, in, p, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		r.checkNeeds(reader, c, in)
		checkList(r.t, reader, c)
		return readPoint(r.t, reader, c)
	}
	r.t.Fatalf("vault %d has no point %s", vault, id)
	return nil
}

// checkList reads the list of earlier points, which readers do without where it cannot be read.
func checkList(t *testing.T, in *repo.Reader, c *format.Commit) {
	t.Helper()
	if earlier, err := repo.ReadEarlier(t.Context(), in.Page, c.Points); err != nil || int64(len(earlier)) != c.Points.Entries {
		t.Errorf("%d earlier points of %d, %v", len(earlier), c.Points.Entries, err)
	}
}

func readPoint(t *testing.T, reader *repo.Reader, c *format.Commit) map[string][]byte {
	t.Helper()
	ctx := t.Context()
	out := map[string][]byte{}
	type frameAt struct {
		pack   format.Hash
		offset int64
	}
	frames := map[frameAt][]byte{}
	var entries, size int64
	for e, err := range tree.Entries(ctx, reader.Page, c.Manifest, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		entries++
		size = format.AddSizes(size, e.Size)
		if e.Missing != "" || !e.Kind.HasContent() {
			continue
		}
		if e.Kind == format.KindImage {
			continue // too large to be held: see diskOf
		}
		var body []byte
		for _, ch := range chunksOf(t, reader, e) {
			if ch.Hole {
				body = append(body, make([]byte, ch.Size)...)
				continue
			}
			at := frameAt{ch.Pack, ch.Frame.Offset}
			if _, ok := frames[at]; !ok {
				err := reader.Frames(ctx, format.PackName(ch.Pack), []format.Frame{ch.Frame}, func(_ int, plain []byte) error {
					frames[at] = bytes.Clone(plain)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			body = append(body, frames[at][ch.At:ch.At+ch.Size]...)
		}
		if sha256.Sum256(body) != e.SHA256 {
			t.Fatalf("%q does not have its hash", e.Key)
		}
		out[e.Key] = body
	}
	if entries != c.Entries || size != c.Bytes {
		t.Fatalf("point says %d entries, %d bytes; found %d, %d", c.Entries, c.Bytes, entries, size)
	}
	return out
}

func chunksOf(t *testing.T, reader *repo.Reader, e *format.Entry) []format.Chunk {
	t.Helper()
	var chunks []format.Chunk
	for c, err := range tree.Chunks(t.Context(), reader.Extent, e) {
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, c)
	}
	return chunks
}

// checkNeeds holds the needs list against a full walk of the manifest, and every object's lock against the point's.
func (r *rig) checkNeeds(reader *repo.Reader, c *format.Commit, in *memstore.Store) {
	t := r.t
	t.Helper()
	ctx := t.Context()
	want := map[string]int64{}
	frames := map[string][]format.Frame{}
	use := func(ref format.PageRef) {
		want[ref.Object] += ref.Frame.Length
		frames[ref.Object] = append(frames[ref.Object], ref.Frame)
	}
	for leaf, err := range tree.Leaves(ctx, reader.Page, c.Manifest, "", use) {
		if err != nil {
			t.Fatal(err)
		}
		use(leaf)
		for e, err := range tree.LeafEntries(ctx, reader.Page, leaf) {
			if err != nil {
				t.Fatal(err)
			}
			uses := func(x format.Extent) { want[x.Object] += x.Frame.Length }
			for x, err := range tree.Extents(ctx, reader.Extent, e, 0, uses) {
				if err != nil {
					t.Fatal(err)
				}
				if !x.Hole {
					uses(x)
				}
			}
			for _, ch := range chunksOf(t, reader, e) {
				if !ch.Hole {
					want[format.PackName(ch.Pack)] += ch.Share()
				}
			}
		}
	}
	for _, n := range reader.Repository().Standing() {
		want[n.Name] = n.Living
	}
	got := map[string]int64{}
	held, lists := map[string]bool{}, map[string]bool{}
	for _, err := range tree.Points(ctx, reader.Page, c.Points, func(ref format.PageRef) { lists[ref.Object] = true }) {
		if err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for name := range lists {
			if !held[name] {
				t.Errorf("a page of the points list is in %s, which nothing holds", name)
			}
		}
	}()
	for n, err := range tree.Needs(ctx, reader.Page, c.Needs, func(ref format.PageRef) { held[ref.Object] = true }) {
		if err != nil {
			t.Fatal(err)
		}
		held[n.Name] = true
		if lists[n.Name] {
			if n.Living != n.Size {
				t.Errorf("%s is needed whole: %d of %d bytes", n.Name, n.Living, n.Size)
			}
		} else {
			got[n.Name] = n.Living
		}
		if truth := pagesOf(frames[n.Name]); !slices.Equal(n.Pages, truth) {
			t.Errorf("%s: the list names the pages %v, the manifest has %v", n.Name, n.Pages, truth)
		}
		if info, _, err := in.Stat(ctx, store.Ref{Name: n.Name}); err != nil || info.Size != n.Size {
			t.Errorf("%s: %d bytes in the list, %d in the vault, %v", n.Name, n.Size, info.Size, err)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("needs list:\n got %v\nwant %v", got, want)
	}
	for name := range held {
		if _, lock, err := in.Stat(ctx, store.Ref{Name: name}); err != nil || lock.Until.Before(c.RetainUntil.Time) {
			t.Errorf("%s is locked until %s, the point until %s (%v)", name, lock.Until, c.RetainUntil, err)
		}
	}
}

// pagesOf is what a needs list says of an object in which these frames are the point's pages.
func pagesOf(frames []format.Frame) format.Pages {
	slices.SortFunc(frames, func(a, b format.Frame) int { return int(a.Offset - b.Offset) })
	var edges []int64
	for _, f := range frames {
		if n := len(edges); n > 0 && edges[n-1] == f.Offset {
			edges = edges[:n-1]
		} else {
			edges = append(edges, f.Offset)
		}
		edges = append(edges, f.Offset+f.Length)
	}
	return format.PagesOf(edges)
}

func equal(t *testing.T, got, want map[string][]byte) {
	t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok {
			t.Errorf("%q is missing", k)
		} else if !bytes.Equal(g, v) {
			t.Errorf("%q differs: %d bytes instead of %d", k, len(g), len(v))
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%q should not be there", k)
		}
	}
}
