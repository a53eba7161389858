package lifetest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A verification asks for the locks of held points as far as the hold goes, of everything that they need.
func TestVerifyHeldPoints(t *testing.T) {
	w := newReporter(t, ran(t, lifetest.Options{Objects: 40}, 2))
	look := func() (s verify.Summary, found []verify.Finding) {
		t.Helper()
		r, err := w.Repository(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err = verify.Run(t.Context(), verify.Options{Repository: r, In: w.Store, Level: verify.Locks, Now: w.Now, Emit: func(f verify.Finding) { found = append(found, f) }})
		if err != nil {
			t.Fatal(err)
		}
		return s, found
	}
	h := w.oldest(w.Clock.Add(700 * day))
	w.tell("run")
	if s, found := look(); s.Status != verify.OK {
		t.Fatalf("before: %+v, %v", s, found)
	}
	w.tell(evidence.TypeHold, h)
	s, found := look()
	if s.Status != verify.Damaged || s.Unlocked < 4 {
		t.Fatalf("%+v, %v", s, found)
	}
	if _, err := doRenew(t.Context(), w.World, *w.Vault, renew.Options{Reach: 740 * day}); err != nil {
		t.Fatal(err)
	}
	if s, found = look(); s.Status != verify.OK {
		t.Errorf("once it is locked: %+v, %v", s, found)
	}
	h.Until = format.At(time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)) // a thief's, with a reporter's key: as long as anything can be kept
	w.tell(evidence.TypeHold, h)
	if s, found = look(); s.Unlocked == 0 || strings.Contains(found[0].Detail, "9000") {
		t.Errorf("beyond all: %+v, %v", s, found)
	}
}
