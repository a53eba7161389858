package attacktest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// his is the thief's own signing key; stolen attacks use the host's.
func his() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{6}, 32)) }

// must is for what cannot fail in a test's own making.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// found is the repository, recognised before the first attack.
func (a *arena) found() *repo.Repository { return a.known }

// newest is the last point of a source and its commit object, as they were before the attacks.
func (a *arena) newest(source string) (kept, *format.Commit) {
	for _, p := range slices.Backward(a.points) {
		if p.source == source {
			return p, a.commits[p.id]
		}
	}
	panic("no point of " + source)
}

// junkName gives names that nobody has used.
func (a *arena) junk() ([]byte, format.Hash) {
	a.serial++
	b := []byte(fmt.Sprintf("junk %d\n", a.serial))
	return b, sha256.Sum256(b)
}

func nameOfPlacements(a *arena, later time.Duration, sum format.Hash) (string, time.Time) {
	at := time.Now().Add(later).UTC().Truncate(time.Second)
	id := format.PlacementsID{Vault: "offsite", Written: format.At(at), Sum: sum, Hint: hintOf(a.found()), Signature: noise(uint64(a.serial), 64)}
	return id.Name(), at
}

func junkEverywhere(ctx context.Context, a *arena) (out []try) {
	for range many(160) {
		b, sum := a.junk()
		placements, _ := nameOfPlacements(a, time.Minute, sum)
		for name, seen := range map[string]bool{
			format.PackName(sum): false, format.MetaName(sum): false, format.NeedsName(sum): false, format.HostKeyName(sum): false,
			placements: true, format.DescriptorID{Number: 1, Sum: sum, Hint: hintOf(a.found()), Signature: noise(9, 64)}.Name(): true,
			format.PointID{Source: "uploads", SignedAt: format.At(time.Now()), ID: sum, Hint: hintOf(a.found()), Signature: noise(8, 64)}.Name(): true, "points/uploads/latest": true, "points/" + sum.String(): true,
			"reports/" + sum.String(): false, "canary/" + sum.String(): false, "packs/x": false, "placements/newest": true, "descriptors/current": true,
		} {
			t := try{err: stealFrom(ctx, a, name, b)}
			if seen {
				t.name = name
			}
			out = append(out, t)
		}
	}
	return out
}

func ransomNote(ctx context.Context, a *arena) []try {
	return tried(put(ctx, a.writer, a.bucket, "READ_ME_TO_GET_YOUR_DATA_BACK.txt", []byte("pay")), stealFrom(ctx, a, "READ_ME.txt", []byte("pay")))
}

func oddNames(ctx context.Context, a *arena) (out []try) {
	for _, kind := range []string{"packs/", "meta/", "needs/", "placements/", "points/", "points/uploads/", "descriptors/", "keys/", ""} {
		for _, odd := range []string{"a\nb", "quo\"te", "..", "../points/uploads/x", "%2e%2e/%2f", "日本語", "a b+c&d=e", "tab\there", strings.Repeat("x", 900), "<xml>&amp;", "\x7f"} {
			err := stealFrom(ctx, a, kind+odd, []byte("odd"))
			if err != nil && code(err) == "" {
				err = fmt.Errorf("%w: %w", errNoAnswer, err)
			}
			out = append(out, try{err: err})
		}
	}
	return out
}

// forge makes a commit object that says what the newest real one says, with another time, and its name.
func forge(a *arena, source string, signer ed25519.PrivateKey, at time.Time, edit func(*format.Commit)) (name string, body []byte, id format.Hash) {
	_, real := a.newest(source)
	c := *real
	c.SignedAt, c.TakenAt, c.Source = format.At(at.UTC().Truncate(time.Second)), format.At(at.UTC().Truncate(time.Second)), source
	c.RetainUntil = format.At(c.SignedAt.Add(keep))
	if edit != nil {
		edit(&c)
	}
	body = must(format.EncodeCommit(&c))
	id = sha256.Sum256(body)
	return pointName(signer, a.found().ID, format.PointID{Source: source, SignedAt: c.SignedAt, ID: id}), body, id
}

// pointName signs for a point.
func pointName(k ed25519.PrivateKey, repository format.Hash, id format.PointID) string {
	id.Hint, id.Signature = format.KeyHint(k.Public().(ed25519.PublicKey)), attest.Sign(k, attest.Point, id.Message(repository))
	return id.Name()
}

