package stats

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

// TestUses: of one object all that need it come together, whatever lists they stand in.
func TestUses(t *testing.T) {
	scratch, err := cache.Open(t.TempDir(), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer scratch.Close()
	c, err := scratch.Counter("uses")
	if err != nil {
		t.Fatal(err)
	}
	u := &uses{c}
	defer u.Close()
	g := &gathering{u: u}
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	add := func(name string, size int64, s shared) {
		if err := g.add(name, size, s); err != nil {
			t.Fatal(err)
		}
	}
	add("packs/b", 10, shared{source: 0, point: 3, points: 1, until: day(5)})
	add("packs/a", 7, shared{source: 0, point: 1, points: 1, until: day(9)})
	add("packs/a", -1, shared{source: 1, point: 2, points: 1, until: day(8)})
	add("packs/c", 5, shared{source: 1, point: 2, points: 4, until: day(8), forever: true})
	next, stop := u.cursor()
	defer stop()
	a, err := next()
	if err != nil || a.name != "packs/a" || a.size != 7 || a.points != 2 || a.point != -1 || len(a.sources) != 2 || !a.until.Equal(day(9)) || a.forever {
		t.Errorf("%+v, %v", a, err)
	}
	b, err := next()
	if err != nil || b.name != "packs/b" || b.points != 1 || b.point != 3 || len(b.sources) != 1 || !b.until.Equal(day(5)) {
		t.Errorf("%+v, %v", b, err)
	}
	d, err := next()
	if err != nil || d.name != "packs/c" || d.points != 4 || d.point != -1 || !d.forever {
		t.Errorf("%+v, %v", d, err)
	}
	if e, err := next(); err != nil || e.name != "" {
		t.Errorf("%+v, %v", e, err)
	}
}
