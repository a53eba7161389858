package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// BenchmarkLocks looks at many points that share most of their objects, in a vault that answers at once: what is left is
// the cost of merging lists and listing. It reports objects a second, each counted once for all points.
func BenchmarkLocks(b *testing.B) {
	const objects, points = 10_000, 50
	r := newRig(b)
	ctx := context.Background()
	id := r.craft(crafted{})
	s := r.session()
	until := r.clock.Add(35 * 24 * time.Hour).Truncate(time.Second)
	var needs []format.Need
	for i := range objects {
		body := binary.BigEndian.AppendUint32(nil, uint32(i)) //nolint:gosec // small
		sum := sha256.Sum256(body)
		name := format.PackName(sum)
		lock := store.Retention{Mode: store.Compliance, Until: until.Add(time.Hour)}
		must(r.vault.Put(ctx, name, bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sum, Retention: lock}))(b)
		needs = append(needs, format.Need{Name: name, Size: int64(len(body)), Living: 1})
	}
	sortNeeds(needs)
	var c *format.Commit
	for _, p := range must(s.Repository().Points(ctx, r.vault, "", nil))(b) {
		if p.ID == id {
			c = must(s.Repository().Commit(ctx, r.vault, p, nil))(b)
		}
	}
	for i := range points {
		if err := s.Begin(until); err != nil {
			b.Fatal(err)
		}
		less := append(append([]format.Need(nil), needs[:i*100]...), needs[i*100+1:]...)
		c.Needs, c.RetainUntil = growNeeds(b, s.Writer.NeedsSink(), tree.Cut{Leaf: 64, Fanout: 128}, less), format.At(until)
		must(s.Commit(ctx, c))(b)
		r.clock = r.clock.Add(time.Second)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	o := r.options(Locks)
	b.ReportAllocs()
	var seen int64
	for b.Loop() {
		sum, err := Run(ctx, o)
		if err != nil || sum.Status != OK {
			b.Fatal(fmt.Sprint(sum), err)
		}
		seen += sum.Objects
	}
	b.ReportMetric(float64(seen)/b.Elapsed().Seconds(), "objects/s")
}
