package ebsdirect

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// blockTries is how often a block is asked for whose bytes, token or checksum were wrong, or that was refused in all
// attempts of one request.
const blockTries = 5

// Image begins to read the snapshot id of size bytes; key is the entry's, for messages. base is the snapshot of the same
// disk that was read before, "" if there is none: where the two can be compared, blocks that have not changed are said to
// be the same. Errors are those of source.Images.
func (c *Client) Image(ctx context.Context, key, id string, size int64, base string) (source.Image, error) {
	m := &image{c: c, key: key, id: id, size: size, tokens: newTokens(c.blocksOf(id))}
	var err error
	if m.first, err = c.blocksOf(id)(ctx, "", 0); err != nil {
		return nil, ofEntry(key, "list the blocks of "+id, err)
	}
	if m.first.size != size {
		return nil, fmt.Errorf("%s: its blocks are of a volume of %d bytes, it was described with %d: %w", id, m.first.size, size, source.ErrChanged)
	}
	if base == "" {
		return m, nil
	}
	if base == id { // read again: AWS compares two snapshots, not one with itself
		m.changes = func(context.Context, string, int64) (page, error) { return page{}, nil }
		return m, nil
	}
	m.changes = c.changesOf(base, id)
	if m.changed, err = m.changes(ctx, "", 0); err != nil {
		a := answerOf(err)
		if a.Status < 400 || a.Status >= 500 || awsclient.Throttled(a.Code) {
			return nil, explain("compare "+id+" with "+base, err)
		}
		m.changes, m.why = nil, whyFull(base, a)
	}
	return m, nil
}

// whyFull says in plain words why two snapshots cannot be compared.
func whyFull(base string, a answer) string {
	switch {
	case a.Code == "ResourceNotFoundException":
		return "the snapshot of the last point, " + base + ", is gone"
	case a.reason == string(types.ValidationExceptionReasonUnrelatedSnapshots):
		return "the snapshot of the last point, " + base + ", is of another lineage"
	}
	return "it cannot be compared with the snapshot of the last point, " + base + ": " + orText(a.Message, a.Code)
}

// image is one snapshot that is being read.
type image struct {
	c       *Client
	key, id string
	size    int64
	first   page
	changes asker // nil: nothing to compare with
	changed page
	why     string

	tokens tokens
}

// Since implements source.Image.
func (m *image) Since() (bool, string) { return m.changes != nil, m.why }

// Close implements source.Image.
func (m *image) Close() error { return nil }

// Blocks implements source.Image. The snapshot's own listing says what there is; the listing of changes only what of it is
// not the same.
func (m *image) Blocks(ctx context.Context) iter.Seq2[source.Block, error] {
	return func(yield func(source.Block, error) bool) {
		differs := func(int64) (bool, error) { return true, nil }
		if m.changes != nil {
			next, stop := iter.Pull2(lines(ctx, m.changes, m.changed))
			defer stop()
			differs = seek(next)
		}
		for b, err := range lines(ctx, m.c.blocksOf(m.id), m.first) {
			if err != nil {
				yield(source.Block{}, ofEntry(m.key, "list the blocks of "+m.id, err))
				return
			}
			if b.n >= m.size/format.ImageBlock || b.token == "" {
				yield(source.Block{}, fmt.Errorf("list the blocks of %s: block %d is not one of the volume's", m.id, b.n))
				return
			}
			m.tokens.keep(b)
			not, err := differs(b.n)
			if err != nil {
				yield(source.Block{}, m.lostBase(err))
				return
			}
			if !yield(source.Block{N: b.n, Same: !not}, nil) {
				return
			}
		}
	}
}

// seek looks blocks up, in ascending order, in a listing.
func seek(next func() (listed, error, bool)) func(n int64) (bool, error) {
	at, more := int64(-1), true
	return func(n int64) (bool, error) {
		for more && at < n {
			b, err, ok := next()
			if err != nil {
				return false, err
			}
			if more = ok; ok {
				at = b.n
			}
		}
		return more && at == n, nil
	}
}

