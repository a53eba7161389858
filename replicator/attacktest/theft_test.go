package attacktest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/prune"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// TestKeysAndNames: a thief of the host key and the writer's changes keys or signs a point that is made to do harm, or whoever
// may write puts names and bytes where they hurt. Each has a repository of its own, since some of these end it.
func TestKeysAndNames(t *testing.T) { eachRow(t, theftRows()) }

func theftRows() []row {
	return []row{
		{"thief-adds-a-recipient", "add a restore key of his with the stolen host key", "an alarm; nothing is sealed to it; a rotation says that it cannot be dropped", addsRecipient},
		{"thief-rotates-first", "put a host key of his in force before the owner does", "the owner's run is refused as a stranger's change; every point comes back", rotatesFirst},
		{"thief-rotates-in-one-vault", "the same in one vault of two", "that vault is left out; the other has its point, and no change of keys", rotatesInOne},
		{"two-changes-of-one-age", "make two changes of keys of the same moment in one vault of two", "neither is chosen: that vault is left out, the other has its point", forksInOne},
		{"own-rotation-broken-off", "nobody attacks: the owner's own change is broken off before any vault has it, and behind the first of two", "no alarm; made again, it holds", brokenOff},
		{"old-key-after-a-rotation", "with a host key that was rotated away: sign points, of now and said to be from before", "they are marked and not built upon; the next points stand", oldKey},
		{"thief-of-an-owned-repository", "the same host key, in a repository with an owner: change its keys, and put a change beside", "refused; what lies beside is an alarm and no more; the owner's change holds", ofAnOwned},
		{"owner-signs-twice", "nobody attacks: two changes of one number that the owner signed lie in one vault of two", "neither counts: that vault is left out, the other has its point", ownerTwice},
		{"point-until-9998", "sign a point that is kept until 9998 and whose needs are nowhere", "an alarm; once it is distrusted, prune prunes and renew lengthens nothing for it", until9998},
		{"false-slots", "sign a point that claims the month's slot and lasts until 9998", "an alarm; the next point is kept for the month's span all the same", falseSlots(time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC), false)},
		{"false-slots-without-a-cache", "sign one that claims the month's slot and lasts a day, for a machine that lost its cache", "the next point is kept for the month's span all the same", falseSlots(time.Now().Add(24*time.Hour).UTC().Truncate(time.Second), true)},
		{"tree-without-end", "sign a point of six pages of repeated keys that stands for 2^60 entries", "listing and restoring it end at once, verify calls it damaged, runs go on", treeBomb},
		{"odd-name-and-junk-among-points", "with the writer's key: a name with a control character and a thousand of junk under points/", "run, verify and prune go on; every point is listed", oddAmongPoints},
		{"names-like-folders", "with the writer's key: objects named as the folders of packs, pages and needs lists", "every vault has the new points, also one that keeps objects as files, and all points come back from it", likeFolders},
		{"folder-names", "with the writer's key and the policy that is printed: objects named as the folders of everything in the vault, a source's points first", "refused; every point is listed and comes back", folderNames},
		{"overwritten-report", "with the writer's key: put another drill report over one", "verify names it, and which version was first", spoiltReport(false)},
		{"hidden-report", "with a key that may hide: lay a delete marker on a drill report", "verify names it", spoiltReport(true)},
	}
}

// thief is the host key as he has it: the secrets, and the pin, which is no secret.
func (s *scene) thief() *keys.HostKey {
	h := s.host.Secrets()
	h.Pin(s.host.Repository, s.host.Descriptors...)
	return h
}

func (s *scene) change(t *testing.T, o repo.ChangeOptions) error {
	t.Helper()
	o.Need, o.Report = keep, s.report
	if o.Vaults == nil {
		o.Vaults = []*repo.Vault{s.vault}
	}
	if o.Recipients == nil {
		o.Recipients = []keys.Recipient{s.restore.Recipient()}
	}
	out, err := repo.Change(t.Context(), o)
	for _, c := range out {
		err = errors.Join(err, c.Err)
	}
	return err
}

