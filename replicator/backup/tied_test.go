package backup_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// pointsOpened counts how often a point's commit is read.
type pointsOpened struct {
	store.Reader
	n atomic.Int64
}

func (r *pointsOpened) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if strings.HasPrefix(ref.Name, format.PrefixPoints) {
		r.n.Add(1)
	}
	return r.Reader.Open(ctx, ref, off, n)
}

// pointsAnew has a session look at all points of the source.
func (r *rig) pointsAnew() repo.Heads {
	r.t.Helper()
	s, err := r.session(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer s.Close()
	if err := s.Past.ForgetPoints("uploads"); err != nil {
		r.t.Fatal(err)
	}
	h, err := s.Past.Points(r.t.Context(), "uploads")
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// What tells the order of points of one second is read once in each vault, however many steps go by it.
func TestPointsOfOneSecondAreReadOnce(t *testing.T) {
	r := newRig(t, 2)
	src := memsource.New(memsource.Options{Now: r.now})
	src.Put("a", []byte("content"))
	r.source = src
	const points = 12
	for range points {
		r.run()
	}
	var opened []*pointsOpened
	for _, v := range r.vaults {
		o := &pointsOpened{Reader: v.Read}
		opened, v.Read = append(opened, o), o
	}
	if h := r.pointsAnew(); len(h.Points) != points {
		t.Fatalf("%d points", len(h.Points))
	}
	// And once more the newest, whose list counts, and the one that stands in nobody's list yet.
	for i, o := range opened {
		if n := o.n.Load(); n < points || n > points+2 {
			t.Errorf("vault %d: %d points read, of %d", i, n, points)
		}
	}
}

// Of two points of one second the later one has the list that counts: a vault that was lost in between is missed once, and not again.
func TestTheListOfTheLaterOfOneSecond(t *testing.T) {
	for n := range 8 { // the order of their names is one or the other by chance
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, 1)
			src := memsource.New(memsource.Options{Now: r.now})
			src.Put("a", []byte("content"))
			r.source = src
			first := r.run().Point
			second := r.run().Point // within the same second
			h := r.pointsAnew()
			if h.List.Entries != 1 {
				t.Errorf("the list has %d points, and that of %s, which came after %s, has one", h.List.Entries, second, first)
			}
		})
	}
}
