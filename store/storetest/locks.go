package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

func (s *suite) retention() {
	b := data(100, 20)
	want := s.compliance(26 * time.Hour)
	ref := s.putLocked("locked", b, want)
	s.wantLock(ref, want)
	s.wantLock(store.Ref{Name: "locked"}, want)
	// A fraction of a second is rounded up, never down.
	frac := want
	frac.Until = frac.Until.Add(300 * time.Millisecond)
	up := want
	up.Until = up.Until.Add(time.Second)
	s.wantLock(s.putLocked("fraction", b, frac), up)
	gov := store.Retention{Mode: store.Governance, Until: want.Until}
	s.wantLock(s.putLocked("governed", b, gov), gov)
	s.wantLock(s.put("free", b), store.Retention{})
}

func (s *suite) extend() {
	b := data(100, 21)
	short, long := s.compliance(time.Hour), s.compliance(50*time.Hour)
	ref := s.putLocked("grows", b, short)
	if err := s.v.Extend(s.ctx(), ref, long); err != nil {
		s.Fatal(err)
	}
	s.wantLock(ref, long)
	// Shortening is refused or ignored; either way it does nothing.
	if err := s.v.Extend(s.ctx(), ref, short); err != nil && !errors.Is(err, store.ErrLocked) && !errors.Is(err, store.ErrDenied) {
		s.Errorf("shortening: %v; want refused because locked", err)
	}
	s.wantLock(ref, long)
	weak := store.Retention{Mode: store.Governance, Until: long.Until.Add(time.Hour)}
	if err := s.v.Extend(s.ctx(), ref, weak); err == nil {
		if got := s.lockOf(ref); got.Mode != store.Compliance {
			s.Error("compliance was loosened to governance")
		}
	}
	if !s.lockOf(ref).Covers(long) {
		s.Errorf("lock is now %+v; want at least %+v", s.lockOf(ref), long)
	}
	free := s.put("free", b)
	if err := s.v.Extend(s.ctx(), free, short); err != nil {
		s.Fatalf("first lock by Extend: %v", err)
	}
	s.wantLock(free, short)
	missing := store.Ref{Name: "nothing", Version: ref.Version}
	s.wantErr(s.v.Extend(s.ctx(), missing, short), store.ErrNotFound, "extend of a missing object")
}

func removeLocked(s *suite) {
	b := data(100, 22)
	ref := s.putLocked("kept", b, s.compliance(time.Hour))
	s.wantErr(s.h.Remover.Remove(s.ctx(), ref), store.ErrLocked, "remove of a locked object")
	s.mustRead(ref, b)
}

func removeUnlocked(s *suite) {
	b := data(100, 23)
	ref := s.put("gone", b)
	s.put("stays", b)
	if err := s.h.Remover.Remove(s.ctx(), ref); err != nil {
		s.Fatal(err)
	}
	_, _, err := s.v.Stat(s.ctx(), ref)
	s.wantErr(err, store.ErrNotFound, "stat of what was removed")
	if got := s.list(""); len(got) != 1 || got[0].Name != "stays" {
		s.Errorf("left are %+v; want only the other object, and no delete marker", got)
	}
}

func badLocks(s *suite) {
	b := []byte("x")
	for what, r := range map[string]store.Retention{
		"past":    {Mode: store.Compliance, Until: s.until(-time.Hour)},
		"no mode": {Until: s.until(time.Hour)},
		"no time": {Mode: store.Compliance},
		"strange": {Mode: "forever", Until: s.until(time.Hour)},
	} {
		o := options(b)
		o.Retention = r
		if _, err := s.v.Put(s.ctx(), "bad", bytes.NewReader(b), 1, o); err == nil {
			s.Errorf("%s: the lock was taken", what)
		} else if store.Retryable(err) {
			s.Errorf("%s: called retryable: %v", what, err)
		}
	}
	s.nothing("")
	ref := s.put("good", b)
	if err := s.v.Extend(s.ctx(), ref, store.Retention{}); err == nil {
		s.Error("extend to no lock was taken")
	}
}

func twoVersions(s *suite) {
	one, two := data(100, 24), data(200, 25)
	first := s.put("twice", one)
	second := s.put("twice", two)
	if first.Version == second.Version {
		s.Fatal("two puts gave one version")
	}
	s.mustRead(first, one)
	s.mustRead(second, two)
	s.mustRead(store.Ref{Name: "twice"}, two)
	got := s.list("")
	if len(got) != 2 || got[0].Ref != second || got[1].Ref != first || !got[0].Latest || got[1].Latest || got[0].Size != 200 || got[1].Size != 100 {
		s.Errorf("listed %+v; want the second, the latest, then the first", got)
	}
}

// manyVersions crosses page boundaries inside one name when the harness has small pages.
func manyVersions(s *suite) {
	const n = 25
	var want []store.Ref
	for i := range n {
		want = append(want, s.put("often", data(i, 26)))
	}
	s.put("oftener", nil)
	got := s.list("often")
	if len(got) != n+1 {
		s.Fatalf("%d entries; want %d", len(got), n+1)
	}
	for i, info := range got[:n] {
		if info.Ref != want[n-1-i] || info.Latest != (i == 0) {
			s.Fatalf("entry %d is %+v; want %+v", i, info, want[n-1-i])
		}
	}
}

