package guard_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"strconv"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// seeds draws the seed of this test and prints it. HOLDFAST_GUARD_SEED repeats one.
func seeds(t testing.TB) uint64 {
	t.Helper()
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	seed := binary.LittleEndian.Uint64(b[:]) >> 1
	if s := os.Getenv("HOLDFAST_GUARD_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HOLDFAST_GUARD_SEED=%d", seed)
	return seed
}

func sumOf(b []byte) format.Hash { return sha256.Sum256(b) }
