package pack_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const vectorDir = "../../../docs/vectors/pack"

// The vectors are objects to be opened: sealing is random, so making them again gives other bytes that mean the same.
var update = flag.Bool("update", false, "make the vectors anew")

// vector is one line of the list in vectors.json.
type vector struct {
	Object string      `json:"object"`
	Key    string      `json:"key,omitempty"` // identity file; none for a plain object
	Size   int64       `json:"size"`
	Sum    format.Hash `json:"sha256"`
	Frames []struct {
		Frame [3]int64    `json:"frame"` // offset, length, plain
		Sum   format.Hash `json:"sha256"`
	} `json:"frames"`
	Plain string `json:"plain"` // file that holds what all frames give, in order
}

func vectorFile(name string) string { return filepath.Join(vectorDir, name) }

func vectorPlains() [][]byte {
	return [][]byte{text(1, 20_000), noise(2, 5_000), nil, bytes.Repeat([]byte{0}, 300_000), noise(3, 140_000), text(4, 1)}
}

func TestVectors(t *testing.T) {
	if *update {
		makeVectors(t)
	}
	list, err := os.ReadFile(vectorFile("vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(list, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 3 {
		t.Fatalf("%d vectors", len(vectors))
	}
	for _, x := range vectors {
		t.Run(x.Object, func(t *testing.T) { checkVector(t, x) })
	}
}

func checkVector(t *testing.T, x vector) {
	body, err := os.ReadFile(vectorFile(x.Object))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(body)) != x.Size || format.Hash(sha256.Sum256(body)) != x.Sum {
		t.Fatal("the file is not the one in the list")
	}
	want, err := os.ReadFile(vectorFile(x.Plain))
	if err != nil {
		t.Fatal(err)
	}
	var ids []keys.Identity
	if x.Key != "" {
		text, err := os.ReadFile(vectorFile(x.Key))
		if err != nil {
			t.Fatal(err)
		}
		if ids, err = keys.ParseIdentities(text); err != nil {
			t.Fatal(err)
		}
	}
	v := &vault{body: body}
	o := v.open(t, ids...)
	frames := make([]format.Frame, len(x.Frames))
	for i, f := range x.Frames {
		frames[i] = format.Frame{Offset: f.Frame[0], Length: f.Frame[1], Plain: f.Frame[2]}
	}
	got, err := read(o, frames)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got {
		if format.Hash(sha256.Sum256(p)) != x.Frames[i].Sum {
			t.Errorf("frame %d differs", i)
		}
	}
	if !bytes.Equal(bytes.Join(got, nil), want) {
		t.Error("the whole differs")
	}
	i := 0
	if err := o.Scan(context.Background(), func(f format.Frame, _ []byte) error {
		if f != frames[i] {
			t.Errorf("frame %d is at %v, found at %v", i, frames[i], f)
		}
		i++
		return nil
	}); err != nil || i != len(frames) {
		t.Errorf("%d frames found: %v", i, err)
	}
}

func makeVectors(t *testing.T) {
	var vectors []vector
	plains := vectorPlains()
	put(t, "all.plain", bytes.Join(plains, nil))
	for _, name := range []string{"plain", string(keys.X25519), string(keys.Hybrid)} {
		x := vector{Object: name + ".age", Key: name + ".key", Plain: "all.plain"}
		var to []keys.Recipient
		if name == "plain" {
			x.Object, x.Key = "plain.zst", ""
		} else {
			id := identity(t, keys.Class(name))
			put(t, x.Key, keys.MarshalIdentity(id, time.Unix(1_790_000_000, 0)))
			to = []keys.Recipient{identity(t, keys.Class(name)).Recipient(), id.Recipient()}
		}
		v, frames := build(t, to, plains...)
		put(t, x.Object, v.body)
		x.Size, x.Sum = int64(len(v.body)), format.Hash(sha256.Sum256(v.body))
		for i, f := range frames {
			x.Frames = append(x.Frames, struct {
				Frame [3]int64    `json:"frame"`
				Sum   format.Hash `json:"sha256"`
			}{[3]int64{f.Offset, f.Length, f.Plain}, format.Hash(sha256.Sum256(plains[i]))})
		}
		vectors = append(vectors, x)
	}
	b, err := json.MarshalIndent(vectors, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	put(t, "vectors.json", append(b, '\n'))
}

func put(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(vectorDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile(name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// What does not shrink stands in the frame as it is, behind the shortest header.
func TestRawFrameBytes(t *testing.T) {
	want := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 0x19, 0, 0, 'r', 'a', 'w'}
	if got := encoder(t).Frame(nil, []byte("raw")); !bytes.Equal(got, want) {
		t.Errorf("% x", got)
	}
}
