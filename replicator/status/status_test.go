package status_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/replicator/status"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// locked answers with another lock than there is.
type locked struct {
	store.Reader
	lock store.Retention
	err  error
}

func (l locked) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	if !strings.HasPrefix(ref.Name, format.PrefixPoints) {
		return l.Reader.Stat(ctx, ref)
	}
	info, _, err := l.Reader.Stat(ctx, ref)
	return info, l.lock, errors.Join(err, l.err)
}

func look(t *testing.T, r *restoretest.Repo, in store.Reader, change func(*status.Options)) ([]status.Source, error) {
	t.Helper()
	found, err := repo.Find(t.Context(), r.Store, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	o := status.Options{View: browse.View{Repository: found, In: in, Vault: "vault"}, Locks: true}
	change(&o)
	return status.Look(t.Context(), o)
}

// theSource looks at a repository of one source.
func theSource(t *testing.T, r *restoretest.Repo, now time.Time) status.Source {
	t.Helper()
	all, err := look(t, r, r.Store, func(o *status.Options) { o.Now = now })
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all[0]
}

// well: nobody has to do anything, but for alarms.
func well(s status.Source) bool { return s.Point != nil && s.RPOMet && s.Short == nil }

func TestHowASourceStands(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("one"))
	c := r.Backup(src)
	taken, keep := c.TakenAt.Time, c.RetainUntil.Time
	for name, x := range map[string]struct {
		after time.Duration
		rpo   time.Duration
		lock  *store.Retention // instead of the one there is

		well  bool
		met   bool
		short string
		alarm string
	}{
		"young":               {after: time.Hour, rpo: 2 * time.Hour, well: true, met: true},
		"just old enough":     {after: 2 * time.Hour, rpo: 2 * time.Hour, well: true, met: true},
		"too old":             {after: 2*time.Hour + time.Second, rpo: 2 * time.Hour},
		"any age":             {after: 9000 * time.Hour, well: true, met: true},
		"from the future":     {after: -time.Hour, rpo: time.Hour, well: true, met: true, alarm: "which is to come"},
		"clocks differ a bit": {after: -time.Minute, rpo: time.Hour, well: true, met: true},
		"locked to the end":   {lock: &store.Retention{Mode: store.Compliance, Until: keep}, well: true, met: true},
		"locked too short":    {lock: &store.Retention{Mode: store.Compliance, Until: keep.Add(-time.Second)}, met: true, short: "holdfast renew"},
		"not locked":          {lock: &store.Retention{}, met: true, short: "is not locked"},
	} {
		t.Run(name, func(t *testing.T) {
			var in store.Reader = r.Store
			if x.lock != nil {
				in = locked{r.Store, *x.lock, nil}
			}
			all, err := look(t, r, in, func(o *status.Options) { o.Now, o.RPO = taken.Add(x.after), x.rpo })
			if err != nil || len(all) != 1 || all[0].Name != "src" || all[0].Point == nil || all[0].Newest != nil {
				t.Fatalf("%+v, %v", all, err)
			}
			s := all[0]
			if well(s) != x.well || s.RPOMet != x.met || s.Age != max(x.after, 0) {
				t.Errorf("well %v, RPO met %v, age %s", well(s), s.RPOMet, s.Age)
			}
			if (s.Short == nil) != (x.short == "") || s.Short != nil && !strings.Contains(s.Short.Error(), x.short) {
				t.Errorf("short: %v", s.Short)
			}
			if got := strings.Join(s.Alarms, "\n"); (got == "") != (x.alarm == "") || !strings.Contains(got, x.alarm) {
				t.Errorf("alarms: %s", got)
			}
			if x.lock == nil && (s.Mode != store.Compliance || s.Protected.Before(keep)) {
				t.Errorf("protected until %s, mode %q", s.Protected, s.Mode)
			}
		})
	}
}

// A source that is configured and has no point is not passed by, and what cannot be looked at is an error, never well.
func TestNothingIsCalledWellUnseen(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("one"))
	c := r.Backup(src)
	all, err := look(t, r, r.Store, func(o *status.Options) { o.Now, o.Sources = c.TakenAt.Time, []string{"other", "src"} })
	if err != nil || len(all) != 2 || all[0].Name != "other" || well(all[0]) || !well(all[1]) {
		t.Errorf("%+v, %v", all, err)
	}
	// One that is not asked for any more is told, and may be of any age.
	all, err = look(t, r, r.Store, func(o *status.Options) {
		o.Now, o.RPO, o.Sources = c.TakenAt.Add(9*time.Hour), time.Hour, []string{"other"}
	})
	if err != nil || len(all) != 2 || !all[0].Wanted || all[1].Wanted || !well(all[1]) {
		t.Errorf("%+v, %v", all, err)
	}
	broken := errors.New("broken")
	if _, err := look(t, r, locked{r.Store, store.Retention{}, broken}, func(o *status.Options) { o.Now = c.TakenAt.Time }); !errors.Is(err, broken) {
		t.Errorf("a lock that cannot be read: %v", err)
	}
}

// Of a source that became empty the last point with something in it counts, and the empty one is an alarm.
func TestEmptiedSource(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("one"))
	c := r.Backup(src)
	r.Backup(memsource.New(memsource.Options{}))
	s := theSource(t, r, c.TakenAt.Time)
	if s.Point == nil || !s.Point.Line.TakenAt.Equal(c.TakenAt.Time) || s.Newest == nil || !s.Newest.Empty() || len(s.Alarms) != 1 || !strings.Contains(s.Alarms[0], "--allow-empty src") {
		t.Errorf("%+v", s)
	}
}

// A point that cannot be read is an alarm, and the one before it counts.
func TestDamagedPoint(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("one"))
	c := r.Backup(src)
	src.Put("b", []byte("two"))
	r.Backup(src)
	var points []store.Ref
	for info, err := range r.Store.Versions(t.Context(), format.PrefixPoints, "") {
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, info.Ref)
	}
	if len(points) != 2 {
		t.Fatal(points)
	}
	if err := r.Store.Attacker().Damage(points[1], func([]byte) []byte { return []byte("other") }); err != nil {
		t.Fatal(err)
	}
	if s := theSource(t, r, c.TakenAt.Time.Add(time.Hour)); s.Point == nil || !s.Point.Line.TakenAt.Equal(c.TakenAt.Time) || len(s.Alarms) != 1 || !strings.Contains(s.Alarms[0], "cannot be read") {
		t.Errorf("%+v", s)
	}
}
