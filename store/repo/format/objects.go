package format

import (
	"bytes"
	"slices"
)

// Descriptor says what a repository is: which keys sign for it, which open it, how it is written. It is plain and signed:
// three lines, the head, the body, and {"signature":BASE64} over the first two, newlines included (attest.Descriptor). The
// first is signed by its own first job key, a later one by a key of the one before (see Signers); the one with Number 0 that
// the vault has had longest is the repository's, and the SHA-256 of its bytes is the fingerprint that `init` prints.
//
// The head is the same in every version of the format. Of a descriptor that a later version wrote, or that requires a feature
// which this version does not know, only the head is filled in; see DecodeDescriptor.
type Descriptor struct {
	// The head.
	Format     string
	Kind       string   // "descriptor"
	Requires   []string // features without which nothing behind the head can be understood, sorted
	Repository Hash
	Number     int
	Previous   Hash // SHA-256 of the descriptor before; zero in the first
	Created    Time
	Keys       []Key // that sign from now on
	Ext        Ext

	// The body.
	Class      string   // "hybrid" or "x25519"
	Recipients []string // restore keys' public halves
	Metadata   []string // what manifests and index are sealed to besides: the host key's metadata recipient
	HostKey    string   // name of the sealed copy, keys/..
	HostKeyLen int64    // its size
	Parameters Parameters

	// Not in the first. Vouched: the root of the list of points that keep counting, though their keys were dropped. DistrustAfter: what the keys of the descriptors before signed counts only if the vault has had it
	// since then, or longer. FreshStart: points made from now on refer to nothing that was stored before this descriptor.
	DistrustAfter Time
	Vouched       *PageRef
	FreshStart    bool
	BodyExt       Ext
}

// What a Key may sign.
const (
	UseOwner    = "owner"    // descriptors
	UseJob      = "job"      // points, placements, index segments
	UseReporter = "reporter" // records
)

// AlgEd25519 is the one algorithm of signatures that this version knows. A key of another signs nothing for it, nor does a key
// of a use that it does not know.
const AlgEd25519 = "ed25519"

// Key is a key that signs for a repository.
type Key struct {
	Use     string   `json:"use"`
	Alg     string   `json:"alg"`
	Key     []byte   `json:"key"`               // the public half
	Name    string   `json:"name,omitempty"`    // of a reporter
	Role    string   `json:"role,omitempty"`    // of a reporter
	Sources []string `json:"sources,omitempty"` // of a job: the sources whose points it signs, sorted; none: all
	Ext     Ext      `json:"ext,omitzero"`
}

// JobKey describes the key with which a job signs for all sources.
func JobKey(public []byte) Key { return Key{Use: UseJob, Alg: AlgEd25519, Key: public} }

// OwnerKey describes a key of the repository's owner.
func OwnerKey(public []byte) Key { return Key{Use: UseOwner, Alg: AlgEd25519, Key: public} }

// ReporterKey describes the key with which a reporter signs records.
func ReporterKey(public []byte, name, role string) Key {
	return Key{Use: UseReporter, Alg: AlgEd25519, Key: public, Name: name, Role: role}
}

// KeysFor gives the public keys that sign for a use, as far as this version knows their algorithms.
func (d *Descriptor) KeysFor(use string) [][]byte {
	var out [][]byte
	for _, k := range d.Keys {
		if k.Use == use && k.Alg == AlgEd25519 {
			out = append(out, k.Key)
		}
	}
	return out
}

// Owned reports whether the descriptor after this one is signed by an owner.
func (d *Descriptor) Owned() bool {
	return slices.ContainsFunc(d.Keys, func(k Key) bool { return k.Use == UseOwner })
}

// Signers gives the keys of which one signs the next descriptor: an owner's, or in a repository without owners a job's.
func (d *Descriptor) Signers() [][]byte {
	if d.Owned() {
		return d.KeysFor(UseOwner)
	}
	return d.KeysFor(UseJob)
}

// Lists reports whether a public key may sign for a use.
func (d *Descriptor) Lists(use string, public []byte) bool {
	return slices.ContainsFunc(d.KeysFor(use), func(k []byte) bool { return bytes.Equal(k, public) })
}

