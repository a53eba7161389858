package watch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/watch"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A job that does not run any more is told once it should have made a point, and its end once it has.
func TestJobDead(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	p.w.Pass(29 * time.Hour)
	p.silent()
	p.w.Pass(2 * time.Hour)
	p.finds("late at most 30h0m0s is allowed")
	p.w.Pass(5 * time.Hour)
	if r := p.finds(); len(r.Findings) != 1 || r.Findings[0].Since != p.w.Clock.Add(-5*time.Hour) {
		t.Errorf("it is not told since when: %s", told(r))
	}
	p.w.Pass(12 * time.Hour)
	p.run()
	p.over(watch.Late)
	p.silent()
}

// One that is there and is not shown, whether it is shown again or not.
func TestPointWithheld(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(3)
	middle := p.points()[1].Name
	p.in = shows{p.w.Store, func(i store.Info) bool { return i.Name == middle }}
	r := p.finds("withheld is not listed any more")
	if len(r.Findings) != 1 { // a later point tells of it as well
		t.Errorf("it is told twice: %s", told(r))
	}
	p.finds()
	p.in = p.w.Store
	r = p.finds("flickers is again: the vault shows different things")
	if len(r.Over) != 1 {
		t.Errorf("its end is not told: %s", told(r))
	}
	p.w.Pass(23 * time.Hour)
	if r := p.look(); len(r.Findings) != 1 {
		t.Errorf("what happened is forgotten within a day: %s", told(r))
	}
	p.w.Pass(time.Hour)
	p.run()
	p.silent()

	// The newest, of which nothing that is still there speaks.
	newest := p.points()[3].Name
	p.must(p.w.Store.Attacker().Lose(p.points()[3]))
	r = p.finds("withheld is not listed any more")
	if _, err := p.w.Run(t.Context()); err != nil { // the job makes another: that one stays away
		t.Fatal(err)
	}
	if p.points()[3].Name == newest {
		t.Fatal("the same point")
	}
	p.finds()
	p.w.Pass(60 * day) // until it is over
	p.run()
	if r = p.look(); len(r.Over) != 1 || r.Over[0].Kind != watch.Withheld {
		t.Errorf("it is told for longer than it was kept: %s", told(r))
	}
}

// What no key of the repository signed is told when it comes, and counted afterwards: nobody can take it away.
func TestForeign(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	thief := p.w.Store.Attacker()
	good := p.points()[1].Name
	thief.Overwrite(strings.Replace(good, good[len(good)-4:], "beef", 1), []byte("{}"))
	p.finds("foreign no key of this repository signed it")
	thief.Overwrite("reports/job/20261123T080500Z-0123456789abcdef.json", []byte("{}"))
	p.finds("foreign not a record of this repository")
	thief.Overwrite("descriptors/00000009-"+strings.Repeat("0", 64)+".json", []byte("{}"))
	thief.Hide(good)
	r := p.finds("foreign not the name of a descriptor", "foreign lie on top of this point")
	if r.Known != 2 {
		t.Errorf("%d are known, want 2", r.Known)
	}
	p.w.Pass(day)
	p.run()
	if r := p.look(); len(r.Findings) != 0 || r.Known < 3 {
		t.Errorf("known %d: %s", r.Known, told(r))
	}

	// Who looked into it and begins anew is not told of it again.
	p.must(os.Remove(p.path))
	p.change = func(o *watch.Options) { o.Expected = true }
	p.silent()
	p.change = nil
	p.silent()

	// Others at once are one finding; far too many are told for as long as they are there.
	for i := range 20 {
		thief.Overwrite(fmt.Sprintf("points/uploads/junk-%d", i), nil)
	}
	p.finds("foreign 20 new things")
	for i := range 1200 {
		thief.Overwrite(fmt.Sprintf("points/uploads/more-%d", i), nil)
	}
	p.finds("foreign more than 1000 things")
	if r := p.look(); len(r.Findings) == 0 || r.Findings[0].Event {
		t.Errorf("%s", told(r))
	}
	p.w.Pass(day)
	p.run()
	if r := p.look(); len(r.Findings) != 1 || r.Findings[0].Event {
		t.Errorf("%s", told(r))
	}
}

// A thief with the host key signs what he likes: a change of keys, and a point in the daytime.
func TestStolenHostKey(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	p.w.Pass(12 * time.Hour)
	p.run()
	p.tells("hours uploads: ", "outside the hours of runs, 01:00-06:00")
	thief, err := keys.GenerateIdentity(keys.X25519)
	p.must(err)
	_, err = repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{p.w.Vault}, Old: p.w.Host, New: p.w.Host, Recipients: []keys.Recipient{p.w.Key.Recipient(), thief.Recipient()}, Need: 366 * day, Now: p.w.Now,
	})
	p.must(err)
	p.finds("keys descriptor 2")
}

// locks answers with other locks than there are.
type locks struct {
	store.Reader
	change func(ref store.Ref, lock *store.Retention) error
}

func (l locks) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	info, lock, err := l.Reader.Stat(ctx, ref)
	return info, lock, errors.Join(err, l.change(ref, &lock))
}

