package tobucket

import (
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// replay goes through the versions of a key in the point and through those at the target, both from the oldest on, and
// finds for each of the point's whether the target has it in its place. A version can only be put on top: from the first
// that the target lacks on, all are put. So the point's order is kept among whatever else there is, a restore that was
// broken off goes on where it was, and in the end the point's last version is current.
type replay struct {
	r     *receiver
	past  *history
	never bool  // what is there stays, and only what this restore began is gone on with
	at    *past // the version of the target to look at next; nil: ask for it
	top   bool  // the newest at the target was passed or taken for one of the point's

	foreign bool // something was passed that is not the point's
	rest    bool // the target has no more: what comes now is put
	left    bool // never: something is missing and is not put
	byBytes bool // from here on content must tell, so Restore decides

	markerBefore bool // the version before was a delete marker, or there was none
}

// lookAtVersion decides about one version of a key that has some at the target.
func (r *receiver) lookAtVersion(ctx context.Context, e *format.Entry, last bool) (restore.Verdict, error) {
	if r.replay == nil {
		past, err := r.t.look.history(ctx, r.key)
		if err != nil {
			return 0, err
		}
		// Under a delete marker there is nothing to be seen, and nothing that must stay as it is.
		never := r.t.job.Overwrite == restore.Never && past.newest != nil && !past.newest.marker
		r.replay = &replay{r: r, past: past, never: never, rest: past.newest == nil, markerBefore: true}
	}
	if r.replay.byBytes {
		r.plan(e, plan{replay: true})
		return restore.Take, nil
	}
	return r.replay.step(ctx, e, last, nil)
}

// step decides about the next version of the point. Without its content the answer may be that it is needed: then this and
// all that follow are planned for Restore.
func (p *replay) step(ctx context.Context, e *format.Entry, last bool, c *restore.Content) (restore.Verdict, error) {
	markerBefore := p.markerBefore
	p.markerBefore = e.Kind == format.KindMarker
	switch {
	case p.rest:
		return restore.Take, nil
	case last:
		return p.stepLast(ctx, e, c)
	case p.left:
		return restore.Skip, nil
	}
	for {
		x, err := p.peek(ctx)
		if err != nil {
			return 0, err
		}
		if x == nil {
			return p.missing()
		}
		if e.Kind == format.KindMarker && !x.marker && markerBefore {
			return restore.Skip, nil // MinIO keeps no marker on another or on nothing; nobody can see the difference
		}
		is, o, err := p.is(ctx, x, e, c)
		switch {
		case err != nil:
			return 0, err
		case is == unknown:
			p.markerBefore, p.byBytes = markerBefore, true
			p.r.plan(e, plan{replay: true})
			return restore.Take, nil
		}
		p.at, p.top = nil, x.latest
		if is == same {
			return p.found(ctx, x, e, o)
		}
		p.foreign = true
	}
}

func (p *replay) peek(ctx context.Context) (*past, error) {
	if p.at != nil || p.top {
		return p.at, nil
	}
	var err error
	p.at, err = p.past.next(ctx)
	return p.at, err
}

// missing is where the target has no more versions.
func (p *replay) missing() (restore.Verdict, error) {
	if p.never && p.foreign {
		p.left = true
		return restore.Skip, nil
	}
	p.rest = true
	return restore.Take, nil
}

// found is where x is e; o is what was seen of it, if that was needed. Of an old version only the tags can have been
// changed since.
func (p *replay) found(ctx context.Context, x *past, e *format.Entry, o *shown) (restore.Verdict, error) {
	if p.never || x.marker || !knowsTags(e) {
		return restore.Skip, nil
	}
	t := p.r.t
	if o == nil {
		var err error
		if o, err = t.look.head(ctx, p.r.key, x.version); err != nil || o == nil {
			return restore.Skip, err
		}
	}
	diffs, err := t.look.tagDiffs(ctx, p.r.key, x.version, e, o, true)
	if err != nil || len(diffs) == 0 {
		return restore.Skip, err
	}
	p.r.plan(e, plan{on: &shown{version: x.version}, retag: true})
	return restore.TakeEmpty, nil
}

// is reports whether x is the version e, and what was seen of it beside the listing.
func (p *replay) is(ctx context.Context, x *past, e *format.Entry, c *restore.Content) (certainty, *shown, error) {
	t := p.r.t
	switch {
	case x.marker || e.Kind == format.KindMarker:
		if x.marker && e.Kind == format.KindMarker {
			return same, nil, nil
		}
		return differs, nil, nil
	case x.size != e.Size:
		return differs, nil, nil
	}
	if t.look.content(e, &shown{size: x.size, etag: x.etag}, p.never && x.etag == e.ETag) == same {
		return same, nil, nil
	}
	o, err := t.look.head(ctx, p.r.key, x.version)
	if err != nil || o == nil {
		return differs, nil, err
	}
	is := t.look.content(e, o, p.never)
	if is != unknown || c == nil {
		return is, o, nil
	}
	equal, err := t.look.sameContent(ctx, e, o, *c)
	if equal {
		return same, o, err
	}
	return differs, o, err
}

// stepLast decides about the version that is to be current.
func (p *replay) stepLast(ctx context.Context, e *format.Entry, c *restore.Content) (restore.Verdict, error) {
	x := p.past.newest
	taken := p.top // by the version before: what comes now belongs on top of it
	isMarker := e.Kind == format.KindMarker
	switch {
	case taken && (!p.never || !p.foreign):
		if isMarker && x.marker {
			return restore.Skip, nil // see step
		}
		return restore.Take, nil
	case isMarker && x.marker && !p.left:
		return restore.Skip, nil
	case isMarker && p.never:
		return 0, fmt.Errorf("%w: the point has a delete marker here", restore.ErrDiffers)
	case isMarker, x.marker:
		return restore.Take, nil
	}
	o, err := p.r.t.look.head(ctx, p.r.key, "")
	switch {
	case err != nil:
		return 0, err
	case o == nil:
		return restore.Take, nil
	}
	verdict, err := p.r.decide(ctx, e, o.version, o, p.never)
	if err != nil || !p.never || verdict != restore.Skip {
		return verdict, err
	}
	if p.left {
		return 0, fmt.Errorf("%w: the current version is right, and some before it are not there", restore.ErrDiffers)
	}
	return restore.Skip, nil
}