func addsRecipient(t *testing.T, s *scene) {
	his := must(keys.GenerateIdentity(keys.X25519))
	stolen := s.thief()
	both := []keys.Recipient{s.restore.Recipient(), his.Recipient()}
	if err := s.change(t, repo.ChangeOptions{Old: stolen, New: stolen, Recipients: both}); err != nil {
		t.Fatal(err)
	}
	s.all(t, s.point(t))
	if s.said(repo.Tampered, format.PrefixDescriptors+"000001-") == 0 {
		t.Errorf("no alarm: %v", s.saw)
	}
	rp := must(repo.Find(t.Context(), s.in, "", nil))
	listed := must(rp.Points(t.Context(), s.in, "site", nil))
	c := must(rp.Commit(t.Context(), s.in, listed[len(listed)-1], nil))
	res, err := restore.Run(t.Context(), restore.Options{
		Reader: must(repo.NewReader(rp, s.in, []keys.Identity{his}, nil, nil)), Commit: c, Target: must(todir.New(todir.Options{Root: t.TempDir()})),
		Memory: restore.MinMemory, Overwrite: restore.Never,
	})
	if err == nil && res.Failed == 0 {
		t.Error("what came after it opens to his key")
	}
	next := must(s.host.Rotated(false))
	if err := s.change(t, repo.ChangeOptions{Old: s.host, New: next}); !errors.Is(err, repo.ErrStrangers) {
		t.Errorf("rotated over it: %v", err)
	}
	err = s.change(t, repo.ChangeOptions{Old: s.host, New: next, Accept: true})
	if !errors.Is(err, repo.ErrRecipientsLost) || !strings.Contains(err.Error(), "new repository") {
		t.Errorf("it is not said that it cannot be dropped: %v", err)
	}
	s.unhurt(t, false)
}

func rotatesFirst(t *testing.T, s *scene) {
	stolen := s.thief()
	if err := s.change(t, repo.ChangeOptions{Old: stolen, New: must(stolen.Rotated(false))}); err != nil {
		t.Fatal(err)
	}
	if err := s.session(t, s.host, s.vault); !errors.Is(err, repo.ErrStrangers) || !errors.Is(err, repo.ErrHostKey) {
		t.Errorf("the owner's run: %v", err)
	}
	s.unhurt(t, false)
}

func rotatesInOne(t *testing.T, s *scene) {
	s.joined(t)
	stolen := s.thief()
	if err := s.change(t, repo.ChangeOptions{Vaults: []*repo.Vault{s.evil}, Old: stolen, New: must(stolen.Rotated(false))}); err != nil {
		t.Fatal(err)
	}
	s.apart(t, repo.ErrStrangers)
}

// apart demands that his vault alone is left out, for what it is, and that no change of keys came to the good one.
func (s *scene) apart(t *testing.T, want error) {
	t.Helper()
	came := s.point(t)
	s.alone(t, came)
	if !errors.Is(came[s.evil.Name], want) {
		t.Errorf("his vault: %v", came[s.evil.Name])
	}
	if r := must(repo.Find(t.Context(), s.in, "", nil)); len(r.Chain) != 1 {
		t.Errorf("the good vault has %d descriptors", len(r.Chain))
	}
	s.unhurt(t, false)
}

func forksInOne(t *testing.T, s *scene) {
	s.joined(t)
	for i := range 2 {
		d := *s.known.Now()
		d.Number, d.Previous, d.Created = 1, s.known.Chain[0].Sum, format.At(time.Now().UTC().Truncate(time.Second).Add(time.Duration(i)*time.Hour))
		body := must(format.EncodeDescriptor(&d, func(m []byte) []byte { return attest.Sign(s.host.Signing, attest.Descriptor, m) }))
		s.plant(t, descriptorName(s.host.Signing, s.known.ID, 1, body), body)
	}
	s.date(0)
	s.apart(t, repo.ErrForked)
}

