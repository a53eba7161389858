package ebsdirect

import (
	"context"
	"fmt"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// pageBlocks is how many blocks are asked for at once.
const pageBlocks = 10_000

// listed is one line of a listing.
type listed struct {
	n     int64
	token string // "": not in the snapshot, but in the one it is compared with
}

// page is what one request of a listing gave.
type page struct {
	blocks []listed
	next   string
	size   int64 // of the volume, in bytes
}

// asker asks for a page: from a token, or if that is empty from a block on.
type asker func(ctx context.Context, token string, from int64) (page, error)

// blocksOf lists a snapshot.
func (c *Client) blocksOf(id string) asker {
	return func(ctx context.Context, token string, from int64) (page, error) {
		return c.blocksPage(ctx, id, token, from, pageBlocks)
	}
}

func (c *Client) blocksPage(ctx context.Context, id, token string, from int64, most int32) (page, error) {
	in := &ebs.ListSnapshotBlocksInput{SnapshotId: &id, MaxResults: &most}
	if token != "" {
		in.NextToken = &token
	} else {
		in.StartingBlockIndex = aws.Int32(int32(from))
	}
	out, err := c.api.ListSnapshotBlocks(ctx, in)
	if err != nil {
		return page{}, err
	}
	p, err := pageOf(out.BlockSize, out.VolumeSize, out.NextToken)
	if err != nil {
		return p, err
	}
	p.blocks = make([]listed, len(out.Blocks))
	for i, b := range out.Blocks {
		p.blocks[i] = listed{int64(aws.ToInt32(b.BlockIndex)), aws.ToString(b.BlockToken)}
	}
	return p, nil
}

// changesOf lists in what a snapshot differs from an earlier one.
func (c *Client) changesOf(base, id string) asker {
	return func(ctx context.Context, token string, from int64) (page, error) {
		in := &ebs.ListChangedBlocksInput{FirstSnapshotId: &base, SecondSnapshotId: &id, MaxResults: aws.Int32(pageBlocks)}
		if token != "" {
			in.NextToken = &token
		} else {
			in.StartingBlockIndex = aws.Int32(int32(from))
		}
		out, err := c.api.ListChangedBlocks(ctx, in)
		if err != nil {
			return page{}, err
		}
		p, err := pageOf(out.BlockSize, out.VolumeSize, out.NextToken)
		if err != nil {
			return p, err
		}
		p.blocks = make([]listed, len(out.ChangedBlocks))
		for i, b := range out.ChangedBlocks {
			p.blocks[i] = listed{int64(aws.ToInt32(b.BlockIndex)), aws.ToString(b.SecondBlockToken)}
		}
		return p, nil
	}
}

func pageOf(blockSize *int32, volume *int64, next *string) (page, error) {
	if aws.ToInt32(blockSize) != format.ImageBlock {
		return page{}, fmt.Errorf("blocks of %d bytes; this program knows those of %d only", aws.ToInt32(blockSize), format.ImageBlock)
	}
	return page{next: aws.ToString(next), size: aws.ToInt64(volume) << 30}, nil
}

// maxEmpty is how many pages in a row may be empty with a token that goes on. Listings of changes have runs of them as
// long as a disk has pages.
const maxEmpty = 1 << 17

// lines gives a listing in order, from a first page that was asked for already. A token that has expired is replaced by
// asking from the block behind the last one.
func lines(ctx context.Context, ask asker, p page) iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		last, empty, renewed := int64(-1), 0, 0
		for {
			for _, b := range p.blocks {
				if b.n <= last {
					yield(listed{}, fmt.Errorf("block %d is listed behind block %d", b.n, last))
					return
				}
				last, empty, renewed = b.n, 0, 0
				if !yield(b, nil) {
					return
				}
			}
			if p.next == "" {
				return
			}
			if empty++; empty > maxEmpty {
				yield(listed{}, fmt.Errorf("the listing goes on for ever behind block %d", last))
				return
			}
			token := p.next
			var err error
			p, err = ask(ctx, token, 0)
			if err != nil && answerOf(err).reason == string(types.ValidationExceptionReasonInvalidPageToken) && renewed < 3 {
				renewed++
				p, err = ask(ctx, "", last+1)
			}
			if err != nil {
				yield(listed{}, err)
				return
			}
		}
	}
}