// Locks in governance mode that somebody made shorter: of points, of one and of the newest, and of what points need.
func TestShorterLocks(t *testing.T) {
	p := newPost(t, lifetest.Options{Mode: store.Governance, Slack: 10 * day})
	p.begin(8)
	points := p.points()
	shorter := func(prefix string, change func(*store.Retention)) {
		p.in = locks{p.w.Store, func(ref store.Ref, lock *store.Retention) error {
			if strings.HasPrefix(ref.Name, prefix) && lock.Mode != store.ModeNone {
				change(lock)
			}
			return nil
		}}
	}
	hour := func(l *store.Retention) { l.Until = l.Until.Add(-time.Hour) }
	for name, c := range map[string]struct {
		prefix string
		change func(*store.Retention)
		want   string
	}{
		"an old point":      {points[1].Name, hour, "shrunk is shorter than it was"},
		"the newest":        {points[7].Name, hour, "shrunk is shorter than it was"},
		"taken off":         {points[2].Name, func(l *store.Retention) { *l = store.Retention{} }, "shrunk is gone"},
		"of stored objects": {"packs/", hour, "shrunk"},
		"of all points":     {"points/", hour, "shrunk 8 locks of points are not what they were"},
	} {
		shorter(c.prefix, c.change)
		r := p.finds(c.want)
		if r.Findings[0].Event {
			t.Errorf("%s: it lasts", name)
		}
		p.finds()
		p.in = p.w.Store
		p.over(watch.Shrunk)
	}
	// A lock that was never seen otherwise, and is shorter than the point is kept.
	p.w.Pass(day)
	p.run()
	shorter(p.points()[8].Name, func(l *store.Retention) { l.Until = p.w.Clock.Add(time.Hour) })
	p.finds("shrunk is to be kept until")
	p.in = p.w.Store
	p.over(watch.Shrunk)

	// Stored objects that are gone.
	p.in = locks{p.w.Store, func(ref store.Ref, _ *store.Retention) error {
		if strings.HasPrefix(ref.Name, "packs/") {
			return store.ErrNotFound
		}
		return nil
	}}
	p.finds("withheld")
}

// A weaker mode, and a bucket that gives up what it guarantees.
func TestWeakerBucket(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(3)
	p.in = locks{p.w.Store, func(_ store.Ref, lock *store.Retention) error { lock.Mode = store.Governance; return nil }}
	p.finds("shrunk it is weaker than it was", "shrunk", "shrunk", "shrunk") // three points, and the stored objects at once
	p.in = p.w.Store
	p.look()
	p.inspect = facts{p.w.Store, func(f *store.Facts) error { f.Versioning = false; return nil }}
	p.finds("shrunk versioning of the bucket was on")
	p.finds()
	p.inspect = p.w.Store
	p.over(watch.Shrunk)
	p.inspect = facts{p.w.Store, func(f *store.Facts) error { *f = store.Facts{Clock: f.Clock}; return store.ErrDenied }} // which a reader's is, most often
	p.silent()
}

type facts struct {
	store.Inspector
	change func(*store.Facts) error
}

func (f facts) Inspect(ctx context.Context) (store.Facts, error) {
	out, err := f.Inspector.Inspect(ctx)
	return out, errors.Join(err, f.change(&out))
}

// Clocks: this machine's, the vault's, and those that times in points are of.
func TestClocks(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	wrong := func(by time.Duration) {
		p.now = func() time.Time { return p.w.Clock.Add(by) }
	}
	p.w.Pass(2 * time.Hour)
	wrong(4 * time.Minute)
	p.silent()
	wrong(7 * time.Minute)
	p.finds("clock behind this machine's")
	wrong(-7 * time.Minute)
	p.finds("clock this machine's clock went back") // the other is told already
	p.now = p.w.Now
	if r := p.look(); len(r.Over) != 1 {
		t.Errorf("%s", told(r))
	}
	p.w.Pass(22 * time.Hour)
	p.run()
	p.w.Pass(3 * time.Hour)
	p.silent()
	p.inspect = facts{p.w.Store, func(f *store.Facts) error { f.Clock = f.Clock.Add(-time.Hour); return nil }}
	p.finds("clock the vault's clock is 1h0m0s behind", "clock the vault's clock went back")
}

// Points that come late, or from the time to come.
func TestTimesOfPoints(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	p.w.Pass(day)
	p.run()
	newest := p.points()[2].Name
	p.in = arrives{p.w.Store, newest, p.w.Clock.Add(2 * time.Hour)}
	p.w.Pass(2 * time.Hour)
	p.finds("clock arrived over an hour after it was signed")
	p.w.Pass(22 * time.Hour)
	p.run()
	p.w.Pass(10 * time.Hour)
	p.in = arrives{p.w.Store, "", time.Time{}}
	p.look()
	p.w.Pass(14 * time.Hour)
	hidden := p.points()[3].Name
	p.in = shows{p.w.Store, func(i store.Info) bool { return i.Name == hidden }}
	p.must(os.Remove(p.path)) // never seen by this memory
	p.run()
	p.change = func(o *watch.Options) { o.Expected = true }
	p.look()
	p.change = nil
	p.in = p.w.Store
	p.w.Pass(2 * time.Hour)
	p.tells("flickers uploads", "was not listed at the look of")
}