func oldKey(t *testing.T, s *scene) {
	stolen, next := s.thief(), must(s.host.Rotated(false))
	if err := s.change(t, repo.ChangeOptions{Old: s.host, New: next}); err != nil {
		t.Fatal(err)
	}
	s.host = next
	names := map[string]bool{}
	for i, back := range []time.Duration{0, 2 * time.Hour} {
		body := fmt.Appendf(nil, "his point %d", i)
		id := format.PointID{Source: "site", SignedAt: format.At(time.Now().Add(-back - time.Second).Truncate(time.Second)), ID: sha256.Sum256(body)}
		name := pointName(stolen.Signing, s.known.ID, id)
		if err := stealFrom(t.Context(), s.arena, name, body); err != nil {
			t.Fatal(err)
		}
		names[name] = true
	}
	r := must(repo.Find(t.Context(), s.in, s.known.Fingerprint.String(), nil))
	for _, p := range must(r.Points(t.Context(), s.in, "", nil)) {
		if p.Distrusted != names[p.Name] {
			t.Errorf("point %s: distrusted %v", p.Name, p.Distrusted)
		}
	}
	s.all(t, s.point(t))
	s.all(t, s.point(t))
}

// owned has the owner's key of the restore key named by the host key, as in a repository that was begun without.
func (s *scene) owned(t *testing.T, vaults ...*repo.Vault) {
	t.Helper()
	o := repo.ChangeOptions{Old: s.host, New: s.host, Owners: []keys.Owner{keys.OwnerOf(s.restore)}, Vaults: vaults}
	if err := s.change(t, o); err != nil {
		t.Fatal(err)
	}
}

func ofAnOwned(t *testing.T, s *scene) {
	s.owned(t)
	stolen := s.thief()
	if err := s.change(t, repo.ChangeOptions{Old: stolen, New: must(stolen.Rotated(false))}); !errors.Is(err, repo.ErrNotOwner) {
		t.Errorf("his change: %v", err)
	}
	name, body := s.following(t, stolen.Signing, 0)
	if err := stealFrom(t.Context(), s.arena, name, body); err != nil {
		t.Fatal(err)
	}
	s.all(t, s.point(t))
	if n := s.said(repo.Tampered, format.PrefixDescriptors); n == 0 {
		t.Error("his descriptor is no alarm")
	}
	next := must(s.host.Rotated(false))
	if err := s.change(t, repo.ChangeOptions{Old: s.host, New: next, Owner: keys.OwnerKey(s.restore)}); err != nil {
		t.Fatal(err)
	}
	s.host = next
	s.all(t, s.point(t))
	if r := must(repo.Find(t.Context(), s.in, "", nil)); len(r.Chain) != 3 || r.End != nil {
		t.Errorf("%d descriptors, %v", len(r.Chain), r.Ended())
	}
}

// following makes a descriptor that follows from the newest one of the good vault.
func (s *scene) following(t *testing.T, signer ed25519.PrivateKey, later time.Duration) (name string, body []byte) {
	t.Helper()
	last := must(repo.Find(t.Context(), s.in, s.known.Fingerprint.String(), nil))
	d := *last.Now()
	d.Number, d.Previous, d.Created = len(last.Chain), last.Chain[len(last.Chain)-1].Sum, format.At(time.Now().Add(later).UTC().Truncate(time.Second))
	body = must(format.EncodeDescriptor(&d, func(m []byte) []byte { return attest.Sign(signer, attest.Descriptor, m) }))
	return descriptorName(signer, last.ID, d.Number, body), body
}

func ownerTwice(t *testing.T, s *scene) {
	s.joined(t)
	s.owned(t, s.vault, s.evil)
	for i := range 2 {
		name, body := s.following(t, keys.OwnerKey(s.restore), time.Duration(i)*time.Hour)
		s.plant(t, name, body)
	}
	came := s.point(t)
	s.alone(t, came)
	if !errors.Is(came[s.evil.Name], repo.ErrEnd) || !errors.Is(came[s.evil.Name], repo.ErrForked) {
		t.Errorf("his vault: %v", came[s.evil.Name])
	}
}

