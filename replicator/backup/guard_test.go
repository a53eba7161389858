package backup_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// guarded is a rig whose runs are guarded, a day apart, over a source with 200 files.
type guarded struct {
	*rig
	src  *memsource.Source
	acks backup.Acknowledged
	err  error // of asking for them
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{rig: newRig(t, 2), src: memsource.New(memsource.Options{})}
	for i := range 200 {
		g.src.Put(fmt.Sprintf("d%d/f%03d.txt", i%4, i), []byte(strings.Repeat(fmt.Sprintf("line %d of a text\n", i), 60)))
	}
	g.source = g.src
	wire := guard.Wire{Key: "ledger.csv", Body: []byte("nothing")}
	g.src.Put(wire.Key, wire.Body)
	g.guard = &backup.Guarding{
		Hold: 90 * day, Tripwires: guard.Expected([]guard.Wire{wire}),
		Acknowledged: func(context.Context) (backup.Acknowledged, error) { return g.acks, g.err },
	}
	return g
}

// expect runs and wants a point with or without the mark.
func (g *guarded) expect(suspect bool, rules ...guard.Rule) *backup.Result {
	g.t.Helper()
	g.clock = g.clock.Add(day)
	res := g.run()
	_, c := g.commit(0, res.Point)
	if (res.Suspect != nil) != suspect || c.Marked(format.MarkSuspect) != suspect {
		g.t.Fatalf("suspect %+v, marks %q", res.Suspect, c.Marks)
	}
	var got []guard.Rule
	if suspect {
		for _, f := range res.Suspect.Findings {
			got = append(got, f.Rule)
		}
	}
	if !slices.Equal(got, rules) {
		g.t.Fatalf("found %q, want %q", got, rules)
	}
	return res
}

// What was acknowledged is the point that was named, not another of the same second that came after it.
func TestAnAcknowledgementIsOfItsPoint(t *testing.T) {
	g := newGuarded(t)
	g.expect(false)
	g.src.Put("ledger.csv", []byte("something"))
	first := g.expect(true, guard.Tripwire)
	g.acks = backup.Acknowledged{Until: first.SignedAt, Points: map[format.Hash]bool{first.Point: true}}
	g.src.Put("ledger.csv", []byte("something else"))
	second := g.run()
	if !second.SignedAt.Equal(first.SignedAt) || second.Suspect == nil {
		t.Fatalf("%s, %s, %+v", first.SignedAt, second.SignedAt, second.Suspect)
	}
	if again := g.expect(true); again.Suspect.Since == nil || again.Suspect.Since.ID != second.Point {
		t.Errorf("%+v", again.Suspect)
	}
}

// An alarm marks its point and those after it, holds the last clean one longer at each run, and ends when it is acknowledged.
func TestSuspectPoints(t *testing.T) {
	g := newGuarded(t)
	g.expect(false)
	clean := g.expect(false)
	until := lockedUntil(g.rig, 1, clean.Point)
	g.src.Put("ledger.csv", []byte("something"))
	first := g.expect(true, guard.Tripwire)
	if first.Suspect.Since != nil || first.Suspect.Clean == nil || first.Suspect.Clean.ID != clean.Point {
		t.Fatalf("%+v", first.Suspect)
	}
	if _, c := g.commit(0, first.Point); c.Slots == nil || !c.RetainUntil.After(g.clock.Add(34*day)) {
		t.Errorf("a suspect point is kept like any other: %q until %s", c.Slots, c.RetainUntil)
	}
	held := lockedUntil(g.rig, 1, clean.Point)
	if !held.After(until) || held.Before(g.clock.Add(90*day)) {
		t.Errorf("the last clean point is locked until %s, was until %s", held, until)
	}
	if again := g.expect(true); again.Suspect.Since == nil || again.Suspect.Since.ID != first.Point || again.Suspect.Clean.ID != clean.Point {
		t.Fatalf("%+v", again.Suspect)
	}
	g.clock = g.clock.Add(20 * day)
	g.err = errors.New("withheld")
	g.remarks = nil
	late := g.expect(true)
	if g.err = nil; !slices.ContainsFunc(g.remarks, func(s string) bool { return strings.Contains(s, "so that the alarm stands: withheld") }) {
		t.Errorf("%q", g.remarks)
	}
	if now := lockedUntil(g.rig, 0, clean.Point); now.Before(g.clock.Add(90*day)) || !late.Suspect.Held.Equal(g.clock.Add(90*day)) {
		t.Errorf("held until %s, said %s", now, late.Suspect.Held)
	}
	g.acks = backup.Acknowledged{Until: first.SignedAt, Points: map[format.Hash]bool{first.Point: true}}
	if r := g.expect(true); r.Suspect.Clean.ID != first.Point {
		t.Errorf("an acknowledged point is clean: %+v", r.Suspect)
	}
	g.acks.Until = g.clock.Add(1)
	g.expect(false)
	g.src.Delete("ledger.csv")
	g.expect(true, guard.Tripwire)
}

