package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// choose finds the version that counts where there are several, or delete markers. The same bytes put twice are a
// repeated request or two runs at once, and harmless; anything else is tampering, and the right bytes have to be found
// under it and be locked.
func (r *checking) choose(ctx context.Context, o *object, g group) error {
	odd := ""
	switch {
	case g.markers > 0:
		odd = fmt.Sprintf("%d delete markers lie over %d versions", g.markers, g.versions)
	case g.versions > len(g.kept):
		odd = fmt.Sprintf("there are %d versions", g.versions)
	}
	var right []store.Info
	var best store.Retention
	held := false
	// The oldest first: what was put later is the likelier forgery.
	for _, info := range slices.Backward(g.kept) {
		if odd != "" && held {
			break
		}
		ok := false
		if o.fits(info.Size) {
			var err error
			if ok, err = r.hashes(ctx, info, o.sum); err != nil {
				if err = r.passOver(ctx, err); err != nil {
					return err
				}
			}
		}
		if !ok {
			odd = fmt.Sprintf("%s has other bytes", flat.Describe(info.Ref))
			continue
		}
		right = append(right, info)
		if r.o.NoLocks || held {
			held = true
			continue
		}
		_, got, err := r.o.In.Stat(ctx, info.Ref)
		if err != nil {
			if err = r.passOver(ctx, err); err != nil {
				return err
			}
			continue
		}
		if held = o.locks.held(got); held || len(right) == 1 {
			best = got
		}
	}
	if len(right) == 0 {
		r.count(0)
		r.find(repo.Damaged, o.name, o.point, "none of its %d versions has the right bytes", g.versions)
		return nil
	}
	r.count(right[0].Size)
	r.countRead()
	if odd != "" {
		r.find(repo.Tampered, o.name, o.point, "%s; the right bytes are in %s", odd, flat.Describe(right[0].Ref))
	}
	if !r.o.NoLocks {
		r.judgeLock(o, best)
	}
	return nil
}

// passOver lets a version that cannot be read be; another may do.
func (r *checking) passOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, ok := judge(ctx, err); ok || repo.Unreadable(ctx, err) {
		return nil
	}
	return err
}

// spare is an object that the sample left out, with its only version.
type spare struct {
	object object
	info   store.Info
	value  uint64
}

// keepSpare keeps one of the objects that the sample leaves out, any of them alike.
func (r *checking) keepSpare(o *object, info store.Info) {
	v := r.sample.value(o.name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spare == nil || v < r.spare.value {
		r.spare = &spare{object: *o, info: info, value: v}
	}
}

// readSpare reads one object where a small sample of a small vault took none: "verified" is not to mean that nothing was read.
func (r *checking) readSpare(ctx context.Context) error {
	r.mu.Lock()
	s, read := r.spare, r.sum.ObjectsRead
	r.mu.Unlock()
	if s == nil || read > 0 {
		return nil
	}
	_, err := r.readAll(ctx, &s.object, s.info)
	return err
}

// opens reports whether an entry's content is read: the sample's, and the first that has any in any case.
func (r *checking) opens(e *format.Entry) bool {
	takes := r.sample.takes(e.Key, e.Version, e.SHA256.String())
	if len(e.Chunks)+len(e.Extents) == 0 {
		return takes
	}
	return !r.opened.Swap(true) || takes
}
