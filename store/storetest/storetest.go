// Package storetest is the conformance suite that every vault driver passes, and the benchmarks that measure them alike.
//
// A driver's test file makes a Harness and calls Run; what differs between vaults is data in Options, never a skipped
// test. The suite holds drivers to what callers rely on: whole objects or none, versions acted on by their ID, locks read
// back as they were set, refusals that are told apart. It must never weaken a case for one driver's sake.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// Vault is what every driver implements for the job.
type Vault interface {
	store.Reader
	store.Writer
	store.Locker
	store.Inspector
}

// Attacker does what somebody with a stolen writer key can. Vaults without versions have none.
type Attacker interface {
	// Hide deletes name without giving a version, which leaves a delete marker.
	Hide(ctx context.Context, name string) error
	// Overwrite puts other bytes under name, unlocked.
	Overwrite(ctx context.Context, name string, data []byte) error
}

// Harness is one empty vault.
type Harness struct {
	Vault    Vault
	Remover  store.Remover // with the right to delete, as prune's credential has
	Attacker Attacker      // nil without versions
	Close    func() error  // ends whatever the vault keeps open; may be nil
}

// Options say how to make vaults and what they can do.
type Options struct {
	New       func(t testing.TB) Harness // an empty vault, cleaned up with t
	Versions  bool                       // keeps versions
	Immutable bool                       // enforces locks against everybody
	Objects   int                        // of the listing test; default 1,000
	Large     int                        // bytes of the large object; default 40 MiB
}

// Run runs the whole suite.
func Run(t *testing.T, o Options) {
	if o.Objects == 0 {
		o.Objects = 1000
	}
	if o.Large == 0 {
		o.Large = 40 << 20
	}
	for _, c := range cases() {
		if c.versions && !o.Versions || c.immutable && !o.Immutable || c.plain && o.Versions {
			continue // not part of this kind of vault
		}
		t.Run(c.name, func(t *testing.T) {
			h := o.New(t)
			c.run(&suite{T: t, o: o, h: h, v: h.Vault})
		})
	}
}

type testCase struct {
	name                       string
	versions, immutable, plain bool // only for vaults with versions, with enforced locks, without versions
	run                        func(*suite)
}

func cases() []testCase {
	return []testCase{
		{name: "PutGet", run: putGet},
		{name: "Empty", run: emptyObject},
		{name: "Large", run: largeObject},
		{name: "Ranges", run: readRanges},
		{name: "Missing", run: missingObject},
		{name: "Names", run: allNames},
		{name: "BadNames", run: badNames},
		{name: "Listing", run: listings},
		{name: "ListingBehind", run: listingsBehind},
		{name: "ListingStops", run: listingStops},
		{name: "WrongHash", run: wrongHash},
		{name: "ShortBody", run: shortBody},
		{name: "BrokenBody", run: brokenBody},
		{name: "Cancelled", run: cancelledCalls},
		{name: "Concurrent", run: concurrentCalls},
		{name: "Inspect", run: inspectFacts},
		{name: "Leaks", run: (*suite).leaks},
		{name: "Retention", run: (*suite).retention},
		{name: "Extend", run: (*suite).extend},
		{name: "RemoveLocked", run: removeLocked},
		{name: "RemoveUnlocked", run: removeUnlocked},
		{name: "BadLocks", run: badLocks},
		{name: "NoOverwrite", plain: true, run: noOverwrite},
		{name: "TwoVersions", versions: true, run: twoVersions},
		{name: "ManyVersions", versions: true, run: manyVersions},
		{name: "UnderMarker", versions: true, run: underMarker},
		{name: "UnderMarkers", versions: true, run: underMarkers},
		{name: "ExtendUnderNewer", versions: true, immutable: true, run: extendUnderNewer},
		{name: "VersionRequired", versions: true, run: versionRequired},
		{name: "RemoveOfSeveral", versions: true, run: removeOfSeveral},
		{name: "RemoveMarker", versions: true, run: removeMarker},
		{name: "RemoveTwice", run: removeTwice},
		{name: "MissingVersion", versions: true, run: missingVersion},
	}
}

