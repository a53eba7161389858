package attacktest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// TestHostileVault: one of two vaults is the attacker's, with its content and its times, and he has no key at all. After each
// attack the good vault has its next point, holds nothing of his, and gives every point back.
func TestHostileVault(t *testing.T) { eachRow(t, hostileRows()) }

func eachRow(t *testing.T, rows []row) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			for i, x := range rows {
				if !*full && !testing.Short() && !servers.Turn(i, kind) {
					continue // each on one of the two, and on both in .ci/full
				}
				t.Run(x.name, func(t *testing.T) { x.do(t, newScene(t, kind)) })
			}
		})
	}
}

// When what he plants came, seen from the repository, and which points are attacked.
const (
	older = -1000 * time.Hour
	newer = time.Hour

	newest = "the newest point"
	middle = "points of the middle"
	all    = "all points"
)

func hostileRows() []row {
	const aside = "his vault is left out and named, the good one has its point, nothing of his is in it"
	const beside = "the pinned one is gone by, in both vaults; nothing of his is copied"
	rows := []row{
		{"planted-first-descriptor", "put a first descriptor of the same repository ID and with his key in place of the repository", aside, forged(1, false, older)},
		{"planted-first-descriptor-older", "plant it beside the repository, and have it older", beside, beside1(older)},
		{"planted-first-descriptor-newer", "the same, newer", beside, beside1(newer)},
		{"planted-first-descriptor-of-one-age", "the same, of the same moment", beside, beside1(0)},
		{"another-repository", "put a repository with another ID in its place", aside, anotherRepository},
		{"forged-chain-without-a-pin", "a forged chain, and a host key from before there were pins", aside, unpinnedHost},
		{"forged-chain-only-vault", "a forged chain, and his vault is the only one", "the run is refused", forgedAlone},
		{"forged-chain-at-init", "a forged chain is there when init brings the repository to another vault", "init is refused, and the other vault stays empty", forgedAtInit},
		{"content-under-a-forged-chain", "packs, points, an index and placements of his under a forged chain", aside, contentOfHis},
		{"planted-seen-by-readers", "have readers look at a forged chain", "refused by the pin; without one he is believed, and a warning says so", seenByReaders},
		{"withheld-change-of-keys", "leave the newest change of keys out of the listing", "brought to it beside a good vault; alone it is refused as withheld", withheldChange},
		{"junk-in-one-vault", "put a thousand junk names into his vault, as points, changes of keys, packs and pages", "no request more to the good one", junkInOne},
	}
	for _, n := range []int{1, 2, 5} {
		for _, owners := range []bool{true, false} {
			whose := map[bool]string{true: "the-owners-keys", false: "his-keys"}[owners]
			rows = append(rows, row{fmt.Sprintf("forged-chain-of-%d-ending-in-%s", n, whose),
				"a first descriptor of his and as many changes of keys after it, all older than anything", aside, forged(n+1, owners, older)})
		}
	}
	for _, which := range []string{newest, middle, all} {
		rows = append(rows,
			row{"withhold-" + strings.ReplaceAll(which, " ", "-"), "leave " + which + " out of the listing", "each is named by run and by verify", withhold(which)},
			row{"delete-" + strings.ReplaceAll(which, " ", "-"), "delete " + which + " past governance", "each is named by run and by verify", deletePoints(which)},
			row{"bury-" + strings.ReplaceAll(which, " ", "-"), "lay delete markers on " + which, "each is listed all the same, and verify names the marker", buryPoints(which)})
	}
	return rows
}

// chain plants a forged chain: the last of several puts the owner's public keys in force, which anybody can read.
func (s *scene) chain(t *testing.T, length int, owners bool, id format.Hash) {
	t.Helper()
	previous := format.Hash{}
	for n := range length {
		d := *s.known.Now()
		d.Number, d.Previous, d.Repository = n, previous, id
		if !owners || n < length-1 {
			d.Keys = []format.Key{format.JobKey(his().Public().(ed25519.PublicKey))}
		}
		body := must(format.EncodeDescriptor(&d, func(b []byte) []byte { return attest.Sign(his(), attest.Descriptor, b) }))
		previous = sha256.Sum256(body)
		s.plant(t, descriptorName(his(), id, n, body), body)
	}
}

// date has all that he planted come at another time than everything else.
func (s *scene) date(later time.Duration) {
	began := s.known.Chain[0].Arrived
	s.front.when = func(info store.Info) time.Time {
		if s.planted[info.Name] {
			return began.Add(later)
		}
		return info.Modified
	}
}

func forged(length int, owners bool, later time.Duration) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		s.second(t)
		s.chain(t, length, owners, s.known.ID)
		s.date(later)
		s.alone(t, s.point(t))
		s.unhurt(t, false)
	}
}

