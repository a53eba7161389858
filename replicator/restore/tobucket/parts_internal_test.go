package tobucket

import (
	"errors"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
)

func TestPartSize(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		size, memory, want int64
	}{
		{65 * mib, 40 * mib, 8 * mib},
		{2 * gib, 40 * mib, 8 * mib},
		{2*gib + 1, 40 * mib, 16 * mib},
		{2*gib + 1, 31 * mib, 8 * mib},
		{6 * gib, 40 * mib, 16 * mib},
		{150 * gib, 40 * mib, 16 * mib},
		{160 * gib, 40 * mib, 17 * mib},
		{160 * gib, 10 * mib, 0},
	} {
		to := (&Target{job: restore.Job{Memory: c.memory}}).share()
		got, err := to.partSize(c.size)
		if got != c.want || (c.want == 0) != errors.Is(err, restore.ErrRefused) {
			t.Errorf("%d bytes with %d MiB: parts of %d, %v; want %d", c.size, c.memory/mib, got, err, c.want)
		}
		if got == 0 {
			continue
		}
		if n := (c.size + got - 1) / got; n > maxParts || !slices.Contains(to.partSizes(n, c.size), got) || len(to.partSizes(n+maxParts, c.size)) > 0 {
			t.Errorf("%d bytes in %d parts are not told apart", c.size, n)
		}
		if n := (c.size + 8*mib - 1) / (8 * mib); n <= maxParts && !slices.Contains(to.partSizes(n, c.size), 8*mib) {
			t.Errorf("%d bytes in %d parts, as with little memory, are not known again", c.size, n)
		}
	}
}