// descriptorName signs for a descriptor.
func descriptorName(k ed25519.PrivateKey, repository format.Hash, number int, body []byte) string {
	id := format.DescriptorID{Number: number, Sum: sha256.Sum256(body), Hint: format.KeyHint(k.Public().(ed25519.PublicKey))}
	id.Signature = attest.Sign(k, attest.DescriptorName, id.Message(repository))
	return id.Name()
}

// hintOf is what stands in names that the repository's own job signed.
func hintOf(r *repo.Repository) string { return format.KeyHint(r.Now().KeysFor(format.UseJob)[0]) }

func forgedPoint(later time.Duration) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) (out []try) {
		for _, source := range []string{"uploads", "site"} {
			name, body, _ := forge(a, source, his(), time.Now().Add(later), nil)
			out = append(out, try{name, stealFrom(ctx, a, name, body)})
		}
		return out
	}
}

// realPoint is a commit object of ours as it lies in the vault.
func realPoint(ctx context.Context, a *arena) (format.PointID, []byte) {
	v := a.ours("points/uploads/")[0]
	return must(format.ParsePointName(strings.TrimPrefix(v.key, folder))), must(get(ctx, a.writer, a.bucket, v.key, v.id))
}

func replayedSource(ctx context.Context, a *arena) []try {
	id, b := realPoint(ctx, a)
	id.Source = "site"
	name := id.Name()
	return []try{{name, stealFrom(ctx, a, name, b)}}
}

func replayedTime(ctx context.Context, a *arena) []try {
	id, b := realPoint(ctx, a)
	id.SignedAt = format.At(time.Now().Add(time.Hour))
	name := id.Name()
	return []try{{name, stealFrom(ctx, a, name, b)}}
}

func replayedDeeper(ctx context.Context, a *arena) []try {
	id, b := realPoint(ctx, a)
	name := strings.Replace(id.Name(), "uploads/", "uploads/deeper/", 1)
	return []try{{name, stealFrom(ctx, a, name, b)}}
}

// descriptor makes one of the thief's.
func (a *arena) descriptor(number int, signer ed25519.PrivateKey, edit func(*format.Descriptor)) (name string, body []byte) {
	first := a.found().Chain[0]
	d := *first.Descriptor
	d.Number, d.Keys, d.Created = number, []format.Key{format.JobKey(his().Public().(ed25519.PublicKey))}, format.At(time.Now().UTC().Truncate(time.Second))
	if number > 0 {
		d.Previous = first.Sum
	}
	if edit != nil {
		edit(&d)
	}
	body = must(format.EncodeDescriptor(&d, func(b []byte) []byte { return attest.Sign(signer, attest.Descriptor, b) }))
	return descriptorName(signer, d.Repository, number, body), body
}

func secondRepository(ctx context.Context, a *arena) []try {
	name, body := a.descriptor(0, his(), func(d *format.Descriptor) { d.Repository = sha256.Sum256([]byte("his")) })
	other, body2 := a.descriptor(0, his(), nil) // our ID, his key
	return []try{{name, stealFrom(ctx, a, name, body)}, {other, stealFrom(ctx, a, other, body2)}}
}

func forkedDescriptor(ctx context.Context, a *arena) []try {
	name, body := a.descriptor(1, his(), nil)
	return []try{{name, stealFrom(ctx, a, name, body)}}
}

func floodDescriptors(ctx context.Context, a *arena) (out []try) {
	for i := range many(1000) {
		b, sum := a.junk()
		name := format.DescriptorID{Number: i % 3, Sum: sum, Hint: hintOf(a.found()), Signature: noise(uint64(i), 64)}.Name()
		out = append(out, try{name, stealFrom(ctx, a, name, b)})
	}
	return out
}

// placements makes a placements object.
func (a *arena) placements(signer ed25519.PrivateKey, lines []format.Placement) (name string, body []byte) {
	a.serial++
	at := time.Now().UTC().Truncate(time.Second).Add(time.Duration(a.serial) * time.Second)
	h := format.SegmentHeader{Format: format.Version, Repository: a.found().ID, Vault: "offsite", Written: format.At(at)}
	s := sealed(a, nil, must(format.EncodePlacements(h, lines)))
	id := format.PlacementsID{Vault: h.Vault, Written: h.Written, Sum: s.Sum, Hint: format.KeyHint(signer.Public().(ed25519.PublicKey))}
	id.Signature = attest.Sign(signer, attest.Placements, id.Message(h.Repository))
	return id.Name(), s.Body
}

