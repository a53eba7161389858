package totar_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/totar"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// stream restores hand-made entries, and gives the bytes and the headers by name.
func stream(t *testing.T, entries ...*format.Entry) ([]byte, map[string]*tar.Header) {
	t.Helper()
	r := restoretest.New(t)
	var out bytes.Buffer
	res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: r.Point(64, entries...), Target: totar.New(&out)})
	if err != nil || res.Failed != 0 || res.Entries != int64(len(entries)) || len(res.Notes) > 0 {
		t.Fatalf("%+v %v", res, err)
	}
	got := map[string]*tar.Header{}
	tr := tar.NewReader(bytes.NewReader(out.Bytes()))
	for h, err := tr.Next(); err != io.EOF; h, err = tr.Next() {
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = h
	}
	return out.Bytes(), got
}

func file(key string, kind format.Kind, xattrs map[string][]byte) *format.Entry {
	e := restoretest.Object(key, nil)
	e.Kind, e.File = kind, &format.File{Mode: 0o640, Xattrs: xattrs}
	if kind != format.KindFile {
		e.SHA256 = format.Hash{}
	}
	return e
}

// POSIX lets an empty value undo an earlier record; GNU tar writes empty attributes so all the same, and reads them.
func TestEmptyValuesAreKept(t *testing.T) {
	object := restoretest.Object("object", nil)
	object.Metadata = map[string]string{"empty": "", "full": "x"}
	object.Tags = map[string]string{"bare": "", "set": "y"}
	attributes := map[string][]byte{"user.empty": {}, "user.full": []byte("z"), "user.nul": {0, 'n'}}
	dir, link := file("dir/", format.KindDir, attributes), file("link", format.KindSymlink, map[string][]byte{"trusted.empty": {}})
	link.File.Target = "dir"
	raw, got := stream(t, dir, file("file", format.KindFile, attributes), link, object)
	for _, c := range []struct{ entry, record, value string }{
		{"object", "HOLDFAST.metadata.empty", ""}, {"object", "HOLDFAST.metadata.full", "x"},
		{"object", "HOLDFAST.tag.bare", ""}, {"object", "HOLDFAST.tag.set", "y"},
		{"file", "SCHILY.xattr.user.empty", ""}, {"dir/", "SCHILY.xattr.user.empty", ""}, {"file", "SCHILY.xattr.user.nul", "\x00n"},
		{"link", "SCHILY.xattr.trusted.empty", ""},
	} {
		if v, ok := got[c.entry].PAXRecords[c.record]; !ok || v != c.value {
			t.Errorf("%s: %s is %q, %v", c.entry, c.record, v, ok)
		}
	}
	if _, ok := got["object"].PAXRecords["HOLDFAST.content-type"]; ok {
		t.Error("a header that is not there has a record")
	}

	program, err := exec.LookPath("tar")
	if err != nil {
		t.Log("no tar program here to unpack the stream with")
		return
	}
	to := t.TempDir()
	if unix.Setxattr(to, "user.probe", nil, 0) != nil {
		t.Log("no attributes here")
		return
	}
	cmd := exec.CommandContext(t.Context(), program, "-x", "--xattrs", "-C", to, "file", "dir")
	cmd.Stdin = bytes.NewReader(raw)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("this tar does not take --xattrs: %s", out)
		return
	}
	for _, name := range []string{"file", "dir"} {
		for attr, want := range attributes {
			b := make([]byte, 16)
			n, err := unix.Getxattr(filepath.Join(to, name), attr, b)
			if err != nil || !bytes.Equal(b[:max(n, 0)], want) {
				t.Errorf("unpacked: %s of %s is %q, %v", attr, name, b[:max(n, 0)], err)
			}
		}
	}
}

func TestAccessListsAreTextToo(t *testing.T) {
	list := acl.Named(0o640, 1000, 6)
	_, got := stream(t, file("dir/", format.KindDir, map[string][]byte{acl.Access: list, acl.Default: list}), file("file", format.KindFile, map[string][]byte{acl.Access: list}))
	want := "user::rw-,user:1000:rw-,group::r--,mask::rw-,other::---"
	if r := got["dir/"].PAXRecords; r["SCHILY.acl.access"] != want || r["SCHILY.acl.default"] != want {
		t.Errorf("%q", r)
	}
	if r := got["file"].PAXRecords; r["SCHILY.acl.access"] != want || r["SCHILY.xattr."+acl.Access] != string(list) {
		t.Errorf("%q", r)
	}
}

// A folder in thirty thousand others is a name like any other to a stream.
func TestAnyDepth(t *testing.T) {
	deep := strings.Repeat("d/", 30000) + "file"
	_, got := stream(t, restoretest.Object(deep, nil))
	if got[deep] == nil {
		t.Error("it is not in the stream")
	}
}
