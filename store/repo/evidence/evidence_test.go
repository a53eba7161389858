package evidence_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

var errDown = errors.New("the vault is down")

// rig is a reporter, its book, and vaults that can be down.
type rig struct {
	t      *testing.T
	dir    string
	key    *keys.ReporterKey
	repo   format.Hash
	now    time.Time
	stores []*memstore.Store
	down   []bool
	puts   atomic.Int64 // that are still allowed, in all vaults; below 0: any number
}

func newRig(t *testing.T, vaults int) *rig {
	t.Helper()
	key, err := keys.GenerateReporterKey("web-1", "job")
	must(t, err)
	r := &rig{t: t, dir: t.TempDir(), key: key, repo: format.Hash{1}, now: time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC)}
	r.puts.Store(-1)
	for range vaults {
		r.join()
	}
	return r
}

// join adds a vault.
func (r *rig) join() {
	r.stores = append(r.stores, memstore.New(memstore.Options{Now: func() time.Time { return r.now }}))
	r.down = append(r.down, false)
}

// failing stops putting after so many.
type failing struct {
	store.Writer
	r *rig
}

func (f failing) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	if f.r.puts.Load() >= 0 && f.r.puts.Add(-1) < 0 {
		f.r.puts.Store(0)
		return store.Ref{}, errDown
	}
	return f.Writer.Put(ctx, name, body, size, o)
}

// add makes one record a day.
func (r *rig) add(kind string) []evidence.Delivery {
	r.t.Helper()
	r.now = r.now.Add(24 * time.Hour)
	book, lock, err := evidence.OpenBook(r.t.Context(), r.dir)
	must(r.t, err)
	defer lock.Close()
	rep := evidence.Reporter{Key: r.key, Repository: r.repo, Book: book}
	for i, s := range r.stores {
		v := evidence.Vault{
			Name: fmt.Sprintf("vault%d", i), Read: s, Write: failing{s, r}, Mode: store.Compliance, Keep: 400 * 24 * time.Hour, Ceiling: 500 * 24 * time.Hour,
		}
		if r.down[i] {
			v.Err = errDown
		}
		rep.Vaults = append(rep.Vaults, v)
	}
	out, err := rep.Add(r.t.Context(), evidence.Statement{Time: r.now, Type: kind, Until: r.now.Add(450 * 24 * time.Hour), Body: fmt.Appendf(nil, `{"at":%d}`, r.now.Unix())})
	must(r.t, err)
	return out
}

func (r *rig) key1(reporter, hint string, _ time.Time) (ed25519.PublicKey, bool) {
	return r.key.Public(), reporter == r.key.Name && hint == format.KeyHint(r.key.Public())
}

// read gives the types of the records of a vault, with / where a series begins, and what is wrong.
func (r *rig) read(i int) (types string, found []string) {
	r.t.Helper()
	must(r.t, evidence.Read(r.t.Context(), evidence.Options{
		Vault: r.stores[i], Repository: r.repo, Key: r.key1,
		Report: func(f evidence.Finding) { found = append(found, string(f.Kind)) },
		Each: func(f evidence.Found) error {
			if f.Number == 0 {
				types += "/"
			}
			types += f.Record.Type
			return nil
		},
	}))
	return types, found
}

func (r *rig) expect(i int, types string, found ...string) {
	r.t.Helper()
	got, wrong := r.read(i)
	if got != types || !slices.Equal(wrong, found) {
		r.t.Errorf("vault %d: %q %v, want %q %v", i, got, wrong, types, found)
	}
}

