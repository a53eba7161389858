package imagestest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore/tosnapshot"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	opList, opCompare, opGet      = "ListSnapshotBlocks", "ListChangedBlocks", "GetSnapshotBlock"
	opStart, opPut, opComplete    = "StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot"
	always                        = 10_000
	lastRefusal, lastBody, lastOf = ebs.Gone, ebs.WrongAlgorithm, ebs.LoseAnswer
)

// faultsOf gives every fault that an operation of the in-test server can have.
func faultsOf(op string) (out []ebs.Fault) {
	for k := ebs.Throttle; k <= lastOf; k++ {
		switch {
		case k == ebs.Throttle:
			for _, reason := range []string{"RESOURCE_LEVEL_THROTTLE", "ACCOUNT_THROTTLED", "DEPENDENCY_REQUEST_THROTTLED"} {
				out = append(out, ebs.Fault{Kind: k, Reason: reason})
			}
		case k <= lastRefusal, k == ebs.Stale, k == ebs.BlockData && op == opPut,
			k == ebs.EmptyPage && (op == opList || op == opCompare),
			k > ebs.EmptyPage && k <= lastBody && op == opGet,
			k > lastBody && op == opPut:
			out = append(out, ebs.Fault{Kind: k, Wait: time.Minute})
		}
	}
	return out
}

// fated is one operation that goes wrong in one way, so many times.
type fated struct {
	op    string
	fault ebs.Fault
	n     int
}

func (f fated) String() string {
	times := fmt.Sprint(f.n)
	if f.n == always {
		times = "always"
	}
	return fmt.Sprintf("%s: fault %d %s, %s", f.op, f.fault.Kind, f.fault.Reason, times)
}

// everyFault has each happen once, and for good. Throttles end: who is throttled for good asks ever more seldom, and empty
// pages may be as many as a disk has pages.
func everyFault(ops ...string) (out []fated) {
	for _, op := range ops {
		for _, f := range faultsOf(op) {
			many := always
			switch f.Kind {
			case ebs.Throttle, ebs.Throttling, ebs.Concurrency:
				many = 60
			case ebs.EmptyPage:
				many = 100
			}
			out = append(out, fated{op, f, 1}, fated{op, f, many})
		}
	}
	if testing.Short() { // a third, each kind once or always at some operation
		third := out[:0]
		for i := 0; i < len(out); i += 3 {
			third = append(third, out[i])
		}
		out = third
	}
	return out
}

// tally counts how things ended.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *tally) add(end string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[end]++
}

// hasty has the client wait little between tries, and where answers never come not long for them either.
func (f fated) hasty(o ebsdirect.Options) ebsdirect.Options {
	o.AnswerTimeout, o.MaxBackoff = 20*time.Second, 20*time.Millisecond
	if f.fault.Kind == ebs.Hang {
		o.AnswerTimeout = 5 * time.Second
		if f.n == always {
			o.AnswerTimeout = 500 * time.Millisecond
		}
	}
	return o
}

// atOnce does what is waiting more than working, so much of it at once.
func atOnce(all []fated, do func(fated)) {
	var wg sync.WaitGroup
	limit := make(chan struct{}, 24)
	for _, f := range all {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			do(f)
		})
	}
	wg.Wait()
}

// Each operation of a backup fails in each way there is, once and always. What comes of it is the exact image, or a point
// that names what it lacks, or an error that names the snapshot; and a fault that passes is no more than that.
func TestEveryFaultOfReading(t *testing.T) {
	t.Parallel()
	var ends tally
	type done struct {
		fated
		r      *rig
		point  format.Hash
		volume string
		blocks map[int64][]byte
	}
	var mu sync.Mutex
	var exact []done
	all := everyFault(opList, opCompare, opGet)
	rigs := make(chan *rig, len(all))
	for range all {
		rigs <- newRig(t, ebs.Options{PageBlocks: 100})
	}
	atOnce(all, func(f fated) {
		r := <-rigs
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		blocks := disk(1, 12, 3)
		v := r.aws.World.AddVolume(world.Volume{SizeGiB: 1})
		add := func(ago time.Duration) *world.Snapshot {
			return r.aws.World.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-ago), Content: world.NewBlocks(blocks)})
		}
		last := add(time.Hour)
		if f.op == opCompare {
			if _, err := r.try(ctx); err != nil {
				t.Errorf("%s: the run before: %v", f, err)
				return
			}
			blocks = disk(1, 12, 4)
			last = add(time.Minute)
		}
		r.o.Blocks = f.hasty(r.o.Blocks)
		r.aws.EBS.Inject(f.op, f.fault, f.n)
		res, err := r.try(ctx)
		switch {
		case err != nil:
			ends.add("an error")
			if !strings.Contains(err.Error(), last.ID) || ctx.Err() != nil {
				t.Errorf("%s: an error that does not name %s: %v", f, last.ID, err)
			}
		case res.Status == format.StatusIncomplete:
			ends.add("incomplete")
			if r.missing[v.ID] == "" {
				t.Errorf("%s: incomplete without a reason", f)
			}
		default:
			ends.add("exact")
			mu.Lock()
			defer mu.Unlock()
			exact = append(exact, done{f, r, res.Point, v.ID, blocks})
			return
		}
		// A first page has no token that could have expired.
		if f.n == 1 && f.fault.Kind != ebs.Denied && !(f.op == opList && f.fault.Kind == ebs.Expired) {
			t.Errorf("%s: did not pass: %v %v", f, err, r.missing)
		}
	})
	for _, d := range exact {
		d.r.holds(d.point, d.volume, d.blocks)
		if left := d.r.aws.EBS.Left(); d.n == 1 && left > 0 {
			t.Errorf("%s: it was never asked: this tests nothing", d.fated)
		}
	}
	t.Logf("%d faults of reading: %v", len(all), ends.n)
}