// Parameters fix what the writer may not change without losing deduplication.
type Parameters struct {
	Chunker  string `json:"chunker"` // "fastcdc-v1.0.0"
	MinChunk int    `json:"min_chunk"`
	AvgChunk int    `json:"avg_chunk"`
	MaxChunk int    `json:"max_chunk"`
	LeafKeys int    `json:"leaf_keys"` // average entries of a leaf page; the hard cap is four times that
	Fanout   int    `json:"fanout"`    // average lines of an inner page; the hard cap is four times that
	Longest  int64  `json:"longest"`   // seconds that the end of a point may lie behind its signed time
	Ext      Ext    `json:"ext,omitzero"`
}

// defaultLongest is ten years and three days: the longest that laws on keeping books ask for.
const defaultLongest = (3653 + 3) * 24 * 60 * 60

// DefaultParameters are what `init` writes.
func DefaultParameters() Parameters {
	return Parameters{
		Chunker: "fastcdc-v1.0.0", MinChunk: 256 << 10, AvgChunk: 1 << 20, MaxChunk: 4 << 20,
		LeafKeys: 16, Fanout: 128, Longest: defaultLongest,
	}
}

// Status of a recovery point.
const (
	StatusComplete   = "complete"
	StatusIncomplete = "incomplete"
)

// Commit is a recovery point's commit object: two lines of JSON, the head and the body. Its SHA-256 is the point's ID. It is
// stored under PointID.Name, whose signature (attest.Point over PointID.Message) vouches for it, so junk under points/ is
// rejected from its name alone. It is the same in every vault. It is plain: Manifest has neither First nor Digest, which
// would tell a key and let a guess at the listing be confirmed.
//
// The head is the same in every version of the format. Of a point that a later version wrote, or that requires a feature
// which this version does not know, only the head is filled in; see DecodeCommit.
type Commit struct {
	// The head.
	Format      string
	Kind        string   // "point"
	Requires    []string // features without which nothing behind the head can be understood, sorted
	Repository  Hash
	Descriptor  Hash // the newest descriptor when it was written
	Source      string
	SignedAt    Time // when this was signed, vault's clock, whole seconds; the time in the name
	RetainUntil Time
	Mode        string // lock mode asked for
	Status      string // StatusComplete or StatusIncomplete
	Needs       PageRef
	Points      PageRef // the source's earlier points that are not over
	Ext         Ext

	// The body.
	Writer       string   // program and version
	SourceKind   string   // "s3", "dir", ..
	TakenAt      Time     // when the source was frozen, vault's clock
	Slots        []string // retention slots it fills
	Marks        []string // what a reader should know before it takes this point, sorted: MarkEmpty, MarkSuspect
	Entries      int64
	Bytes        int64
	Missing      int64 // entries whose content could not be read
	Added        int64
	Changed      int64
	Deleted      int64
	Manifest     PageRef
	Predecessors []Predecessor // the points this one follows, sorted by ID
	BodyExt      Ext

	Further string // lines behind head and body, which this version does not interpret
}

// SegmentHeader is the first line of an index segment or a placements object. An index segment ends with a line
// {"signature":BASE64} over all lines before it, newlines included; a placements object is signed in its name.
type SegmentHeader struct {
	Format     string `json:"format"`
	Kind       string `json:"kind"` // "index" or "placements"
	Repository Hash   `json:"repository"`
	Descriptor Hash   `json:"descriptor,omitzero"` // index segments: the newest one that the writer knew
	ChunkKey   Hash   `json:"chunk_key,omitzero"`  // index segments: the ID of the key that chunk IDs were made under, see attest.ChunkKeyID
	Vault      string `json:"vault,omitempty"`     // placements: the vault's name when written
	Written    Time   `json:"written"`
	Lines      int    `json:"lines"`              // between header and signature; placements: in all frames
	Replaces   []Hash `json:"replaces,omitempty"` // placements: objects of this vault that this one makes superfluous
	Ext        Ext    `json:"ext,omitzero"`
}
