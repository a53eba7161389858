package storetest

import (
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// removeOfSeveral: of several versions exactly the one named goes, the newest and the oldest included; a locked one between
// them stays.
func removeOfSeveral(s *suite) {
	lock := s.compliance(time.Hour)
	if !s.o.Immutable {
		lock = store.Retention{}
	}
	var refs []store.Ref
	for i := range 4 {
		b := data(100+i, 40)
		if i == 1 {
			refs = append(refs, s.putLocked("several", b, lock))
		} else {
			refs = append(refs, s.put("several", b))
		}
	}
	if s.o.Immutable {
		s.wantErr(s.h.Remover.Remove(s.ctx(), refs[1]), store.ErrLocked, "remove of a locked version between others")
	}
	for _, i := range []int{3, 0} {
		if err := s.h.Remover.Remove(s.ctx(), refs[i]); err != nil {
			s.Fatalf("remove of version %d: %v", i, err)
		}
	}
	got := s.list("several")
	if len(got) != 2 || got[0].Ref != refs[2] || got[1].Ref != refs[1] || !got[0].Latest || got[0].DeleteMarker {
		s.Fatalf("left are %+v; want the third, the latest, and the second", got)
	}
	s.mustRead(store.Ref{Name: "several"}, data(102, 40))
	s.mustRead(refs[1], data(101, 40))
	s.wantLock(refs[1], lock)
}

// removeMarker: a delete marker goes by its version like everything else, and what it hid is the newest again.
func removeMarker(s *suite) {
	b := data(100, 41)
	ref := s.put("hidden", b)
	for range 2 {
		if err := s.h.Attacker.Hide(s.ctx(), "hidden"); err != nil {
			s.Fatal(err)
		}
	}
	for _, info := range s.list("hidden") {
		if !info.DeleteMarker {
			continue
		}
		if err := s.h.Remover.Remove(s.ctx(), info.Ref); err != nil {
			s.Fatalf("remove of a delete marker: %v", err)
		}
	}
	got := s.list("hidden")
	if len(got) != 1 || got[0].Ref != ref || !got[0].Latest {
		s.Fatalf("left are %+v; want the object only, and no new marker", got)
	}
	s.mustRead(store.Ref{Name: "hidden"}, b)
}

// removeTwice: what is gone is success again, or not found, and nothing else happens.
func removeTwice(s *suite) {
	ref := s.put("twice", data(10, 42))
	other := s.put("other", data(10, 43))
	if err := s.h.Remover.Remove(s.ctx(), ref); err != nil {
		s.Fatal(err)
	}
	if err := s.h.Remover.Remove(s.ctx(), ref); err != nil && !errors.Is(err, store.ErrNotFound) {
		s.Errorf("the second time: %v; want nothing or not found", err)
	}
	if got := s.list(""); len(got) != 1 || got[0].Ref != other {
		s.Errorf("left are %+v; want the other object", got)
	}
}
