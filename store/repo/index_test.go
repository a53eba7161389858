package repo_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// lineOf is an index line for a chunk in a pack.
func lineOf(id byte, inPack format.Hash) format.IndexLine {
	return format.IndexLine{ID: format.Hash{id}, Pack: inPack, Frame: format.Frame{Length: 10, Plain: 5}, Size: 5}
}

// segment plants an index segment of one line, signed with a host key, and placements that name it. edit changes its header.
func (b *bench) segment(host *keys.HostKey, line format.IndexLine, edit func(*format.SegmentHeader)) (name string) {
	b.t.Helper()
	must := func(err error) {
		b.t.Helper()
		if err != nil {
			b.t.Fatal(err)
		}
	}
	r, err := b.find("")
	must(err)
	h := format.SegmentHeader{Repository: r.ID, Descriptor: r.Chain[len(r.Chain)-1].Sum, ChunkKey: attest.ChunkKeyID(host.ChunkKey), Written: format.At(b.clock)}
	if edit != nil {
		edit(&h)
	}
	plain, err := format.EncodeIndex(h, []format.IndexLine{line}, func(m []byte) []byte { return attest.Sign(host.Signing, attest.Index, m) })
	must(err)
	enc, err := pack.NewEncoder()
	must(err)
	frame := enc.Frame(nil, plain)
	to, err := r.Keys().MetaRecipients()
	must(err)
	pb, err := pack.NewBuilder(to, nil)
	must(err)
	_, err = pb.Add(frame)
	must(err)
	sealed, err := pb.Close()
	must(err)
	name = format.MetaName(sealed.Sum)
	plantPoint(b, name, sealed.Body)
	b.say(host, format.Placement{Name: name, Size: int64(len(sealed.Body)), Index: []format.Frame{{Length: int64(len(frame)), Plain: int64(len(plain))}}})
	return name
}

// findsChunk reports whether a machine without its cache finds a chunk.
func findsChunk(b *bench, id byte) bool {
	b.t.Helper()
	b.cacheDir = b.t.TempDir()
	s := b.session()
	_, ok, err := s.Cache().Chunks.Get(format.Hash{id})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.t.Fatal(err)
	}
	return ok
}

// rotate changes the host key.
func (b *bench) rotate(next *keys.HostKey, fresh bool) (old *keys.HostKey) {
	b.t.Helper()
	b.clock = b.clock.Add(time.Hour)
	if _, err := b.change(b.t, next, func(o *repo.ChangeOptions) { o.FreshStart = fresh }); err != nil {
		b.t.Fatal(err)
	}
	old, b.host = b.host, next
	b.clock = b.clock.Add(time.Hour)
	return old
}

// TestWhoseIndexIsUsed: content is found through segments whose descriptor lists the key that signed them, of this machine's chunk
// key, and of no time before a fresh start. What cannot be the repository's is reported; what is of another key or time is not.
func TestWhoseIndexIsUsed(t *testing.T) {
	type header = format.SegmentHeader
	for name, c := range map[string]struct {
		edit        func(b *bench, h *header)
		rotations   []bool // before it is written: with a fresh start or not
		later       []bool // after it
		found, told bool
	}{
		"as a run writes it":                {found: true},
		"after a rotation":                  {rotations: []bool{false}, found: true},
		"before a rotation":                 {later: []bool{false}, found: true},
		"after a fresh start":               {rotations: []bool{true}, found: true},
		"before a fresh start":              {later: []bool{true}},
		"before a fresh start and rotation": {later: []bool{true, false}},
		"of a chunk key that is not ours":   {edit: func(_ *bench, h *header) { h.ChunkKey = attest.ChunkKeyID([32]byte{9}) }},
		"of another repository":             {edit: func(_ *bench, h *header) { h.Repository = format.Hash{9} }, told: true},
		"of a descriptor that is not there": {edit: func(_ *bench, h *header) { h.Descriptor = format.Hash{9} }, told: true},
		"of a descriptor before its key":    {rotations: []bool{false}, edit: func(b *bench, h *header) { h.Descriptor = fingerprintOf(b) }, told: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for _, fresh := range c.rotations {
				b.rotate(freshKey(t, b.host, fresh), fresh)
			}
			b.segment(b.host, lineOf(1, format.Hash{2}), func(h *header) {
				if c.edit != nil {
					c.edit(b, h)
				}
			})
			for _, fresh := range c.later {
				b.rotate(freshKey(t, b.host, fresh), fresh)
			}
			b.saw(repo.Tampered, "")
			if got := findsChunk(b, 1); got != c.found {
				t.Errorf("found: %t", got)
			}
			if got := b.saw(repo.Tampered, format.PrefixMeta); got != c.told {
				t.Errorf("told: %t", got)
			}
		})
	}
}

