package verify

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// bomb stores a tree of a few pages, each of which refers many times to the one below, and gives its root: it stands for
// 4096 to the power of levels times as many entries as its leaf has.
func (r *rig) bomb(sink *repo.Sink, first string, size int64, leaf []byte, levels int) format.PageRef {
	r.t.Helper()
	ref := format.PageRef{First: first, Entries: 1, Bytes: size}
	page := leaf
	for level := 0; ; level++ {
		slot := must(sink.Page(context.Background(), page))(r.t)
		if err := sink.Seal(context.Background()); err != nil {
			r.t.Fatal(err)
		}
		ref.Level, ref.Object, ref.Frame, ref.Sum = level, slot.Object(), slot.Frame, sha256.Sum256(page)
		if level == levels {
			return ref
		}
		line := must(ref.AppendLine(nil))(r.t)
		page = []byte(strings.Repeat(string(line), 4096))
		if level == levels-1 && !strings.HasPrefix(string(leaf), `{"name":`) { // the root of a manifest
			page = append([]byte(`{"salt":"00112233445566778899aabbccddeeff"}`+"\n"), page...)
		}
		ref.Entries, ref.Bytes = ref.Entries*4096, ref.Bytes*4096
	}
}

// TestBombs: a point whose manifest, or whose needs list, stands for more than anybody can walk is damage, found at once, and
// the other points are looked at all the same.
func TestBombs(t *testing.T) {
	for _, which := range []string{"manifest", "needs"} {
		t.Run(which, func(t *testing.T) {
			r := newRig(t)
			r.run("uploads", filled())
			s := r.session()
			defer s.Close()
			until := r.clock.Add(35 * 24 * time.Hour).Truncate(time.Second)
			if err := s.Begin(until); err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			needs := s.Repository().Standing()
			sortNeeds(needs)
			c := &format.Commit{Source: "disks", SourceKind: "dir", TakenAt: format.At(r.clock), RetainUntil: format.At(until), Mode: "compliance", Status: format.StatusComplete}
			if which == "manifest" {
				e := &format.Entry{Key: "k", SHA256: sha256.Sum256(nil)}
				c.Manifest = r.bomb(s.Writer.MetaSink(), "k", 0, must(e.AppendLine(nil))(t), 5)
				var lines []byte
				var total int64
				for _, n := range needs {
					lines = must(n.AppendLine(lines))(t)
					total += n.Size
				}
				c.Needs = r.plant(s.Writer.NeedsSink(), format.PageRef{First: needs[0].Name, Entries: int64(len(needs)), Bytes: total}, lines)
			} else {
				e := &format.Entry{Key: "k", SHA256: sha256.Sum256(nil)}
				c.Manifest = r.plant(s.Writer.MetaSink(), format.PageRef{First: "k", Entries: 1}, must(e.AppendLine(nil))(t))
				c.Needs = r.bomb(s.Writer.NeedsSink(), needs[0].Name, needs[0].Size, must(needs[0].AppendLine(nil))(t), 4)
			}
			c.Entries, c.Bytes = c.Manifest.Entries, c.Manifest.Bytes
			id := must(s.Commit(ctx, c))(t)
			r.clock = r.clock.Add(time.Hour)
			for _, level := range []Level{Locks, Bytes, Content} {
				got, sum := r.verify(r.options(level))
				found := false
				for _, f := range got {
					found = found || f.Kind == repo.Damaged && f.Point == id
				}
				if want := which == "needs" || level == Content; found != want || sum.Points != 2 {
					t.Errorf("%s: %+v%s", level, sum, show(got))
				}
			}
		})
	}
}
