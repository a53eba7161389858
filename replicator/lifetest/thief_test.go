package lifetest_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/prune"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// crafted signs a point as only the holder of the host key can, with a manifest and a needs list of the caller's.
func crafted(t *testing.T, w *lifetest.World, until time.Time, change func(s *repo.Session, c *format.Commit)) format.Hash {
	t.Helper()
	v := *w.Vault
	v.Locking = repo.Locking{Mode: store.ModeNone} // what he stores has whichever lock he likes
	s, err := w.Session(t.Context(), &v)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Begin(w.Clock.Add(30 * day)); err != nil {
		t.Fatal(err)
	}
	e := &format.Entry{Key: "k", SHA256: sha256.Sum256(nil)}
	c := &format.Commit{Source: "uploads", SourceKind: "memory", TakenAt: format.At(w.Clock), RetainUntil: format.At(until), Mode: "compliance", Status: format.StatusComplete}
	c.Manifest = planted(t, s.Writer.MetaSink(), format.PageRef{First: "k", Entries: 1}, line(t, e))
	var page []byte
	needs := s.Repository().Standing()
	ref := format.PageRef{First: needs[0].Name, Entries: int64(len(needs))}
	for i := range needs {
		page, ref.Bytes = append(page, line(t, &needs[i])...), ref.Bytes+needs[i].Size
	}
	c.Needs = planted(t, s.Writer.NeedsSink(), ref, page)
	change(s, c)
	c.Entries, c.Bytes = c.Manifest.Entries, c.Manifest.Bytes
	id, err := s.Commit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func line(t *testing.T, of interface{ AppendLine([]byte) ([]byte, error) }) []byte {
	t.Helper()
	b, err := of.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// planted stores a tree of one page.
func planted(t *testing.T, sink *repo.Sink, ref format.PageRef, page []byte) format.PageRef {
	t.Helper()
	b := tree.NewBuilder(sink, tree.Cut{Leaf: 64, Fanout: 64}, nil, nil)
	if !strings.HasPrefix(string(page), `{"name":`) { // no needs list
		b = b.Salted("")
	}
	if err := b.Leaf(t.Context(), ref, page); err != nil {
		t.Fatal(err)
	}
	root, err := b.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// bomb stores a tree of a few pages, each of which refers 4096 times to the one below.
func bomb(t *testing.T, sink *repo.Sink, ref format.PageRef, leaf []byte, levels int) format.PageRef {
	t.Helper()
	page := leaf
	for level := 0; ; level++ {
		slot, err := sink.Page(t.Context(), page)
		if err = errors.Join(err, sink.Seal(t.Context())); err != nil {
			t.Fatal(err)
		}
		ref.Level, ref.Object, ref.Frame, ref.Sum = level, slot.Object(), slot.Frame, sha256.Sum256(page)
		if level == levels {
			return ref
		}
		page = []byte(strings.Repeat(string(line(t, &ref)), 4096))
		if level == levels-1 && !strings.HasPrefix(string(leaf), `{"name":`) { // the root of a manifest
			page = append([]byte(`{"salt":"00112233445566778899aabbccddeeff"}`+"\n"), page...)
		}
		ref.Entries, ref.Bytes = ref.Entries*4096, ref.Bytes*4096
	}
}

// distrust changes the keys and distrusts what came after a time.
func distrust(t *testing.T, w *lifetest.World, theft time.Time) {
	t.Helper()
	next, err := w.Host.Rotated(false)
	if err != nil {
		t.Fatal(err)
	}
	w.Clock = w.Clock.Add(time.Hour)
	if _, err := repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{w.Vault}, Old: w.Host, New: next, Recipients: []keys.Recipient{w.Key.Recipient()}, Need: 30 * day, DistrustAfter: theft, Now: w.Now,
	}); err != nil {
		t.Fatal(err)
	}
	w.Host = next
}

// unaudited makes a point in a world whose audit cannot read all points.
func unaudited(t *testing.T, w *lifetest.World) (*backup.Result, error) {
	t.Helper()
	s, err := w.Session(t.Context(), w.Vault)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	return backup.Run(t.Context(), backup.Options{
		Source: w.Source, Name: "uploads", Session: s, Retention: short().Retention, TagsMaxAge: -1, Memory: 64 << 20, Fetchers: 4, Now: w.Now,
	})
}

// TestAThiefsPointsStopNothing: a thief of the host key signs a point that is to be kept until the year 9998, with a needs list
// that is not there, with one that stands for more than can be walked, or that names all there is. Once it is distrusted, pruning
// goes on and removes as much as it does without it, and a renewal lengthens no lock for it and says that it passed it over.
func TestAThiefsPointsStopNothing(t *testing.T) {
	never := time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, change := range map[string]func(s *repo.Session, c *format.Commit){
		"whole":          func(*repo.Session, *format.Commit) {},
		"no needs there": func(_ *repo.Session, c *format.Commit) { c.Needs.Object = format.NeedsName(format.Hash{7}) },
		"a bomb of needs": func(s *repo.Session, c *format.Commit) {
			n := s.Repository().Standing()[0]
			c.Needs = bomb(t, s.Writer.NeedsSink(), format.PageRef{First: n.Name, Entries: 1, Bytes: n.Size}, line(t, &n), 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := ran(t, short(), 4)
			theft := w.Clock
			w.Clock = w.Clock.Add(time.Hour)
			crafted(t, w, never, change)
			distrust(t, w, theft)
			w.Extended()
			s, err := doRenew(t.Context(), w, *w.Vault, renew.Options{})
			if err != nil || s.Distrusted != 1 || s.Extended != 0 || s.Due != 0 || s.Broken != 0 || len(w.Extended()) != 0 {
				t.Errorf("renewed: %+v, %v", s, err)
			}
			if p, err := w.Prune(t.Context(), w.Remover(), nil); err != nil || p.Living != 5 {
				t.Errorf("pruned while the thief's lives: %+v, %v", p, err)
			}
			for _, wait := range []time.Duration{2 * day, 90 * day} {
				w.Clock = w.Clock.Add(wait)
				if res, err := unaudited(t, w); err != nil || res.Status != format.StatusComplete || res.Entries != 60 {
					t.Fatalf("run: %+v, %v", res, err)
				}
			}
			p, err := w.Prune(t.Context(), w.Remover(), nil)
			if err != nil || p.Removed == 0 || p.Living != 1 {
				t.Fatalf("pruned: %+v, %v", p, err)
			}
		})
	}
}

// TestAnEndBeyondTheBound: a point that a key in force signed, and that says it is kept for longer than the descriptor allows, is as a
// distrusted one for every reader, at once: no lock is lengthened for it, pruning goes on, a verification calls it tampering
// and no damage, and the newest point of the source is another one.
func TestAnEndBeyondTheBound(t *testing.T) {
	longest := func(s *repo.Session) time.Duration {
		return time.Duration(s.Repository().Now().Parameters.Longest) * time.Second
	}
	for name, change := range map[string]func(s *repo.Session, c *format.Commit){
		"in 9998": func(*repo.Session, *format.Commit) {},
		"by a hour": func(s *repo.Session, c *format.Commit) {
			c.RetainUntil = format.At(c.TakenAt.Add(longest(s) + time.Hour))
		},
		"no needs there": func(_ *repo.Session, c *format.Commit) { c.Needs.Object = format.NeedsName(format.Hash{7}) },
		"a bomb of needs": func(s *repo.Session, c *format.Commit) {
			n := s.Repository().Standing()[0]
			c.Needs = bomb(t, s.Writer.NeedsSink(), format.PageRef{First: n.Name, Entries: 1, Bytes: n.Size}, line(t, &n), 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := ran(t, short(), 4)
			w.Clock = w.Clock.Add(time.Hour)
			id := crafted(t, w, time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC), change)
			w.Extended()
			s, err := doRenew(t.Context(), w, *w.Vault, renew.Options{})
			if err != nil || s.Distrusted != 1 || s.Extended != 0 || s.Due != 0 || s.Broken != 0 || s.Until.Year() > 2028 || len(w.Extended()) != 0 {
				t.Errorf("renewed: %+v, %v", s, err)
			}
			r, err := w.Repository(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			sum, err := verify.Run(t.Context(), verify.Options{Repository: r, In: w.Store, Level: verify.Locks, Now: w.Now})
			if err != nil || sum.Status != verify.Tampered || sum.Missing+sum.Damaged+sum.Unlocked != 0 {
				t.Errorf("verified: %+v, %v", sum, err)
			}
			view := browse.View{Repository: r, In: w.Store}
			if p, err := browse.Resolve(t.Context(), view, "uploads@latest", false); err != nil || p.ID == id {
				t.Errorf("latest: %v, %v", p.ID, err)
			}
			if p, err := browse.Resolve(t.Context(), view, id.String(), false); err != nil || !p.Distrusted || !errors.Is(p.Doubt, repo.ErrUntrusted) {
				t.Errorf("by its ID: %+v, %v", p, err)
			}
			for _, wait := range []time.Duration{2 * day, 700 * day} {
				w.Clock = w.Clock.Add(wait)
				if res, err := unaudited(t, w); err != nil || res.Status != format.StatusComplete || res.Entries != 60 || res.RetainUntil.Year() > 2030 {
					t.Fatalf("run: %+v, %v", res, err)
				}
			}
			p, err := w.Prune(t.Context(), w.Remover(), nil)
			if err != nil || p.Removed == 0 || p.Living != 1 {
				t.Fatalf("pruned: %+v, %v", p, err)
			}
		})
	}
}

// TestBombs: of a point that is trusted, a needs list that stands for more than can be walked has nothing deleted,
// told at once; a manifest that does is none of pruning's business. The next run, which would follow it, ends at once as well.
func TestBombs(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *repo.Session, c *format.Commit)
		unsure bool
	}{
		"needs": {func(s *repo.Session, c *format.Commit) {
			n := s.Repository().Standing()[0]
			c.Needs = bomb(t, s.Writer.NeedsSink(), format.PageRef{First: n.Name, Entries: 1, Bytes: n.Size}, line(t, &n), 4)
		}, true},
		"manifest": {func(s *repo.Session, c *format.Commit) {
			e := &format.Entry{Key: "k", SHA256: sha256.Sum256(nil)}
			c.Manifest = bomb(t, s.Writer.MetaSink(), format.PageRef{First: "k", Entries: 1}, line(t, e), 5)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := ran(t, short(), 4)
			crafted(t, w, w.Clock.Add(20*day), c.change)
			w.Clock = w.Clock.Add(8 * day)
			if res, err := unaudited(t, w); !errors.Is(err, format.ErrMalformed) {
				t.Errorf("run: %+v, %v", res, err)
			}
			before := len(versions(t, w, ""))
			s, err := w.Prune(t.Context(), w.Remover(), nil)
			if c.unsure && (!errors.Is(err, prune.ErrUnsure) || s.Removed != 0 || len(versions(t, w, "")) != before) || !c.unsure && (err != nil || s.Removed == 0) {
				t.Errorf("pruned: %+v, %v", s, err)
			}
		})
	}
}
