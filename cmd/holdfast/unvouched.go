package main

import (
	"context"
	"errors"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// unvouchedHelp stands under the help of the commands that read a point by its full ID alone.
const unvouchedHelp = `
Where no descriptor of the repository can be read any more, a full ID (all 64 digits) is
needed, from paper or a report: nothing else vouches for the point, and the exit code is 5.`

// openUnvouched opens the first vault that answers and whose descriptors alone are lost. why is what openFirst came to: no vault has
// one that can be read.
func (r *reading) openUnvouched(ctx context.Context, places []place, pin string, why error) error {
	for _, p := range places {
		o := r.open(ctx, p, pin)
		switch {
		case o.err == nil: // it has come back
			r.take(o, pin)
			return nil
		case !errors.Is(o.err, repo.ErrNoDescriptor):
			continue
		}
		if o = r.openWith(p, func(*opening) (*repo.Repository, error) { return repo.Unvouched(), nil }); o.err != nil {
			return o.err
		}
		r.repo, r.vault = o.repo, o.vault
		r.ui.warn("vault %s: %v. Nothing vouches for what is in this vault but the full ID of a point: no signature is checked, and which point is the newest is not known. "+
			"Compare all 64 digits of the ID with your paper, a report or the output of the run", p.name, repo.ErrNoDescriptor)
		r.findings.add(repo.Finding{Kind: repo.Missing, Name: format.PrefixDescriptors, Detail: why.Error()})
		return nil
	}
	return why
}

// landmark is the name of an object that a restore's target must not hold, as it would be the vault then: the first descriptor, or, where that is
// lost, the point itself.
func (r *reading) landmark(ctx context.Context, spec string) (string, error) {
	if r.repo.Vouched() {
		return r.repo.Chain[0].Name, nil
	}
	p, err := browse.Resolve(ctx, r.view(), spec, false)
	return p.Name, err
}