// A fresh start bars what is from before it, even if somebody kept the chunk key.
func TestAFreshStartWithTheSameChunkKey(t *testing.T) {
	b := newBench(t)
	b.segment(b.host, lineOf(1, format.Hash{2}), nil)
	b.rotate(rotated(t, b.host), true)
	if findsChunk(b, 1) {
		t.Error("content is found in what was stored before the fresh start")
	}
	b.segment(b.host, lineOf(1, format.Hash{2}), nil)
	if !findsChunk(b, 1) {
		t.Error("content is not found in what was stored since")
	}
}

// A segment of a descriptor that the vault does not show is looked at again by each run, since the descriptor may be back then.
func TestASegmentOfADescriptorThatIsNotThere(t *testing.T) {
	b := newBench(t)
	b.cacheDir = t.TempDir()
	name := b.segment(b.host, lineOf(1, format.Hash{2}), func(h *format.SegmentHeader) { h.Descriptor = format.Hash{9} })
	f := &flipping{Reader: b.store, prefix: name}
	b.vault.Read = f
	for run := range 4 {
		f.opened = 0
		b.again()
		if told := b.saw(repo.Tampered, name); !told || f.opened == 0 {
			t.Errorf("run %d: told %t, read %d times", run, told, f.opened)
		}
	}
}

// TestOnlyOnesOwnIndexIsFolded: lines of another chunk key are not carried on into a segment that says they are of this one.
func TestOnlyOnesOwnIndexIsFolded(t *testing.T) {
	for name, c := range map[string]struct {
		key  [32]byte
		want bool
	}{"of this chunk key": {want: true}, "of another": {key: [32]byte{9}}} {
		b := newBench(t)
		b.cacheDir = t.TempDir()
		body := []byte("a pack")
		sum := format.Hash(sha256.Sum256(body))
		plantPoint(b, format.PackName(sum), body)
		b.say(b.host, format.Placement{Name: format.PackName(sum), Size: int64(len(body))})
		for i := range 64 {
			b.segment(b.host, lineOf(byte(i+1), sum), func(h *format.SegmentHeader) {
				if !c.want {
					h.ChunkKey = attest.ChunkKeyID(c.key)
				}
			})
			b.clock = b.clock.Add(time.Second) // a name each
		}
		s := b.session()
		if err := s.Begin(b.clock.Add(35 * dayLong)); err != nil {
			t.Fatal(err)
		}
		var lines []format.IndexLine
		for i := range 64 {
			lines = append(lines, lineOf(byte(i+1), sum)) // whatever the cache holds
		}
		sink := s.Writer.MetaSink()
		err := s.Cache().Chunks.Put(lines)
		if err == nil {
			err = s.Writer.EndIndex(t.Context(), sink, nil)
		}
		if err == nil {
			err = sink.Seal(t.Context())
		}
		if err == nil {
			err = s.EndPlacements(t.Context())
		}
		if cerr := s.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
		if found := findsChunk(b, 64); found != c.want {
			t.Errorf("%s: found %t", name, found)
		}
	}
}

// fingerprintOf is the hash of the first descriptor.
func fingerprintOf(b *bench) format.Hash {
	b.t.Helper()
	r, err := b.find("")
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Fingerprint
}

func freshKey(t *testing.T, h *keys.HostKey, fresh bool) *keys.HostKey {
	t.Helper()
	n, err := h.Rotated(fresh)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
