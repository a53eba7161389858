package todir_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
)

func TestBigTree(t *testing.T) {
	src := os.Getenv("BIGTREE")
	r := restoretest.New(t)
	s, err := dirsource.New(dirsource.Options{Root: src})
	if err != nil {
		t.Fatal(err)
	}
	c := r.Backup(s)
	to := filepath.Join(t.TempDir(), "to")
	target, err := todir.New(todir.Options{Root: to})
	if err != nil {
		t.Fatal(err)
	}
	var res restore.Result
	prof(t, func() { res, err = restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: target}) })
	t.Logf("%+v %v", res, err)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("rsync", "-anciHAX", "--delete", src+"/", to+"/").CombinedOutput()
	t.Logf("%v %s", err, strings.TrimSpace(string(out)))
	out, err = exec.Command("diff", "-r", "--no-dereference", src, to).CombinedOutput()
	t.Logf("%v %s", err, out)
}