type suite struct {
	*testing.T
	o Options
	h Harness
	v Vault
}

func (s *suite) ctx() context.Context { return s.Context() }

// data gives n reproducible bytes.
func data(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	b := make([]byte, n)
	_, _ = r.Read(b) // never fails
	return b
}

func options(b []byte) store.PutOptions { return store.PutOptions{SHA256: sha256.Sum256(b)} }

func (s *suite) put(name string, b []byte) store.Ref {
	s.Helper()
	return s.putLocked(name, b, store.Retention{})
}

func (s *suite) putLocked(name string, b []byte, r store.Retention) store.Ref {
	s.Helper()
	o := options(b)
	o.Retention = r
	ref, err := s.v.Put(s.ctx(), name, bytes.NewReader(b), int64(len(b)), o)
	if err != nil {
		s.Fatalf("put %s: %v", name, err)
	}
	if ref.Name != name || (ref.Version != "") != s.o.Versions {
		s.Fatalf("put %s gave %+v; versions: %t", name, ref, s.o.Versions)
	}
	return ref
}

func (s *suite) read(ref store.Ref, off, n int64) ([]byte, error) {
	return read(s.ctx(), s.v, ref, off, n)
}

func read(ctx context.Context, r store.Reader, ref store.Ref, off, n int64) ([]byte, error) {
	rc, err := r.Open(ctx, ref, off, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(rc)
	return b, errors.Join(err, rc.Close())
}

func (s *suite) mustRead(ref store.Ref, want []byte) {
	s.Helper()
	got, err := s.read(ref, 0, -1)
	if err != nil {
		s.Fatalf("read %+v: %v", ref, err)
	}
	if !bytes.Equal(got, want) {
		s.Fatalf("read %+v: %d bytes that are not the %d put", ref, len(got), len(want))
	}
}

func (s *suite) list(prefix string) []store.Info { return s.listBehind(prefix, "") }

func (s *suite) listBehind(prefix, after string) []store.Info {
	s.Helper()
	var out []store.Info
	for info, err := range s.v.Versions(s.ctx(), prefix, after) {
		if err != nil {
			s.Fatalf("list %q behind %q: %v", prefix, after, err)
		}
		out = append(out, info)
	}
	return out
}

func (s *suite) wantErr(err, kind error, what string) {
	s.Helper()
	if !errors.Is(err, kind) {
		s.Fatalf("%s: %v; want %v", what, err, kind)
	}
}

// until is a whole second by the vault's clock, d from now.
func (s *suite) until(d time.Duration) time.Time {
	s.Helper()
	f, err := s.v.Inspect(s.ctx())
	if err != nil {
		s.Fatalf("inspect: %v", err)
	}
	return f.Clock.Add(d).Truncate(time.Second)
}

func (s *suite) compliance(d time.Duration) store.Retention {
	s.Helper()
	return store.Retention{Mode: store.Compliance, Until: s.until(d)}
}

func (s *suite) lockOf(ref store.Ref) store.Retention {
	s.Helper()
	_, r, err := s.v.Stat(s.ctx(), ref)
	if err != nil {
		s.Fatalf("stat %+v: %v", ref, err)
	}
	return r
}

func (s *suite) wantLock(ref store.Ref, want store.Retention) {
	s.Helper()
	if got := s.lockOf(ref); got.Mode != want.Mode || !got.Until.Equal(want.Until) {
		s.Fatalf("lock of %+v read back as %+v; want %+v", ref, got, want)
	}
}

// nothing checks that no version of anything is under prefix.
func (s *suite) nothing(prefix string) {
	s.Helper()
	if got := s.list(prefix); len(got) != 0 {
		s.Fatalf("%d objects under %q, first %+v; want none", len(got), prefix, got[0])
	}
}

func numbered(i int) string { return fmt.Sprintf("many/%02x/object-%05d", i%16, i) }
