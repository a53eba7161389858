package attacktest

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// stolenAttacks is what the thief can do who has the whole machine: the writer's key and the host key, so that all he makes
// is signed and sealed as the job's own. What he signs is real to every reader until the key is rotated.
func stolenAttacks() []attack {
	return []attack{
		{"signed-index-of-a-pack-of-his", "sign an index that finds all content in a pack of his, which is there", harmless,
			func(ctx context.Context, a *arena) []try { return stealEvil(ctx, a, a.host.Signing, true) }},
		{"signed-index-of-nothing", "sign an index and placements of a pack that is not there", harmless,
			func(ctx context.Context, a *arena) []try { return stealEvil(ctx, a, a.host.Signing, false) }},
		{"signed-placements-of-his-versions", "sign placements that point at versions of his on top of ours, locked and of the same size", harmless,
			func(ctx context.Context, a *arena) []try {
				lines, out := coverOurs(ctx, a)
				return append(out, stealPlacements(ctx, a, lines))
			}},
		{"signed-placements-of-long-locks", "sign placements that say that what is there is locked until 2099, so that nobody lengthens it", harmless, longLocks},
		{"signed-placements-of-nothing", "sign placements of a thousand objects that are not there", harmless, nothingPlaced},
		{"signed-placements-of-wrong-sizes", "sign placements that give what is there other sizes", harmless, wrongSizes},
		{"signed-future-point", "sign a point for next year", harmless, signedPoint(365*24*time.Hour, false)},
		{"signed-back-dated-point", "sign a point for a month ago", harmless, signedPoint(-30*24*time.Hour, false)},
		{"signed-point-of-nothing", "sign a newer point whose manifest is not there", harmless, signedPoint(0, true)},
		{"signed-parent", "sign a newer point which says that everything is unchanged and in a pack of his", harmless, signedParent},
	}
}

func stealPlacements(ctx context.Context, a *arena, lines []format.Placement) try {
	name, body := a.placements(a.host.Signing, lines)
	return try{err: put(ctx, a.writer, a.bucket, folder+name, body, lockedFor(60*24*time.Hour))}
}

func longLocks(ctx context.Context, a *arena) []try {
	var lines []format.Placement
	for _, v := range a.ours("packs/", "meta/", "needs/", "descriptors/", "keys/") {
		lines = append(lines, format.Placement{
			Name: strings.TrimPrefix(v.key, folder), Version: v.id, Size: a.before[v.key+" "+v.id].size, Mode: "compliance",
			Until: format.At(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)),
		})
	}
	return []try{stealPlacements(ctx, a, lines)}
}

func nothingPlaced(ctx context.Context, a *arena) []try {
	var lines []format.Placement
	for range 1000 {
		b, sum := a.junk()
		lines = append(lines, format.Placement{Name: format.PackName(sum), Version: "no-such-version", Size: int64(len(b)), Mode: "compliance",
			Until: format.At(time.Now().UTC().Truncate(time.Second).Add(60 * 24 * time.Hour))})
	}
	return []try{stealPlacements(ctx, a, lines)}
}

func wrongSizes(ctx context.Context, a *arena) []try {
	var lines []format.Placement
	for _, v := range a.ours("packs/", "meta/", "needs/") {
		lines = append(lines, format.Placement{
			Name: strings.TrimPrefix(v.key, folder), Version: v.id, Size: 1 + a.before[v.key+" "+v.id].size, Mode: "compliance",
			Until: format.At(time.Now().UTC().Truncate(time.Second).Add(60 * 24 * time.Hour)),
		})
	}
	return []try{stealPlacements(ctx, a, lines)}
}

func signedPoint(later time.Duration, empty bool) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) (out []try) {
		name, body, _ := forge(a, "uploads", a.host.Signing, time.Now().Add(later), func(c *format.Commit) {
			if empty {
				_, sum := a.junk()
				c.Manifest.Object, c.Manifest.Sum = format.MetaName(sum), sum
			}
		})
		return tried(put(ctx, a.writer, a.bucket, folder+name, body, lockedFor(60*24*time.Hour)))
	}
}