func brokenOff(t *testing.T, s *scene) {
	s.joined(t)
	next, stop := must(s.host.Rotated(false)), errors.New("broken off")
	err := s.change(t, repo.ChangeOptions{Old: s.host, New: next, Vaults: []*repo.Vault{s.vault, s.evil}, Note: func() error { return stop }})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	s.host.Pin(s.host.Repository, next.Descriptors...)
	quiet := func(when string) {
		s.all(t, s.point(t))
		if n := s.said(repo.Tampered, format.PrefixDescriptors); n > 0 {
			t.Errorf("%s: an own change is an alarm: %v", when, s.saw)
		}
	}
	quiet("before any vault had it")
	if err := s.change(t, repo.ChangeOptions{Old: s.host, New: next, Vaults: []*repo.Vault{s.vault}}); err != nil {
		t.Fatal(err)
	}
	s.host = next
	quiet("behind the first of two")
	if err := s.change(t, repo.ChangeOptions{Old: s.host, New: next, Vaults: []*repo.Vault{s.vault, s.evil}}); err != nil {
		t.Errorf("made again: %v", err)
	}
	quiet("made again")
	s.unhurt(t, false)
}

// sign puts a point of the thief's into the vault.
func (s *scene) sign(t *testing.T, edit func(*format.Commit)) (name string) {
	t.Helper()
	time.Sleep(1100 * time.Millisecond) // it comes after the owner's
	name, body, _ := forge(s.arena, "site", s.host.Signing, time.Now().Add(-time.Second), edit)
	if err := put(t.Context(), s.writer, s.bucket, folder+name, body, lockedFor(60*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	return name
}

// alarm demands that the owner's next run names what he signed, and nothing else is wrong with it.
func (s *scene) alarm(t *testing.T, name string) {
	t.Helper()
	s.all(t, s.point(t))
	if s.said(repo.Tampered, name) == 0 {
		t.Errorf("no alarm of %s: %v", name, s.saw)
	}
}

// later is a vault's clock as it will be.
type later struct {
	store.Inspector
	by time.Duration
}

func (l later) Inspect(ctx context.Context) (store.Facts, error) {
	f, err := l.Inspector.Inspect(ctx)
	f.Clock = f.Clock.Add(l.by)
	return f, err
}

// scratch is a cache of its own.
func scratch(t *testing.T) *cache.Cache {
	t.Helper()
	c := must(cache.Open(t.TempDir(), cache.Options{}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *scene) prune(t *testing.T, by time.Duration) prune.Summary {
	t.Helper()
	v := *s.vault
	v.Inspect = later{v.Inspect, by}
	sum, err := prune.Run(t.Context(), prune.Options{
		Repository: must(repo.Find(t.Context(), s.in, "", nil)), Vault: &v, Scratch: scratch(t), Now: func() time.Time { return time.Now().Add(by) },
	})
	if err != nil {
		t.Errorf("prune: %v", err)
	}
	return sum
}

func until9998(t *testing.T, s *scene) {
	before := time.Now()
	end := time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC)
	name := s.sign(t, func(c *format.Commit) {
		_, sum := s.junk()
		c.RetainUntil, c.Needs.Object, c.Needs.Sum = format.At(end), format.NeedsName(sum), sum
	})
	s.alarm(t, name)
	next := must(s.host.Rotated(false))
	if err := s.change(t, repo.ChangeOptions{Old: s.host, New: next, DistrustAfter: before}); err != nil {
		t.Fatal(err)
	}
	s.host = next
	s.all(t, s.point(t))
	if sum := s.prune(t, 200*24*time.Hour); sum.Living != 1 || sum.Removed == 0 {
		t.Errorf("prune: %+v", sum)
	}
	sum, err := renew.Run(t.Context(), renew.Options{
		Repository: must(repo.Find(t.Context(), s.in, "", nil)), Vault: s.vault, Scratch: scratch(t), Report: s.report, Now: time.Now,
	})
	if err != nil || sum.Distrusted == 0 || sum.Until.Year() > 2100 || sum.Extended > 0 {
		t.Errorf("renew: %+v, %v", sum, err)
	}
	comesBack(t, s.arena)
}

func falseSlots(end time.Time, lost bool) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		s.months = "12mo"
		name := s.sign(t, func(c *format.Commit) {
			c.RetainUntil, c.Slots = format.At(end), []string{c.TakenAt.UTC().Format("daily-2006-01-02"), c.TakenAt.UTC().Format("monthly-2006-01")}
		})
		if lost {
			s.cache = t.TempDir()
			s.all(t, s.point(t))
		} else {
			s.alarm(t, name)
		}
		s.learn(t)
		c := s.commits[s.points[len(s.points)-1].id]
		if c.RetainUntil.Before(time.Now().AddDate(0, 11, 25)) {
			t.Errorf("the next point is kept until %s, for %v", c.RetainUntil, c.Slots)
		}
		comesBack(t, s.arena)
	}
}

// page stores a page as he would, and gives where it lies.
func (s *scene) page(t *testing.T, plain []byte) (object string, frame format.Frame, sum format.Hash) {
	t.Helper()
	b := must(pack.NewBuilder([]keys.Recipient{s.restore.Recipient(), s.host.Metadata.Recipient()}, nil))
	encoded := must(pack.NewEncoder()).Frame(nil, plain)
	off := must(b.Add(encoded))
	sealed := must(b.Close())
	if err := put(t.Context(), s.writer, s.bucket, folder+format.MetaName(sealed.Sum), sealed.Body, lockedFor(60*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	return format.MetaName(sealed.Sum), format.Frame{Offset: off, Length: int64(len(encoded)), Plain: int64(len(plain))}, sha256.Sum256(plain)
}

func treeBomb(t *testing.T, s *scene) {
	e := &format.Entry{Key: "k", SHA256: sha256.Sum256(nil)}
	page, ref := must(e.AppendLine(nil)), format.PageRef{First: "k", Entries: 1}
	for level := 0; ; level++ {
		ref.Level = level
		ref.Object, ref.Frame, ref.Sum = s.page(t, page)
		if level == 5 {
			break
		}
		page = []byte(strings.Repeat(string(must(ref.AppendLine(nil))), 4096))
		ref.Entries *= 4096
	}
	ref.First = ""
	name := s.sign(t, func(c *format.Commit) { c.Manifest, c.Entries, c.Bytes = ref, ref.Entries, 0 })
	rp := must(repo.Find(t.Context(), s.in, "", nil))
	for _, p := range must(rp.Points(t.Context(), s.in, "site", nil)) {
		if p.Name != name {
			continue
		}
		c := must(rp.Commit(t.Context(), s.in, p, nil))
		r := must(repo.NewReader(rp, s.in, []keys.Identity{s.restore}, nil, nil))
		n, last := 0, error(nil)
		for _, err := range browse.List(t.Context(), r, c, "") {
			n, last = n+1, err
		}
		if !errors.Is(last, format.ErrMalformed) || n > 2 {
			t.Errorf("ls gave %d entries, then %v", n, last)
		}
		res, err := restore.Run(t.Context(), restore.Options{Reader: r, Commit: c, Target: must(todir.New(todir.Options{Root: t.TempDir()}))})
		if err == nil && len(res.Failures) > 0 {
			err = res.Failures[0].Err
		}
		if !errors.Is(err, format.ErrMalformed) {
			t.Errorf("restore: %+v, %v", res, err)
		}
	}
	if sum, found := s.verify(t); sum.Damaged == 0 {
		t.Errorf("verify: %+v, %v", sum, found)
	}
	s.alarm(t, name)
	comesBack(t, s.arena)
}

func oddAmongPoints(t *testing.T, s *scene) {
	odd := stealFrom(t.Context(), s.arena, "points/site/a\x01b", []byte("odd"))
	if odd != nil && code(odd) == "" {
		t.Fatal(odd)
	}
	for i := range 1000 {
		b, sum := s.junk()
		if err := stealFrom(t.Context(), s.arena, format.PointID{Source: "site", SignedAt: format.At(time.Now().Add(-time.Minute)), ID: sum, Hint: hintOf(s.known), Signature: noise(uint64(i), 64)}.Name(), b); err != nil {
			t.Fatal(err)
		}
	}
	s.all(t, s.point(t))
	if sum := s.prune(t, 0); sum.Points != len(s.points) || sum.Living != len(s.points) {
		t.Errorf("prune: %+v", sum)
	}
	s.unhurt(t, true)
}

// likeFolders: a server that keeps objects as files has no room for a folder where a file of that name is. What was there stays
// readable; what is new cannot be put, so that vault may fail, and the other must not.
func likeFolders(t *testing.T, s *scene) {
	s.joined(t)
	taken := 0
	for _, kind := range []string{format.PrefixPacks, format.PrefixMeta, format.PrefixNeeds} {
		for i := range 256 {
			name := fmt.Sprintf("%s%02x", kind, i)
			err := put(t.Context(), s.root, s.bad, folder+name, []byte("in the way"))
			switch {
			case err == nil:
				s.planted[name] = true
				taken++
			case code(err) == "":
				t.Fatal(err)
			}
		}
	}
	if taken < 700 {
		t.Errorf("only %d names were taken", taken)
	}
	for range 2 { // with what the cache knows of such names, and of what lies under them
		time.Sleep(time.Second)
		s.all(t, s.point(t))
	}
	// versitygw keeps objects as files and refuses what would lie below one (409 ObjectParentIsFile); MinIO does not.
	beside := 0
	for _, v := range must(versions(t.Context(), s.root, s.bad, folder)) {
		if _, ok := format.WithFolder(strings.TrimPrefix(v.key, folder)); ok {
			beside++
		}
	}
	if s.srv.Kind == servers.KindVersityGW != (beside > 0) {
		t.Errorf("%d objects lie beside their folders", beside)
	}
	s.unhurt(t, false)
	all, in := s.points, s.in
	s.points, s.in = s.points[1:], s.front // the first was made before it joined
	comesBack(t, s.arena)
	if sum, found := s.verify(t); sum.Missing+sum.Damaged+sum.Unlocked > 0 {
		t.Errorf("verify of the vault with these names: %+v, %v", sum, found)
	}
	s.points, s.in = all, in
}

// folderNames: where the server keeps objects as files, an object in the place of a folder hides what is in it (MinIO), or keeps
// new objects out of it (versitygw). The printed policy allows no such name.
func folderNames(t *testing.T, s *scene) {
	p := must(vendor.Get(string(s.srv.Kind)))
	doc := must(vendor.PolicyFor(p, vendor.VaultWriter, vendor.PolicyOptions{Bucket: s.bucket, Prefix: strings.TrimSuffix(folder, "/"), Principal: "thief"}))
	thief := client(s.srv, s.srv.NewUser(t, must(servers.ParsePolicy(doc.Text))))
	names := map[string]bool{"points/later": true, strings.TrimSuffix(folder, "/"): true}
	for _, v := range must(versions(t.Context(), s.root, s.bucket, folder)) {
		for dir := path.Dir(strings.TrimPrefix(v.key, folder)); dir != "."; dir = path.Dir(dir) {
			names[dir] = true
		}
	}
	if !names["points/site"] || !names["packs"] {
		t.Fatalf("%v", names)
	}
	for name := range names {
		if err := put(t.Context(), thief, s.bucket, folder+name, []byte("in the way")); code(err) != "AccessDenied" {
			t.Errorf("%s: %v", name, err)
		}
		if err := put(t.Context(), thief, s.bucket, folder+name, []byte("in the way"), lockedFor(keep)); code(err) != "AccessDenied" {
			t.Errorf("%s, locked: %v", name, err)
		}
	}
	s.all(t, s.point(t))
	s.unhurt(t, false)
}

func spoiltReport(hide bool) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		const name = "reports/drill-20261101T000000Z.json"
		if err := put(t.Context(), s.writer, s.bucket, folder+name, []byte(`{"passed":false}`), lockedFor(keep)); err != nil {
			t.Fatal(err)
		}
		s.unhurt(t, false)
		if hide {
			key := folder + name
			if _, err := s.broad.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}); err != nil {
				t.Fatal(err)
			}
		} else if err := stealFrom(t.Context(), s.arena, name, []byte(`{"passed":true}`)); err != nil {
			t.Fatal(err)
		}
		s.all(t, s.point(t))
		s.unhurt(t, true)
		if _, found := s.verify(t); len(found) != 1 || found[0].Name != name || found[0].Kind != repo.Tampered || !hide && !strings.Contains(found[0].Detail, "first is version") {
			t.Errorf("%v", found)
		}
	}
}
