package prune

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

// plan holds what goes, on disk, in the order in which it goes.
type plan struct{ c *cache.Counter }

func newPlan(scratch *cache.Cache) (*plan, error) {
	c, err := scratch.Counter("plan")
	return &plan{c: c}, err
}

func (p *plan) close() error { return p.c.Close() }

// reasons by their letter in the plan.
var reasons = [...]Reason{Over, Unneeded, Overlaid, Marker, Stranger}

// add puts versions of one name on the plan, in the order in which they are to go. Commit objects go before everything
// else: group tells names apart and is in the order of names.
func (p *plan) add(group int64, items []Item) error {
	for i, item := range items {
		reason := 0
		for j, r := range reasons {
			if r == item.Reason {
				reason = j
			}
		}
		class := 1
		if item.Reason == Over {
			class = 0
		}
		key := fmt.Sprintf("%d%016x%06x%d%016x%s\x00%s", class, group, i, reason, max(item.LockOver.Unix(), 0), item.Name, item.Version)
		if err := p.c.Add(key, item.Size); err != nil {
			return err
		}
	}
	return nil
}

const planHead = 1 + 16 + 6 + 1 + 16

// all gives what was added: commit objects of points first.
func (p *plan) all() iter.Seq2[planned, error] {
	return func(yield func(planned, error) bool) {
		for item, err := range p.c.All() {
			var x planned
			if err == nil {
				x, err = parsePlanned(item)
			}
			if !yield(x, err) || err != nil {
				return
			}
		}
	}
}

// planned is one version on the plan. Those of one group are removed one after another, and of one class before another.
type planned struct {
	Item
	class int
	group string
}

func parsePlanned(item cache.Item) (planned, error) {
	bad := fmt.Errorf("%w: a version to be deleted", cache.ErrCorrupt)
	if len(item.Key) < planHead {
		return planned{}, bad
	}
	name, version, ok := strings.Cut(item.Key[planHead:], "\x00")
	reason := int(item.Key[23] - '0')
	until, err := strconv.ParseInt(item.Key[24:planHead], 16, 64)
	if !ok || err != nil || reason < 0 || reason >= len(reasons) {
		return planned{}, bad
	}
	x := planned{class: int(item.Key[0] - '0'), group: item.Key[1:17]}
	x.Item = Item{Ref: store.Ref{Name: name, Version: version}, Size: item.Sum, Reason: reasons[reason]}
	if until > 0 {
		x.LockOver = time.Unix(until, 0).UTC()
	}
	return x, nil
}
