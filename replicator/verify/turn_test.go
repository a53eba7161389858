package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/rotation"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// counting counts what is read of packs in whole objects, and fails where it is told to.
type counting struct {
	store.Reader
	mu    sync.Mutex
	read  map[string]int64 // by name
	locks map[string]int
	fail  func(name string) error
}

func (c *counting) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off == 0 && n < 0 && strings.HasPrefix(ref.Name, format.PrefixPacks) { // the rest is read to find out what is needed
		if c.fail != nil {
			if err := c.fail(ref.Name); err != nil {
				return nil, err
			}
		}
		info, _, err := c.Reader.Stat(ctx, ref)
		if err != nil {
			return nil, err
		}
		c.read[ref.Name] += info.Size
	}
	return c.Reader.Open(ctx, ref, off, n)
}

func (c *counting) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.locks[ref.Name]++
	return c.Reader.Stat(ctx, ref)
}

// turns is a vault that is verified in turns, with the state as it was last saved.
type turns struct {
	*rig
	in    *counting
	kept  []byte
	found []Finding
}

func newTurns(t *testing.T) *turns {
	r := newRig(t)
	src := memsource.New(memsource.Options{})
	for day := range 6 {
		for i := range 6 {
			src.Put(fmt.Sprintf("%d/%d", day, i), body(uint64(100*day+i), 60_000))
		}
		r.run("site", src)
		r.clock = r.clock.Add(23 * time.Hour)
	}
	return &turns{rig: r, in: &counting{Reader: r.vault}}
}

func (r *turns) turn(level Level, b rotation.Budget) (Summary, error) {
	r.t.Helper()
	s := &rotation.State{}
	if r.kept != nil {
		s = must(rotation.Decode(r.kept, r.clock))(r.t)
	}
	r.in.read, r.in.locks, r.found = map[string]int64{}, map[string]int{}, nil
	o := r.options(level)
	o.In, o.Now, o.Identities = r.in, r.now, nil
	o.Emit = func(f Finding) { r.found = append(r.found, f) }
	o.InTurn = &InTurn{State: s, Budget: b, Save: func() (err error) { r.kept, err = s.Encode(); return err }}
	sum, err := Run(context.Background(), o)
	r.clock = r.clock.Add(24 * time.Hour)
	return sum, err
}

// All that points need is read within the days that are said, each day no more than the budget, and the locks with it.
func TestInTurn(t *testing.T) {
	r := newTurns(t)
	const budget = 700_000
	seen, days := map[string]bool{}, int64(0)
	for day := int64(0); day == 0 || day < days; day++ {
		sum, err := r.turn(Bytes, rotation.Budget{Cost: budget})
		if err != nil || sum.Status != OK {
			t.Fatalf("%v: %+v%s", err, sum, show(r.found))
		}
		days = sum.Turn.Days
		all := int64(0)
		for name, n := range r.in.read {
			seen[name] = true
			if all += n; r.in.locks[name] == 0 {
				t.Errorf("the lock of %s was not read", name)
			}
		}
		if sum.Turn.Read > budget || sum.Turn.Living != sum.Bytes || sum.Turn.Objects != sum.Objects {
			t.Errorf("%+v, %+v", sum, sum.Turn)
		}
		if day == 0 && (sum.LocksChecked || sum.Sample >= 100 || sum.Sample <= 0) {
			t.Errorf("a part is given as the whole: %+v", sum)
		}
		if day == days-1 && sum.Turn.Covered != sum.Bytes {
			t.Errorf("of %d bytes %d are covered", sum.Bytes, sum.Turn.Covered)
		}
	}
	if days < 3 || days > 20 {
		t.Fatalf("%d days", days)
	}
	for _, info := range r.list("packs/") {
		if !seen[info.Name] {
			t.Errorf("%s was not read", info.Name)
		}
	}
}

// Damage is found when its turn comes, and from then on in each turn, until it is mended; what is gone is found at once.
func TestDamageInTurn(t *testing.T) {
	r := newTurns(t)
	victim := r.one("packs/")
	if err := r.vault.Attacker().Damage(victim.Ref, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	found := 0
	for range 12 {
		sum, err := r.turn(Bytes, rotation.Budget{Cost: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if found > 0 && sum.Damaged != 1 {
			t.Fatalf("found once, and not again: %+v", sum)
		}
		found += int(sum.Damaged)
	}
	if found == 0 {
		t.Error("never found")
	}
}

// Locks go round by requests.
func TestLocksInTurn(t *testing.T) {
	r := newTurns(t)
	seen := map[string]bool{}
	sum, err := r.turn(Locks, rotation.Budget{Cost: 10})
	for day := int64(0); day < sum.Turn.Days; day++ {
		if err != nil || sum.Turn.Read > 10 || len(r.in.read) > 0 {
			t.Fatalf("%v: %+v", err, sum.Turn)
		}
		for name := range r.in.locks {
			seen[name] = true
		}
		sum, err = r.turn(Locks, rotation.Budget{Cost: 10})
	}
	for _, info := range r.list("packs/") {
		if !seen[info.Name] {
			t.Errorf("the lock of %s was not read", info.Name)
		}
	}
	// Where bytes were read, locks were: a vault that was read today asks for none.
	r = newTurns(t)
	if _, err := r.turn(Bytes, rotation.Budget{Cost: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(-24 * time.Hour)
	if sum, err := r.turn(Locks, rotation.Budget{Cost: 1000}); err != nil || sum.Turn.Read != 0 || sum.Turn.Covered != sum.Turn.Living {
		t.Errorf("%v: %+v", err, sum.Turn)
	}
}

// One object that cannot be read stops no other, and is tried again; a vault of which nothing can be read ends the turn.
func TestUnreadInTurn(t *testing.T) {
	r := newTurns(t)
	victim, broken := r.one("packs/").Name, errors.New("connection broke")
	r.in.fail = func(name string) error {
		if name == victim {
			return broken
		}
		return nil
	}
	sum, err := r.turn(Bytes, rotation.Budget{Cost: 1 << 30})
	if !errors.Is(err, ErrUnread) || !errors.Is(err, broken) || sum.Turn.Unread != 1 || sum.Turn.Read != sum.Bytes {
		t.Fatalf("%v: %+v", err, sum.Turn)
	}
	r.in.fail = nil
	if sum, err = r.turn(Bytes, rotation.Budget{Cost: 1 << 20}); err != nil || r.in.read[victim] == 0 {
		t.Errorf("it was not tried again: %v: %+v", err, sum.Turn)
	}
	r.kept = nil
	r.in.fail = func(string) error { return broken }
	if sum, err = r.turn(Bytes, rotation.Budget{Cost: 1 << 30}); !errors.Is(err, broken) || sum.Turn == nil || sum.Turn.Covered > sum.Turn.Living/4 {
		t.Errorf("%v: %+v", err, sum.Turn)
	}
}

// What is laid on top is told, and read when its turn comes.
func TestTamperedInTurn(t *testing.T) {
	r := newTurns(t)
	victim := r.one("packs/")
	b := body(1, 10)
	if _, err := r.vault.Put(context.Background(), victim.Name, bytes.NewReader(b), 10, store.PutOptions{SHA256: sha256.Sum256(b)}); err != nil {
		t.Fatal(err)
	}
	sum, err := r.turn(Bytes, rotation.Budget{Cost: 1})
	if err != nil || sum.Status != Tampered || len(r.found) != 1 || r.found[0].Kind != repo.Tampered {
		t.Errorf("%v: %+v%s", err, sum, show(r.found))
	}
}