func beside1(later time.Duration) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		s.joined(t)
		real := must(repo.Find(t.Context(), s.front, "", nil)).Chain[0]
		s.chain(t, 2, false, s.known.ID)
		s.front.when = func(info store.Info) time.Time {
			if s.planted[info.Name] {
				return real.Arrived.Add(later)
			}
			return info.Modified
		}
		s.all(t, s.point(t))
		s.unhurt(t, false)
		if r, err := repo.Find(t.Context(), s.front, s.known.Fingerprint.String(), nil); err != nil || len(r.Chain) != 1 {
			t.Errorf("a reader with a pin: %v", err)
		}
		switch r, err := repo.Find(t.Context(), s.front, "", nil); {
		case later == 0 && !errors.Is(err, repo.ErrAmbiguous):
			t.Errorf("of two of one age one was chosen: %v", err)
		case later > 0 && (err != nil || r.Fingerprint != s.known.Fingerprint):
			t.Errorf("a newer one was chosen: %v", err)
		}
	}
}

func anotherRepository(t *testing.T, s *scene) {
	s.second(t)
	s.chain(t, 1, false, sha256.Sum256([]byte("his")))
	s.alone(t, s.point(t))
	s.unhurt(t, false)
}

func unpinnedHost(t *testing.T, s *scene) {
	s.second(t)
	s.chain(t, 3, true, s.known.ID)
	s.date(older)
	s.host = s.host.Secrets()
	s.alone(t, s.point(t))
	s.unhurt(t, false)
	if err := s.session(t, s.host, s.evil); !errors.Is(err, repo.ErrUnpinned) {
		t.Errorf("his vault alone: %v", err)
	}
}

func forgedAlone(t *testing.T, s *scene) {
	s.second(t)
	s.chain(t, 3, true, s.known.ID)
	s.date(older)
	if err := s.session(t, s.host, s.evil); !errors.Is(err, repo.ErrFingerprint) {
		t.Errorf("his vault alone: %v", err)
	}
	s.others = nil
	s.all(t, s.point(t))
	s.unhurt(t, false)
}

func forgedAtInit(t *testing.T, s *scene) {
	s.second(t)
	his := s.evil
	s.chain(t, 3, true, s.known.ID)
	s.date(older)
	front, planted := s.front, s.bad
	s.second(t) // an empty one
	empty := s.evil
	for _, c := range []struct {
		host *keys.HostKey
		want error
	}{{s.host, repo.ErrFingerprint}, {s.host.Secrets(), repo.ErrUnpinned}} {
		o := s.initOptions(his, empty)
		o.HostKey = c.host
		if _, err := repo.Init(t.Context(), o); !errors.Is(err, c.want) {
			t.Errorf("init: %v instead of %v", err, c.want)
		}
		if list := must(versions(t.Context(), s.root, s.bad, "")); len(list) > 0 {
			t.Errorf("copied into the empty vault: %v", list)
		}
	}
	s.front, s.bad, s.evil, s.others = front, planted, his, []*repo.Vault{his}
	s.alone(t, s.point(t))
	s.unhurt(t, false)
}

func contentOfHis(t *testing.T, s *scene) {
	s.second(t)
	s.chain(t, 3, true, s.known.ID)
	evil, segment, placements, name := evilIndex(s.arena, his(), true)
	s.plant(t, format.PackName(evil.Sum), evil.Body)
	s.plant(t, format.MetaName(segment.Sum), segment.Body)
	s.plant(t, name, placements)
	point, body, _ := forge(s.arena, "site", his(), time.Now().Add(-time.Second), nil)
	s.plant(t, point, body)
	needs, sum := s.junk()
	s.plant(t, format.NeedsName(sum), needs)
	s.date(older)
	s.alone(t, s.point(t))
	s.cache = t.TempDir() // and a machine that knows nothing but its host key
	s.alone(t, s.point(t))
	s.unhurt(t, false)
}

func seenByReaders(t *testing.T, s *scene) {
	s.second(t)
	s.chain(t, 3, true, s.known.ID)
	s.date(older)
	pins := must(repo.NewKnown("", s.host))
	if _, err := repo.Find(t.Context(), s.front, pins.Pin, nil); !errors.Is(err, repo.ErrFingerprint) {
		t.Errorf("with the host key's pin: %v", err)
	}
	if r, err := repo.Find(t.Context(), s.front, "", nil); err != nil || r.Fingerprint == s.known.Fingerprint {
		t.Errorf("without any pin: %v", err) // cmd/holdfast prints the fingerprint and that it is not pinned
	}
	s.alone(t, s.point(t))
	s.unhurt(t, false)
}