// signedParent copies the newest manifest with everything as it is but where the content lies.
func signedParent(ctx context.Context, a *arena) (out []try) {
	lock := lockedFor(60 * 24 * time.Hour)
	to := []keys.Recipient{a.restore.Recipient()}
	evil := sealed(a, to, noise(14, 4<<20))
	out = append(out, try{err: put(ctx, a.writer, a.bucket, folder+format.PackName(evil.Sum), evil.Body, lock)})
	_, real := a.newest("uploads")
	f := forger{a: a, ctx: ctx, evil: evil.Sum, length: 4 << 20, b: must(pack.NewBuilder(append(to, a.host.Metadata.Recipient()), nil))}
	root := f.copy(real.Manifest)
	pages := must(f.b.Close())
	out = append(out, try{err: put(ctx, a.writer, a.bucket, folder+format.MetaName(pages.Sum), pages.Body, lock)})
	time.Sleep(3 * time.Second) // the newest of all, and not from the future
	name, body, _ := forge(a, "uploads", a.host.Signing, time.Now().Add(-time.Second), func(c *format.Commit) {
		c.Manifest = root
		c.Manifest.Object, c.Manifest.First, c.Manifest.Digest = format.MetaName(pages.Sum), "", ""
	})
	return append(out, try{err: put(ctx, a.writer, a.bucket, folder+name, body, lock)})
}

// forger rewrites a small manifest into one object. A page cannot name the object it is in before that is sealed, so every
// level but the root's would need an object of its own: the leaves go into one first.
type forger struct {
	a      *arena
	ctx    context.Context
	evil   format.Hash
	length int64
	b      *pack.Builder
}

func (f *forger) copy(ref format.PageRef) format.PageRef {
	page := f.a.page(f.ctx, ref)
	var plain []byte
	for line, err := range format.PageLines(page) {
		line = must(line, err)
		if _, err := format.ParseRootLine(line); err == nil {
			plain = append(append(plain, line...), '\n')
			continue
		}
		if ref.Level > 0 {
			child := must(format.ParsePageRef(line))
			if child.Object == "" { // in the same one
				child.Object = ref.Object
			}
			sub := forger{a: f.a, ctx: f.ctx, evil: f.evil, length: f.length, b: must(pack.NewBuilder([]keys.Recipient{f.a.restore.Recipient(), f.a.host.Metadata.Recipient()}, nil))}
			forged := sub.copy(child)
			sealed := must(sub.b.Close())
			forged.Object = format.MetaName(sealed.Sum)
			if err := put(f.ctx, f.a.writer, f.a.bucket, folder+forged.Object, sealed.Body, lockedFor(60*24*time.Hour)); err != nil {
				panic(err)
			}
			plain = must(forged.AppendLine(plain))
			continue
		}
		e := must(format.ParseEntry(line))
		for i := range e.Chunks {
			if !e.Chunks[i].Hole {
				e.Chunks[i].Pack, e.Chunks[i].Frame, e.Chunks[i].At = f.evil, format.Frame{Offset: 0, Length: f.length, Plain: f.length}, 0
			}
		}
		plain = must(e.AppendLine(plain))
	}
	off := must(f.b.Add(must(pack.NewEncoder()).Frame(nil, plain)))
	frame := must(pack.NewEncoder()).Frame(nil, plain)
	ref.Sum = sha256.Sum256(plain)
	ref.Frame = format.Frame{Offset: off, Length: int64(len(frame)), Plain: int64(len(plain))}
	return ref
}

// page reads a page of a manifest as it was before the attacks.
func (a *arena) page(ctx context.Context, ref format.PageRef) []byte {
	return must(tree.Page(ctx, a.manifests.Page, ref))
}
