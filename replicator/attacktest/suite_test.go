package attacktest

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/tobucket"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// TestAttacks runs every attack on a real server, one after the other on the same vault, and then brings everything back.
func TestAttacks(t *testing.T) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			attackAll(t, kind)
		})
	}
}

func attackAll(t *testing.T, kind servers.Kind) {
	a := newArena(t, kind)
	for round := range 2 {
		a.fill(t, round)
		keepPoint(t, a, "uploads")
		keepPoint(t, a, "site")
	}
	a.settle(t)
	t.Run("writer", func(t *testing.T) { a.series(t, writerAttacks()) })
	t.Run("hiding", func(t *testing.T) { a.series(t, broadAttacks()) })
	t.Run("admin", func(t *testing.T) { a.series(t, adminAttacks()) })
	a.t = t
	t.Run("after", func(t *testing.T) {
		wantUnharmed(t, a)
		comesBack(t, a)
		a.named(t)
		nextRuns(t, a)
	})
	t.Run("primary", func(t *testing.T) { ruinAll(t, a) })
	a.learn(t)
	t.Run("stolen", func(t *testing.T) { a.series(t, stolenAttacks()) })
	t.Run("after the theft", func(t *testing.T) {
		a.days = "90d" // longer than anything is locked, so that locks have to be lengthened
		wantUnharmed(t, a)
		comesBack(t, a)
		stillNamed(t, a)
		nextRuns(t, a)
	})
}

func (a *arena) series(t *testing.T, list []attack) {
	for _, x := range list {
		t.Run(x.name, func(t *testing.T) { runAttempt(t, a, x) })
	}
}

// settle takes down how everything is before the first attack.
func (a *arena) settle(t *testing.T) {
	t.Helper()
	a.learn(t)
	sum, found := a.verify(t)
	if sum.Status != verify.OK || len(found) > 0 {
		t.Fatalf("before the attacks: %+v, %v", sum, found)
	}
	a.before, a.early = a.remember(t), len(a.points)
}

