package watch_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/watch"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// One stored object whose lock the vault does not tell, as one that was put there with a key of somebody's own, is no reason not to look at the others.
func TestLockRefused(t *testing.T) {
	p := newPost(t, lifetest.Options{Mode: store.Governance, Slack: 10 * day})
	p.begin(3)
	refuse := func(prefix string) {
		p.in = locks{p.w.Store, func(ref store.Ref, _ *store.Retention) error {
			if strings.HasPrefix(ref.Name, prefix) {
				return &store.Error{Op: "stat", Ref: ref, Code: "BadRequest", Err: errors.New("400")}
			}
			return nil
		}}
	}
	refuse(p.points()[1].Name)
	r := p.finds("shrunk cannot be read")
	if len(r.Sources) == 0 {
		t.Errorf("%s", told(r))
	}
	p.finds()
	p.in = p.w.Store
	p.over(watch.Shrunk)
	refuse("packs/")
	p.finds("attention have a lock that cannot be read")
	p.in = p.w.Store
	p.over(watch.Attention)

	// None of them is taken to be looked at later.
	p = newPost(t, lifetest.Options{})
	refuse("packs/")
	p.change = func(o *watch.Options) { o.Expected = true }
	p.run()
	p.silent()
	p.change = nil
	for range 4 {
		p.silent()
	}
}

// What no key signed is told though locks cannot be looked at, and not again once they can.
func TestForeignThoughUnreadable(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	p.w.Store.Attacker().Overwrite("points/uploads/junk", nil)
	p.in = locks{p.w.Store, func(store.Ref, *store.Retention) error { return store.ErrStalled }}
	p.finds("foreign points/uploads/junk", "unreadable")
	p.w.Pass(day)
	p.run()
	p.in = p.w.Store
	p.over(watch.Unreadable)
}

// The default retention of a bucket: of years, which are a day longer or shorter; and one that was taken off, which is so until it is there again.
func TestDefaultRetention(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	days, mode := 366, store.Compliance
	p.inspect = facts{p.w.Store, func(f *store.Facts) error {
		f.Default = store.Retention{Mode: mode, Until: f.Clock.AddDate(0, 0, days)}
		if days == 0 {
			f.Default = store.Retention{}
		}
		return nil
	}}
	p.begin(2)
	days = 365
	p.silent()
	days = 364
	p.finds("shrunk the default retention of the bucket was compliance for 366 days and is compliance for 364")
	days = 365
	p.over(watch.Shrunk)
	days = 0
	p.finds("shrunk is none for 0")
	denied := p.inspect
	p.inspect = facts{p.w.Store, func(f *store.Facts) error { *f = store.Facts{Clock: f.Clock}; return store.ErrDenied }}
	if r := p.finds(); len(r.Over) > 0 {
		t.Errorf("%s", told(r))
	}
	p.inspect = denied
	p.w.Pass(3 * day)
	p.run()
	if r := p.look(); len(r.Findings) != 1 || r.Findings[0].Event {
		t.Errorf("%s", told(r))
	}
	days = 365
	p.over(watch.Shrunk)
}

// Who sets this machine's clock forward has nothing forgotten.
func TestClockOfTheFuture(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(3)
	p.now = func() time.Time { return p.w.Clock.AddDate(30, 0, 0) }
	p.look()
	m, err := watch.ReadMemory(p.path)
	p.must(err)
	if len(m.Points) != 3 || len(m.Sentinels) == 0 {
		t.Errorf("%d points, %d sentinels", len(m.Points), len(m.Sentinels))
	}
	p.must(p.w.Store.Attacker().Lose(p.points()[0]))
	p.now = p.w.Now
	p.tells("withheld uploads: ")
}

// A vault that was set back stays so, whatever is stored after it.
func TestSetBackStays(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(6)
	newest := p.points()[3:]
	gone := map[string]bool{}
	for _, ref := range newest {
		gone[ref.Name] = true
	}
	p.in = shows{p.w.Store, func(i store.Info) bool { return gone[i.Name] }}
	p.tells("set_back : ")
	p.w.Pass(day)
	p.run()
	p.look()
	p.w.Pass(day)
	p.run()
	if r := p.look(); r.Findings[0].Kind != watch.SetBack || len(r.Over) > 0 {
		t.Errorf("%s", told(r))
	}
}

