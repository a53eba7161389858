package main

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// names are those of the first vault's objects under a prefix, in order, each once.
func (s *stage) names(prefix string) (out []string) {
	s.t.Helper()
	for info, err := range s.open(0).Versions(s.t.Context(), prefix, "") {
		s.ok(err)
		if !info.DeleteMarker && (len(out) == 0 || out[len(out)-1] != info.Name) {
			out = append(out, info.Name)
		}
	}
	return out
}

// take takes objects out of the first vault, past its governance locks.
func (s *stage) take(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if s.srv == nil {
			s.ok(os.Remove(filepath.Join(s.vaults[0], filepath.FromSlash(name))))
			continue
		}
		var versions []string
		for info, err := range s.open(0).Versions(s.t.Context(), name, "") {
			s.ok(err)
			versions = append(versions, info.Version)
		}
		for _, v := range versions {
			s.ok(s.srv.Admin().RemoveObject(s.t.Context(), s.vaults[0], name, minio.RemoveObjectOptions{VersionID: v, GovernanceBypass: true}))
		}
	}
}

// withholdNames takes the commit objects of points out of the first vault, by their place in time.
func withholdNames(s *stage, which ...int) {
	s.t.Helper()
	for _, i := range which {
		for _, name := range s.names(format.PrefixPoints) {
			if strings.Contains(name, s.points[i]) {
				s.take(name)
			}
		}
	}
}

// date sets when a directory got something. On a server nobody can.
func (s *stage) date(name string, at time.Time) {
	s.t.Helper()
	s.ok(os.Chtimes(filepath.Join(s.vaults[0], filepath.FromSlash(name)), at, at))
}

// come has one object come so much later than another, if that is not how it was. On a server later means whenever it was put.
func (s *stage) come(name, than string, later time.Duration) {
	s.t.Helper()
	at := arrivedAt(s, than).Add(later)
	if s.kind == directory {
		s.date(name, at)
	} else if later <= 0 || !arrivedAt(s, name).After(arrivedAt(s, than)) {
		s.t.Fatalf("%s did not come later than %s, and nobody can say so afterwards", name, than)
	}
}

// arrivedAt is when the first vault got something.
func arrivedAt(s *stage, name string) time.Time {
	s.t.Helper()
	info, _, err := s.open(0).Stat(s.t.Context(), store.Ref{Name: name})
	s.ok(err)
	return info.Modified
}

// changeKeys puts another host key in force, and gives the one before.
func changeKeys(s *stage, more ...string) *keys.HostKey {
	s.t.Helper()
	nextSecond(time.Now().Truncate(time.Second))
	s.good(append([]string{"key", "rotate", "--yes", "--identity", s.path("restore.key")}, more...)...)
	nextSecond(time.Now().Truncate(time.Second))
	was := s.host
	s.host = have(keys.ReadHostKeyFile(s.path("host.key")))
	return was
}

// move copies all that the first vault has into an empty one, which takes its place: everything arrives anew.
func (s *stage) move(o stageOptions) {
	s.t.Helper()
	names := s.names("")
	bodies := map[string][]byte{}
	for _, name := range names {
		bodies[name] = s.read(name)
	}
	slices.SortStableFunc(names, func(a, b string) int { // the descriptors first, as whoever moves a vault might
		first := func(name string) int {
			if strings.HasPrefix(name, format.PrefixDescriptors) {
				return 0
			}
			return 1
		}
		return first(a) - first(b)
	})
	moved := &stage{t: s.t, dir: filepath.Join(s.dir, "moved"), srv: s.srv}
	addVault(moved)
	s.vaults[0] = moved.vaults[0]
	for _, name := range names {
		s.put(name, bodies[name])
	}
	s.configure(o)
}

// arriveLater has all that a directory holds come two hours later.
func arriveLater(s *stage) {
	s.t.Helper()
	for _, name := range s.names("") {
		s.date(name, arrivedAt(s, name).Add(2*time.Hour))
	}
}

// thief is a host key of somebody else's.
func thief() *keys.HostKey { return have(keys.GenerateHostKey(keys.X25519)) }

