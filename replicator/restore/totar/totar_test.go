package totar_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/totar"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	g := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = g.Read(b)
	return b
}

func TestObjectsWithEverythingTheyHave(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	want := map[string][]byte{"a//b": []byte("odd"), "../x": []byte("odder"), "large": random(1, 21<<20), "empty": {}, "z/1": random(2, 3<<20), "folder/": {}}
	for k, b := range want {
		src.PutEntry(format.Entry{Key: k, ContentType: "text/x-" + "y", Metadata: map[string]string{"who": "mé"}, Tags: map[string]string{"a": "b=c"}}, b)
	}
	c := r.Backup(src)
	var out bytes.Buffer
	res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: totar.New(&out), Memory: 64 << 20})
	if err != nil || res.Failed != 0 || res.Entries != int64(len(want)) {
		t.Fatalf("%+v %v", res, err)
	}
	var names []string
	tr := tar.NewReader(&out)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		b, err := io.ReadAll(tr)
		if err != nil || !bytes.Equal(b, want[h.Name]) {
			t.Errorf("%q: %d bytes, %v", h.Name, len(b), err)
		}
		if h.PAXRecords["HOLDFAST.content-type"] != "text/x-y" || h.PAXRecords["HOLDFAST.metadata.who"] != "mé" || h.PAXRecords["HOLDFAST.tag.a"] != "b=c" {
			t.Errorf("%q: records %v", h.Name, h.PAXRecords)
		}
	}
	if !slices.IsSorted(names) || len(names) != len(want) {
		t.Errorf("names: %q", names)
	}
}

func TestFilesWithModesAndLinks(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{"d/a": 0o600, "d/b": 0o755} {
		p := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(name), mode), os.Chmod(p, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Link(filepath.Join(root, "d/a"), filepath.Join(root, "d/c")), os.Symlink("d/a", filepath.Join(root, "s"))); err != nil {
		t.Fatal(err)
	}
	src, err := dirsource.New(dirsource.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	r := restoretest.New(t)
	var out bytes.Buffer
	res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: r.Backup(src), Target: totar.New(&out)})
	if err != nil || res.Failed != 0 {
		t.Fatalf("%+v %v", res, err)
	}
	got := map[string]*tar.Header{}
	tr := tar.NewReader(&out)
	for h, err := tr.Next(); err != io.EOF; h, err = tr.Next() {
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = h
	}
	if h := got["d/a"]; h == nil || h.Mode != 0o600 || h.Typeflag != tar.TypeReg {
		t.Errorf("d/a: %+v", h)
	}
	if h := got["d/c"]; h == nil || h.Typeflag != tar.TypeLink || h.Linkname != "d/a" {
		t.Errorf("d/c: %+v", h)
	}
	if h := got["s"]; h == nil || h.Typeflag != tar.TypeSymlink || h.Linkname != "d/a" {
		t.Errorf("s: %+v", h)
	}
	if h := got["d/"]; h == nil || h.Typeflag != tar.TypeDir {
		t.Errorf("d/: %+v", h)
	}
}

// A stream must never look whole when it is not.
func TestDamageInTheMiddleEndsTheStream(t *testing.T) {
	r := restoretest.New(t)
	body := random(3, 24<<20)
	var frames [][]byte
	for b := range slices.Chunk(body, 1<<20) {
		frames = append(frames, b)
	}
	chunks := r.Pack(frames...)
	chunks[20].Sum[0] ^= 1 // a lie
	c := r.Point(64, restoretest.Object("a", body, chunks...), restoretest.Object("b", body[:1<<20], chunks[0]))
	var out bytes.Buffer
	_, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: totar.New(&out)})
	if !errors.Is(err, restore.ErrStop) {
		t.Fatalf("error is %v", err)
	}
	tr := tar.NewReader(&out)
	if _, err := tr.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, tr); err == nil {
		t.Error("the stream looks whole")
	}
}

type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errors.New("nobody reads")
	}
	return len(b), nil
}

func TestAReaderWhoLeavesEndsTheRestore(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	for i := range 200 {
		src.Put(string(rune('a'+i%26))+string(rune('a'+i/26)), random(uint64(i), 100<<10))
	}
	c := r.Backup(src)
	_, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: totar.New(&full{1 << 20})})
	if !errors.Is(err, restore.ErrStop) {
		t.Fatalf("error is %v", err)
	}
}
