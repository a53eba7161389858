package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

var update = flag.Bool("update", false, "write docs/vectors/chunker anew")

// TestChunkerIsAsDocumented holds the vectors in docs/vectors/chunker, and the recipe in docs/format.md, section 4, against the chunker:
// another writer's chunks of the same content are found in what this one stored.
func TestChunkerIsAsDocumented(t *testing.T) {
	p := format.DefaultParameters()
	var stream []byte
	for n := range uint64(1 << 19) {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
		stream = append(stream, sum[:]...)
	}
	stream = append(stream, make([]byte, 9<<20)...) // nothing cuts zeros but the longest chunk

	var gear, lengths strings.Builder
	for _, g := range fastcdc.G {
		fmt.Fprintf(&gear, "%016x\n", g)
	}
	c := cutter{p: p}
	if err := c.cut(bytes.NewReader(stream), func(chunk []byte) error {
		fmt.Fprintf(&lengths, "%d\n", len(chunk))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"gear": gear.String(), "lengths": lengths.String()} {
		path := filepath.Join("../../docs/vectors/chunker", name+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what the chunker gives (%v)", path, err)
		}
	}

	recipe := ""
	for at := 0; at < len(stream); {
		n := asDocumented(stream[at:], p)
		recipe += fmt.Sprintln(n)
		at += n
	}
	if recipe != lengths.String() {
		t.Errorf("the recipe in docs/format.md gives other chunks")
	}
}

// asDocumented gives the length of the first chunk of what is left.
func asDocumented(left []byte, p format.Parameters) int {
	spread := func(ones int) (mask uint64) { // so many ones, from the highest bit down, 64/ones bits apart
		for i := range ones {
			mask |= 1 << (63 - i*(64/ones))
		}
		return mask
	}
	log := bits.Len(uint(p.AvgChunk)) - 1
	n := min(len(left), p.MaxChunk)
	mask, sum := spread(log+2), uint64(0)
	for i := p.MinChunk; i < n; i++ {
		if i == p.AvgChunk {
			mask = spread(log - 2)
		}
		if sum = sum<<1 + fastcdc.G[left[i]]; sum&mask == 0 {
			return i
		}
	}
	return n
}