// plantFirst puts a first descriptor of the same repository ID and a thief's key beside the right one; and gives both names.
func plantFirst(s *stage) (ours, his string) {
	s.t.Helper()
	r, t := repositoryOf(s), thief()
	d := *r.Chain[0].Descriptor
	d.Keys = []format.Key{format.JobKey(t.Public())}
	body := have(format.EncodeDescriptor(&d, func(b []byte) []byte { return attest.Sign(t.Signing, attest.Descriptor, b) }))
	return r.Chain[0].Name, putFirst(s, body)
}

// sealedMeta stores a meta object of one frame, and gives its placement.
func sealedMeta(s *stage, plain []byte) format.Placement {
	s.t.Helper()
	builder, enc := have(pack.NewBuilder([]keys.Recipient{s.restore.Recipient(), s.host.Metadata.Recipient()}, nil)), have(pack.NewEncoder())
	frame := enc.Frame(nil, plain)
	at := have(builder.Add(frame))
	sealed := have(builder.Close())
	name := format.MetaName(sealed.Sum)
	s.put(name, sealed.Body)
	return format.Placement{Name: name, Size: int64(len(sealed.Body)), Index: []format.Frame{{Offset: at, Length: int64(len(frame)), Plain: int64(len(plain))}}}
}

// place stores placements that a key signed: of a vault, as name and header say it.
func (s *stage) place(k *keys.HostKey, named, headed string, later time.Duration, lines ...format.Placement) {
	s.t.Helper()
	r, now := repositoryOf(s), time.Now().Truncate(time.Second)
	stored := framed(have(format.EncodePlacements(format.SegmentHeader{
		Format: format.Version, Repository: r.ID, Vault: headed, Written: format.At(now.Add(later)), Lines: len(lines),
	}, lines)))
	s.put(signPlacements(k.Signing, r.ID, named, format.At(now), stored), stored)
}

// nowhere is a placement of what is not there: who believes it misses it.
func nowhere() format.Placement {
	return format.Placement{Name: format.PackName([32]byte{9}), Size: 100}
}

// segmentOf is an index segment of no lines, changed before it is signed.
func segmentOf(s *stage, edit func([]byte) []byte) []byte {
	s.t.Helper()
	sign := func(b []byte) []byte { return attest.Sign(s.host.Signing, attest.Index, b) }
	r := repositoryOf(s)
	b := have(format.EncodeIndex(format.SegmentHeader{
		Format: format.Version, Repository: r.ID, Descriptor: r.Chain[len(r.Chain)-1].Sum, ChunkKey: attest.ChunkKeyID(s.host.ChunkKey), Written: format.At(time.Now()),
	}, nil, sign))
	head := edit(b[:bytes.IndexByte(b, '\n')+1])
	return append(slices.Clone(head), signatureLine(sign(head))...)
}

// report stores a record that the reporter's key signed, in a series of its own, which began before the machine's.
func (s *stage) report(edit func([]byte) []byte) {
	s.t.Helper()
	k, r, now := have(keys.ReadReporterKeyFile(s.path("reporter.key"))), repositoryOf(s), format.At(time.Now().Truncate(time.Second).Add(-time.Hour))
	body := edit(have(format.EncodeRecord(&format.Record{Repository: r.ID, Reporter: k.Name, Series: now, Time: now, Type: "run", Body: []byte(`{}`)})))
	id := format.RecordID{Reporter: k.Name, Series: now, Sum: sha256.Sum256(body), Hint: format.KeyHint(k.Public())}
	id.Signature = attest.Sign(k.Signing, attest.Record, id.Message(r.ID))
	s.put(id.Name(), body)
}

// putFirst stores a first descriptor, and gives its name.
func putFirst(s *stage, body []byte) string {
	s.t.Helper()
	name := format.DescriptorID{Sum: sha256.Sum256(body)}.Name()
	nextSecond(time.Now().Truncate(time.Second)) // on a server it is the younger one by this alone
	s.put(name, body)
	return name
}

// pin has the machine know a first descriptor as its repository's.
func (s *stage) pin(first string) {
	s.t.Helper()
	id := have(format.ParseDescriptorName(first))
	k := s.host.Secrets()
	k.Pin(id.Sum)
	s.ok(os.Remove(s.path("host.key")))
	s.ok(keys.WriteHostKeyFile(s.path("host.key"), k))
	s.ok(os.RemoveAll(s.path("cache")))
}
