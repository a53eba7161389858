package restore_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/storetest/programs"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// walk has the other reader walk a manifest: a line for each key, whether its newest version is known, and all that were given.
const walk = `
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import holdfast_reader as reader
point = reader.Point.plain(reader.Vault(sys.argv[2], sys.argv[3]))
for point.head, point.body in [map(json.loads, sys.stdin)]:
    keys, last = {}, None
    for e in point.entries():
        if last is not None and last != e["key"]:
            keys[last][0] = last.encode() not in point.torn
        last = e["key"]
        point.torn.discard(last.encode())
        keys.setdefault(last, [True]).append(e["version_id"])
    if last is not None:
        keys[last][0] = last.encode() not in point.torn
    print(json.dumps(keys))
`

// TestTheOtherReaderBehindLostPages: docs/reader knows docs/format.md alone. Of any tree with any loss it gives all entries of leaves that are
// there, each once, and takes no older version for the newest.
func TestTheOtherReaderBehindLostPages(t *testing.T) {
	python := programs.Need(t, "python3")
	programs.Need(t, "zstd")
	age, err := servers.Binary(t.Context(), "age")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := filepath.Abs("../../docs/reader")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	g := rand.New(rand.NewPCG(seed, 2))
	trees := 3
	if testing.Short() {
		trees = 1
	}
	for n := range trees {
		t.Run(fmt.Sprint(seed, " ", n), func(t *testing.T) {
			r := restoretest.New(t)
			a, c, gone := torn(t, r, g)
			dir := t.TempDir()
			identity := filepath.Join(dir, "restore.key")
			if err := keys.WriteIdentityFile(identity, r.Identity, time.Now()); err != nil {
				t.Fatal(err)
			}
			copyOut(t, r, dir)
			line := func(name string, ref interface{ AppendLine([]byte) ([]byte, error) }) []byte {
				b, err := ref.AppendLine(nil)
				if err != nil {
					t.Fatal(err)
				}
				return fmt.Appendf(nil, "{%q:%s}\n", name, bytes.TrimSpace(b))
			}
			cmd := exec.CommandContext(t.Context(), python, "-c", walk, reader, dir, identity)
			cmd.Env = append(os.Environ(), "AGE="+age)
			cmd.Stdin = bytes.NewReader(slices.Concat(line("needs", &c.Needs), line("manifest", &c.Manifest)))
			var said bytes.Buffer
			cmd.Stderr = &said
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, said.Bytes())
			}
			var keys map[string][]any
			if err := json.Unmarshal(out, &keys); err != nil {
				t.Fatal(err)
			}
			var got []string
			newest := a.newest()
			for key, versions := range keys {
				for _, v := range versions[1:] {
					got = append(got, fmt.Sprint(key, " ", v))
				}
				if known, last := versions[0].(bool), versions[len(versions)-1]; known && last != newest[key] {
					t.Errorf("%s %s stands for %s", key, last, newest[key])
				}
			}
			want, lost := a.there(gone)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) || (lost > 0) != strings.Contains(said.String(), "lost:") {
				t.Errorf("%d levels, %d objects gone: %d entries, %d are there and %d lost\n got %q\nwant %q\n%s", len(a.levels), len(gone), len(got), len(want), lost, got, want, said.Bytes())
			}
		})
	}
}

// copyOut copies a repository to a folder.
func copyOut(t *testing.T, r *restoretest.Repo, dir string) {
	t.Helper()
	for info, err := range r.Store.Versions(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.Store.Open(t.Context(), info.Ref, 0, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		f.Close()
		path := filepath.Join(dir, info.Ref.Name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o700)
		}
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
