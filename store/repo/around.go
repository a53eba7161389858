package repo

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Leaves gives references to the leaf pages of a point's manifest for keys from <= key < to ("": to the end), in order. Behind an inner
// page that is lost it finds what it can: in the meta objects of the needs list, which vouches for them by their names. What
// is lost comes as a *tree.Lost where it would stand, and the walk goes on behind it. A page that may be an earlier point's is not
// given: what it says of its keys may be old. visit, which may be nil, is told of inner pages.
func (r *Reader) Leaves(ctx context.Context, c *format.Commit, from, to string, visit func(format.PageRef)) iter.Seq2[format.PageRef, error] {
	var known *intact // once something is lost
	find := func(ctx context.Context, ref format.PageRef, end string, cause error) ([]format.PageRef, []*tree.Lost, error) {
		if !Classify(ctx, cause).Lost() {
			return nil, nil, cause
		}
		if known == nil {
			var err error
			if known, err = r.surveyManifest(ctx, c); err != nil {
				return nil, nil, err
			}
		}
		s := &search{r: r, c: c, known: known, lost: ref, to: end, cause: cause}
		return s.all(ctx)
	}
	return tree.Around(ctx, r.Page, c.Manifest, from, to, visit, find)
}

// search looks for what lies below one lost page.
type search struct {
	r     *Reader
	c     *format.Commit
	known *intact
	lost  format.PageRef
	to    string // where its keys end
	cause error

	pages    []foundPage // chosen, in order
	doubtful bool        // others were left out
}

// foundPage is a page that was found in an object which the needs list names. So the point's signature vouches for it; whether it
// belongs to the point, or to one before it, is another question.
type foundPage struct {
	tree.Described
	certain bool // it is the point's
}

// maxFoundBytes bounds the memory of the pages that are looked at together.
const maxFoundBytes = 16 << 20

// all gives the pages below the lost one, each of the highest level there is.
func (s *search) all(ctx context.Context) ([]format.PageRef, []*tree.Lost, error) {
	for level := s.lost.Level - 1; level >= 0 && s.missing() > 0; level-- {
		found, err := s.scan(ctx, level)
		if err != nil {
			return nil, nil, err
		}
		from := len(s.pages)
		s.choose(found)
		if level > 0 && len(s.pages) > from {
			if err := s.reach(ctx, level); err != nil {
				return nil, nil, err
			}
		}
	}
	var below []format.PageRef
	for _, p := range s.pages {
		below = append(below, p.PageRef)
	}
	lost := s.gaps()
	if lost == nil {
		s.r.report.send(lossOf(s.cause), s.lost.Object, "a page of the manifest is lost, and all %d entries behind it were found without it: %v", s.lost.Entries, s.cause)
	}
	return below, lost, nil
}

// missing is how many of the entries are not accounted for.
func (s *search) missing() int64 {
	n := s.lost.Entries
	for _, p := range s.pages {
		n -= p.Entries
	}
	return n
}

// gaps says what is lost: all that is not accounted for, once for the whole stretch.
func (s *search) gaps() []*tree.Lost {
	_, size := sums(s.pages)
	n := s.missing()
	if n == 0 && size == s.lost.Bytes {
		return nil
	}
	return []*tree.Lost{{From: s.lost.First, To: s.to, Entries: max(n, 1), Found: s.lost.Entries - n, Doubtful: s.doubtful, Object: s.lost.Object, Err: s.cause}}
}

