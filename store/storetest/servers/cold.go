package servers

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	others "github.com/holdfast-backup/holdfast/store/storetest/programs"
)

// built sees to it that what a kind of server needs is built before a test's own time begins to run out. `.ci/run test` builds
// everything first. Where a test is run without that, on a machine that is slow or busy, a build may take longer than
// the test has: it is then skipped, with what to do, or fails where everything has to run.
func built(t testing.TB, k Kind) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(t))
	defer cancel()
	needed := []string{string(k)}
	if k == KindMinIO {
		needed = append(needed, "mc") // makes its users
	}
	for _, name := range needed {
		_, err := Binary(ctx, name)
		switch {
		case err == nil:
		case others.Demanded() || !errors.Is(ctx.Err(), context.DeadlineExceeded):
			t.Fatalf("%s: %v", name, err)
		default:
			t.Skipf("%v: %s is not built yet: go run ./store/storetest/servers/warm", others.ErrMissing, name)
		}
	}
}

// patience is how long a test may still wait for a build: until a third of its package's time has passed, so that those
// that need no server have theirs.
func patience(t testing.TB) time.Duration {
	whole, ok := time.Duration(0), false
	if f := flag.Lookup("test.timeout"); f != nil {
		if g, is := f.Value.(flag.Getter); is {
			whole, ok = g.Get().(time.Duration)
		}
	}
	d, has := t.(interface{ Deadline() (time.Time, bool) })
	if !ok || !has || whole <= 0 {
		return time.Hour
	}
	end, limited := d.Deadline()
	if !limited {
		return time.Hour
	}
	return time.Until(end) - whole*2/3
}