// The hold stays within the ceilings, since a vault would be left out of the run otherwise; without a hold nothing is lengthened.
func TestHoldsAreBounded(t *testing.T) {
	g := newGuarded(t)
	g.guard.Hold = 5000 * day
	clean := g.expect(false)
	g.src.Put("ledger.csv", []byte("something"))
	res := g.expect(true, guard.Tripwire)
	for _, v := range res.Vaults {
		if v.Err != nil {
			t.Errorf("%s: %v", v.Vault, v.Err)
		}
	}
	if got := lockedUntil(g.rig, 0, clean.Point); got.Before(g.clock.Add(389*day)) || got.After(g.clock.Add(400*day)) {
		t.Errorf("locked until %s", got)
	}
	if !slices.ContainsFunc(g.remarks, func(s string) bool { return strings.Contains(s, "lock.ceiling") }) {
		t.Errorf("%q", g.remarks)
	}

	g = newGuarded(t)
	g.guard.Hold = 0
	clean = g.expect(false)
	until := lockedUntil(g.rig, 0, clean.Point)
	g.src.Put("ledger.csv", []byte("something"))
	if res := g.expect(true, guard.Tripwire); !res.Suspect.Held.IsZero() || !lockedUntil(g.rig, 0, clean.Point).Equal(until) {
		t.Errorf("held until %s", res.Suspect.Held)
	}
}

// What an earlier run learnt may be lost or anything, and what goes wrong in the guard is a remark.
func TestAGuardFailsNoRun(t *testing.T) {
	g := newGuarded(t)
	g.expect(false)
	g.cache = t.TempDir()
	g.expect(false)
	g.guard.Acknowledged = func(context.Context) (backup.Acknowledged, error) { panic("a fault") }
	g.src.Put("ledger.csv", []byte("something"))
	g.expect(true, guard.Tripwire)
	g.clock = g.clock.Add(time.Hour)
	res := g.run()
	if res.Suspect == nil || !slices.ContainsFunc(g.remarks, func(s string) bool { return strings.Contains(s, "the guard: it failed") }) {
		t.Errorf("%+v %q", res.Suspect, g.remarks)
	}
}

// A source that is empty and was acknowledged as that gives no alarm any more, until there is something in it again that goes.
func TestAcknowledgedEmpty(t *testing.T) {
	g := newGuarded(t)
	g.expect(false)
	for i := range 200 {
		g.src.Delete(fmt.Sprintf("d%d/f%03d.txt", i%4, i))
	}
	g.src.Delete("ledger.csv")
	g.clock = g.clock.Add(day)
	res := g.run()
	if res.Emptied == nil || res.Suspect != nil {
		t.Fatalf("%+v %+v", res.Emptied, res.Suspect)
	}
	g.clock = g.clock.Add(day)
	if res = g.run(); res.Emptied == nil {
		t.Fatal("it stays an alarm")
	}
	g.acks = backup.Acknowledged{Until: res.SignedAt, Points: map[format.Hash]bool{res.Point: true}}
	g.clock = g.clock.Add(day)
	if res = g.run(); res.Emptied != nil || res.Suspect != nil {
		t.Errorf("%+v %+v", res.Emptied, res.Suspect)
	}
}
