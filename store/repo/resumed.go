package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A run that follows another of this machine finds one more point in each vault than that one did: its own. What it wants to know of all
// the others that one knew, and noted: that nothing was out of the ordinary with what the vault listed of the source's points, that the
// points list it wrote tells of each of them, and what of that list counts for retention. Where anything is otherwise all points are
// looked at.

// ListMemo is what a run needs of a points list, beside the list.
type ListMemo struct {
	Root    format.Hash        `json:"root"`    // of the list it is about
	Objects []string           `json:"objects"` // that its pages are in
	Leaves  []LeafDates        `json:"leaves"`  // in order
	Lines   []format.PointLine `json:"-"`       // those that fill slots, and the last ones; with such as are over and not on the list
}

// LeafDates tells when lines of a leaf of a points list are over.
type LeafDates struct {
	Entries int64     `json:"entries"`
	First   time.Time `json:"first"` // the first one
	Half    time.Time `json:"half"`  // more than half of them, or earlier
}

// memoLines is how many of the last lines a memo has, whether or not they say anything for retention.
const memoLines = 64

// Trim drops lines that say nothing for retention any more, as counts tells, and puts the others in order, each once.
func (m *ListMemo) Trim(counts func(format.PointLine) bool) {
	slices.SortStableFunc(m.Lines, func(a, b format.PointLine) int {
		return cmp.Or(a.SignedAt.Compare(b.SignedAt.Time), bytes.Compare(a.ID[:], b.ID[:]))
	})
	m.Lines = slices.CompactFunc(m.Lines, func(a, b format.PointLine) bool { return a.ID == b.ID })
	last := len(m.Lines) - memoLines
	n := 0
	m.Lines = slices.DeleteFunc(m.Lines, func(p format.PointLine) bool {
		n++
		return n <= last && !counts(p)
	})
}

// seenPoints is what a vault listed of a source's points when nothing was out of the ordinary.
type seenPoints struct {
	Count int         `json:"count"`
	Sum   format.Hash `json:"sum"`   // of all of it
	Made  int64       `json:"made"`  // bytes of the cache's notes of points made that were held against it
	List  format.Hash `json:"list"`  // the points list that tells of all of them, and of none that is not listed
	Chain format.Hash `json:"chain"` // the descriptors by which they were judged
}

// pointsLook is one look at what a vault lists of a source's points.
type pointsLook struct {
	seenPoints             // what will be noted of it
	was        *seenPoints // as it was noted; nil where it cannot be gone on from
	infos      []store.Info
	same       bool // there is one more name than then, and nothing else is other
	odd        atomic.Bool
	points     []Point // unless it is the same
}

// strange reports what is out of the ordinary.
func (l *pointsLook) strange(report Report) Report {
	return func(f Finding) {
		l.odd.Store(true)
		if report != nil {
			report(f)
		}
	}
}

func aboutPoints(source string) string { return "points/" + source }
func aboutList(source string) string   { return "list/" + source }

// lookAtPoints lists a source's points in one vault. If that is as it was noted, and one point more, no more is done; else all are judged.
func (s *Past) lookAtPoints(ctx context.Context, k *keeper, source string) (*pointsLook, error) {
	l := &pointsLook{}
	l.Chain = chainMark(k.chain)
	var err error
	if l.Made, err = s.cache.Points.Size(k.vault.Name); err != nil {
		return nil, err
	}
	note, err := s.cache.Notes.Get(k.vault.Name, aboutPoints(source))
	if err != nil {
		return nil, err
	}
	var was seenPoints
	if note != nil && json.Unmarshal(note, &was) == nil && was.Chain == l.Chain && was.Made <= l.Made && k.chain.End == nil {
		l.was = &was
	}
	next, stop := iter.Pull2(k.vault.Read.Versions(ctx, format.PrefixPoints+source+"/", ""))
	defer stop()
	defer k.overview.end()
	sum := newListSum()
	if l.was != nil {
		ended := false
		for len(l.infos) <= was.Count+1 && !ended {
			info, err, more := next()
			if err != nil {
				return nil, listError(err)
			}
			if ended = !more; more {
				l.infos = append(l.infos, info)
			}
		}
		if ended && len(l.infos) == was.Count+1 && was.Count > 0 {
			for i := range l.infos[:was.Count] {
				sum.add(&l.infos[i])
			}
			if !sum.odd && sum.sum() == was.Sum {
				sum.add(&l.infos[was.Count])
				l.Count, l.Sum = was.Count+1, sum.sum()
				l.same = !sum.odd
				return l, nil
			}
			sum = newListSum()
		}
	}
	return l, s.judgePoints(ctx, k, l, sum, next)
}