// scan looks for pages of a level in every meta object that the point needs. One that cannot be read is passed over: what
// is on it is lost.
func (s *search) scan(ctx context.Context, level int) ([]foundPage, error) {
	var out []foundPage
	room := maxFoundBytes
	for n, err := range tree.Needs(ctx, s.r.Page, s.c.Needs, nil) {
		if Classify(ctx, err).Lost() {
			break // the list is broken off here, and what it names before this serves
		}
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(n.Name, format.PrefixMeta) {
			continue
		}
		some, err := s.object(ctx, n, level)
		if err != nil && !Classify(ctx, err).Lost() {
			return nil, err
		}
		for _, p := range some {
			if room -= len(p.First) + len(p.Last) + 300; room >= 0 {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// object gives an object's pages of a level among the keys that are looked for. Its bytes are proved as a whole first: anybody can
// seal an age file to public keys.
func (s *search) object(ctx context.Context, n format.Need, level int) (out []foundPage, err error) {
	body, _, err := s.r.Whole(ctx, n.Name, format.MaxPack)
	if err != nil {
		return nil, err
	}
	o, err := pack.Open(ctx, int64(len(body)), func(_ context.Context, off, n int64) ([]byte, error) {
		return slices.Clone(body[off : off+n]), nil
	}, s.r.ids...)
	if err != nil {
		return nil, err
	}
	all := sheets{u: s.known, object: n.Name}
	err = o.Scan(ctx, func(f format.Frame, plain []byte) error {
		all.add(f, plain, s.c.Manifest.Level)
		return nil
	})
	all.judge(n.Living)
	for _, p := range all.pages {
		if p.Level == level && p.Last >= s.lost.First && (s.to == "" || p.First < s.to) {
			out = append(out, p)
		}
	}
	return out, err
}

// choose takes the pages that are the point's for certain, where none is taken yet; and others where the digest of the lost page tells
// that they are, too.
func (s *search) choose(found []foundPage) {
	inOrder(found)
	found = slices.CompactFunc(found, func(a, b foundPage) bool { return a.Sum == b.Sum && a.certain == b.certain })
	found = slices.DeleteFunc(found, s.taken)
	sure := slices.DeleteFunc(slices.Clone(found), func(p foundPage) bool { return !p.certain })
	contested := contests(sure)
	var alone []foundPage
	for i, p := range sure {
		if !contested[i] {
			alone = append(alone, p)
		}
	}
	if len(alone) < len(found) {
		if all := s.untangle(found); all != nil {
			alone = all
		}
	}
	s.pages = append(s.pages, alone...)
	inOrder(s.pages)
	s.doubtful = s.doubtful || slices.ContainsFunc(found, func(p foundPage) bool { return !s.taken(p) })
}

func inOrder(pages []foundPage) {
	slices.SortStableFunc(pages, func(a, b foundPage) int {
		return cmp.Or(strings.Compare(a.First, b.First), strings.Compare(a.FirstVersion, b.FirstVersion), bytes.Compare(a.Sum[:], b.Sum[:]))
	})
}

// reach finds out with which key the pages chosen of a level end: what they refer to says only with which their last page begins.
// Where that cannot be read, what is lost is below them, and is looked for there.
func (s *search) reach(ctx context.Context, level int) error {
	for i := range s.pages {
		p := &s.pages[i]
		if p.Level != level {
			continue
		}
		end := s.to
		if i+1 < len(s.pages) {
			end = s.pages[i+1].First
		}
		last, err := lastKey(ctx, s.r, p.PageRef)
		switch {
		case err == nil:
			p.Last = last
		case !Classify(ctx, err).Lost():
			return err
		case end == "":
			p.Last = string(bytes.Repeat([]byte{0xff}, format.MaxKey))
		default:
			p.Last = end
		}
	}
	return nil
}

// lastKey is the key of the last entry below a page.
func lastKey(ctx context.Context, r *Reader, ref format.PageRef) (last string, err error) {
	for {
		page, err := tree.Page(ctx, r.Page, ref)
		if err != nil {
			return "", err
		}
		if ref.Level == 0 {
			d, err := tree.Describe(page, 0)
			return d.Last, err
		}
		line := bytes.TrimSuffix(page, []byte{'\n'})
		next, err := format.ParsePageRef(page[bytes.LastIndexByte(line, '\n')+1:])
		if err == nil && next.Level != ref.Level-1 {
			err = format.ErrMalformed
		}
		if err != nil {
			return "", err
		}
		if next.Object == "" { // in the same one as this page
			next.Object = ref.Object
		}
		ref = next
	}
}

// taken reports whether a page lies where another was chosen.
func (s *search) taken(p foundPage) bool {
	i, _ := slices.BinarySearchFunc(s.pages, p.First, func(q foundPage, first string) int { return strings.Compare(q.First, first) })
	for ; i < len(s.pages) && s.pages[i].First == p.First; i++ {
		if s.pages[i].overlaps(p) {
			return true
		}
	}
	return i > 0 && s.pages[i-1].overlaps(p) || i < len(s.pages) && s.pages[i].overlaps(p)
}

// contests tells which of some pages, in order, claim keys that another claims too.
func contests(pages []foundPage) []bool {
	out := make([]bool, len(pages))
	far := 0 // the one that reaches furthest so far
	for i := 1; i < len(pages); i++ {
		if pages[i].overlaps(pages[far]) {
			out[i], out[far] = true, true
		}
		if pages[i].Last >= pages[far].Last {
			far = i
		}
	}
	return out
}

// overlaps reports whether two pages cannot be of one tree. The versions of one key may lie on both sides of a cut.
func (p foundPage) overlaps(q foundPage) bool {
	if q.First < p.First || q.First == p.First && q.FirstVersion < p.FirstVersion {
		p, q = q, p
	}
	if q.First != p.Last {
		return q.First < p.Last
	}
	return p.Level > 0 || (p.LastVersion == "" || p.FirstVersion == q.FirstVersion || p.LastVersion == q.FirstVersion)
}

func sums(pages []foundPage) (entries, size int64) {
	for _, p := range pages {
		entries, size = entries+p.Entries, format.AddSizes(size, p.Bytes)
	}
	return entries, size
}

// Bounds of untangle.
const (
	maxTries   = 1 << 12 // ways to choose
	maxTangled = 1 << 12 // pages
)

// untangle gives the one way to choose among pages that comes to the digest of the lost page, which is
// made of what the source's listing said of every entry. Without a digest there is no telling.
func (s *search) untangle(found []foundPage) []foundPage {
	if len(s.pages) > 0 || s.lost.Digest == "" || len(found) > maxTangled {
		return nil
	}
	t := tangle{lost: s.lost, found: found, open: contests(found)}
	for i, p := range found {
		t.open[i] = t.open[i] || !p.certain
	}
	t.from(0)
	if t.ways != 1 || t.tries >= maxTries {
		return nil
	}
	return t.right
}

// tangle is one way to choose after another.
type tangle struct {
	lost   format.PageRef
	found  []foundPage
	open   []bool // it may be left out
	chosen []foundPage
	right  []foundPage
	ways   int
	tries  int
}

// from decides about the pages from the i-th on.
func (t *tangle) from(i int) {
	if i == len(t.found) {
		if t.tries++; proves(t.chosen, t.lost) {
			t.ways++
			t.right = slices.Clone(t.chosen)
		}
		return
	}
	if n := len(t.chosen); n == 0 || !t.chosen[n-1].overlaps(t.found[i]) {
		t.chosen = append(t.chosen, t.found[i])
		t.from(i + 1)
		t.chosen = t.chosen[:n]
	}
	if t.open[i] && t.tries < maxTries && t.ways < 2 {
		t.from(i + 1)
	}
}

// proves reports whether pages are all that lies below a page with a digest.
func proves(pages []foundPage, lost format.PageRef) bool {
	if entries, size := sums(pages); len(pages) == 0 || entries != lost.Entries || size != lost.Bytes {
		return false
	}
	digest := pages[0].Digest
	for _, p := range pages[1:] {
		digest = tree.JoinDigests(digest, p.Digest)
		if p.Level != pages[0].Level {
			return false
		}
	}
	return digest != "" && digest == lost.Digest
}
