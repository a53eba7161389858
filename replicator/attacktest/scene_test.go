package attacktest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// scene is one attack upon trust: a vault with a point, and beside it, if the row wants one, a second vault whose administrator
// is the attacker and in front of which he stands. Each row has its own, since several of these attacks end a repository.
type scene struct {
	*arena
	bad     string // his bucket
	evil    *repo.Vault
	front   *front
	planted map[string]bool // what he put into his, by its name in the repository
}

// row is one such attack with what it has to come to.
type row struct {
	name  string
	what  string
	comes string
	do    func(t *testing.T, s *scene)
}

// front answers for a vault as its owner likes: it leaves versions out, and gives them other times.
type front struct {
	store.Reader
	hide func(name string) bool
	when func(info store.Info) time.Time
}

func (f *front) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range f.Reader.Versions(ctx, prefix, after) {
			if err == nil && f.hide != nil && f.hide(info.Name) {
				continue
			}
			if err == nil && f.when != nil {
				info.Modified = f.when(info)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func (f *front) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	info, r, err := f.Reader.Stat(ctx, ref)
	if err == nil && f.when != nil {
		info.Modified = f.when(info)
	}
	return info, r, err
}

// newScene is a vault with one point of a directory.
func newScene(t *testing.T, kind servers.Kind) *scene {
	t.Helper()
	s := &scene{arena: bareArena(t, kind), planted: map[string]bool{}}
	s.begin(t, s.srv.Root)
	for i := range 4 {
		writeFile(t, filepath.Join(s.site, fmt.Sprintf("page%d.html", i)), noise(uint64(i), 3000+i))
	}
	s.all(t, s.point(t))
	s.learn(t)
	return s
}

// second opens a vault of the attacker's. It holds nothing yet.
func (s *scene) second(t *testing.T) {
	t.Helper()
	s.bad = s.srv.NewBucket(t, servers.BucketOptions{Lock: true})
	l := s.srv.Location(s.bad)
	l.Prefix, l.Endpoint = strings.TrimSuffix(folder, "/"), s.srv.Direct
	st, err := s3store.New(s3store.Options{Location: l, Credentials: fixed.Credentials(s.srv.Root)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	again := retry.New(retry.Options{Attempts: 4, Initial: 10 * time.Millisecond})
	s.front = &front{Reader: again.Reader(st)}
	s.evil = &repo.Vault{
		Name: "hostile", Read: s.front, Write: again.Writer(st), Lock: again.Locker(st), Inspect: again.Inspector(st),
		Locking: repo.Locking{Mode: store.Governance, Slack: 10 * 24 * time.Hour, Ceiling: 400 * 24 * time.Hour},
	}
	s.others = []*repo.Vault{s.evil}
}

// joined is a second vault that was an honest one until now, with two more points.
func (s *scene) joined(t *testing.T) {
	t.Helper()
	s.second(t)
	s.init(t, s.vault, s.evil)
	s.all(t, s.point(t))
	time.Sleep(time.Second) // points of different seconds
	s.all(t, s.point(t))
}

func (s *scene) init(t *testing.T, vaults ...*repo.Vault) {
	t.Helper()
	if _, err := repo.Init(t.Context(), s.initOptions(vaults...)); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) initOptions(vaults ...*repo.Vault) repo.InitOptions {
	return repo.InitOptions{Vaults: vaults, HostKey: s.host, Recipients: []keys.Recipient{s.restore.Recipient()}, Need: keep, Report: s.report}
}

// point makes a point of the directory, with something new in it, and gives what became of each vault.
func (s *scene) point(t *testing.T) map[string]error {
	t.Helper()
	s.serial++
	writeFile(t, filepath.Join(s.site, fmt.Sprintf("new%d.html", s.serial)), noise(uint64(1000+s.serial), 4000))
	s.saw = nil
	want := sumsOfDir(t, s.site)
	res, err := s.run(t.Context(), "site", must(dirsource.New(dirsource.Options{Root: s.site})), false)
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	if res.Status != format.StatusComplete {
		t.Fatalf("run: %s, %d missing", res.Status, res.Missing)
	}
	s.points = append(s.points, kept{id: res.Point, source: "site", want: want})
	out := map[string]error{}
	for _, v := range res.Vaults {
		out[v.Vault] = v.Err
	}
	return out
}

// all demands that every vault has the point.
func (s *scene) all(t *testing.T, came map[string]error) {
	t.Helper()
	for name, err := range came {
		if err != nil {
			t.Errorf("vault %s: %v", name, err)
		}
	}
}

// alone demands that his vault was left out, as one that is not believed, and the other was not.
func (s *scene) alone(t *testing.T, came map[string]error) {
	t.Helper()
	if err := came[s.vault.Name]; err != nil {
		t.Errorf("the good vault: %v", err)
	}
	distrusts := []error{repo.ErrFingerprint, repo.ErrUnpinned, repo.ErrStrangers, repo.ErrForked, repo.ErrWithheld, repo.ErrAmbiguous, repo.ErrHostKey, repo.ErrEnd}
	if err := came[s.evil.Name]; !slices.ContainsFunc(distrusts, func(kind error) bool { return errors.Is(err, kind) }) {
		t.Errorf("his vault: %v", err)
	}
}

// session opens one with the owner's own keys.
func (s *scene) session(t *testing.T, host *keys.HostKey, vaults ...*repo.Vault) error {
	t.Helper()
	x, err := repo.OpenSession(t.Context(), repo.SessionOptions{
		Vaults: vaults, HostKey: host, Report: s.report, Recipients: []keys.Recipient{s.restore.Recipient()},
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(t.TempDir(), cache.Options{}) },
	})
	if err != nil {
		return err
	}
	return x.Close()
}

// plant puts something into his bucket.
func (s *scene) plant(t *testing.T, name string, body []byte) {
	t.Helper()
	s.planted[name] = true
	if err := put(t.Context(), s.root, s.bad, folder+name, body); err != nil {
		t.Fatal(err)
	}
}

// said counts what was reported of one kind under a prefix.
func (s *scene) said(kind repo.FindingKind, prefix string) (n int) {
	for _, f := range s.saw {
		if f.Kind == kind && strings.HasPrefix(f.Name, prefix) {
			n++
		}
	}
	return n
}

// unhurt demands that the good vault is as if nobody had attacked: nothing of his is in it, the repository is the same, every
// point comes back, and a verification finds nothing but what was put upon it.
func (s *scene) unhurt(t *testing.T, upon bool) {
	t.Helper()
	list, err := versions(t.Context(), s.root, s.bucket, folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		if s.planted[strings.TrimPrefix(v.key, folder)] {
			t.Errorf("%s of the hostile vault is in the good one", v.key)
		}
	}
	comesBack(t, s.arena)
	sum, found := s.verify(t)
	if sum.Missing+sum.Damaged+sum.Unlocked > 0 || (sum.Status != verify.OK && !upon) {
		t.Errorf("verify of the good vault: %+v, %v", sum, found)
	}
	if upon && sum.Tampered == 0 {
		t.Error("verify names nothing")
	}
}

// erase deletes a version from his bucket, or lays a marker on it, past any governance.
func (s *scene) erase(t *testing.T, v version, marker bool) {
	t.Helper()
	in := &s3.DeleteObjectInput{Bucket: &s.bad, Key: &v.key}
	if !marker {
		in.VersionId, in.BypassGovernanceRetention = &v.id, aws.Bool(true)
	}
	if _, err := s.root.DeleteObject(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}
