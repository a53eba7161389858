package todir

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// place gives what is whole its right name.
func (t *placing) place(dir int, temp, name string, known bool) error {
	err := retry(func() error { return unix.Renameat(dir, temp, dir, name) })
	switch err {
	case nil:
		return nil
	case unix.EISDIR, unix.ENOTEMPTY, unix.EEXIST:
		if !known || t.job.Overwrite == restore.Never {
			break
		}
		if err := t.clear(dir, name); err != nil {
			return err
		}
		err = retry(func() error { return unix.Renameat(dir, temp, dir, name) })
	}
	if err != nil {
		return explain("name", name, err)
	}
	return nil
}

// clear makes room where a folder stands and the point, which is of a directory, has something else. An empty one is
// removed; one with something in it is renamed, since nothing at the target is ever deleted that the point does not replace.
func (t *placing) clear(dir int, name string) error {
	err := retry(func() error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) })
	if err == nil || err == unix.ENOENT {
		return nil
	}
	suffix := t.asideSuffix()
	aside := name[:min(len(name), maxSegment-len(suffix))] + suffix
	var st unix.Stat_t
	if unix.Fstatat(dir, aside, &st, unix.AT_SYMLINK_NOFOLLOW) != unix.ENOENT {
		return refuse("a folder is at the target where %q must be, and %q is taken too", name, aside)
	}
	if err := retry(func() error { return unix.Renameat(dir, name, dir, aside) }); err != nil {
		return fmt.Errorf("rename the folder in the way of %q: %w", name, err)
	}
	t.notes.add(fmt.Sprintf(setAside, suffix))
	return nil
}

// asideSuffix is this run's, so that one look finds all that was set aside.
func (t *placing) asideSuffix() string {
	return ".aside-" + strings.Trim(strings.TrimPrefix(t.temp, tempPrefix), "-")
}

// ofDirectory reports whether the point says what kind of thing everything is: it is of a directory.
func ofDirectory(e *format.Entry) bool { return e.File != nil }
