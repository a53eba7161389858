package repo_test

import (
	"context"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// withholding leaves names out of its listings.
type withholding struct {
	store.Reader
	hide func(name string) bool
}

func (w withholding) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range w.Reader.Versions(ctx, prefix, after) {
			if err == nil && w.hide(info.Name) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestWithheldPoints: the newest, a middle one and all points left out by a vault are named by the machine that made them, as
// long as they are kept, and no longer.
func TestWithheldPoints(t *testing.T) {
	b := newBench(t)
	b.cacheDir = t.TempDir()
	var ids []format.Hash
	for range 4 {
		b.clock = b.clock.Add(dayLong)
		ids = append(ids, b.point("uploads", ids[max(0, len(ids)-1):]...))
	}
	whole := b.vault.Read
	for what, hidden := range map[string][]format.Hash{"none": nil, "newest": ids[3:], "newest two": ids[2:], "middle": ids[1:2], "all": ids} {
		b.vault.Read = withholding{whole, func(name string) bool {
			for _, id := range hidden {
				if strings.Contains(name, id.String()) {
					return true
				}
			}
			return false
		}}
		b.saw(repo.Missing, "")
		s := b.session()
		if _, err := s.Past.Points(t.Context(), "uploads"); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := b.count(repo.Missing, "points/"); n != len(hidden) { // each once, whatever tells that it was there
			t.Errorf("%s: %d findings about %d points", what, n, len(hidden))
		}
	}
	b.clock = b.clock.Add(40 * dayLong) // they are over, and may be gone
	b.vault.Read = withholding{whole, func(name string) bool { return strings.HasPrefix(name, "points/uploads/2") }}
	s := b.session()
	defer s.Close()
	if _, err := s.Past.Points(t.Context(), "uploads"); err != nil {
		t.Fatal(err)
	}
	if b.saw(repo.Missing, "points/") {
		t.Error("points that are over are missed")
	}
}

// TestFollowedPoints: a reader without a cache misses a point that another follows, where it cannot be over, and only there.
func TestFollowedPoints(t *testing.T) {
	day0 := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	hash := func(n byte) format.Hash { return format.Hash{n} }
	head := func(n byte, day, kept int, follows ...format.Hash) repo.Head {
		at := day0.AddDate(0, 0, day)
		var before []format.Predecessor
		for _, id := range follows { // point n was made on day n-1 and is kept for 35 days
			made := day0.AddDate(0, 0, int(id[0])-1)
			before = append(before, format.Predecessor{ID: id, SignedAt: format.At(made), RetainUntil: format.At(made.AddDate(0, 0, 35))})
		}
		return repo.Head{
			Point:  repo.Point{PointID: format.PointID{Source: "s", ID: hash(n), SignedAt: format.At(at)}, Arrived: at},
			Commit: &format.Commit{RetainUntil: format.At(at.AddDate(0, 0, kept)), Predecessors: before},
		}
	}
	late := head(9, 1, 35)
	late.Arrived = day0.AddDate(0, 0, 30)
	for what, c := range map[string]struct {
		heads []repo.Head
		now   int
		want  int
	}{
		"all there":                          {[]repo.Head{head(1, 0, 35), head(2, 1, 35, hash(1)), head(3, 2, 35, hash(2))}, 3, 0},
		"the middle one is gone":             {[]repo.Head{head(1, 0, 35), head(3, 2, 35, hash(2))}, 3, 1},
		"two of the middle are gone":         {[]repo.Head{head(1, 0, 35), head(4, 3, 35, hash(3))}, 4, 1},
		"it may be over":                     {[]repo.Head{head(1, 0, 365), head(3, 40, 35, hash(2))}, 60, 0},
		"the first are over":                 {[]repo.Head{head(3, 2, 35, hash(2))}, 3, 0},
		"another vault's":                    {[]repo.Head{head(1, 0, 35), head(3, 2, 35, hash(1), hash(2))}, 3, 0},
		"one that came later":                {[]repo.Head{late, head(3, 2, 35, hash(2))}, 3, 0},
		"a first point beside another chain": {[]repo.Head{head(1, 0, 35), head(3, 2, 35)}, 3, 0},
		"none":                               {nil, 3, 0},
	} {
		n := 0
		var listed []repo.Point
		for _, h := range c.heads {
			listed = append(listed, h.Point)
		}
		repo.CheckFollowed(c.heads, listed, day0.AddDate(0, 0, c.now), nil, func(f repo.Finding) { n++ })
		if n != c.want {
			t.Errorf("%s: %d findings instead of %d", what, n, c.want)
		}
	}
	line := func(n byte, kept int, vaults ...string) format.PointLine {
		at := day0.AddDate(0, 0, int(n)-1)
		return format.PointLine{ID: hash(n), SignedAt: format.At(at), RetainUntil: format.At(at.AddDate(0, 0, kept)), Vaults: vaults}
	}
	said := repo.Earlier{hash(1): line(1, 35, "a", "b"), hash(2): line(2, 35, "a"), hash(3): line(3, 35, "b"), hash(4): line(4, 5, "a"), hash(5): line(5, 35)}
	for what, c := range map[string]struct {
		listed []repo.Point
		vault  string
		now    int
		want   int
	}{
		"all there":                       {[]repo.Point{head(1, 0, 35).Point, head(2, 1, 35).Point, head(4, 3, 5).Point}, "a", 6, 0},
		"nothing there":                   {nil, "a", 6, 3},
		"one is over":                     {nil, "a", 20, 2},
		"all are over":                    {nil, "a", 60, 0},
		"another vault":                   {nil, "b", 6, 2},
		"a vault that had none":           {nil, "c", 6, 0},
		"a vault without a name":          {nil, "", 6, 0},
		"one that was in no vault before": {[]repo.Point{head(1, 0, 35).Point, head(2, 1, 35).Point}, "a", 10, 0},
	} {
		n := 0
		repo.CheckListed(said, c.listed, []string{c.vault}, "s", day0.AddDate(0, 0, c.now), nil, func(f repo.Finding) { n++ })
		if n != c.want {
			t.Errorf("of the list, %s: %d findings instead of %d", what, n, c.want)
		}
	}
	n := 0
	repo.CheckMade(nil, []cache.Made{{Name: "points/s/1", Until: day0}, {Name: "points/t/1", Until: day0.AddDate(0, 0, 9)}}, "s", day0, nil, func(repo.Finding) { n++ })
	if n != 0 {
		t.Errorf("%d points of another source, or over, are missed", n)
	}
}
