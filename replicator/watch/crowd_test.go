package watch_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/watch"
	"github.com/holdfast-backup/holdfast/store"
)

// Whoever plants names under many sources that he made up hides nothing behind them.
func TestMadeUpSources(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	thief := p.w.Store.Attacker()
	for i := range 200 {
		thief.Overwrite(fmt.Sprintf("points/fake%d/x", i), nil)
	}
	p.w.Pass(day / 2)
	p.run()
	r := p.finds("foreign 200 new things", "hours outside the hours of runs", "hours of 2")
	if r.Findings[0].Source != "" {
		t.Errorf("%s", told(r))
	}
	p.finds()
}

// More of the same is news, and less is not; what was told one by one is not over when it is told together, nor the other way round.
func TestMoreOfTheSame(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(12)
	points := p.points()
	hide := func(n int) {
		p.in = shows{p.w.Store, func(i store.Info) bool {
			for _, ref := range points[:n] {
				if i.Name == ref.Name {
					return true
				}
			}
			return false
		}}
	}
	never := func(r watch.Report) {
		t.Helper()
		if len(r.Over) > 0 {
			t.Errorf("%s", told(r))
		}
	}
	hide(3)
	p.finds("withheld", "withheld", "withheld")
	hide(6)
	never(p.finds("withheld 6 points"))
	never(p.finds())
	hide(9)
	never(p.finds("withheld 9 points"))
	hide(7)
	p.change = func(o *watch.Options) {}
	r := p.look()
	for _, f := range r.Findings {
		if f.Kind == watch.Withheld && f.New {
			t.Errorf("less is no news: %s", told(r))
		}
	}
	hide(9)
	for _, f := range p.look().Findings {
		if f.Kind == watch.Withheld && f.New {
			t.Errorf("nor is what there was before")
		}
	}
}
