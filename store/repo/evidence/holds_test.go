package evidence_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// tell makes a record that tells of holds.
func (r *rig) tell(holds []evidence.Hold) {
	r.t.Helper()
	body, err := json.Marshal(evidence.Holding{Holds: holds})
	must(r.t, err)
	book, lock, err := evidence.OpenBook(r.t.Context(), r.dir)
	must(r.t, err)
	defer lock.Close()
	r.now = r.now.Add(time.Hour)
	rep := evidence.Reporter{Key: r.key, Repository: r.repo, Book: book, Vaults: []evidence.Vault{{Name: "vault0", Read: r.stores[0], Write: r.stores[0]}}}
	_, err = rep.Add(r.t.Context(), evidence.Statement{Time: r.now, Type: "run", Body: body})
	must(r.t, err)
}

// What a thief with a reporter's key tells of holds is bounded: in number, in length, and to his own name.
func TestHoldsOfAThief(t *testing.T) {
	r := newRig(t, 1)
	n := 0
	many := func(count int, by string) (out []evidence.Hold) {
		for range count {
			n++
			out = append(out, evidence.Hold{
				Source: "site", Point: format.Hash{byte(n), byte(n >> 8), byte(n >> 16), 1}, Until: format.At(r.now.Add(1000 * time.Hour)), By: by, Reporter: "x\x1b[31m",
				Reason: strings.Repeat("<\x1b", 60),
			})
		}
		return out
	}
	r.tell(append(append(many(105, ""), many(105, evidence.ByGuard)...), many(5, "the boss")...))
	holds := r.holds()
	if len(holds) != 2*evidence.MaxHolds {
		t.Errorf("%d holds of one record", len(holds))
	}
	for _, h := range holds {
		if h.Reporter != "web-1" || evidence.ReasonSize(h.Reason) > evidence.MaxHoldReason || h.Reason == "" || h.By != "" && h.By != evidence.ByGuard {
			t.Fatalf("%+v", h)
		}
	}
	for range 30 {
		r.tell(many(100, ""))
	}
	if holds = r.holds(); len(holds) != 10*evidence.MaxHolds {
		t.Errorf("%d holds of one reporter", len(holds))
	}
}

// holds gives what all records of the first vault tell.
func (r *rig) holds() []evidence.Hold {
	r.t.Helper()
	l, err := evidence.List(r.t.Context(), evidence.Options{Vault: r.stores[0], Repository: r.repo, Key: r.key1}, 1000)
	must(r.t, err)
	_, err = l.Latest(func(evidence.Found) bool { return true })
	must(r.t, err)
	out, err := l.Holds()
	must(r.t, err)
	return out
}

// A reason is cut between letters.
func TestReasonSize(t *testing.T) {
	if n := evidence.ReasonSize("a<\u00e9"); n != 9 {
		t.Errorf("%d bytes", n)
	}
}

// A record that does not know what is held leaves it out; one that knows that nothing is says so.
func TestHoldingIsLeftOut(t *testing.T) {
	for want, h := range map[string]evidence.Holding{"{}": {}, `{"holds":[]}`: evidence.Telling(nil)} {
		if got, err := json.Marshal(h); err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
}