// learn takes down what a thief of the machine can know: commit objects, manifests, and the hashes of all content.
func (a *arena) learn(t *testing.T) {
	t.Helper()
	var err error
	if a.known, err = repo.Find(t.Context(), a.in, "", nil); err != nil {
		t.Fatal(err)
	}
	points, err := a.known.Points(t.Context(), a.in, "", nil)
	if err != nil || len(points) < len(a.points) {
		t.Fatalf("%d points instead of %d: %v", len(points), len(a.points), err)
	}
	if a.manifests, err = repo.NewReader(a.known, a.in, a.host.Identities(), nil, nil); err != nil {
		t.Fatal(err)
	}
	a.commits, a.chunks = map[format.Hash]*format.Commit{}, map[format.Hash]int64{}
	for _, p := range points {
		c, err := a.known.Commit(t.Context(), a.in, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.commits[p.ID] = c
		for e, err := range tree.Entries(t.Context(), a.manifests.Page, c.Manifest, "", "") {
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range e.Chunks {
				if k.Hole {
					continue
				}
				if len(e.Chunks) == 1 {
					k.Sum = e.SHA256
				}
				a.chunks[k.Sum] = k.Size
			}
		}
	}
}

// wantUnharmed demands every version of before with its bytes, and no lock shorter than it was.
func wantUnharmed(t *testing.T, a *arena) {
	t.Helper()
	now := a.remember(t)
	for at, was := range a.before {
		switch is, ok := now[at]; {
		case !ok:
			t.Errorf("%s is gone", at)
		case is.sum != was.sum:
			t.Errorf("%s has other bytes", at)
		case is.until.Before(was.until):
			t.Errorf("%s was locked until %s and is until %s", at, was.until, is.until)
		}
	}
}

// comesBack restores every point of before, into a bucket and into a directory, and compares every byte.
func comesBack(t *testing.T, a *arena) {
	t.Helper()
	rp, err := repo.Find(t.Context(), a.in, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if rp.Fingerprint != a.known.Fingerprint {
		t.Fatalf("the repository is now %s", rp.Fingerprint)
	}
	listed, err := rp.Points(t.Context(), a.in, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	back, entries := 0, 0
	for n, p := range a.points {
		i := slices.IndexFunc(listed, func(q repo.Point) bool { return q.ID == p.id })
		if i < 0 {
			t.Errorf("point %s of %s is not listed any more", p.id, p.source)
			continue
		}
		c, err := rp.Commit(t.Context(), a.in, listed[i], nil)
		if err != nil {
			t.Errorf("point %s: %v", p.id, err)
			continue
		}
		whole := listsAll(t, a, rp, c, p)
		if !p.odd {
			dir := t.TempDir()
			restoreTo(t, a, rp, c, must(todir.New(todir.Options{Root: dir})))
			whole = same(t, fmt.Sprintf("point %s of %s in a directory", p.id, p.source), sumsOfDir(t, dir), p.want) && whole
		}
		if p.source == "uploads" {
			bucket := a.srv.NewBucket(t, servers.BucketOptions{})
			restoreTo(t, a, rp, c, must(tobucket.New(tobucket.Options{
				Bucket: bucket, Endpoint: a.srv.Direct, Region: servers.Region, PathStyle: true, Credentials: fixed.Credentials(a.srv.Root),
			})))
			whole = same(t, fmt.Sprintf("point %s of %s in a bucket", p.id, p.source), sumsOfBucket(t, a, bucket), p.want) && whole
		}
		if n < a.early && whole {
			back++
			entries += len(p.want)
		}
	}
	if a.early > 0 {
		t.Logf("figure: points=%d restored=%d entries=%d", a.early, back, entries)
	}
}

// listsAll demands that a point's entries are listed, as `ls` does with the host key: each with its hash.
func listsAll(t *testing.T, a *arena, rp *repo.Repository, c *format.Commit, p kept) bool {
	t.Helper()
	r := must(repo.NewReader(rp, a.in, a.host.Identities(), nil, nil))
	got := map[string][sha256.Size]byte{}
	for e, err := range browse.List(t.Context(), r, c, "") {
		if err != nil {
			t.Errorf("list point %s: %v", p.id, err)
			return false
		}
		if e.Kind.HasContent() {
			got[e.Key] = e.SHA256
		}
	}
	return same(t, fmt.Sprintf("point %s of %s as listed", p.id, p.source), got, p.want)
}

func restoreTo(t *testing.T, a *arena, rp *repo.Repository, c *format.Commit, to restore.Target) {
	t.Helper()
	r, err := repo.NewReader(rp, a.in, []keys.Identity{a.restore}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := restore.Run(t.Context(), restore.Options{Reader: r, Commit: c, Target: to, Memory: restore.MinMemory, Overwrite: restore.Never})
	if err != nil || res.Failed > 0 || res.Missing > 0 {
		t.Errorf("restore: %v, %+v", err, res)
	}
}

// restorePart restores what a pattern names of a point, as far as it is in it.
func restorePart(t *testing.T, a *arena, id format.Hash, dir, include string) {
	t.Helper()
	rp := must(repo.Find(t.Context(), a.in, "", nil))
	for _, p := range must(rp.Points(t.Context(), a.in, "", nil)) {
		if p.ID != id {
			continue
		}
		r := must(repo.NewReader(rp, a.in, []keys.Identity{a.restore}, nil, nil))
		res, err := restore.Run(t.Context(), restore.Options{
			Reader: r, Commit: must(rp.Commit(t.Context(), a.in, p, nil)), Target: must(todir.New(todir.Options{Root: dir})),
			Memory: restore.MinMemory, Overwrite: restore.Never, Include: []string{include},
		})
		if err != nil || res.Failed > 0 {
			t.Errorf("restore: %v, %+v", err, res)
		}
		return
	}
	t.Fatalf("point %s is not listed", id)
}

func same(t *testing.T, what string, got, want map[string][sha256.Size]byte) bool {
	t.Helper()
	if maps.Equal(got, want) {
		return true
	}
	t.Errorf("%s: %d entries instead of %d", what, len(got), len(want))
	for k, sum := range want {
		if got[k] != sum {
			t.Errorf("%s: %q is not what it was", what, k)
		}
	}
	return false
}

// named demands that verification finds nothing lost, and names every object of ours that something was put on.
func (a *arena) named(t *testing.T) {
	t.Helper()
	sum, found := a.verify(t)
	if sum.Missing+sum.Damaged+sum.Unlocked > 0 || sum.Status != verify.Tampered {
		t.Errorf("verify: %+v", sum)
		for _, f := range found {
			if f.Kind != repo.Tampered {
				t.Errorf("verify: %v", f)
			}
		}
	}
	allNamed(t, a, found)
}

// stillNamed demands the same once the host key was stolen as well. Points that a thief signed are not whole, and are of no
// concern: those from before are.
func stillNamed(t *testing.T, a *arena) {
	t.Helper()
	_, found := a.verify(t)
	ours := map[format.Hash]bool{}
	for _, p := range a.points {
		ours[p.id] = true
	}
	for _, f := range found {
		if f.Kind != repo.Tampered && ours[f.Point] {
			t.Errorf("verify: %v", f)
		}
	}
	allNamed(t, a, found)
}

// allNamed demands that every object of ours that something was put on is among the findings.
func allNamed(t *testing.T, a *arena, found []verify.Finding) {
	t.Helper()
	names := map[string]bool{}
	for _, f := range found {
		if f.Kind == repo.Tampered {
			names[f.Name] = true
		}
	}
	named := 0
	for name := range a.tampered {
		if names[name] {
			named++
		} else {
			t.Errorf("verify does not name %s", name)
		}
	}
	t.Logf("figure: findings=%d named=%d tampered=%d", len(names), named, len(a.tampered))
}

// nextRuns makes points of what the sources are now, with this machine's cache and without one, and they come back too.
func nextRuns(t *testing.T, a *arena) {
	t.Helper()
	keptPoints, early := a.points, a.early
	defer func() { a.points, a.early = keptPoints, early }()
	a.points, a.early = nil, 0
	for _, fresh := range []bool{false, true} {
		if fresh {
			a.cache = t.TempDir()
		}
		a.serial++
		a.put(t.Context(), t, fmt.Sprintf("docs/new-%d", a.serial), noise(uint64(a.serial), 1000))
		keepPoint(t, a, "uploads")
		keepPoint(t, a, "site")
	}
	comesBack(t, a)
	rp, err := repo.Find(t.Context(), a.in, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var ids []format.Hash
	for _, p := range a.points {
		ids = append(ids, p.id)
	}
	sum, err := verify.Run(t.Context(), verify.Options{
		Repository: rp, In: a.in, Identities: []keys.Identity{a.restore}, Level: verify.Content, Points: ids,
		Emit: func(f verify.Finding) {
			if f.Kind != repo.Tampered {
				t.Errorf("verify of new points: %v", f)
			}
		},
	})
	if err != nil || sum.Missing+sum.Damaged+sum.Unlocked > 0 {
		t.Errorf("verify of new points: %v, %+v", err, sum)
	}
}