// sealed makes an object of one frame.
func sealed(a *arena, to []keys.Recipient, plain []byte) pack.Sealed {
	b := must(pack.NewBuilder(to, nil))
	must(b.Add(must(pack.NewEncoder()).Frame(nil, plain)))
	return must(b.Close())
}

// coverOurs puts versions of the thief's over ours, locked and of the same size, and gives placements that name them.
func coverOurs(ctx context.Context, a *arena) (lines []format.Placement, out []try) {
	list := a.ours("packs/", "meta/", "needs/")
	out = a.cover(list, func(v version) error {
		n := int(a.before[v.key+" "+v.id].size)
		err := put(ctx, a.writer, a.bucket, v.key, noise(12, n), lockedFor(300*24*time.Hour))
		if err != nil {
			return err
		}
		now, err := versions(ctx, a.writer, a.bucket, v.key)
		if err != nil {
			return err
		}
		lines = append(lines, format.Placement{
			Name: strings.TrimPrefix(v.key, folder), Version: now[0].id, Size: int64(n), Mode: "compliance",
			Until: format.At(time.Now().UTC().Truncate(time.Second).Add(300 * 24 * time.Hour)),
		})
		return nil
	})
	return lines, out
}

func forgedPlacements(ctx context.Context, a *arena) []try {
	lines, out := coverOurs(ctx, a)
	name, body := a.placements(his(), lines)
	return append(out, try{name, stealFrom(ctx, a, name, body)})
}

func replayedPlacements(ctx context.Context, a *arena) (out []try) {
	for _, v := range a.ours("placements/") {
		b := must(get(ctx, a.writer, a.bucket, v.key, v.id))
		name, _ := nameOfPlacements(a, 24*time.Hour, sha256.Sum256(b))
		out = append(out, try{name, stealFrom(ctx, a, name, b)})
	}
	return out
}

// evilIndex makes a pack of the thief's, and an index segment which says that everything the points hold is in it.
func evilIndex(a *arena, signer ed25519.PrivateKey, there bool) (evil, segment pack.Sealed, placements []byte, name string) {
	var sums []format.Hash
	for sum := range a.chunks {
		sums = append(sums, sum)
	}
	to := []keys.Recipient{a.restore.Recipient()}
	plain := noise(13, 4<<20)
	evil = sealed(a, to, plain)
	var lines []format.IndexLine
	for _, sum := range sums {
		size := a.chunks[sum]
		lines = append(lines, format.IndexLine{
			ID: attest.ChunkID(a.host.ChunkKey, sum), Pack: evil.Sum, Size: size, Frame: format.Frame{Offset: 0, Length: int64(len(plain)), Plain: int64(len(plain))},
		})
	}
	r := a.found()
	h := format.SegmentHeader{Repository: r.ID, Descriptor: r.Chain[len(r.Chain)-1].Sum, ChunkKey: attest.ChunkKeyID(a.host.ChunkKey), Written: format.At(time.Now().UTC().Truncate(time.Second))}
	told := must(format.EncodeIndex(h, lines, func(m []byte) []byte { return attest.Sign(signer, attest.Index, m) }))
	segment = sealed(a, append(to, a.host.Metadata.Recipient()), told)
	where := format.Frame{Length: int64(len(must(pack.NewEncoder()).Frame(nil, told))), Plain: int64(len(told))}
	until := format.At(time.Now().UTC().Truncate(time.Second).Add(60 * 24 * time.Hour))
	named := []format.Placement{{Name: format.MetaName(segment.Sum), Size: int64(len(segment.Body)), Mode: "compliance", Until: until, Index: []format.Frame{where}}}
	named = append(named, format.Placement{Name: format.PackName(evil.Sum), Size: int64(len(evil.Body)), Mode: "compliance", Until: until})
	name, placements = a.placements(signer, named)
	return evil, segment, placements, name
}

func stealEvil(ctx context.Context, a *arena, signer ed25519.PrivateKey, there bool) (out []try) {
	evil, segment, placements, name := evilIndex(a, signer, there)
	lock := lockedFor(60 * 24 * time.Hour)
	if there {
		out = append(out, try{err: put(ctx, a.writer, a.bucket, folder+format.PackName(evil.Sum), evil.Body, lock)})
	}
	out = append(out, try{err: put(ctx, a.writer, a.bucket, folder+format.MetaName(segment.Sum), segment.Body, lock)})
	return append(out, try{err: put(ctx, a.writer, a.bucket, folder+name, placements, lock)})
}

func forgedIndex(ctx context.Context, a *arena) []try { return stealEvil(ctx, a, his(), true) }
