package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// bend is what a crafted point has that a real one has not. All of it is what another writer, or a thief of the host key, could
// make: every hash and every signature is right.
type bend struct {
	lines  func([]string) []string           // of the one leaf page, each with its line feed
	first  string                            // the leaf's first key, if it is not the source's root
	root   func(string) string               // the root page
	needs  func([]format.Need) []format.Need // what the needs list has
	need   func(string) string               // its page
	commit func(*format.Commit)              // before it is encoded
	raw    func([]byte) []byte               // the commit object
	keyed  *keys.HostKey                     // who signs, if not the host key
	put    func(name string, body []byte)    // where it goes, if not into the vault
}

// commitOfNewest is the last point's commit object, with its name.
func commitOfNewest(s *stage) (*repo.Repository, repo.Point, *format.Commit) {
	s.t.Helper()
	r, in := repositoryOf(s), s.open(0)
	points := have(r.Points(s.t.Context(), in, "", nil))
	p := points[len(points)-1]
	return r, p, have(r.Commit(s.t.Context(), in, p, nil))
}

// nextSecond waits until the clock shows another second than at.
func nextSecond(at time.Time) {
	for !time.Now().Truncate(time.Second).After(at) {
		time.Sleep(20 * time.Millisecond)
	}
}

// craftCommit adds a point of the same source that says what the last one says, bent; and gives its name. It is signed for another
// second than those before and after it.
func craftCommit(s *stage, b bend) string {
	s.t.Helper()
	r, _, was := commitOfNewest(s)
	nextSecond(was.SignedAt.Add(time.Second))
	c := *was
	c.SignedAt = format.At(time.Now().Truncate(time.Second).Add(-time.Second))
	craftManifest(s, r, &c, b)
	craftNeeds(s, was, &c, b)
	if b.commit != nil {
		b.commit(&c)
	}
	body := have(format.EncodeCommit(&c))
	if b.raw != nil {
		body = b.raw(body)
	}
	signer := s.host
	if b.keyed != nil {
		signer = b.keyed
	}
	name := signPoint(signer.Signing, r.ID, c.Source, c.SignedAt, body)
	if b.put == nil {
		b.put = s.put
	}
	b.put(name, body)
	nextSecond(time.Now().Truncate(time.Second))
	return name
}

// craftManifest stores a manifest of one leaf below a root, in one object.
func craftManifest(s *stage, r *repo.Repository, c *format.Commit, b bend) {
	s.t.Helper()
	reader := have(repo.NewReader(r, s.open(0), []keys.Identity{s.restore}, nil, nil))
	var lines []string
	leaf := format.PageRef{}
	for e, err := range tree.Entries(s.t.Context(), reader.Page, c.Manifest, "", "") {
		s.ok(err)
		lines = append(lines, string(have(e.AppendLine(nil))))
		leaf.Bytes += e.Size
	}
	if b.lines != nil {
		lines = b.lines(lines)
	}
	leaf.Entries, leaf.First = int64(len(lines)), cmp.Or(b.first, "./")
	builder, enc := have(pack.NewBuilder([]keys.Recipient{s.restore.Recipient(), s.host.Metadata.Recipient()}, nil)), have(pack.NewEncoder())
	add := func(ref format.PageRef, page string) format.PageRef {
		frame := enc.Frame(nil, []byte(page))
		ref.Frame = format.Frame{Offset: have(builder.Add(frame)), Length: int64(len(frame)), Plain: int64(len(page))}
		ref.Sum = sha256.Sum256([]byte(page))
		return ref
	}
	leaf = add(leaf, strings.Join(lines, ""))
	page := string(have(leaf.AppendLine(have(format.RootLine{Salt: strings.Repeat("07", 16)}.AppendLine(nil)))))
	if b.root != nil {
		page = b.root(page)
	}
	c.Manifest = add(format.PageRef{Level: 1, Entries: leaf.Entries, Bytes: leaf.Bytes}, page)
	sealed := have(builder.Close())
	c.Manifest.Object, c.Entries, c.Bytes = format.MetaName(sealed.Sum), leaf.Entries, leaf.Bytes
	s.put(c.Manifest.Object, sealed.Body)
	had := b.needs
	b.needs = func(list []format.Need) []format.Need {
		list = append(list, format.Need{Name: c.Manifest.Object, Size: int64(len(sealed.Body)), Living: leaf.Frame.Length + c.Manifest.Frame.Length, Pages: format.Pages{0, leaf.Frame.Length + c.Manifest.Frame.Length}})
		if had != nil {
			list = had(list)
		}
		return list
	}
	s.needed = b.needs
}

// craftNeeds stores a needs list of one leaf.
func craftNeeds(s *stage, was, c *format.Commit, b bend) {
	s.t.Helper()
	list := slices.DeleteFunc(s.needs(was.Needs), func(n format.Need) bool { return n.Name == was.Manifest.Object })
	if c.Points.Entries > 0 && !slices.ContainsFunc(list, func(n format.Need) bool { return n.Name == c.Points.Object }) {
		size := int64(len(s.read(c.Points.Object)))
		list = append(list, format.Need{Name: c.Points.Object, Size: size, Living: size})
	}
	list = s.needed(list)
	slices.SortFunc(list, func(a, b format.Need) int { return strings.Compare(a.Name, b.Name) })
	ref, page := format.PageRef{First: list[0].Name, Entries: int64(len(list))}, []byte(nil)
	for _, n := range list {
		page = have(n.AppendLine(page))
		ref.Bytes += n.Size
	}
	if b.need != nil {
		page = []byte(b.need(string(page)))
	}
	frame := framed(page)
	ref.Frame, ref.Sum = format.Frame{Length: int64(len(frame)), Plain: int64(len(page))}, sha256.Sum256(page)
	ref.Object = format.NeedsName(sha256.Sum256(frame))
	s.put(ref.Object, frame)
	c.Needs = ref
}

// needs reads a needs list.
func (s *stage) needs(ref format.PageRef) (list []format.Need) {
	s.t.Helper()
	object, f := s.read(ref.Object), ref.Frame
	for line, err := range format.PageLines(have(have(pack.NewDecoder()).Frame(nil, object[f.Offset:f.Offset+f.Length], f.Plain))) {
		s.ok(err)
		if ref.Level == 0 {
			list = append(list, have(format.ParseNeed(line)))
			continue
		}
		below := have(format.ParsePageRef(line))
		if below.Object == "" {
			below.Object = ref.Object
		}
		list = append(list, s.needs(below)...)
	}
	return list
}

// followingPoint is a descriptor that follows from the newest one, signed by whom it is said, and its name.
func followingPoint(s *stage, edit func(*format.Descriptor), raw func([]byte) []byte, signer []byte) (string, []byte) {
	s.t.Helper()
	nextSecond(time.Now().Truncate(time.Second)) // what arrived in the descriptor's own second is not trusted, if it ends the chain
	r := repositoryOf(s)
	d := *r.Now()
	d.Number, d.Previous, d.Created = len(r.Chain), r.Chain[len(r.Chain)-1].Sum, format.At(time.Now().UTC().Truncate(time.Second))
	if edit != nil {
		edit(&d)
	}
	body := have(format.EncodeDescriptor(&d, func(b []byte) []byte { return attest.Sign(signer, attest.Descriptor, b) }))
	if raw != nil {
		two := raw(body[:bytes.LastIndexByte(body[:len(body)-1], '\n')+1])
		body = append(two, signatureLine(attest.Sign(signer, attest.Descriptor, two))...)
	}
	return signDescriptor(signer, r.ID, d.Number, body), body
}