// arrives gives a point another time.
type arrives struct {
	store.Reader
	name string
	at   time.Time
}

func (a arrives) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range a.Reader.Versions(ctx, prefix, after) {
			if info.Name == a.name {
				info.Modified = a.at
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// A source that vanishes as a whole, records that do, and a vault that is set back to last week.
func TestVaultSetBack(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(6)
	lastWeek := p.w.Store.Clone(p.w.Now)
	for range 7 {
		p.w.Pass(day)
		p.run()
		p.silent()
	}
	p.in = lastWeek
	p.tells("set_back : ", "was set back to what it was then", "withheld : the series of records", "withheld uploads: 7 points that were there", "late uploads")
	p.in = p.w.Store
	p.w.Pass(25 * time.Hour)
	p.run()
	p.look()
	p.w.Pass(day)
	p.run()
	p.silent()

	p.in = shows{p.w.Store, func(i store.Info) bool { return strings.HasPrefix(i.Name, format.PrefixPoints) }}
	p.tells("withheld uploads: the whole source has vanished: 15", "late uploads: there is no complete point")
	p.in = p.w.Store
	p.w.Pass(25 * time.Hour)
	p.look()
	p.run()
	p.look()
	p.w.Pass(day)
	p.run()
	p.silent()

	p.in = shows{p.w.Store, func(i store.Info) bool {
		return strings.HasPrefix(i.Name, format.PrefixReports) && strings.Contains(i.Name, "-00000004-")
	}}
	p.finds("withheld numbers 4 to 4 before it are not there")
	p.in = shows{p.w.Store, func(i store.Info) bool { return strings.HasPrefix(i.Name, format.PrefixReports) }}
	p.finds("withheld is not there any more")
	p.in = shows{p.w.Store, func(i store.Info) bool { return strings.HasPrefix(i.Name, "descriptors/000001-") }}
	p.tells("withheld : the change of keys 1")
}

// A vault that is wiped, or in which another repository stands. Neither is taken for the new state of things.
func TestWipedAndReplaced(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	other := newPost(t, lifetest.Options{Seed: 9})
	other.begin(1)
	for range 2 {
		p.in = shows{p.w.Store, func(store.Info) bool { return true }}
		r := p.look()
		if len(r.Findings) != 1 || r.Findings[0].Kind != watch.Replaced || r.Findings[0].Err == nil || !strings.Contains(r.Findings[0].Text, "it had 2 points") {
			t.Fatalf("%s", told(r))
		}
		p.in = other.w.Store
		if r = p.look(); len(r.Findings) != 1 || r.Findings[0].Kind != watch.Replaced || r.Findings[0].New {
			t.Fatalf("%s", told(r))
		}
	}
	// Unless it is pinned: then the memory is of another one.
	p.change = func(o *watch.Options) { o.Pinned = true }
	p.finds("unremembered is of another repository")
	p.change = nil
	p.in = p.w.Store
	p.finds("replaced another repository")
}

// What cannot be read is told, and nothing is over because nobody could look.
func TestUnreadable(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.begin(2)
	middle := p.points()[0].Name
	p.in = shows{p.w.Store, func(i store.Info) bool { return i.Name == middle }}
	p.finds("withheld")
	broken := errors.New("broken")
	p.in = locks{p.w.Store, func(store.Ref, *store.Retention) error { return broken }}
	r := p.finds("unreadable broken")
	if len(r.Findings) != 2 || len(r.Over) > 0 || !errors.Is(r.Findings[1].Err, broken) {
		t.Errorf("%s", told(r))
	}
	p.in = shows{p.w.Store, func(i store.Info) bool { return i.Name == middle }}
	p.over(watch.Unreadable)
}

// A memory that is lost, damaged, or of another version is said, and never taken for one.
func TestMemoryLost(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.run()
	p.finds("unremembered --first")
	p.finds()
	p.w.Pass(day)
	p.run()
	p.silent()
	info, err := os.Stat(p.path)
	p.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s", info.Mode())
	}
	for name, text := range map[string]string{"damaged": "{", "of another version": `{"version":99}`, "null": "null", "empty": ""} {
		p.must(os.WriteFile(p.path, []byte(text), 0o600))
		m, err := watch.ReadMemory(p.path)
		if name == "null" {
			p.must(err)
		} else if !errors.Is(err, watch.ErrMemory) {
			t.Errorf("%s: %v", name, err)
		}
		if !m.Looked.IsZero() || m.Points == nil || m.Open == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
	p.must(os.Remove(p.path))
	p.must(os.Symlink("/etc/passwd", p.path))
	if _, err := watch.ReadMemory(p.path); !errors.Is(err, watch.ErrMemory) {
		t.Errorf("a link: %v", err)
	}
	p.must(os.Remove(p.path))
	p.finds("unremembered")
}