func underMarker(s *suite) {
	b := data(100, 27)
	lock := s.compliance(time.Hour)
	if !s.o.Immutable {
		lock = store.Retention{}
	}
	ref := s.putLocked("hidden", b, lock)
	if err := s.h.Attacker.Hide(s.ctx(), "hidden"); err != nil {
		s.Fatal(err)
	}
	_, err := s.v.Open(s.ctx(), store.Ref{Name: "hidden"}, 0, -1)
	s.wantErr(err, store.ErrNotFound, "open by name under a delete marker")
	_, _, err = s.v.Stat(s.ctx(), store.Ref{Name: "hidden"})
	s.wantErr(err, store.ErrNotFound, "stat by name under a delete marker")
	s.mustRead(ref, b)
	s.wantLock(ref, lock)
	got := s.list("hidden")
	if len(got) != 2 || !got[0].DeleteMarker || !got[0].Latest || got[0].Size != 0 || got[1].Ref != ref || got[1].Latest || got[1].DeleteMarker {
		s.Fatalf("listed %+v; want the marker, the latest, then the object", got)
	}
	_, err = s.v.Open(s.ctx(), got[0].Ref, 0, -1)
	s.wantErr(err, store.ErrNotFound, "open of the marker itself")
	_, _, err = s.v.Stat(s.ctx(), got[0].Ref)
	s.wantErr(err, store.ErrNotFound, "stat of the marker itself")
	// A new Put lies on top of the marker.
	s.mustRead(s.put("hidden", b), b)
	s.mustRead(store.Ref{Name: "hidden"}, b)
}

func extendUnderNewer(s *suite) {
	b := data(100, 28)
	short, long := s.compliance(time.Hour), s.compliance(50*time.Hour)
	ref := s.putLocked("attacked", b, short)
	if err := s.h.Attacker.Overwrite(s.ctx(), "attacked", []byte("junk")); err != nil {
		s.Fatal(err)
	}
	if err := s.v.Extend(s.ctx(), ref, long); err != nil {
		s.Fatal(err)
	}
	s.wantLock(ref, long)
	s.mustRead(ref, b)
	newest := s.list("attacked")[0]
	if newest.Ref == ref || !s.lockOf(newest.Ref).Until.IsZero() {
		s.Errorf("the attacker's version %+v was locked too", newest)
	}
	// The attacker's version is unlocked, and the locked one survives its going.
	if err := s.h.Remover.Remove(s.ctx(), newest.Ref); err != nil {
		s.Errorf("remove the attacker's version: %v", err)
	}
	s.mustRead(store.Ref{Name: "attacked"}, b)
	// Under a marker it works as well.
	if err := s.h.Attacker.Hide(s.ctx(), "attacked"); err != nil {
		s.Fatal(err)
	}
	longer := s.compliance(60 * time.Hour)
	if err := s.v.Extend(s.ctx(), ref, longer); err != nil {
		s.Fatal(err)
	}
	s.wantLock(ref, longer)
}

func versionRequired(s *suite) {
	ref := s.put("plain", []byte("x"))
	byName := store.Ref{Name: ref.Name}
	if err := s.v.Extend(s.ctx(), byName, s.compliance(time.Hour)); err == nil || !strings.Contains(err.Error(), "version") {
		s.Errorf("extend by name alone: %v; want refused", err)
	}
	if err := s.h.Remover.Remove(s.ctx(), byName); err == nil || !strings.Contains(err.Error(), "version") {
		s.Errorf("remove by name alone: %v; want refused", err)
	}
	if got := s.list(""); len(got) != 1 || got[0].Ref != ref {
		s.Errorf("left are %+v", got)
	}
	s.wantLock(ref, store.Retention{})
}

func missingVersion(s *suite) {
	ref := s.put("one", []byte("x"))
	other := s.put("two", []byte("y"))
	gone := store.Ref{Name: ref.Name, Version: other.Version}
	_, err := s.v.Open(s.ctx(), gone, 0, -1)
	s.wantErr(err, store.ErrNotFound, "open of a version that is not there")
	_, _, err = s.v.Stat(s.ctx(), gone)
	s.wantErr(err, store.ErrNotFound, "stat of a version that is not there")
	if s.o.Immutable {
		s.wantErr(s.v.Extend(s.ctx(), gone, s.compliance(time.Hour)), store.ErrNotFound, "extend of a version that is not there")
	}
}

// underMarkers: a listing of many names, each under a marker, keeps the order of names, newest first within each.
func underMarkers(s *suite) {
	for i := range 7 {
		name := fmt.Sprintf("m/%d", i)
		s.put(name, []byte(name))
		if err := s.h.Attacker.Hide(s.ctx(), name); err != nil {
			s.Fatal(err)
		}
	}
	got := s.list("m/")
	if len(got) != 14 {
		s.Fatalf("%d versions listed instead of 14", len(got))
	}
	for i, info := range got {
		if want := fmt.Sprintf("m/%d", i/2); info.Name != want || info.DeleteMarker != (i%2 == 0) || info.Latest != (i%2 == 0) {
			s.Errorf("%d: %+v instead of %s, marker first", i, info, want)
		}
	}
}
