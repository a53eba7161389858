package format

// Descriptor says what a repository is. It is plain and signed: a line of JSON, then a line {"signature":BASE64} over
// the first line including its newline (attest.Descriptor). The first is signed by its own SigningKey, a later one by
// the key before; the one with Number 0 that the vault has had longest is the repository's, and the SHA-256 of its bytes
// is the fingerprint that `init` prints.
type Descriptor struct {
	Format     string     `json:"format"`
	Kind       string     `json:"kind"` // "descriptor"
	Repository Hash       `json:"repository"`
	Number     int        `json:"number"`
	Previous   Hash       `json:"previous,omitzero"` // SHA-256 of the descriptor before; absent in the first
	Created    Time       `json:"created"`
	Class      string     `json:"class"`        // "hybrid" or "x25519"
	Recipients []string   `json:"recipients"`   // restore keys' public halves
	Metadata   string     `json:"metadata"`     // the host key's metadata recipient
	SigningKey []byte     `json:"signing_key"`  // Ed25519 public key, 32 bytes
	HostKey    string     `json:"host_key"`     // name of the sealed copy, keys/..
	HostKeyLen int64      `json:"host_key_len"` // its size
	Parameters Parameters `json:"parameters"`

	// Not in the first. DistrustAfter: what the keys of the descriptors before signed counts only if the vault has had it
	// since then, or longer. FreshStart: points made from now on refer to nothing that was stored before this descriptor.
	DistrustAfter Time `json:"distrust_after,omitzero"`
	FreshStart    bool `json:"fresh_start,omitempty"`
}

// Parameters fix what the writer may not change without losing deduplication.
type Parameters struct {
	Chunker  string `json:"chunker"` // "fastcdc-v1.0.0"
	MinChunk int    `json:"min_chunk"`
	AvgChunk int    `json:"avg_chunk"`
	MaxChunk int    `json:"max_chunk"`
	LeafKeys int    `json:"leaf_keys"` // average entries of a leaf page; the hard cap is four times that
	Fanout   int    `json:"fanout"`    // average lines of an inner page; the hard cap is four times that
}

// DefaultParameters are what `init` writes.
func DefaultParameters() Parameters {
	return Parameters{
		Chunker: "fastcdc-v1.0.0", MinChunk: 256 << 10, AvgChunk: 1 << 20, MaxChunk: 4 << 20,
		LeafKeys: 16, Fanout: 128,
	}
}

// Status of a recovery point.
const (
	StatusComplete   = "complete"
	StatusIncomplete = "incomplete"
)

// Commit is a recovery point's commit object: two lines of JSON, the head and the body. Its SHA-256 is the point's ID. It is
// stored under PointName, whose signature (attest.Point over PointMessage) vouches for it, so junk under points/ is
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
	Ext         Ext

	// The body.
	Writer       string   // program and version
	SourceKind   string   // "s3", "dir", ..
	TakenAt      Time     // when the source was frozen, vault's clock
	Slots        []string // retention slots it fills
	Marks        []string // what a reader should know before it takes this point, sorted: MarkEmpty
	Entries      int64
	Bytes        int64
	Missing      int64 // entries whose content could not be read
	Added        int64
	Changed      int64
	Deleted      int64
	Manifest     PageRef
	Predecessors []Hash // IDs of the points this one follows, sorted
	BodyExt      Ext

	Further string // lines behind head and body, which this version does not interpret
}

// SegmentHeader is the first line of an index segment or a placements object. An index segment ends with a line
// {"signature":BASE64} over all lines before it, newlines included; a placements object is signed in its name.
type SegmentHeader struct {
	Format     string `json:"format"`
	Kind       string `json:"kind"` // "index" or "placements"
	Repository Hash   `json:"repository"`
	Vault      string `json:"vault,omitempty"` // placements: the vault's name when written
	Written    Time   `json:"written"`
	Lines      int    `json:"lines"` // between header and signature
	Ext        Ext    `json:"ext,omitzero"`
}