// Who asks for one source hears nothing of the end of what is wrong with another.
func TestAskedForOne(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	ask := func(source string) {
		p.change = func(o *watch.Options) { o.Sources, o.Asked = []string{source}, true }
	}
	ask("a")
	p.finds("late no complete point")
	ask("b")
	if r := p.finds("late no complete point"); len(r.Over) > 0 {
		t.Errorf("%s", told(r))
	}
	p.change = nil
	p.over(watch.Late, watch.Late)
}

// A vault in which there is nothing is not well.
func TestEmptyVault(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.change = func(o *watch.Options) { o.Expected = true }
	p.finds("late there are no recovery points")
	p.run()
	p.over(watch.Late)
}

// Points under a key that was distrusted before they came are told when they come, need not be there, whatever end they have, and those that were
// there before it was distrusted are no news.
func TestDistrustedPoints(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	theft := p.w.Clock
	p.w.Pass(day)
	p.run() // the thief's, as the next
	p.silent()
	p.w.Pass(time.Hour)
	p.run()
	later := p.points()[3].Name
	hidden := shows{p.w.Store, func(i store.Info) bool { return i.Name == later }}
	p.in = hidden
	p.silent()
	next, err := p.w.Host.Rotated(false)
	p.must(err)
	p.w.Pass(time.Hour)
	_, err = repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{p.w.Vault}, Old: p.w.Host, New: next, Recipients: []keys.Recipient{p.w.Key.Recipient()}, Need: 366 * day, DistrustAfter: theft, Now: p.w.Now,
	})
	p.must(err)
	p.w.Host = next
	for _, f := range p.look().Findings {
		if f.Kind != watch.Keys {
			t.Errorf("%s: %s", f.Kind, f.Text)
		}
	}
	m, err := watch.ReadMemory(p.path)
	p.must(err)
	if len(m.Points) != 2 {
		t.Errorf("%d points are remembered", len(m.Points))
	}
	p.in = arrives{p.w.Store, later, p.w.Clock}
	p.finds("foreign arrived at")
	p.finds()
	p.in = hidden
	p.must(p.w.Store.Attacker().Lose(p.points()[2]))
	for _, f := range p.look().Findings {
		if f.Kind == watch.Withheld {
			t.Errorf("%s: %s", f.Kind, f.Text)
		}
	}
}

// Several of a kind of alarm are told as several.
func TestAlarmsAlike(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(3)
	hold := func(from, to int) {
		var holds []evidence.Held
		for i := from; i < to; i++ {
			holds = append(holds, p.held(format.Hash{byte(i + 1)}, 90*day))
		}
		body, err := json.Marshal(evidence.Telling(holds))
		p.must(err)
		_, err = p.reporter.Add(t.Context(), evidence.Statement{Time: p.w.Clock, Type: evidence.TypeHold, Body: body})
		p.must(err)
	}
	hold(0, 2)
	r := p.finds("attention and 1 more like it")
	p.w.Pass(time.Second)
	hold(2, 5)
	if r = p.finds("attention and 4 more like it"); len(r.Over) > 0 {
		t.Errorf("%s", told(r))
	}
}

// held is a hold of a point.
func (p *post) held(point format.Hash, span time.Duration) evidence.Held {
	now := format.At(p.w.Clock)
	return evidence.Held{Hold: evidence.Hold{Source: "uploads", Point: point, SignedAt: now, Until: format.At(p.w.Clock.Add(span)), Reason: "case 113", At: now, Reporter: "job"}}
}

// The newest point is held for longer than its lock reaches.
func TestHeldForLonger(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(3)
	var newest format.Hash
	p.must(newest.UnmarshalText([]byte(strings.Split(strings.Split(p.points()[2].Name, "/")[2], "-")[1])))
	body, err := json.Marshal(evidence.Telling([]evidence.Held{p.held(newest, 900*day)}))
	p.must(err)
	_, err = p.reporter.Add(t.Context(), evidence.Statement{Time: p.w.Clock, Type: evidence.TypeHold, Body: body})
	p.must(err)
	p.finds("shrunk the newest complete point")
	p.finds()
}
