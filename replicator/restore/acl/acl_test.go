package acl_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
)

func TestModeWithoutTheListGrantsNobodyMore(t *testing.T) {
	for _, c := range []struct{ mode, group, perm, want uint32 }{
		{0o660, 0o600, 6, 0o600},   // the mask lets the named user write; the owning group had nothing
		{0o640, 0o640, 4, 0o640},   // the owning group may read as well
		{0o2750, 0o710, 5, 0o2710}, // set-ID bits stay
	} {
		if got := acl.WithoutList(c.mode, acl.Named(c.group, 1000, uint16(c.perm))); got != c.want {
			t.Errorf("%o with a list of %o: %o, want %o", c.mode, c.group, got, c.want)
		}
	}
	for _, junk := range [][]byte{nil, {2, 0, 0}, {1, 0, 0, 0}, {2, 0, 0, 0, 1}} {
		if got := acl.WithoutList(0o664, junk); got != 0o604 {
			t.Errorf("%x: %o", junk, got)
		}
	}
}

func TestText(t *testing.T) {
	l, err := acl.Parse(acl.Named(0o640, 1000, 6))
	if want := "user::rw-,user:1000:rw-,group::r--,mask::rw-,other::---"; err != nil || l.String() != want {
		t.Errorf("%s, %v; want %s", l, err, want)
	}
	if _, err := acl.Parse([]byte("no")); err == nil {
		t.Error("junk was read")
	}
}