func withheldChange(t *testing.T, s *scene) {
	s.joined(t)
	next := must(s.host.Rotated(false))
	if _, err := repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{s.vault, s.evil}, Old: s.host, New: next, Recipients: []keys.Recipient{s.restore.Recipient()}, Need: keep, Report: s.report,
	}); err != nil {
		t.Fatal(err)
	}
	s.host = next
	s.learn(t)
	s.front.hide = func(name string) bool { return strings.HasPrefix(name, format.PrefixDescriptors+"000001-") }
	if err := s.session(t, s.host, s.evil); !errors.Is(err, repo.ErrWithheld) {
		t.Errorf("alone: %v", err)
	}
	if came := s.point(t); came[s.vault.Name] != nil {
		t.Errorf("beside the good vault: %v", came)
	}
	s.unhurt(t, false)
}

func junkInOne(t *testing.T, s *scene) {
	s.joined(t)
	requests := func() int {
		direct := s.srv.Direct
		s.srv.Direct = s.srv.Endpoint
		recording := s.open(s.reader)
		s.srv.Direct = direct
		read := s.vault.Read
		s.vault.Read = recording
		defer func() { s.vault.Read = read }()
		s.srv.ResetLog()
		s.all(t, s.point(t))
		return len(s.srv.Log())
	}
	requests()
	clean := requests()
	for i := range 1000 {
		b, sum := s.junk()
		name := []string{
			format.PointID{Source: "site", SignedAt: format.At(time.Now().Add(-time.Minute)), ID: sum, Hint: hintOf(s.known), Signature: noise(uint64(i), 64)}.Name(),
			format.DescriptorID{Number: i % 3, Sum: sum, Hint: hintOf(s.known), Signature: noise(uint64(i), 64)}.Name(),
			format.PackName(sum), format.MetaName(sum), "points/site/" + sum.String(),
		}[i%5]
		s.plant(t, name, b)
	}
	if got := requests(); got > clean+8 {
		t.Errorf("%d requests to the good vault instead of %d", got, clean)
	}
	s.unhurt(t, false)
}

// chosen gives some of the points in his vault, as the good one lists them.
func (s *scene) chosen(t *testing.T, which string) (out []repo.Point) {
	t.Helper()
	listed := must(must(repo.Find(t.Context(), s.front, "", nil)).Points(t.Context(), s.front, "site", nil))
	if len(listed) < 3 {
		t.Fatalf("%d points", len(listed))
	}
	switch which {
	case newest:
		return listed[len(listed)-1:]
	case middle:
		return listed[1 : len(listed)-1]
	}
	return listed
}

// missed demands that run and verify name each of the points, and the good vault has the next.
func (s *scene) missed(t *testing.T, hidden []repo.Point) {
	t.Helper()
	s.all(t, s.point(t))
	for _, p := range hidden {
		if s.said(repo.Missing, p.Name) != 1 {
			t.Errorf("the run does not name %s: %v", p.Name, s.saw)
		}
	}
	made := must(cache.PointsMade(s.cache, s.evil.Name))
	var found []verify.Finding
	_ = must(verify.Run(t.Context(), verify.Options{
		Repository: s.known, In: s.front, Identities: []keys.Identity{s.restore}, Level: verify.Content, Made: made,
		Emit: func(f verify.Finding) { found = append(found, f) },
	}))
	for _, p := range hidden {
		if !slices.ContainsFunc(found, func(f verify.Finding) bool { return f.Kind == repo.Missing && f.Name == p.Name }) {
			t.Errorf("verify does not name %s: %v", p.Name, found)
		}
	}
	s.unhurt(t, false)
}

func withhold(which string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		s.joined(t)
		s.all(t, s.point(t))
		hidden := s.chosen(t, which)
		s.front.hide = func(name string) bool {
			return slices.ContainsFunc(hidden, func(p repo.Point) bool { return p.Name == name })
		}
		s.missed(t, hidden)
	}
}

func deletePoints(which string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		s.joined(t)
		s.all(t, s.point(t))
		hidden := s.chosen(t, which)
		for _, p := range hidden {
			for _, v := range must(versions(t.Context(), s.root, s.bad, folder+p.Name)) {
				s.erase(t, v, false)
			}
		}
		s.missed(t, hidden)
	}
}

func buryPoints(which string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		s.joined(t)
		s.all(t, s.point(t))
		hidden := s.chosen(t, which)
		for _, p := range hidden {
			s.erase(t, version{key: folder + p.Name}, true)
		}
		s.all(t, s.point(t))
		listed := must(s.known.Points(t.Context(), s.front, "site", nil))
		for _, p := range hidden {
			if !slices.ContainsFunc(listed, func(q repo.Point) bool { return q.Name == p.Name }) {
				t.Errorf("%s is not listed under the marker", p.Name)
			}
		}
		named := map[string]bool{}
		_ = must(verify.Run(t.Context(), verify.Options{
			Repository: s.known, In: s.front, Level: verify.Locks,
			Emit: func(f verify.Finding) { named[f.Name] = named[f.Name] || f.Kind == repo.Tampered },
		}))
		for _, p := range hidden {
			if !named[p.Name] {
				t.Errorf("verify does not name the marker on %s", p.Name)
			}
		}
		s.unhurt(t, false)
	}
}
