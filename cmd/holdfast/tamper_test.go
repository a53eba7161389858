package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// tampering is something done to a vault, and what every command has to say to it.
type tampering struct {
	name string
	with stageOptions
	do   func(s *stage)
	// It needs times that only a directory lets one choose.
	dated bool
	// What stage.outcome has to give, on both servers and in a directory, if it is not the same there.
	want, inDir string
}

const untouched = "points 0: 2 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point"

// TestTampering does one thing to a vault, in a directory and on both servers, and holds what every command says against what
// docs/format.md says.
func TestTampering(t *testing.T) {
	rows := []tampering{{name: "nothing", do: func(*stage) {}, want: untouched}}
	rows = slices.Concat(rows, laterRows(), madeRows(), movedRows())
	always := len(rows) // on every kind
	rows = slices.Concat(rows, firstRows(), forkRows(), withheldRows(), oldKeyRows(), replayedRows(), emptyRows())
	for _, kind := range append([]servers.Kind{directory}, servers.Both(t)...) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			for i, x := range rows {
				if kind != directory && (x.dated || !onServer(i, always, kind)) {
					continue
				}
				if testing.Short() && i%8 != 0 {
					continue // with the race detector, which is after other things; whole without
				}
				t.Run(x.name, func(t *testing.T) {
					s := newStage(t, kind, x.with)
					x.do(s)
					want := x.want
					if kind == directory {
						if want = regexp.MustCompile(` renew \d;`).ReplaceAllString(want, ""); x.inDir != "" {
							want = x.inDir
						}
					}
					if got := outcomeOf(s); got != want {
						t.Errorf("came to\n%s\ninstead of\n%s", got, want)
					}
				})
			}
		})
	}
}

// onServer reports whether row i is tried on a server: of those that are the same everywhere some, each on one of the two, and all on both in
// .ci/full.
func onServer(i, always int, kind servers.Kind) bool {
	switch {
	case servers.Sweep() || testing.Short():
		return servers.Sweep() || i < always || i%6 == 0
	case i < always:
		return servers.Turn(i, kind)
	}
	return i%6 == 0 && servers.Turn(i/6, kind)
}

func signatureLine(sig []byte) string {
	return fmt.Sprintf("{\"signature\":\"%s\"}\n", base64.StdEncoding.EncodeToString(sig))
}

// inHead replaces the beginning of an object by that of a pretended later version, or of one with a feature.
func inHead(version string, requires bool) func([]byte) []byte {
	return func(b []byte) []byte {
		b = bytes.Replace(b, []byte(`{"format":"`+format.Version+`"`), []byte(`{"format":"`+version+`"`), 1)
		if requires {
			at := bytes.Index(b, []byte(`,"repository"`))
			b = append(append(append([]byte{}, b[:at]...), `,"requires":["colours"]`...), b[at:]...)
		}
		return b
	}
}

// alienBody keeps an object's head and gives it a body of another shape, and a line more.
func alienBody(b []byte) []byte {
	head, _, _ := bytes.Cut(b, []byte("\n"))
	return append(append([]byte{}, head...), "\n{\"colours\":[\"red\"]}\nmore\n"...)
}

const ext = `,"ext":{"colour":"red","deep":[{"a":1},[true]]}}` + "\n"

func withExt(line string) string { return strings.TrimSuffix(line, "}\n") + ext }
