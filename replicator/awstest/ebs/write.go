package ebs

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

type tag struct{ Key, Value string }

type startRequest struct {
	VolumeSize       int64
	ParentSnapshotId string
	Tags             []tag
	Description      string
	ClientToken      string
	Encrypted        *bool
	KmsKeyArn        string
	Timeout          *int
}

// start is StartSnapshot.
func (c *call) start() *Error {
	raw, err := io.ReadAll(io.LimitReader(c.r.Body, 1<<20))
	if err != nil {
		return invalid("INVALID_PARAMETER_VALUE", "body: %v", err)
	}
	var q startRequest
	if err := json.Unmarshal(raw, &q); err != nil {
		return invalid("INVALID_PARAMETER_VALUE", "body: %v", err)
	}
	if e := c.checkStart(&q); e != nil {
		return e
	}
	// The same token again gives the same snapshot; with anything else it is a conflict [API: ClientToken, ConflictException].
	if was := c.world.Started(q.ClientToken); was != nil {
		if was.Request != string(raw) {
			return &Error{409, "ConflictException", "", "The client token was used with other parameters."}
		}
		return c.answer(201, c.started(was))
	}
	s := world.Snapshot{
		State: "pending", SizeGiB: q.VolumeSize, Description: q.Description, Parent: q.ParentSnapshotId, KMSKeyID: q.KmsKeyArn,
		Encrypted: q.Encrypted != nil && *q.Encrypted, Token: q.ClientToken, Request: string(raw),
		Tags: map[string]string{}, Sums: map[int64][32]byte{}, Writable: c.world.Now().Add(c.o.Unseen),
	}
	if s.Encrypted && s.KMSKeyID == "" {
		s.KMSKeyID = "arn:aws:kms:eu-west-1:" + world.Account + ":key/aws-ebs"
	}
	for _, t := range q.Tags {
		s.Tags[t.Key] = t.Value
	}
	content := world.NewBlocks(nil)
	s.Lineage = "started " + c.world.ID("line")
	if p := c.world.Snapshot(q.ParentSnapshotId); p != nil {
		s.Lineage = p.Line()
		buf := make([]byte, world.BlockSize)
		for n, ok := p.Content.Next(0); ok; n, ok = p.Content.Next(n + 1) {
			p.Content.Read(n, buf)
			content.Put(n, slices.Clone(buf))
		}
		if p.Encrypted {
			s.Encrypted, s.KMSKeyID = true, p.KMSKeyID
		}
	}
	s.Content = content
	return c.answer(201, c.started(c.world.AddSnapshot(s)))
}

func (c *call) checkStart(q *startRequest) *Error {
	switch {
	case q.VolumeSize < 1 || q.VolumeSize > 65_536: // [API: at most 64 TiB]
		return invalid("INVALID_VOLUME_SIZE", "VolumeSize %d", q.VolumeSize)
	case q.Timeout != nil && (*q.Timeout < 10 || *q.Timeout > 4320): // [API: 10 to 4320 minutes]
		return invalid("INVALID_PARAMETER_VALUE", "Timeout %d", *q.Timeout)
	case q.ParentSnapshotId != "" && q.Encrypted != nil: // [API: "If you specify Encrypted and ParentSnapshotId .. ValidationException"]
		return invalid("INVALID_PARAMETER_VALUE", "Encrypted and ParentSnapshotId exclude each other.")
	case q.KmsKeyArn != "" && (q.Encrypted == nil || !*q.Encrypted): // [API: "If you specify KmsKeyArn, then set Encrypted to true"]
		return invalid("INVALID_PARAMETER_VALUE", "KmsKeyArn needs Encrypted.")
	case len(q.Tags) > 50:
		return invalid("INVALID_TAG", "%d tags", len(q.Tags))
	case len(q.Description) > 255 || len(q.ClientToken) > 255:
		return invalid("INVALID_PARAMETER_VALUE", "too long")
	}
	for _, t := range q.Tags {
		if len(t.Key) == 0 || len(t.Key) > 127 || len(t.Value) > 255 || len(t.Key) > 3 && t.Key[:4] == "aws:" {
			return invalid("INVALID_TAG", "tag %q", t.Key)
		}
	}
	if q.ParentSnapshotId != "" {
		if p := c.world.Snapshot(q.ParentSnapshotId); p == nil || p.State != "completed" {
			return notFound(q.ParentSnapshotId)
		}
	}
	return nil
}