// The same of a restore to a snapshot: the exact image, completed, or an error that names it; never another content that is
// called restored.
func TestEveryFaultOfWriting(t *testing.T) {
	t.Parallel()
	r := newRig(t, ebs.Options{})
	blocks := disk(1, 12, 3)
	v := r.aws.World.AddVolume(world.Volume{SizeGiB: 1})
	r.aws.World.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-time.Hour), Content: world.NewBlocks(blocks)})
	point := r.run().Point
	var all []fated
	for _, f := range everyFault(opStart, opPut, opComplete, opList, opGet) {
		// A snapshot that cannot be found, or is not completed, is waited for as long as AWS says that may take: minutes, hours.
		if waited := f.fault.Kind == ebs.Gone && f.op != opStart && f.op != opGet || f.fault.Kind == ebs.Expired && f.op == opList; !waited || f.n == 1 {
			all = append(all, f)
		}
	}
	var ends tally
	atOnce(all, func(f fated) {
		there, err := awstest.Start(world.New(), ebs.Options{}, ec2.Options{})
		if err != nil {
			t.Error(err)
			return
		}
		defer func() {
			if err := there.Close(); err != nil {
				t.Error(err)
			}
		}()
		there.EBS.Inject(f.op, f.fault, f.n)
		client, err := ebsdirect.New(f.hasty(ebsdirect.Options{Region: region, Endpoint: there.URL, Credentials: credentials, Write: true}))
		if err != nil {
			t.Error(err)
			return
		}
		made := ""
		to, err := tosnapshot.New(tosnapshot.Options{Client: client, Where: "there", Made: func(_, id string) { made = id }})
		if err != nil {
			t.Error(err)
			return
		}
		res, err := r.restoreTo(point, to)
		if err == nil && len(res.Failures) > 0 {
			err = res.Failures[0].Err
		}
		if err != nil {
			ends.add("an error")
			if made != "" || !strings.Contains(err.Error(), v.ID) && !strings.Contains(err.Error(), "snap-") {
				t.Errorf("%s: %s was made; an error that names nothing: %v", f, made, err)
			}
			if f.n == 1 && passes(f) {
				t.Errorf("%s: did not pass: %v", f, err)
			}
			return
		}
		ends.add("exact")
		s := there.World.Snapshot(made)
		if s == nil || s.State != "completed" {
			t.Errorf("%s: %q is not completed", f, made)
			return
		}
		if err := holdsBlocks(s, blocks); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	})
	t.Logf("%d faults of writing: %v", len(all), ends.n)
}

// passes reports whether a fault that happens once must be no more than a delay. Tokens are nothing that writing has, and
// what was kept wrong stays wrong.
func passes(f fated) bool {
	switch f.fault.Kind {
	case ebs.Denied, ebs.Swallow:
		return false
	case ebs.Expired, ebs.Gone:
		return f.op == opList || f.op == opGet && f.fault.Kind == ebs.Expired
	}
	return true
}

func holdsBlocks(s *world.Snapshot, want map[int64][]byte) error {
	buf, found := make([]byte, blockSize), 0
	for n, ok := s.Content.Next(0); ok; n, ok = s.Content.Next(n + 1) {
		found++
		if s.Content.Read(n, buf); string(buf) != string(want[n]) {
			return fmt.Errorf("block %d of %s differs", n, s.ID)
		}
	}
	if data := len(dataOf(want)); found != data {
		return fmt.Errorf("%s has %d blocks instead of %d", s.ID, found, data)
	}
	return nil
}
