package verify

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// judge tells what an error says of the vault's content; ok is false for errors that say nothing of it (a failing
// connection, a refused credential, a key that does not open), which end the verification.
func judge(err error) (k repo.FindingKind, ok bool) {
	for _, e := range []error{repo.ErrDamaged, repo.ErrWrongBytes, pack.ErrDamaged, format.ErrMalformed, format.ErrBounds, io.ErrUnexpectedEOF, errDiffers} {
		if errors.Is(err, e) {
			return repo.Damaged, true
		}
	}
	if errors.Is(err, repo.ErrMissing) || errors.Is(err, store.ErrNotFound) {
		return repo.Missing, true
	}
	if errors.Is(err, format.ErrNewer) {
		return repo.Tampered, true // a program newer than this one was here, or somebody who has the host key
	}
	return "", false
}

// errDiffers: intact bytes that are not what they were referred to as.
var errDiffers = errors.New("not what the manifest says")

// trouble turns an error about an object into a finding, or gives it back if it says nothing of the object.
func (r *run) trouble(ctx context.Context, name string, p format.Hash, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k, ok := judge(err)
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
