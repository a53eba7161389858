package evidence_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// statements makes records and copies them into a vault in an order, at times.
func (r *rig) statements(bodies []string, order []int, at func(i int) time.Time) *memstore.Store {
	r.t.Helper()
	for i, body := range bodies {
		r.now = r.now.Add(24 * time.Hour)
		book, lock, err := evidence.OpenBook(r.t.Context(), r.dir)
		must(r.t, err)
		rep := evidence.Reporter{Key: r.key, Repository: r.repo, Book: book, Vaults: []evidence.Vault{{Name: "vault0", Read: r.stores[0], Write: r.stores[0]}}}
		_, err = rep.Add(r.t.Context(), evidence.Statement{Time: r.now, Type: fmt.Sprintf("t%02d", i), Body: []byte(body)})
		must(r.t, err)
		must(r.t, lock.Close())
	}
	var now time.Time
	out := memstore.New(memstore.Options{Now: func() time.Time { return now }})
	names := r.names(0)
	for i, n := range order {
		now = at(i)
		body, err := r.stores[0].Open(r.t.Context(), names[n], 0, -1)
		must(r.t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(body)
		must(r.t, err)
		must(r.t, body.Close())
		_, err = out.Put(r.t.Context(), names[n].Name, bytes.NewReader(b.Bytes()), int64(b.Len()), store.PutOptions{SHA256: sum(b.Bytes())})
		must(r.t, err)
	}
	return out
}

// A reporter's records stand in the order of its count, whatever times a vault gives them: those of one second, and those of a folder that was
// copied in another order.
func TestOrderIsTheCount(t *testing.T) {
	var bodies []string
	point := format.Hash{7}
	begin := time.Date(2027, 1, 1, 2, 0, 0, 0, time.UTC)
	for i := range 24 {
		bodies = append(bodies, fmt.Sprintf(`{"holds":[{"source":"site","point":"%s","signed_at":"2026-01-01T00:00:00Z","until":"%s","reason":"r","at":"2026-01-01T00:00:00Z","reporter":"web-1"}]}`,
			point, begin.AddDate(0, 0, i).Format(time.RFC3339)))
	}
	var order []int
	for i := range bodies {
		order = append(order, len(bodies)-1-i)
	}
	for what, at := range map[string]func(int) time.Time{
		"in one second": func(int) time.Time { return begin },
		"backwards":     func(i int) time.Time { return begin.Add(time.Duration(i) * time.Minute) },
	} {
		r := newRig(t, 1)
		o := evidence.Options{Vault: r.statements(bodies, order, at), Repository: r.repo, Key: r.key1}
		var types []string
		_, err := evidence.Latest(t.Context(), o, 100, func(f evidence.Found) bool { types = append(types, f.Record.Type); return true })
		must(t, err)
		if !slices.IsSortedFunc(types, func(a, b string) int { return -bytes.Compare([]byte(a), []byte(b)) }) || len(types) != len(bodies) {
			t.Errorf("%s: %v", what, types)
		}
		l, err := evidence.List(t.Context(), o, 0)
		must(t, err)
		holds, err := l.Holds()
		must(t, err)
		if len(holds) != 1 || !holds[0].Until.Equal(begin.AddDate(0, 0, len(bodies)-1)) {
			t.Errorf("%s: %+v", what, holds)
		}
	}
}
