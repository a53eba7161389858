package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// objects checks every stored object the points need: presence, version, lock, and from level Bytes on its bytes.
func (r *checking) objects(ctx context.Context, points []*point) error {
	r.o.Progress.Total.Add(int64(len(points)))
	if err := r.join(ctx, commits(points).sorted()); err != nil {
		return err
	}
	all := lists(points)
	var most int64
	for _, l := range all {
		most = max(most, l.root.Entries)
	}
	r.o.Progress.Total.Add(most) // lists of one vault mostly name the same objects
	held, standing := remembered{}, remembered{}
	broken := func(ref format.PageRef, p format.Hash, err error) error {
		return r.trouble(ctx, ref.Object, p, fmt.Errorf("needs list: %w", err))
	}
	pages := newPageCache(r.reader.Page)
	for batch := range slices.Chunk(all, maxStreams) {
		m := merger{load: pages.load, broken: broken, pages: func(l *list, ref format.PageRef) {
			sum, err := format.ParseName(ref.Object)
			if err != nil {
				return // the reader refuses such a name itself
			}
			held.add(object{name: ref.Object, size: -1, least: ref.Frame.Offset + ref.Frame.Length, sum: sum, locks: l.locks, point: l.point})
		}}
		err := r.join(ctx, func(yield func(*object, error) bool) {
			for o, err := range m.merged(ctx, batch) {
				if err == nil && isStanding(o.name) {
					standing.add(*o)
				}
				if !yield(o, err) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
	}
	if err := r.join(ctx, held.sorted()); err != nil {
		return err
	}
	left, err := r.standing(points, standing)
	if err != nil {
		return err
	}
	return r.join(ctx, left.sorted())
}

// commits gives the commit objects themselves.
func commits(points []*point) remembered {
	out := remembered{}
	for _, p := range points {
		out.add(object{name: p.Name, size: -1, least: 1, sum: p.ID, locks: lockOf(p.lock()), point: p.ID})
	}
	return out
}

func isStanding(name string) bool {
	return strings.HasPrefix(name, format.PrefixDescriptors) || strings.HasPrefix(name, format.PrefixKeys)
}

// standing gives the descriptors and host key copies that the points need beyond what was asked of those on their lists.
func (r *checking) standing(points []*point, listed remembered) (remembered, error) {
	out := remembered{}
	add := func(o object) {
		if old := listed[o.name]; old == nil || (&locks{old.locks.compliance, old.locks.governance}).join(o.locks) {
			out.add(o)
		}
	}
	chain := r.o.Repository.Chain
	for _, p := range points {
		n := slices.IndexFunc(chain, func(l repo.Link) bool { return l.Sum == p.commit.Descriptor })
		if n < 0 && r.o.Repository.Vouched() {
			r.find(repo.Missing, p.Name, p.ID, "it was written under descriptor %s, which is not in the chain", p.commit.Descriptor)
		}
		for _, l := range chain[:n+1] {
			add(object{name: l.Name, size: l.Size, sum: l.Sum, locks: lockOf(p.lock()), point: p.ID})
			sum, err := format.ParseName(l.HostKey)
			if err != nil {
				return nil, fmt.Errorf("descriptor %d: %w", l.Number, err)
			}
			add(object{name: l.HostKey, size: l.HostKeyLen, sum: sum, locks: lockOf(p.lock()), point: p.ID})
		}
	}
	return out, nil
}

// task is one object with what the vault lists under its name; without an object, a name that nobody asked for.
type task struct {
	object *object
	name   string
	group  group
}

// join walks objects, sorted by name, beside the vault's listing and checks each.
func (r *checking) join(ctx context.Context, objects iter.Seq2[*object, error]) error {
	g, ctx := errgroup.WithContext(ctx)
	tasks := make(chan task, r.o.Concurrency)
	g.Go(func() error {
		defer close(tasks)
		at := &listing{ctx: ctx, in: r.o.In}
		defer at.close()
		give := func(t task) error {
			select {
			case tasks <- t:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		at.passed = func(name string, g group) error {
			if seenElsewhere(name) || g.markers == 0 && g.versions < 2 && wellNamed(name) {
				return nil
			}
			return give(task{name: name, group: g})
		}
		for o, err := range objects {
			if err != nil {
				return err
			}
			t := task{object: o}
			if t.group, err = at.find(o.name); err != nil {
				return err
			}
			if err := give(t); err != nil {
				return err
			}
		}
		return at.rest()
	})
	for range r.o.Concurrency {
		g.Go(func() error {
			for t := range tasks {
				if err := r.check(ctx, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// check looks at one object.
func (r *checking) check(ctx context.Context, t task) error {
	if t.object == nil {
		return r.passed(ctx, t.name, t.group)
	}
	o := t.object
	if t.group.versions == 0 && t.group.markers == 0 {
		if err := r.unlisted(ctx, &t); err != nil {
			return err
		}
	}
	r.o.Progress.Done.Add(1)
	if t.group.versions > 0 && r.left(o, t.group) {
		return nil
	}
	switch {
	case t.group.versions == 0:
		r.count(0)
		what := "not in the vault"
		if t.group.markers > 0 {
			what = "only a delete marker is left"
		}
		r.find(repo.Missing, o.name, o.point, "%s", what)
		if r.inTurn != nil && r.inTurn.walking {
			r.inTurn.due(o, group{}) // not read, should it come back
		}
		return nil
	case t.group.versions == 1 && t.group.markers == 0:
		only := t.group.kept[0]
		r.count(only.Size)
		if !o.fits(only.Size) {
			r.find(repo.Damaged, o.name, o.point, "%d bytes instead of %s", only.Size, o.sizeText())
			return nil
		}
		if r.o.Level != Locks && !r.sample.takes(o.name) {
			r.keepSpare(o, only)
		} else if r.o.Level != Locks {
			if ok, err := r.readAll(ctx, o, only); err != nil || !ok {
				return err
			}
		}
		return r.checkVersion(ctx, o, only)
	}
	return r.choose(ctx, o, t.group)
}

// maxAbsent is how many objects are asked for by name and are not there, before the listing is taken at its word.
const maxAbsent = 1000

// unlisted asks for an object that the listing leaves out: MinIO lists nothing below an object of a folder's name, which anybody
// with the writer's key can put there.
func (r *checking) unlisted(ctx context.Context, t *task) error {
	if r.absent.Load() >= maxAbsent {
		return nil
	}
	info, _, err := r.o.In.Stat(ctx, store.Ref{Name: t.object.name})
	switch {
	case err == nil:
		t.group = group{versions: 1, kept: []store.Info{info}}
		r.find(repo.Tampered, t.object.name, t.object.point, "it is there, and the vault's listing leaves it out: an object of the name of its folder may hide it")
	case errors.Is(err, store.ErrNotFound):
		r.absent.Add(1)
	default:
		return r.passOver(ctx, err)
	}
	return nil
}

func (r *checking) count(size int64) {
	if r.counted() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Objects++
	r.sum.Bytes += size
}

func (o *object) fits(size int64) bool {
	return size == o.size || o.size < 0 && size >= o.least && size <= format.MaxPack
}

func (o *object) sizeText() string {
	if o.size < 0 {
		return fmt.Sprintf("at least %d", o.least)
	}
	return fmt.Sprint(o.size)
}

// readAll compares the hash of an object's only version.
func (r *checking) readAll(ctx context.Context, o *object, info store.Info) (ok bool, err error) {
	switch ok, err := r.hashes(ctx, info, o.sum); {
	case err != nil:
		return false, r.trouble(ctx, o.name, o.point, err)
	case !ok:
		r.find(repo.Damaged, o.name, o.point, "its bytes do not have the hash in its name")
		return false, nil
	}
	r.countRead()
	return true, nil
}

func (r *checking) countRead() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.ObjectsRead++
}

// hashes compares the hash of one version. What was wrong is read once more: the network may have changed it.
func (r *checking) hashes(ctx context.Context, info store.Info, sum format.Hash) (bool, error) {
	ok, err := r.hashesNow(ctx, info, sum)
	if err == nil && !ok {
		ok, err = r.hashesNow(ctx, info, sum)
	}
	return ok, err
}

// hashesNow streams one version and compares its hash.
func (r *checking) hashesNow(ctx context.Context, info store.Info, sum format.Hash) (bool, error) {
	body, err := r.o.In.Open(ctx, info.Ref, 0, -1)
	if err != nil {
		return false, err
	}
	defer body.Close()
	h := sha256.New()
	_, err = io.Copy(h, io.LimitReader(body, info.Size+1))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return format.Hash(h.Sum(nil)) == sum, nil
}

// checkVersion checks the lock of the version that counts.
func (r *checking) checkVersion(ctx context.Context, o *object, info store.Info) error {
	if r.o.NoLocks {
		return nil
	}
	_, got, err := r.o.In.Stat(ctx, info.Ref)
	if err != nil {
		return r.trouble(ctx, o.name, o.point, err)
	}
	r.judgeLock(o, got)
	return nil
}

func (r *checking) judgeLock(o *object, got store.Retention) {
	if got.Mode == store.Governance {
		r.mu.Lock()
		r.sum.Governance++
		r.mu.Unlock()
	}
	if o.locks.held(got) {
		return
	}
	has := "has none"
	if got.Mode != store.ModeNone {
		has = "has " + lockOf(got).String()
	}
	r.find(repo.Unlocked, o.name, o.point, "needs a lock in %s, %s", o.locks, has)
}
