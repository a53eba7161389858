package ebs

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// maxPage and minPage bound maxResults [API: 100 to 10,000].
const (
	minPage = 100
	maxPage = 10_000
)

type block struct {
	BlockIndex       int64
	BlockToken       string `json:",omitempty"`
	FirstBlockToken  string `json:",omitempty"`
	SecondBlockToken string `json:",omitempty"`
}

type page struct {
	Blocks        []block `json:",omitempty"`
	ChangedBlocks []block `json:",omitempty"`
	ExpiryTime    float64
	VolumeSize    int64
	BlockSize     int64
	NextToken     string `json:",omitempty"`
}

// mix is splitmix64: tokens must not be guessed by accident, that is all.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (s *Server) seal(parts ...uint64) uint64 {
	h := s.secret
	for _, p := range parts {
		h = mix(h ^ p)
	}
	return h
}

func idHash(id string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(id) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// blockToken makes a token for a block of a snapshot that is good until expiry [CONC: temporary, API: 256 characters of base64].
func (s *Server) blockToken(snap uint64, n int64, expiry int64) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(expiry))
	binary.BigEndian.PutUint64(b[8:], s.seal(snap, uint64(n), uint64(expiry)))
	return base64.StdEncoding.EncodeToString(b[:])
}

func (c *call) checkBlockToken(id, token string) *Error {
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(b) != 16 {
		return invalid("INVALID_BLOCK_TOKEN", "The block token is malformed.")
	}
	expiry := int64(binary.BigEndian.Uint64(b))
	if binary.BigEndian.Uint64(b[8:]) != c.seal(idHash(id), uint64(c.block), uint64(expiry)) {
		return invalid("INVALID_BLOCK_TOKEN", "The block token is not of this block.")
	}
	if c.world.Now().Unix() >= expiry {
		return invalid("INVALID_BLOCK_TOKEN", "The block token has expired.")
	}
	return nil
}

// pageToken says where a listing goes on.
func (c *call) pageToken(what string, next int64) string {
	made := c.world.Now().Unix()
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], uint64(next))
	binary.BigEndian.PutUint64(b[8:], uint64(made))
	binary.BigEndian.PutUint64(b[16:], c.seal(idHash(what), uint64(next), uint64(made)))
	return base64.StdEncoding.EncodeToString(b[:])
}

func (c *call) fromToken(what, token string) (int64, *Error) {
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(b) != 24 {
		return 0, invalid("INVALID_PAGE_TOKEN", "The page token is malformed.")
	}
	next, made := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	if binary.BigEndian.Uint64(b[16:]) != c.seal(idHash(what), uint64(next), uint64(made)) {
		return 0, invalid("INVALID_PAGE_TOKEN", "The page token is of another listing.")
	}
	if c.world.Now().Sub(time.Unix(made, 0)) >= PageTokenLife {
		return 0, invalid("INVALID_PAGE_TOKEN", "The page token has expired.")
	}
	return next, nil
}

// begin reads where a listing starts and how long a page may be.
func (c *call) begin(q url.Values, what string) (from int64, most int, e *Error) {
	most = maxPage
	if v := q.Get("maxResults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < minPage || n > maxPage {
			return 0, 0, invalid("INVALID_PARAMETER_VALUE", "maxResults must be from %d to %d", minPage, maxPage)
		}
		most = n
	}
	if c.o.PageBlocks > 0 { // "can return less blocks than MaxResults" [API]
		most = min(most, c.o.PageBlocks)
	}
	if t := q.Get("pageToken"); t != "" {
		from, e = c.fromToken(what, t)
		return from, most, e
	}
	if v := q.Get("startingBlockIndex"); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return 0, 0, invalid("INVALID_BLOCK", "startingBlockIndex %q", v)
		}
		from = n
	}
	return from, most, nil
}

// list is ListSnapshotBlocks.
func (c *call) list() *Error {
	s, e := c.readable(c.id)
	if e != nil {
		return e
	}
	from, most, e := c.begin(c.r.URL.Query(), c.id)
	if e != nil {
		return e
	}
	expiry := c.world.Now().Add(BlockTokenLife)
	p := page{ExpiryTime: float64(expiry.Unix()), VolumeSize: s.SizeGiB, BlockSize: world.BlockSize}
	if c.fault.Kind == EmptyPage {
		p.NextToken = c.pageToken(c.id, from)
		return c.answer(200, p)
	}
	snap := idHash(c.id)
	n, ok := s.Content.Next(from)
	for ; ok && len(p.Blocks) < most; n, ok = s.Content.Next(n + 1) {
		p.Blocks = append(p.Blocks, block{BlockIndex: n, BlockToken: c.blockToken(snap, n, expiry.Unix())})
	}
	if ok {
		p.NextToken = c.pageToken(c.id, n)
	}
	return c.answer(200, p)
}

// changed is ListChangedBlocks. A page looks at as many written blocks as were asked for, so it may hold none [READ].
func (c *call) changed() *Error {
	q := c.r.URL.Query()
	second, e := c.readable(c.id)
	if e != nil {
		return e
	}
	first := q.Get("firstSnapshotId")
	if first == "" {
		return invalid("INVALID_PARAMETER_VALUE", "firstSnapshotId is required")
	}
	one, e := c.readable(first)
	if e != nil {
		return e
	}
	if one.Line() != second.Line() { // [API: reason UNRELATED_SNAPSHOTS]
		return invalid("UNRELATED_SNAPSHOTS", "The snapshots are not of one lineage.")
	}
	from, most, e := c.begin(q, first+" "+c.id)
	if e != nil {
		return e
	}
	expiry := c.world.Now().Add(BlockTokenLife)
	p := page{ExpiryTime: float64(expiry.Unix()), VolumeSize: second.SizeGiB, BlockSize: world.BlockSize}
	if c.fault.Kind == EmptyPage {
		p.NextToken = c.pageToken(first+" "+c.id, from)
		return c.answer(200, p)
	}
	f, s := idHash(first), idHash(c.id)
	a, hasA := one.Content.Next(from)
	b, hasB := second.Content.Next(from)
	for looked := 0; hasA || hasB; looked++ {
		n := b
		if hasA && (!hasB || a < b) {
			n = a
		}
		if looked == most {
			p.NextToken = c.pageToken(first+" "+c.id, n)
			break
		}
		inA, inB := hasA && a == n, hasB && b == n
		if !inA || !inB || one.Content.Stamp(n) != second.Content.Stamp(n) {
			x := block{BlockIndex: n}
			if inA {
				x.FirstBlockToken = c.blockToken(f, n, expiry.Unix())
			}
			if inB {
				x.SecondBlockToken = c.blockToken(s, n, expiry.Unix())
			}
			p.ChangedBlocks = append(p.ChangedBlocks, x)
		}
		if inA {
			a, hasA = one.Content.Next(n + 1)
		}
		if inB {
			b, hasB = second.Content.Next(n + 1)
		}
	}
	return c.answer(200, p)
}

// get is GetSnapshotBlock.
func (c *call) get() *Error {
	s, e := c.readable(c.id)
	if e != nil {
		return e
	}
	// As query parsers do, a plus sign that was not escaped reads as a space.
	if e := c.checkBlockToken(c.id, strings.ReplaceAll(c.r.URL.Query().Get("blockToken"), " ", "+")); e != nil {
		return e
	}
	if n, ok := s.Content.Next(c.block); !ok || n != c.block {
		return invalid("INVALID_BLOCK", "block %d was never written", c.block)
	}
	buf := make([]byte, world.BlockSize)
	s.Content.Read(c.block, buf)
	c.send(buf, sha256.Sum256(buf))
	return nil
}
