package repo

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A source whose points are kept for a year, an hour each, has more lines to remember than a page may have.
func TestManyLinesAreRemembered(t *testing.T) {
	c, err := cache.Open(t.TempDir(), cache.Options{Memory: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := &Past{vaults: &vaults{cache: c}}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	memo := ListMemo{}
	for n := range 2 * format.MaxPageLines {
		at := format.At(begin.Add(time.Duration(n) * time.Hour))
		line := format.PointLine{ID: format.Hash{byte(n >> 16), byte(n >> 8), byte(n), 1}, SignedAt: at, TakenAt: at, RetainUntil: format.At(at.AddDate(1, 0, 0)), Status: format.StatusComplete, SourceKind: "dir"}
		if n%2 == 0 {
			line.Slots = []string{"hourly-" + at.Format("2006-01-02t15")}
		}
		memo.Lines = append(memo.Lines, line)
	}
	memo.Trim(func(p format.PointLine) bool { return len(p.Slots) > 0 })
	want := format.MaxPageLines + memoLines/2
	if len(memo.Lines) != want {
		t.Errorf("%d lines are kept, want %d: what fills a slot, and the last %d", len(memo.Lines), want, memoLines)
	}
	if err := p.NotePoints("site", Heads{looks: []*pointsLook{}}, format.Hash{9}, memo, 0); err != nil {
		t.Fatal(err)
	}
	got, err := p.memo("site")
	if err != nil || got == nil || len(got.Lines) != want || got.Root != (format.Hash{9}) {
		t.Errorf("remembered: %v, %v", got != nil, err)
	}
}

// A vault that was lost and begun again at once, within the second of its last point, is missed once.
func TestLinesOfAVaultThatWasBegunAnew(t *testing.T) {
	began := time.Date(2026, 11, 29, 23, 15, 59, 400e6, time.UTC)
	at := func(before time.Duration) format.PointLine {
		return format.PointLine{SignedAt: format.At(began.Truncate(time.Second).Add(-before)), Vaults: []string{"east", "west"}}
	}
	list := Earlier{{1}: at(time.Hour), {2}: at(time.Second), {3}: at(0), {4}: at(0), {5}: at(-time.Second)}
	there := map[string]map[format.Hash]bool{"west": {{4}: true, {5}: true}}
	changed := changedLines(list, map[string]time.Time{"west": began}, there)
	for id := range list {
		line, gone := changed[id]
		if want := id[0] < 4; gone != want || gone && (len(line.Vaults) != 1 || line.Vaults[0] != "east") {
			t.Errorf("point %d: %v, changed %v, want %v", id[0], line.Vaults, gone, want)
		}
	}
}

// A point is not signed for a time before that of one it follows, unless that is far in the vaults' future.
func TestSignedAt(t *testing.T) {
	now := time.Date(2026, 11, 29, 23, 23, 4, 0, time.UTC)
	s := &signing{vaults: &vaults{keepers: []*keeper{bareKeeper(nil, func() time.Time { return now }, nil)}}}
	taken := now.Add(-2 * time.Second)
	for _, c := range []struct {
		follows time.Duration // after now
		try     int
		want    time.Duration
	}{
		{-time.Hour, 0, -time.Second}, {0, 0, 0}, {time.Second, 0, time.Second}, {time.Minute, 0, -time.Second}, {0, 1, -8 * time.Second},
	} {
		point := &format.Commit{TakenAt: format.At(taken), Predecessors: []format.Predecessor{{SignedAt: format.At(now.Add(c.follows))}, {SignedAt: format.At(now.Add(-2 * time.Hour))}}}
		if got := s.signedAt(latest(point), c.try).Sub(now); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