// names lists what lies in a vault, in the order of the series.
func (r *rig) names(i int) (out []store.Ref) {
	for info, err := range r.stores[i].Versions(r.t.Context(), format.PrefixReports, "") {
		must(r.t, err)
		out = append(out, info.Ref)
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecordsAreNumberedAndLocked(t *testing.T) {
	r := newRig(t, 2)
	for _, kind := range []string{"a", "b", "c"} {
		for _, d := range r.add(kind) {
			if d.Err != nil || d.Stored != 1 || d.Waiting != 0 || !d.Until.Equal(r.now.Add(450*24*time.Hour)) {
				t.Errorf("%+v", d)
			}
		}
	}
	r.expect(0, "/abc")
	r.expect(1, "/abc")
	for _, ref := range r.names(0) {
		if _, lock, err := r.stores[0].Stat(t.Context(), ref); err != nil || lock.Mode != store.Compliance || lock.Until.Before(r.now.Add(400*24*time.Hour)) {
			t.Errorf("%s: %+v %v", ref.Name, lock, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(r.dir, "waiting")); err != nil || len(left) > 0 {
		t.Errorf("%d records are kept that are in every vault: %v", len(left), err)
	}
}

// A vault that was away gets what it lacks, in order: its series has no gap.
func TestAVaultThatWasAway(t *testing.T) {
	r := newRig(t, 2)
	r.add("a")
	r.down[1] = true
	r.add("b")
	if d := r.add("c"); d[0].Err != nil || !errors.Is(d[1].Err, errDown) || d[1].Waiting != 2 {
		t.Errorf("%+v", d)
	}
	r.expect(1, "/a")
	r.down[1] = false
	if d := r.add("d"); d[1].Err != nil || d[1].Stored != 3 {
		t.Errorf("%+v", d)
	}
	r.expect(0, "/abcd")
	r.expect(1, "/abcd")

	r = newRig(t, 2) // away from the beginning
	r.down[1] = true
	r.add("a")
	r.add("b")
	r.down[1] = false
	r.add("c")
	r.expect(0, "/abc")
	r.expect(1, "/abc")
}

// A vault that joins begins with a series, and so does a reporter whose book is lost.
func TestSeriesBegin(t *testing.T) {
	r := newRig(t, 2)
	r.down[1] = true
	r.add("a")
	r.add("b")
	r.join()
	r.add("c")
	r.add("d")
	r.down[1] = false
	r.add("e")
	r.expect(0, "/abcde")
	r.expect(1, "/abcde")
	r.expect(2, "/abcde") // all of it still waited for another

	r.join()
	r.add("f")
	r.expect(0, "/abcde/f")
	r.expect(3, "/f")

	r = newRig(t, 2)
	r.add("a")
	r.down[1] = true
	r.add("b") // waits, and is no beginning
	r.join()
	r.add("c")
	r.expect(2, "/c")
	r.down[1] = false
	r.add("d")
	r.expect(0, "/ab/cd")
	r.expect(1, "/ab/cd")
	r.expect(2, "/cd")

	two := newRig(t, 1)
	two.add("a")
	must(t, os.RemoveAll(two.dir))
	two.now = two.now.Add(-24 * time.Hour) // lost in the second in which it began
	two.add("b")
	two.expect(0, "/a/b")

	must(t, os.RemoveAll(r.dir))
	r.now = r.now.Add(-24 * time.Hour) // and a clock that stands still
	r.add("g")
	r.add("h")
	if types, found := r.read(0); len(found) > 0 || !strings.HasSuffix(types, "gh") {
		t.Errorf("%q %v", types, found)
	}
}

// Whatever moment a reporter is killed at, no number is lost, doubled or given to two records.
func TestKilledReporter(t *testing.T) {
	for puts := range 7 {
		r := newRig(t, 2)
		r.add("a")
		r.puts.Store(int64(puts))
		for range 3 {
			r.add("b")
		}
		r.puts.Store(-1)
		r.add("c")
		for i := range 2 {
			r.expect(i, "/abbbc")
		}
	}
	// Killed between the record's file and the note of it.
	r := newRig(t, 1)
	r.add("a")
	last, err := os.ReadFile(filepath.Join(r.dir, "last"))
	must(t, err)
	r.down[0] = true
	r.add("b")
	must(t, os.WriteFile(filepath.Join(r.dir, "last"), last, 0o600))
	r.down[0] = false
	r.add("c")
	r.expect(0, "/abc")
}

// What is done to records in a vault is named.
func TestTampering(t *testing.T) {
	five := func() (*rig, []store.Ref, memstore.Attacker) {
		r := newRig(t, 1)
		for _, k := range []string{"a", "b", "c", "d", "e"} {
			r.add(k)
		}
		r.expect(0, "/abcde")
		return r, r.names(0), r.stores[0].Attacker()
	}
	r, names, thief := five()
	must(t, thief.Lose(names[2]))
	r.expect(0, "/abde", "missing")

	r, names, thief = five()
	must(t, thief.Lose(names[1]))
	must(t, thief.Lose(names[2]))
	r.expect(0, "/ade", "missing")

	r, names, thief = five()
	must(t, thief.Damage(names[2], func(b []byte) []byte { b[len(b)-3]++; return b }))
	r.expect(0, "/abde", "missing")

	r, names, thief = five()
	thief.Overwrite(names[2].Name, []byte("{}"))
	thief.Hide(names[3].Name)
	r.expect(0, "/abcde", "overlaid", "overlaid")

	// A signature of the key itself over another record of one number.
	r, names, thief = five()
	id, err := format.ParseRecordName(names[2].Name)
	must(t, err)
	forge := func(number int, previous format.Hash, reporter string) {
		b, err := format.EncodeRecord(&format.Record{
			Repository: r.repo, Reporter: reporter, Series: id.Series, Number: number, Previous: previous, Time: id.Series, Type: "z", Body: []byte(`{}`),
		})
		must(t, err)
		n := format.RecordID{Reporter: "web-1", Series: id.Series, Number: number, Sum: sum(b), Hint: format.KeyHint(r.key.Public())}
		n.Signature = attest.Sign(r.key.Signing, attest.Record, n.Message(r.repo))
		thief.Overwrite(n.Name(), b)
	}
	forge(2, format.Hash{9}, "web-1")
	if types, found := r.read(0); len(types) != 7 || !slices.Contains(found, "forked") {
		t.Errorf("%q %v", types, found)
	}
	r, _, thief = five()
	forge(5, format.Hash{9}, "web-1")
	r.expect(0, "/abcdez", "unchained")
	r, names, thief = five()
	last, err := format.ParseRecordName(names[4].Name)
	must(t, err)
	forge(5, last.Sum, "web-2")
	r.expect(0, "/abcdez", "misleading")

	// What no key signed costs nothing, and neither does what is no record.
	r, names, thief = five()
	thief.Overwrite(strings.Replace(names[0].Name, "-00000000-", "-00000007-", 1), []byte("x"))
	thief.Overwrite("reports/20261123T080500Z-0123456789abcdef.json", []byte("x"))
	thief.Overwrite("reports/web-1/x", []byte("x"))
	r.expect(0, "/abcde")
	r.repo = format.Hash{2} // of another repository
	r.expect(0, "")
}

// The last of each series is given, for whoever compares reporters.
func TestLastOfSeries(t *testing.T) {
	r := newRig(t, 1)
	r.add("a")
	r.add("b")
	r.join()
	r.add("c")
	var got []string
	must(t, evidence.Read(t.Context(), evidence.Options{
		Vault: r.stores[0], Repository: r.repo, Key: r.key1,
		Memory: func(s evidence.FoundSeries) error {
			got = append(got, fmt.Sprintf("%s %d %d", s.Reporter, s.Records, s.Last.Number))
			return nil
		},
	}))
	if want := []string{"web-1 2 1", "web-1 1 0"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func sum(b []byte) format.Hash { return sha256.Sum256(b) }
