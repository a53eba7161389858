package restore_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestBomb: a manifest of six pages that stands for 2^60 entries ends listings, comparisons and restores at once.
func TestBomb(t *testing.T) {
	r := restoretest.New(t)
	e := &format.Entry{Key: "k", SHA256: sha256.Sum256(nil)}
	page, err := e.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	ref := format.PageRef{First: "k", Entries: 1}
	for level := 0; ; level++ {
		ref.Level = level
		ref.Object, ref.Frame, ref.Sum = r.Page(page)
		if level == 5 {
			break
		}
		line, err := ref.AppendLine(nil)
		if err != nil {
			t.Fatal(err)
		}
		page = []byte(strings.Repeat(string(line), 4096))
		ref.Entries *= 4096
	}
	honest := r.Point(16, &format.Entry{Key: "k", SHA256: sha256.Sum256(nil)})
	c := *honest
	ref.First = ""
	c.Manifest, c.Entries = ref, ref.Entries
	if c.Entries != 1<<60 {
		t.Fatalf("%d entries", c.Entries)
	}
	reader := r.Reader(nil)
	n := 0
	var last error
	for _, err := range browse.List(t.Context(), reader, &c, "") {
		n, last = n+1, err
	}
	if !errors.Is(last, format.ErrMalformed) || n > 2 {
		t.Errorf("ls gave %d entries, then %v", n, last)
	}
	n, last = 0, nil
	for _, err := range browse.Diff(t.Context(), reader, honest, &c) {
		n, last = n+1, err
	}
	if !errors.Is(last, format.ErrMalformed) || n > 2 {
		t.Errorf("diff gave %d changes, then %v", n, last)
	}
	to, err := todir.New(todir.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	res, err := restore.Run(t.Context(), restore.Options{Reader: reader, Commit: &c, Target: to})
	if err == nil && len(res.Failures) > 0 {
		err = res.Failures[0].Err
	}
	if !errors.Is(err, format.ErrMalformed) || res.Entries > 1 {
		t.Errorf("restore: %+v, %v", res, err)
	}
}
