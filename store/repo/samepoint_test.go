package repo_test

import (
	"io"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestFurtherNamesOfAPoint: whoever has a job's key can sign any name for the ID of a point that is there. Such a name takes nothing from the
// point: neither its place in time, nor its source, nor that it can be read.
func TestFurtherNamesOfAPoint(t *testing.T) {
	type vault struct {
		*bench
		r     *repo.Repository
		first format.PointID
		last  format.PointID // the point that names are signed for
		body  []byte
	}
	sign := func(t *testing.T, v vault, id format.PointID, body []byte) {
		t.Helper()
		plantPoint(v.bench, pointName(v.host, v.r.ID, id), body)
	}
	for what, plant := range map[string]func(*testing.T, vault){
		"an earlier time": func(t *testing.T, v vault) {
			v.last.SignedAt = format.At(v.last.SignedAt.Add(-2 * time.Minute))
			sign(t, v, v.last, v.body)
		},
		"an earlier time, a minute later": func(t *testing.T, v vault) {
			v.clock = v.clock.Add(time.Minute)
			v.last.SignedAt = format.At(v.first.SignedAt.Add(-time.Minute))
			sign(t, v, v.last, v.body)
		},
		"another source": func(t *testing.T, v vault) {
			v.last.Source = "a"
			sign(t, v, v.last, v.body)
		},
		"another key, and other bytes": func(t *testing.T, v vault) {
			next := rotated(t, v.host)
			if _, err := v.change(t, next, nil); err != nil {
				t.Fatal(err)
			}
			v.host = next
			sign(t, v, v.last, []byte("junk"))
		},
		"a key that counts where the point's own does not": func(t *testing.T, v vault) {
			v.clock = v.clock.Add(time.Hour)
			next := rotated(t, v.host)
			if _, err := v.change(t, next, func(o *repo.ChangeOptions) { o.DistrustAfter = v.first.SignedAt.Add(-time.Hour) }); err != nil {
				t.Fatal(err)
			}
			v.host = next
			sign(t, v, v.last, []byte("junk"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			b.clock = b.clock.Add(time.Hour)
			b.point("uploads")
			b.clock = b.clock.Add(time.Minute)
			b.point("uploads")
			before := b.points()
			r, err := b.find("")
			if err != nil || len(before) != 2 {
				t.Fatal(len(before), err)
			}
			b.clock = before[1].Arrived
			plant(t, vault{b, r, before[0].PointID, before[1].PointID, bodyOf(b, before[1].Name)})
			after := b.points()
			if len(after) != 2 || after[0].Name != before[0].Name || after[1].Name != before[1].Name {
				t.Fatalf("the points were %v and are %v", namesOf(before), namesOf(after))
			}
			if r, err = b.find(""); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Commit(t.Context(), b.vault.Read, after[1], nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func namesOf(points []repo.Point) (names []string) {
	for _, p := range points {
		names = append(names, p.Name)
	}
	return names
}

func bodyOf(b *bench, name string) []byte {
	b.t.Helper()
	body, err := b.store.Open(b.t.Context(), store.Ref{Name: name}, 0, -1)
	if err != nil {
		b.t.Fatal(err)
	}
	defer body.Close()
	out, err := io.ReadAll(body)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}