// judgePoints looks at each of a source's points that a vault lists: those at hand, and what next gives.
func (s *Past) judgePoints(ctx context.Context, k *keeper, l *pointsLook, sum *listSum, next func() (store.Info, error, bool)) (err error) {
	l.same = false
	l.points, err = k.chain.pointsIn(ctx, k.vault.Read, func(yield func(store.Info, error) bool) {
		for i := range l.infos {
			if sum.add(&l.infos[i]); !yield(l.infos[i], nil) {
				return
			}
		}
		for {
			info, err, more := next()
			if !more {
				return
			}
			if err == nil {
				sum.add(&info)
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}, l.strange(k.report))
	if err != nil {
		return err
	}
	l.infos, l.Count, l.Sum = nil, sum.n, sum.sum()
	if sum.odd || sum.n != len(l.points) || k.chain.End != nil || slices.ContainsFunc(l.points, func(p Point) bool { return p.Late || p.Distrusted }) {
		l.odd.Store(true)
	}
	return nil
}

// listSum hashes a listing.
type listSum struct {
	h    hash.Hash
	buf  []byte
	n    int
	last string
	odd  bool // a name has several versions, or a delete marker
}

func newListSum() *listSum { return &listSum{h: sha256.New()} }

// reset begins anew, with the memory there is.
func (s *listSum) reset() {
	s.h.Reset()
	*s = listSum{h: s.h, buf: s.buf[:0]}
}

func (s *listSum) add(info *store.Info) {
	s.odd = s.odd || info.DeleteMarker || info.Name == s.last
	s.last = info.Name
	s.n++
	if s.buf = appendInfo(s.buf, info); len(s.buf) > 32<<10 {
		s.flush()
	}
}

func (s *listSum) flush() {
	s.h.Write(s.buf)
	s.buf = s.buf[:0]
}

func (s *listSum) sum() (out format.Hash) {
	s.flush()
	s.h.Sum(out[:0])
	return out
}

// chainMark hashes what points are judged by.
func chainMark(r *Repository) (out format.Hash) {
	h := sha256.New()
	for _, l := range r.Chain {
		h.Write(l.Sum[:])
		var b []byte
		b = binary.BigEndian.AppendUint64(b, uint64(l.Arrived.UnixNano()))
		h.Write(binary.BigEndian.AppendUint64(b, uint64(len(l.vouched))))
	}
	h.Sum(out[:0])
	return out
}

// resumed goes on from this machine's last run, if all vaults in step list what they did then, and its point.
func (s *Past) resumed(ctx context.Context, source string, looks []*pointsLook) (h Heads, ok bool, err error) {
	var point Point
	var list format.Hash
	var vaults []string
	for i, k := range s.keepers {
		l := looks[i]
		if !s.inStep(k) {
			continue
		}
		if l == nil || !l.same || len(vaults) > 0 && l.was.List != list {
			return h, false, nil
		}
		p, ok, err := s.oneMore(ctx, k, source, l)
		if err != nil || !ok || len(vaults) > 0 && p.ID != point.ID {
			return h, false, err
		}
		if h.from == nil {
			point, list, h.from = p, l.was.List, k
		}
		vaults = withVault(vaults, k.vault.Name)
	}
	if h.from == nil {
		return h, false, nil
	}
	if own, err := s.cache.Segments.Loaded("", ownMark(point.ID)); err != nil || !own {
		return Heads{}, false, err
	}
	if h.Memo, err = s.memo(source); err != nil || h.Memo == nil || h.Memo.Root != list {
		return Heads{}, false, err
	}
	for _, object := range h.Memo.Objects {
		if held, err := s.held(object); err != nil || !held {
			return Heads{}, false, err
		}
	}
	err = s.patiently(ctx, h.from, func(ctx context.Context) (err error) {
		h.read, err = h.from.commit(ctx, s.repo, point)
		return err
	})
	if err != nil || !s.goesOn(h.read, list, source, looks) {
		return Heads{}, false, ctx.Err()
	}
	for _, line := range h.Memo.Lines {
		h.Points = append(h.Points, Head{Point: Point{PointID: format.PointID{Source: source, SignedAt: line.SignedAt, ID: line.ID}}, Line: line, Told: true})
	}
	last := Head{Point: point, Line: h.read.Line(point.ID), Commit: h.read, Own: true}
	away, err := s.away(source)
	if err != nil {
		return Heads{}, false, err
	}
	for _, name := range away[point.Name] {
		vaults = withVault(vaults, name)
	}
	last.Line.Vaults = vaults
	h.Points = append(h.Points, last)
	h.Newest = []format.Predecessor{{ID: point.ID, SignedAt: point.SignedAt, RetainUntil: last.Line.RetainUntil}}
	h.List, h.base, h.looks = h.read.Points, point.ID, looks
	return h, true, nil
}

// oneMore judges the point that a vault lists beside those it did before. It has to be the one that this machine made there.
func (s *Past) oneMore(ctx context.Context, k *keeper, source string, l *pointsLook) (p Point, ok bool, err error) {
	odd := false
	points, err := k.chain.pointsIn(ctx, k.vault.Read, func(yield func(store.Info, error) bool) {
		yield(l.infos[len(l.infos)-1], nil)
	}, func(Finding) { odd = true })
	if err != nil || odd || len(points) != 1 || points[0].Late || points[0].Distrusted {
		return p, false, err
	}
	made, err := s.cache.Points.From(k.vault.Name, l.was.Made)
	if err != nil {
		return p, false, err
	}
	others := func(m cache.Made) bool {
		return m.Name != points[0].Name && m.Until.After(k.clock()) && strings.HasPrefix(m.Name, format.PrefixPoints+source+"/")
	}
	return points[0], !slices.ContainsFunc(made, others), nil
}

// goesOn reports whether a point is one that the next run can go on from without a look at those before it.
func (s *Past) goesOn(c *format.Commit, list format.Hash, source string, looks []*pointsLook) bool {
	if c.Points.Sum != list || c.Status != format.StatusComplete || c.Marked(format.MarkEmpty) || c.Marked(format.MarkSuspect) || s.repo.Trust().Doubt(c) != nil || s.repo.Trust().Under(c) < s.repo.Trust().Fresh() {
		return false
	}
	for i, k := range s.keepers { // see checkFollowed
		if !s.inStep(k) {
			continue
		}
		id, err := format.ParsePointName(looks[i].infos[looks[i].was.Count-1].Name)
		if err != nil || !slices.ContainsFunc(c.Predecessors, func(p format.Predecessor) bool { return p.ID == id.ID }) {
			return false
		}
	}
	return true
}

// memo gives what is noted of the newest points list of a source; nil where nothing is.
func (s *Past) memo(source string) (*ListMemo, error) {
	note, err := s.cache.Notes.Get("", aboutList(source))
	if err != nil || note == nil {
		return nil, err
	}
	head, lines, _ := bytes.Cut(note, []byte{'\n'})
	m := &ListMemo{}
	if json.Unmarshal(head, m) != nil {
		return nil, nil
	}
	for line := range bytes.Lines(lines) {
		p, err := format.ParsePointLine(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
			return nil, nil
		}
		m.Lines = append(m.Lines, p)
	}
	return m, nil
}

// ForgetPoints has all points of a source looked at again: something of what was noted of them is lost.
func (s *Past) ForgetPoints(source string) error {
	return s.cache.Notes.Put("", aboutList(source), nil)
}

// NotePoints notes for the next run what this one found of a source's points, once its own is committed. list is the points list that the
// new point has, memo what is to be known of that, trimmed, and counting how many points it was made from.
func (s *Past) NotePoints(source string, h Heads, list format.Hash, memo ListMemo, counting int) error {
	if memo.Root = list; counting != len(h.Points) || len(h.Changed) > 0 || h.looks == nil {
		return nil
	}
	note, err := json.Marshal(memo)
	if err != nil {
		return err
	}
	note = append(note, '\n')
	for _, p := range memo.Lines {
		if note, err = p.AppendLine(note); err != nil {
			return err
		}
	}
	if err := s.cache.Notes.Put("", aboutList(source), note); err != nil {
		return err
	}
	for i, k := range s.keepers {
		l := h.looks[i]
		if !s.inStep(k) || l == nil || l.odd.Load() {
			continue
		}
		l.List = list
		note, err := json.Marshal(l.seenPoints)
		if err != nil {
			return err
		}
		if err := s.cache.Notes.Put(k.vault.Name, aboutPoints(source), note); err != nil {
			return err
		}
	}
	return nil
}
