package guard

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Wire is a tripwire: a harmless file that nobody has a reason to touch.
type Wire struct {
	Key  string // in the source
	Body []byte
}

// wires is how many tripwires a source has.
const wires = 4

// Wires gives the tripwires of a source. Names and contents come from the repository's chunk key, so that every run knows them
// without a list, and neither who sees the source nor who sees the vault can tell them from what lies beside them. They are spread over
// the alphabet, since those who encrypt often go by it, and look like what those look for.
func Wires(key [32]byte, source string) []Wire {
	subjects := [wires][]string{
		{"accounts", "audit", "addresses", "agreements"}, {"finance", "forecast", "holdings", "income"},
		{"passwords-old", "payroll", "pensions", "personnel"}, {"tax", "transfers", "vendors", "wages"},
	}
	var out []Wire
	for n := range wires {
		seed := attest.Tripwire(key, source, byte(n)) //nolint:gosec // a few
		word := subjects[n][seed[0]%4]
		name := fmt.Sprintf("%s-%d-%x.csv", word, 2012+int(seed[1]%12), seed[2:5])
		out = append(out, Wire{name, table(seed)})
	}
	return out
}

// table makes a small table that means nothing.
func table(seed [32]byte) []byte {
	rnd := rand.New(rand.NewChaCha8(seed))
	var b strings.Builder
	b.WriteString("id,date,name,account,amount\n")
	names := []string{"Adler", "Braun", "Costa", "Dumont", "Evans", "Fischer", "Garcia", "Hansen", "Ivanov", "Jansen", "Keller", "Lopez"}
	for i := range 60 + rnd.IntN(60) {
		fmt.Fprintf(&b, "%d,20%02d-%02d-%02d,%s,%010d,%d.%02d\n", 1000+i, 12+rnd.IntN(12), 1+rnd.IntN(12), 1+rnd.IntN(28),
			names[rnd.IntN(len(names))], rnd.IntN(1e9), rnd.IntN(9000), rnd.IntN(100))
	}
	return []byte(b.String())
}

// Expected is what a run is told of tripwires: see Options.Tripwires.
func Expected(all []Wire) map[string]format.Hash {
	out := make(map[string]format.Hash, len(all))
	for _, w := range all {
		out[w.Key] = sha256.Sum256(w.Body)
	}
	return out
}
