package verify

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// judge tells what an error says of the vault's content; ok is false for errors that say nothing of it (a failing
// connection, a refused credential, a key that does not open), which end the verification.
func judge(ctx context.Context, err error) (k repo.FindingKind, ok bool) {
	switch repo.Classify(ctx, err) {
	case repo.Spoilt:
		return repo.Damaged, true
	case repo.Gone:
		return repo.Missing, true
	case repo.Newer, repo.Foreign:
		return repo.Tampered, true // a program newer than this one was here, or somebody who has the host key
	}
	return repo.Damaged, ctx.Err() == nil && errors.Is(err, errDiffers)
}

// errDiffers: intact bytes that are not what they were referred to as.
var errDiffers = errors.New("not what the manifest says")

// trouble turns an error about an object into a finding, or gives it back if it says nothing of the object.
func (r *run) trouble(ctx context.Context, name string, p format.Hash, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k, ok := judge(ctx, err)
	if !ok {
		return fmt.Errorf("verify: %w", err)
	}
	r.find(k, name, p, "%v", err)
	return nil
}

// sampler picks a share of things by their name, alike for equal names within one run.
type sampler struct {
	seed  [16]byte
	below uint64
	all   bool
}

func newSampler(percent float64) (sampler, error) {
	s := sampler{all: percent >= 100, below: uint64(min(percent/100, 1) * math.MaxInt64)}
	_, err := rand.Read(s.seed[:])
	return s, err
}

func (s sampler) takes(parts ...string) bool {
	if s.all {
		return true
	}
	return s.value(parts...)>>1 < s.below
}

// value is a number for a thing's name that is as good as random.
func (s sampler) value(parts ...string) uint64 {
	h := sha256.New()
	h.Write(s.seed[:])
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p)))) //nolint:gosec // names are short
		h.Write([]byte(p))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
