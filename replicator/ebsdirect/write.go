package ebsdirect

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// NewSnapshot is what a snapshot is started with.
type NewSnapshot struct {
	Size        int64  // bytes; whole GiB
	Token       string // the same token, the same snapshot: a restore that is begun again goes on
	Description string
	Tags        map[string]string
	Encrypted   bool
	KMSKey      string // ARN; with Encrypted; empty: the account's default key
}

const (
	maxVolume   = 64 << 40        // bytes
	keepPending = 4320            // minutes that AWS keeps a snapshot to which nothing more is written: the most there is
	unseenFor   = 3 * time.Minute // how long one that was just started may not be found; AWS says up to two
	completing  = 4 * time.Hour   // how long one that was completed may stay pending
	maxTag      = 127             // characters of a tag's key
	maxTagValue = 255             // of its value
	reservedTag = "aws:"          // begins the keys of tags that only AWS sets
)

// Start starts a snapshot and gives its ID. The client must have been made to write.
func (c *Client) Start(ctx context.Context, n NewSnapshot) (id string, err error) {
	const gib = 1 << 30
	if n.Size <= 0 || n.Size%gib != 0 || n.Size > maxVolume {
		return "", fmt.Errorf("a snapshot is of whole GiB, at most 64 TiB, and this image has %d bytes", n.Size)
	}
	in := &ebs.StartSnapshotInput{
		VolumeSize: aws.Int64(n.Size / gib), ClientToken: &n.Token, Timeout: aws.Int32(keepPending), Tags: tagsToSend(n.Tags),
	}
	if n.Description != "" {
		in.Description = &n.Description
	}
	if n.Encrypted || n.KMSKey != "" {
		in.Encrypted = aws.Bool(true)
	}
	if n.KMSKey != "" {
		in.KmsKeyArn = &n.KMSKey
	}
	out, err := c.api.StartSnapshot(ctx, in)
	if err != nil {
		return "", explain("start a snapshot", err)
	}
	if aws.ToInt32(out.BlockSize) != format.ImageBlock || aws.ToInt64(out.VolumeSize) != n.Size/gib || aws.ToString(out.SnapshotId) == "" {
		return "", fmt.Errorf("start a snapshot: AWS answered with %q of %d GiB in blocks of %d bytes", aws.ToString(out.SnapshotId), aws.ToInt64(out.VolumeSize), aws.ToInt32(out.BlockSize))
	}
	if out.Status == types.StatusError {
		return "", fmt.Errorf("%s: %w", aws.ToString(out.SnapshotId), ErrFailed)
	}
	return aws.ToString(out.SnapshotId), nil
}

// ErrFailed: a snapshot was given up by AWS, since nothing was written to it for too long. Another token starts another.
var ErrFailed = errors.New("AWS gave this snapshot up")

// tagsToSend leaves out what AWS does not take.
func tagsToSend(tags map[string]string) (out []types.Tag) {
	for k, v := range tags {
		if k != "" && len(k) <= maxTag && len(v) <= maxTagValue && !strings.HasPrefix(k, reservedTag) {
			out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(v)})
		}
	}
	slices.SortFunc(out, func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
	return out[:min(len(out), 50)]
}

// Put writes one block, whole, and holds AWS's answer against its hash. It may be repeated.
func (c *Client) Put(ctx context.Context, id string, n int64, block []byte, sum format.Hash) error {
	want := base64.StdEncoding.EncodeToString(sum[:])
	what := fmt.Sprintf("write block %d of %s", n, id)
	began := time.Now()
	for try := 1; ; {
		out, err := c.api.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId: &id, BlockIndex: aws.Int32(int32(n)), BlockData: bytes.NewReader(block), DataLength: aws.Int32(int32(len(block))),
			Checksum: &want, ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
		switch {
		case err == nil && aws.ToString(out.Checksum) == want:
			return nil
		case err == nil:
			err = fmt.Errorf("%s: AWS has SHA-256 %s of it, not %s", what, aws.ToString(out.Checksum), want)
		case ctx.Err() != nil:
			return ctx.Err()
		case answerOf(err).Code == "ResourceNotFoundException" && time.Since(began) < unseenFor:
			if err := pause(ctx, 2*time.Second); err != nil {
				return err
			}
			continue // it was started just now
		case !awsclient.IsThrottle(err) && inPassing(err) != aws.TrueTernary:
			return explain(what, err)
		}
		if try++; try > blockTries {
			return explain(what, err)
		}
		if err := pause(ctx, time.Duration(try*try)*50*time.Millisecond); err != nil {
			return err
		}
	}
}

// Complete seals a snapshot to which count blocks were written, whose hashes in order have the SHA-256 linear, and waits
// until it can be read. Where an earlier try's answer was lost it is found completed.
func (c *Client) Complete(ctx context.Context, id string, count int64, linear format.Hash) error {
	sum := base64.StdEncoding.EncodeToString(linear[:])
	_, err := c.api.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{
		SnapshotId: &id, ChangedBlocksCount: aws.Int32(int32(count)), Checksum: &sum,
		ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256, ChecksumAggregationMethod: types.ChecksumAggregationMethodChecksumAggregationLinear,
	})
	refused := err
	if err != nil && answerOf(err).Code != "ValidationException" {
		return explain("complete "+id, err)
	}
	deadline := time.Now().Add(completing)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 15*time.Second) {
		done, err := c.Readable(ctx, id)
		if err != nil || done {
			return err
		}
		if refused != nil && wait > time.Second {
			return explain("complete "+id, refused)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("complete %s: AWS has not completed it within %s; it may do so later", id, completing)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// Readable reports whether a snapshot is completed. One that is not, or cannot be found yet, is not.
func (c *Client) Readable(ctx context.Context, id string) (bool, error) {
	_, err := c.blocksPage(ctx, id, "", 0, 100)
	if err == nil {
		return true, nil
	}
	switch answerOf(err).Code {
	case "ValidationException", "ResourceNotFoundException":
		return false, nil
	}
	return false, explain("look at "+id, err)
}
