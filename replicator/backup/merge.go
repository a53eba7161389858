package backup

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// change is what a run makes of the parent's need of one object, or the whole of it where the parent had none.
type change struct {
	format.Need
	edges []edge
}

// of gives the new point's need; old is the parent's, nil if it had none.
func (c change) of(old *format.Need) (n format.Need, err error) {
	switch {
	case old == nil:
		n = c.Need
	case isStanding(old.Name):
		return *old, nil
	default:
		n = *old
		n.Living += c.Living
	}
	if n.Pages, err = withEdges(n.Name, n.Pages, c.edges); err != nil {
		return n, err
	}
	if len(n.Pages) > 0 && n.Pages.Bytes() > n.Living {
		return n, fmt.Errorf("%s: %w", n.Name, errUntrue)
	}
	return n, nil
}

// mergedNeeds gives the new point's needs in order of name.
func (e *lists) mergedNeeds(ctx context.Context, known *knownPages, lists []string) iter.Seq2[format.Need, error] {
	return func(yield func(format.Need, error) bool) {
		next, stop := iter.Pull2(e.changes(ctx, lists))
		defer stop()
		item, err, more := next()
		give := func(n format.Need, err error) bool { return err == nil && n.Living <= 0 || yield(n, err) && err == nil }
		upTo := func(name string) bool { // changes of objects the parent did not need
			for more && err == nil && (name == "" || item.Name < name) {
				if !give(item.of(nil)) {
					return false
				}
				item, err, more = next()
			}
			return true
		}
		for old, oerr := range e.oldNeeds(ctx, known) {
			if oerr != nil {
				yield(format.Need{}, oerr)
				return
			}
			if strings.HasPrefix(old.Name, format.PrefixNeeds) {
				continue // of the parent's points list
			}
			if !upTo(old.Name) {
				return
			}
			var c change
			if more && err == nil && item.Name == old.Name {
				c = item
				item, err, more = next()
			}
			if !give(c.of(&old)) {
				return
			}
		}
		if err == nil && !upTo("") {
			return
		}
		if err != nil {
			yield(format.Need{}, err)
		}
	}
}

func (e *lists) oldNeeds(ctx context.Context, known *knownPages) iter.Seq2[format.Need, error] {
	if e.parent == nil || e.mend != nil {
		return func(func(format.Need, error) bool) {}
	}
	reuse := known.add
	if e.scattered { // every page is written anew
		reuse = nil
	}
	return tree.Needs(ctx, e.s.Content.Page, e.parent.Needs, reuse)
}

// changes gives the tally and the objects every point needs, by name, with sizes; lists are among these.
func (e *lists) changes(ctx context.Context, lists []string) iter.Seq2[change, error] {
	return func(yield func(change, error) bool) {
		standing := e.s.Repository().Standing()
		for _, name := range lists {
			size, err := e.s.Content.SizeOf(ctx, name)
			if err != nil {
				yield(change{}, err)
				return
			}
			standing = append(standing, format.Need{Name: name, Size: size, Living: size})
		}
		slices.SortFunc(standing, func(a, b format.Need) int { return strings.Compare(a.Name, b.Name) })
		for o, err := range e.needs.objects() {
			if err != nil {
				yield(change{}, err)
				return
			}
			for len(standing) > 0 && standing[0].Name < o.name {
				if !yield(change{Need: standing[0]}, nil) {
					return
				}
				standing = standing[1:]
			}
			if o.living == 0 && len(o.edges) == 0 {
				continue
			}
			var size int64
			if o.living > 0 {
				size, err = e.s.Content.SizeOf(ctx, o.name)
			} else {
				size, _, err = e.s.Content.Size(o.name)
			}
			if !yield(change{format.Need{Name: o.name, Size: size, Living: o.living}, o.edges}, err) || err != nil {
				return
			}
		}
		for _, n := range standing {
			if !yield(change{Need: n}, nil) {
				return
			}
		}
	}
}

func isStanding(name string) bool {
	return strings.HasPrefix(name, format.PrefixDescriptors) || strings.HasPrefix(name, format.PrefixKeys)
}