func (c *call) started(s *world.Snapshot) map[string]any {
	var tags []tag
	for _, k := range slices.Sorted(maps.Keys(s.Tags)) {
		tags = append(tags, tag{k, s.Tags[k]})
	}
	out := map[string]any{
		"SnapshotId": s.ID, "OwnerId": s.Owner, "Status": s.State, "StartTime": float64(s.Started.UnixMilli()) / 1000,
		"VolumeSize": s.SizeGiB, "BlockSize": world.BlockSize, "Tags": tags, "Description": s.Description,
	}
	if s.Parent != "" {
		out["ParentSnapshotId"] = s.Parent
	}
	if s.Encrypted {
		out["KmsKeyArn"] = s.KMSKeyID
	}
	return out
}

// pending gives a snapshot that may be written to.
func (c *call) pending() (*world.Snapshot, *Error) {
	s := c.world.Snapshot(c.id)
	if s == nil || s.Sums == nil || c.world.Now().Before(s.Writable) { // [FAQ]
		return nil, notFound(c.id)
	}
	if s.State != "pending" || !s.Done.IsZero() { // [API: "The target snapshot must be in the pending state"]
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not pending.", c.id)
	}
	return s, nil
}

// put is PutSnapshotBlock.
func (c *call) put() *Error {
	s, e := c.pending()
	if e != nil {
		return e
	}
	h := c.r.Header
	if h.Get("X-Amz-Data-Length") != strconv.Itoa(world.BlockSize) { // [API: "Valid values: 524288"]
		return invalid("INVALID_PARAMETER_VALUE", "x-amz-Data-Length %q", h.Get("X-Amz-Data-Length"))
	}
	if h.Get("X-Amz-Checksum-Algorithm") != "SHA256" {
		return invalid("INVALID_PARAMETER_VALUE", "x-amz-Checksum-Algorithm %q", h.Get("X-Amz-Checksum-Algorithm"))
	}
	if c.block >= s.SizeGiB<<30/world.BlockSize {
		return invalid("INVALID_BLOCK", "block %d of a volume of %d GiB", c.block, s.SizeGiB)
	}
	data, err := io.ReadAll(io.LimitReader(c.r.Body, world.BlockSize+1))
	if err != nil || len(data) != world.BlockSize {
		return invalid("INVALID_PARAMETER_VALUE", "block of %d bytes: %v", len(data), err)
	}
	sum := sha256.Sum256(data)
	want := base64.StdEncoding.EncodeToString(sum[:])
	if h.Get("X-Amz-Checksum") != want { // [WRITE: "The action fails if the checksums don't match"]
		return invalid("INVALID_PARAMETER_VALUE", "The checksum does not match.")
	}
	if c.fault.Kind == Swallow { // an error of the store that only reading back shows
		data = slices.Clone(data)
		data[100] ^= 1
	}
	s.Content.(*world.Blocks).Put(c.block, data)
	c.world.Update(c.id, func(s *world.Snapshot) { s.Sums[c.block] = sum })
	if c.fault.Kind == LoseAnswer {
		return &Error{500, "InternalServerException", "", "the answer got lost"}
	}
	c.w.Header().Set("X-Amz-Checksum", want)
	c.w.Header().Set("X-Amz-Checksum-Algorithm", "SHA256")
	c.w.WriteHeader(201)
	return nil
}

// complete is CompleteSnapshot.
func (c *call) complete() *Error {
	s, e := c.pending()
	if e != nil {
		return e
	}
	h := c.r.Header
	count, err := strconv.Atoi(h.Get("X-Amz-Changedblockscount"))
	if err != nil || count < 0 {
		return invalid("INVALID_PARAMETER_VALUE", "x-amz-ChangedBlocksCount %q", h.Get("X-Amz-Changedblockscount"))
	}
	if count != len(s.Sums) { // [API: "The number of blocks that were written to the snapshot"]
		return invalid("INVALID_PARAMETER_VALUE", "%d blocks were written, not %d.", len(s.Sums), count)
	}
	if sum := h.Get("X-Amz-Checksum"); sum != "" {
		if h.Get("X-Amz-Checksum-Algorithm") != "SHA256" || h.Get("X-Amz-Checksum-Aggregation-Method") != "LINEAR" {
			return invalid("INVALID_PARAMETER_VALUE", "a checksum needs its algorithm and aggregation method")
		}
		if want := Linear(s.Sums); sum != want {
			return invalid("INVALID_PARAMETER_VALUE", "The checksum is %s.", want)
		}
	}
	done := c.world.Now().Add(c.o.Completing)
	c.world.Update(c.id, func(s *world.Snapshot) { s.Done = done })
	return c.answer(202, map[string]string{"Status": "pending"})
}

// Linear is the aggregated checksum [API: checksums in ascending order of block index, concatenated].
func Linear(sums map[int64][32]byte) string {
	h := sha256.New()
	for _, n := range slices.Sorted(maps.Keys(sums)) {
		b := sums[n]
		h.Write(b[:])
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
