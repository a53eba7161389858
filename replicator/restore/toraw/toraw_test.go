package toraw_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/toraw"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// One thing comes out as its bytes; a second one is refused, and nothing at all is an error.
func TestRaw(t *testing.T) {
	r := restoretest.New(t)
	body := make([]byte, 6<<20)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(body[:2<<20]) // never fails
	chunks := r.Pack(body[:1<<20], body[1<<20:2<<20])
	chunks = append(chunks, format.Chunk{Hole: true, Size: 4 << 20})
	c := r.Point(10, restoretest.Object("disk", body, chunks...), restoretest.Object("second", body, chunks...))
	run := func(include ...string) (restore.Result, []byte, error) {
		var out bytes.Buffer
		res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: toraw.New(&out, ""), Include: include})
		return res, out.Bytes(), err
	}
	res, out, err := run("disk")
	if err != nil || res.Entries != 1 || !bytes.Equal(out, body) {
		t.Errorf("%+v, %d bytes, %v", res, len(out), err)
	}
	res, out, err = run()
	if err != nil || res.Failed != 1 || !errors.Is(res.Failures[0].Err, restore.ErrRefused) || !bytes.Equal(out, body) {
		t.Errorf("two things: %+v, %d bytes, %v", res, len(out), err)
	}
	if _, out, err = run("nothing"); err == nil || len(out) > 0 {
		t.Errorf("nothing: %d bytes, %v", len(out), err)
	}
}

// Of several versions the one comes out that is asked for, and no other.
func TestRawVersion(t *testing.T) {
	r := restoretest.New(t)
	var all []*format.Entry
	for i, text := range []string{"first", "second", "third"} {
		e := restoretest.Object("a", []byte(text), r.Pack([]byte(text))...)
		e.Version = []string{"v1", "v2", "v3"}[i]
		all = append(all, e)
	}
	deleted := restoretest.Object("a", nil)
	deleted.Version, deleted.Kind, deleted.SHA256 = "v4", format.KindMarker, format.Hash{}
	c := r.Point(10, append(all, deleted)...)
	for version, want := range map[string]string{"v1": "first", "v3": "third", "v2": "second", "v4": "", "v5": "", "": ""} {
		var out bytes.Buffer
		res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: toraw.New(&out, version)})
		if out.String() != want || (err == nil) != (want != "") || res.Failed > 0 {
			t.Errorf("%s: %q, %+v, %v", version, out.String(), res, err)
		}
	}
}
