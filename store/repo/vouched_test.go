package repo_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// named plants a point's name that a host key signed, without a commit object behind it.
func (b *bench) named(t *testing.T, source string, at time.Time, text string) format.Hash {
	t.Helper()
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	id := format.Hash(sha256.Sum256([]byte(text)))
	plantPoint(b, pointName(b.host, r.ID, format.PointID{Source: source, SignedAt: format.At(at), ID: id}), []byte(text))
	return id
}

// doubtedPoint gives the points that are listed and do not count.
func doubtedPoint(b *bench, in store.Reader) (doubted, late []format.Hash) {
	b.t.Helper()
	r, err := repo.Find(b.t.Context(), in, "", b.report)
	if err != nil {
		b.t.Fatal(err)
	}
	points, err := r.Points(b.t.Context(), in, "", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range points {
		if p.Distrusted {
			doubted = append(doubted, p.ID)
		}
		if p.Late {
			late = append(late, p.ID)
		}
	}
	return doubted, late
}

// movedVault copies a vault as any tool does: what was there comes anew, at one time, in another order.
func movedVault(t *testing.T, b *bench) *memstore.Store {
	t.Helper()
	to := memstore.New(memstore.Options{Now: b.now})
	var list []store.Info
	for info, err := range b.store.Versions(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, info)
	}
	slices.Reverse(list)
	for _, info := range list {
		from, err := b.store.Open(t.Context(), info.Ref, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(from)
		if err != nil || from.Close() != nil {
			t.Fatal(err)
		}
		if _, err := to.Put(t.Context(), info.Name, bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256(body)}); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestAKeyCountsUntilItIsDropped: after a plain rotation the old key signs no point that counts, whatever time it claims; what it signed
// before counts as before, and runs go on from it.
func TestAKeyCountsUntilItIsDropped(t *testing.T) {
	b := newBench(t)
	b.clock = b.clock.Add(time.Hour)
	honest := b.point("uploads")
	old := b.host
	b.clock = b.clock.Add(time.Hour)
	next := rotated(t, b.host)
	if _, err := b.change(t, next, nil); err != nil {
		t.Fatal(err)
	}
	rotation := b.clock
	b.clock = b.clock.Add(time.Hour)
	after := b.named(t, "uploads", b.clock, "signed with the old key")
	backdated := b.named(t, "uploads", rotation.Add(-90*time.Minute), "and said to be from before")
	if got, _ := doubtedPoint(b, b.store); len(got) != 2 || !slices.Contains(got, after) || !slices.Contains(got, backdated) {
		t.Errorf("doubted: %v", got)
	}
	b.host = next
	s := b.session()
	defer s.Close()
	heads, err := s.Past.Points(t.Context(), "uploads")
	if err != nil || len(heads.Points) != 1 || heads.Points[0].ID != honest {
		t.Errorf("a run goes by %+v, %v", heads.Points, err)
	}
	// It never returns.
	name, body := b.next(t, b.host.Signing, func(d *format.Descriptor) { d.Keys = append(d.Keys, format.JobKey(old.Public())) })
	plantPoint(b, name, body)
	if r, err := b.find(""); err != nil || len(r.Chain) != 2 || r.End == nil {
		t.Errorf("a key that was dropped is listed again: %v", err)
	}
}

// TestAMovedVaultKeepsItsPoints: times do not survive a copy. What a change vouched for counts there and is not late; what it left out does
// not.
func TestAMovedVaultKeepsItsPoints(t *testing.T) {
	for _, distrust := range []bool{false, true} {
		b := newBench(t)
		b.clock = b.clock.Add(time.Hour)
		honest := b.point("uploads")
		theft := b.clock.Add(time.Hour)
		b.clock = theft.Add(time.Hour)
		thief := b.point("uploads", honest)
		b.clock = b.clock.Add(time.Hour)
		next := rotated(t, b.host)
		if _, err := b.change(t, next, func(o *repo.ChangeOptions) {
			if distrust {
				o.DistrustAfter = theft
			}
		}); err != nil {
			t.Fatal(err)
		}
		b.clock = b.clock.Add(100 * dayLong)
		stolen := b.named(t, "uploads", b.clock.Add(-99*dayLong), "with the old key, put into the copy")
		to := movedVault(t, b)
		want := []format.Hash{stolen}
		if distrust {
			want = append(want, thief)
		}
		doubted, late := doubtedPoint(b, to)
		if len(doubted) != len(want) || slices.ContainsFunc(want, func(id format.Hash) bool { return !slices.Contains(doubted, id) }) || slices.Contains(late, honest) {
			t.Errorf("distrust %v: doubted %v, late %v", distrust, doubted, late)
		}
	}
}

// TestTrustIsGivenBack: a later change with a later time, or that names a point, lists again what an earlier one had left out.
func TestTrustIsGivenBack(t *testing.T) {
	b := newOwnedBench(t)
	var ids []format.Hash
	start := b.clock
	for i := range 4 {
		b.clock = start.Add(time.Duration(i+1) * time.Hour)
		ids = append(ids, b.point("uploads", ids[max(len(ids)-1, 0):]...))
	}
	change := func(edit func(*repo.ChangeOptions)) error {
		b.clock = b.clock.Add(time.Hour)
		next := rotated(t, b.host)
		_, err := b.change(t, next, func(o *repo.ChangeOptions) { b.asOwner(o); edit(o) })
		if err == nil {
			b.host = next
		}
		return err
	}
	expect := func(when string, counts ...int) {
		t.Helper()
		doubted, _ := doubtedPoint(b, b.store)
		for i, id := range ids {
			if slices.Contains(counts, i) == slices.Contains(doubted, id) {
				t.Errorf("%s: point %d, doubted %v", when, i, slices.Contains(doubted, id))
			}
		}
	}
	after := func(i int) func(*repo.ChangeOptions) {
		return func(o *repo.ChangeOptions) { o.DistrustAfter = start.Add(time.Duration(i+1)*time.Hour + time.Minute) }
	}
	if err := change(after(0)); err != nil {
		t.Fatal(err)
	}
	expect("after the first hour", 0)
	if err := change(after(2)); err != nil {
		t.Fatal(err)
	}
	expect("after the third", 0, 1, 2)
	if err := change(after(1)); err != nil {
		t.Fatal(err)
	}
	expect("after the second, which takes trust away again", 0, 1)
	if err := change(func(o *repo.ChangeOptions) { o.Trust = []format.Hash{ids[3]} }); err != nil {
		t.Fatal(err)
	}
	expect("named", 0, 1, 3)
	if err := change(func(o *repo.ChangeOptions) { o.Trust = []format.Hash{{7}} }); !errors.Is(err, repo.ErrNoSuchPoint) {
		t.Errorf("a point that is not there: %v", err)
	}
	expect("after one that failed", 0, 1, 3)
	if doubted, late := doubtedPoint(b, movedVault(t, b)); len(doubted) != 1 || len(late) != 1 {
		t.Errorf("in a copy: %v, %v", doubted, late)
	}
}

// TestTwoVaultsVouch: a point counts for a change only where every vault that lists it had it in time: who controls one vault's times cannot
// have a point vouched for that another got too late.
func TestTwoVaultsVouch(t *testing.T) {
	b := newBench(t)
	other := memstore.New(memstore.Options{Now: b.now})
	second := vaultOf(other)
	second.Name = "w"
	o := initOptions(b)
	o.Vaults = append(o.Vaults, second)
	if _, err := repo.Init(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	theft := b.clock.Add(time.Hour)
	thief := format.Hash(sha256.Sum256([]byte("thief")))
	name := pointName(b.host, r.ID, format.PointID{Source: "uploads", SignedAt: format.At(b.clock), ID: thief})
	b.clock = b.clock.Add(30 * time.Minute)
	plantPoint(b, name, []byte("thief")) // as if it had come in time
	b.clock = theft.Add(time.Hour)
	if _, err := other.Put(t.Context(), name, bytes.NewReader([]byte("thief")), 5, store.PutOptions{SHA256: thief}); err != nil {
		t.Fatal(err)
	}
	next := rotated(t, b.host)
	got, err := b.change(t, next, func(o *repo.ChangeOptions) { o.DistrustAfter, o.Vaults = theft, append(o.Vaults, second) })
	if err != nil || got[0].Err != nil || got[1].Err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, in := range []store.Reader{b.store, other} {
		if doubted, _ := doubtedPoint(b, in); len(doubted) != 1 {
			t.Errorf("doubted: %v", doubted)
		}
	}
}

// TestAListOfManyVouchedPoints: thousands are one object, the list is brought to a new vault with the chain, is among what every point needs,
// and where it is damaged that is said and stops nothing.
func TestAListOfManyVouchedPoints(t *testing.T) {
	b := newBench(t)
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	const n = 3_000
	b.clock = b.clock.Add(n * time.Second)
	for i := range n {
		id := format.PointID{Source: fmt.Sprintf("s%d", i%3), SignedAt: format.At(b.clock.Add(-time.Duration(i) * time.Second)), ID: sha256.Sum256(fmt.Append(nil, i))}
		plantPoint(b, pointName(b.host, r.ID, id), []byte("x"))
	}
	b.clock = b.clock.Add(time.Hour)
	next := rotated(t, b.host)
	if _, err := b.change(t, next, nil); err != nil {
		t.Fatal(err)
	}
	b.host = next
	b.clock = b.clock.Add(dayLong)
	if r, err = b.find(""); err != nil || r.Now().Vouched == nil || r.Now().Vouched.Entries != n || r.Now().Vouched.Level == 0 {
		t.Fatalf("%v, %+v", err, r.Now().Vouched)
	}
	list := r.Now().Vouched.Object
	if !slices.ContainsFunc(r.Standing(), func(n format.Need) bool { return n.Name == list && n.Size > 0 }) {
		t.Error("the list is not among what points need")
	}
	if doubted, late := doubtedPoint(b, movedVault(t, b)); len(doubted)+len(late) != 0 {
		t.Errorf("%d doubted, %d late in a copy", len(doubted), len(late))
	}
	empty := vaultOf(memstore.New(memstore.Options{Now: b.now}))
	empty.Name = "new"
	o := initOptions(b)
	o.Vaults = append(o.Vaults, empty)
	if _, err := repo.Init(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	b.count(repo.Damaged, "")
	if two, err := repo.Find(t.Context(), empty.Read, "", b.report); err != nil || len(two.Standing()) != len(r.Standing()) || b.saw(repo.Damaged, "") {
		t.Errorf("a new vault: %v", err)
	}
	for info := range b.store.Versions(t.Context(), list, "") {
		if err := b.store.Attacker().Damage(info.Ref, func(body []byte) []byte { return body[:len(body)/2] }); err != nil {
			t.Fatal(err)
		}
	}
	if doubted, _ := doubtedPoint(b, b.store); len(doubted) != 0 || !b.saw(repo.Damaged, list) {
		t.Errorf("a damaged list: %d doubted", len(doubted))
	}
}

// TestOneIDIsOnePoint: a point that two keys signed a name for is one, and counts if one of its names does, in any order.
func TestOneIDIsOnePoint(t *testing.T) {
	for _, first := range []string{"old", "new"} {
		b := newBench(t)
		b.clock = b.clock.Add(time.Hour)
		old, next := b.host, rotated(t, b.host)
		if _, err := b.change(t, next, nil); err != nil {
			t.Fatal(err)
		}
		b.clock = b.clock.Add(time.Hour)
		order := []*keys.HostKey{old, next}
		if first == "new" {
			slices.Reverse(order)
		}
		at := b.clock
		for _, b.host = range order {
			b.named(t, "uploads", at, "one point")
			b.clock = b.clock.Add(time.Minute)
		}
		if points := b.points(); len(points) != 1 || points[0].Distrusted {
			t.Errorf("%s first: %+v", first, points)
		}
	}
}
