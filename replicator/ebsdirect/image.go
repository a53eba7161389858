package ebsdirect

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

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
	m := &image{c: c, key: key, id: id, size: size, tokens: map[int64]string{}}
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
	m.changes = c.changesOf(base, id)
	if m.changed, err = m.changes(ctx, "", 0); err != nil {
		a := answerOf(err)
		if a.status < 400 || a.status >= 500 || throttleCode(a.code) {
			return nil, Explain("compare "+id+" with "+base, err)
		}
		m.changes, m.why = nil, whyFull(base, a)
	}
	return m, nil
}

// whyFull says in plain words why two snapshots cannot be compared.
func whyFull(base string, a answer) string {
	switch {
	case a.code == "ResourceNotFoundException":
		return "the snapshot of the last point, " + base + ", is gone"
	case a.reason == string(types.ValidationExceptionReasonUnrelatedSnapshots):
		return "the snapshot of the last point, " + base + ", is of another lineage"
	}
	return "it cannot be compared with the snapshot of the last point, " + base + ": " + orText(a.message, a.code)
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

	mu     sync.Mutex
	tokens map[int64]string // of blocks that were listed lately
}

// maxTokens bounds the memory of tokens: one that is gone is asked for again.
const maxTokens = 1 << 15

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
			m.keep(b)
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
	if a := answerOf(err); a.status >= 400 && a.status < 500 && !throttleCode(a.code) {
		return fmt.Errorf("compare %s with the snapshot before it: %w: %w", m.id, source.ErrChanged, err)
	}
	return Explain("compare "+m.id+" with the snapshot before it", err)
}

func (m *image) keep(b listed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[b.n] = b.token
	if len(m.tokens) > maxTokens {
		for n := range m.tokens {
			if n < b.n-maxTokens/2 {
				delete(m.tokens, n)
			}
		}
		if len(m.tokens) > maxTokens {
			clear(m.tokens) // they lie far apart
		}
	}
}

// token gives a block's token, listing it again if it is not known any more.
func (m *image) token(ctx context.Context, n int64, fresh bool) (string, error) {
	m.mu.Lock()
	t, ok := m.tokens[n]
	m.mu.Unlock()
	if ok && !fresh {
		return t, nil
	}
	p, err := m.c.blocksPage(ctx, m.id, "", n, 100)
	for tries := 0; err == nil && len(p.blocks) == 0 && p.next != "" && tries < 100; tries++ {
		p, err = m.c.blocksPage(ctx, m.id, p.next, 0, 100)
	}
	if err != nil {
		return "", err
	}
	if len(p.blocks) == 0 || p.blocks[0].n != n {
		return "", fmt.Errorf("block %d is not listed any more: %w", n, source.ErrChanged)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range p.blocks {
		m.tokens[b.n] = b.token
	}
	return p.blocks[0].token, nil
}

// Read implements source.Image.
func (m *image) Read(ctx context.Context, n int64, buf []byte) (format.Hash, error) {
	fresh := false
	for try := 1; ; try++ {
		sum, err := m.tryRead(ctx, n, buf, fresh)
		switch {
		case err == nil:
			return sum, nil
		case ctx.Err() != nil:
			return sum, ctx.Err()
		case errors.Is(err, source.ErrChanged):
			return sum, err
		case answerOf(err).reason == string(types.ValidationExceptionReasonInvalidBlockToken):
			fresh = true
		case !IsThrottle(err) && !errors.Is(err, errBody):
			return sum, ofEntry(m.key, fmt.Sprintf("read block %d of %s", n, m.id), err)
		}
		if try == blockTries {
			if errors.Is(err, errBody) {
				return sum, fmt.Errorf("read block %d of %s: %w: %w", n, m.id, source.ErrCorrupt, err)
			}
			return sum, ofEntry(m.key, fmt.Sprintf("read block %d of %s", n, m.id), err)
		}
		if err := pause(ctx, time.Duration(try*try)*50*time.Millisecond); err != nil {
			return sum, err
		}
	}
}

// errBody: the bytes of an answer are not what its headers say.
var errBody = errors.New("the block is not what its checksum says")

func (m *image) tryRead(ctx context.Context, n int64, buf []byte, fresh bool) (format.Hash, error) {
	token, err := m.token(ctx, n, fresh)
	if err != nil {
		return format.Hash{}, err
	}
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
