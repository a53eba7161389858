package tobucket

import (
	"context"
	"fmt"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// receiver decides about one key and puts what is to be put: its versions, one after the other, or the current one.
type receiver struct {
	t     *Target
	key   string
	there bool // there may be something under the key

	// replay is of Look alone, then of Restore alone: see plan.
	replay *replay

	marker string // of Restore alone: the version of the delete marker that was set last, if nothing came after

	mu    sync.Mutex
	last  *format.Entry          // the key's last version: what is current in the end
	plans map[*format.Entry]plan // of entries that are not simply put
}

var _ restore.Looker = (*receiver)(nil)

// plan is what is to become of an entry that was taken.
type plan struct {
	on     *shown       // compare content with this, whose content is not known
	tags   []difference // what differs in tags, if the content is the same: they alone are set
	retag  bool         // set tags alone
	replay bool         // see replay.step: the content tells which version of the target this is
}

func (r *receiver) plan(e *format.Entry, p plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.plans == nil {
		r.plans = make(map[*format.Entry]plan)
	}
	r.plans[e] = p
}

// planned gives the plan of an entry and forgets it. last says whether it is the key's last.
func (r *receiver) planned(e *format.Entry) (p plan, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p = r.plans[e]
	delete(r.plans, e)
	return p, r.last == e
}

// Look implements restore.Looker.
func (r *receiver) Look(ctx context.Context, e *format.Entry, last bool) (restore.Verdict, error) {
	if last {
		r.mu.Lock()
		r.last = e
		r.mu.Unlock()
	}
	if !r.there || r.t.job.Overwrite == restore.Always {
		return restore.Take, nil
	}
	if r.t.versioned {
		return r.lookAtVersion(ctx, e, last)
	}
	o, err := r.t.look.head(ctx, r.key, "")
	if err != nil {
		return 0, err
	}
	if o == nil {
		return restore.Take, nil
	}
	return r.decide(ctx, e, "", o, r.t.job.Overwrite == restore.Never)
}

// decide says what becomes of an entry where o is what is current under its key.
func (r *receiver) decide(ctx context.Context, e *format.Entry, version string, o *shown, never bool) (restore.Verdict, error) {
	j, err := r.t.look.judge(ctx, r.key, version, e, o)
	switch {
	case err != nil:
		return 0, err
	case j.right():
		return restore.Skip, nil
	case j.content == unknown && len(j.diffs) == 0 && (!never || len(j.tags) == 0):
		r.plan(e, plan{on: o, tags: j.tags})
		return restore.Take, nil
	case never:
		return 0, fmt.Errorf("%w: %s", restore.ErrDiffers, j.all(e, o))
	case j.content == same && len(j.diffs) == 0:
		r.plan(e, plan{on: o, retag: true})
		return restore.TakeEmpty, nil
	}
	return restore.Take, nil
}

// Restore implements restore.Receiver.
func (r *receiver) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	p, last := r.planned(e)
	if p.replay {
		verdict, err := r.replay.step(ctx, e, last, &c)
		if err != nil {
			return err
		}
		if verdict == restore.Skip {
			return restore.ErrThere
		}
		p, _ = r.planned(e)
	}
	if p.on != nil && !p.retag {
		never := r.t.job.Overwrite == restore.Never
		equal, err := r.t.look.sameContent(ctx, e, p.on, c)
		if err == nil && never && !equal {
			equal, err = r.t.look.mayBeSame(ctx, r.key, e, p.on)
		}
		switch {
		case err != nil:
			return err
		case never && !equal:
			return fmt.Errorf("%w: the content, by its ETag", restore.ErrDiffers)
		case equal && len(p.tags) == 0:
			return restore.ErrThere
		}
		p.retag = equal
	}
	switch {
	case p.retag:
		return r.retag(ctx, e, p.on.version)
	case e.Kind == format.KindMarker:
		return r.mark(ctx, last)
	}
	class := r.t.class(e, true)
	err := r.put(ctx, e, c, class, last)
	if class != "" && awsclient.AnswerOf(err).Code == "InvalidStorageClass" {
		r.t.look.limited(limitClass + string(class))
		err = r.put(ctx, e, c, "", last)
	}
	return err
}
