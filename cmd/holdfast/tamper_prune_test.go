package main

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestPruneBesideNewerPlacements: a directory keeps no locks, so what placements of a newer version name is not known to be of no use:
// they stay, and the meta objects, any of which may hold their index segments. The rest is pruned as ever.
func TestPruneBesideNewerPlacements(t *testing.T) {
	for _, newer := range []bool{true, false} {
		s := newStage(t, directory, stageOptions{})
		stray := func(name string) string {
			s.put(name, []byte(name))
			s.date(name, time.Now().Add(-5*24*time.Hour))
			return name
		}
		pack, meta, junk := stray(format.PackName([32]byte{1})), stray(format.MetaName([32]byte{2})), stray("meta/junk")
		if newer {
			r, stored, at := repositoryOf(s), framed([]byte("{\"format\":\"2\"}\n")), format.At(time.Now().Truncate(time.Second))
			name := signPlacements(s.host.Signing, r.ID, vaultName(0), at, stored)
			s.put(name, stored)
			s.date(name, time.Now().Add(-5*24*time.Hour))
		}
		before := s.names("")
		code := 0
		if newer {
			code = exitAlarm
		}
		if got := s.run("prune", "--delete", "--json"); got.code != code {
			t.Fatalf("%d instead of %d: %s%s", got.code, code, got.out, got.err)
		}
		var gone []string
		left := s.names("")
		for _, name := range before {
			if !slices.Contains(left, name) {
				gone = append(gone, name)
			}
		}
		want := []string{meta, junk, pack}
		if newer {
			want = []string{junk, pack}
		}
		if !slices.Equal(gone, want) {
			t.Errorf("newer placements %v: gone are %q instead of %q", newer, gone, want)
		}
	}
}