// lostBase is for a comparison that broke off: if the older snapshot was deleted meanwhile, the image is begun again.
func (m *image) lostBase(err error) error {
	if a := answerOf(err); a.Status >= 400 && a.Status < 500 && !awsclient.Throttled(a.Code) {
		return fmt.Errorf("compare %s with the snapshot before it: %w: %w", m.id, source.ErrChanged, err)
	}
	return explain("compare "+m.id+" with the snapshot before it", err)
}

// Read implements source.Image. A block that came wrong is asked for again from the start, with a token of its own.
func (m *image) Read(ctx context.Context, n int64, buf []byte) (format.Hash, error) {
	m.tokens.begin(n)
	defer m.tokens.end(n)
	refused := 0 // the newest token that did not do
	for try := 1; ; try++ {
		sum, listing, err := m.tryRead(ctx, n, buf, refused)
		what := fmt.Sprintf("read block %d of %s", n, m.id)
		switch {
		case err == nil:
			return sum, nil
		case ctx.Err() != nil:
			return sum, ctx.Err()
		case errors.Is(err, source.ErrChanged):
			return sum, err
		case errors.Is(err, errBody), answerOf(err).reason == string(types.ValidationExceptionReasonInvalidBlockToken):
			refused = listing
		case !awsclient.IsThrottle(err):
			return sum, m.failed(n, what, err)
		}
		if try == blockTries {
			return sum, m.failed(n, what, err)
		}
		if err := pause(ctx, time.Duration(try*try)*50*time.Millisecond); err != nil {
			return sum, err
		}
	}
}

// failed says what became of a block in the words of a source. What AWS answers to one block, after all tries, says nothing
// of the others.
func (m *image) failed(n int64, what string, err error) error {
	a := answerOf(err)
	switch {
	case errors.Is(err, errBody):
		return &source.BadBlock{N: n, Err: fmt.Errorf("%s: %w: %w", what, source.ErrCorrupt, err)}
	case awsclient.IsThrottle(err):
	case a.Code == "ValidationException", a.Status >= http.StatusInternalServerError:
		return &source.BadBlock{N: n, Err: ofEntry(m.key, what, err)}
	}
	return ofEntry(m.key, what, err)
}

// errBody: the bytes of an answer are not what its headers say.
var errBody = errors.New("the block is not what its checksum says")

// tryRead asks for a block once, with a token of a listing after refused, and gives which listing it was of.
func (m *image) tryRead(ctx context.Context, n int64, buf []byte, refused int) (sum format.Hash, listing int, err error) {
	token, listing, err := m.tokens.get(ctx, n, refused)
	if err != nil {
		return sum, listing, err
	}
	sum, err = m.fetch(ctx, n, buf, token)
	return sum, listing, err
}

func (m *image) fetch(ctx context.Context, n int64, buf []byte, token string) (format.Hash, error) {
	out, err := m.c.api.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: &m.id, BlockIndex: aws.Int32(int32(n)), BlockToken: &token})
	if err != nil {
		return format.Hash{}, err
	}
	defer out.BlockData.Close()
	if out.ChecksumAlgorithm != types.ChecksumAlgorithmChecksumAlgorithmSha256 || aws.ToString(out.Checksum) == "" {
		return format.Hash{}, fmt.Errorf("%w: it came without a SHA-256", errBody)
	}
	if got := aws.ToInt32(out.DataLength); int(got) != len(buf) {
		return format.Hash{}, fmt.Errorf("%w: %d bytes instead of %d", errBody, got, len(buf))
	}
	if k, err := io.ReadFull(out.BlockData, buf); err != nil {
		return format.Hash{}, fmt.Errorf("%w: it ended after %d bytes: %w", errBody, k, err)
	}
	if k, _ := out.BlockData.Read(make([]byte, 1)); k > 0 {
		return format.Hash{}, fmt.Errorf("%w: it is longer than %d bytes", errBody, len(buf))
	}
	sum := format.Hash(sha256.Sum256(buf))
	if base64.StdEncoding.EncodeToString(sum[:]) != aws.ToString(out.Checksum) {
		return format.Hash{}, fmt.Errorf("%w: SHA-256 %s, not %s", errBody, base64.StdEncoding.EncodeToString(sum[:]), aws.ToString(out.Checksum))
	}
	return sum, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
