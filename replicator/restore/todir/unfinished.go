package todir

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A restore that was killed leaves files that are whole: a name is only given to what was written and verified. A power
// cut is another matter. Names, sizes and times may have reached the disk, and content not: the file looks right and holds
// zeros, or is short. Syncing each file before it is named would cost several times the restore, so a restore that is not
// finished leaves a mark instead, which says since which start of the machine it has been going on. Finish has everything
// written out and takes the mark away. A restore that finds a mark from before the machine was started anew believes
// nothing that carries the right time: it reads it, and puts it back where it is not right.

// markName cannot be a key's: names with that beginning are refused.
const markName = tempPrefix + "unfinished"

// begin leaves the mark, or sees what an earlier restore's says.
func (t *finding) begin() error {
	ours := bootID() + "\n" + t.job.Commit.Manifest.Sum.String() + "\n"
	old, err := t.readMark()
	switch {
	case err == nil:
		boot, point, _ := strings.Cut(string(old), "\n")
		t.doubtful = boot == "" || boot != bootID()
		t.othersMark = t.doubtful && point != t.job.Commit.Manifest.Sum.String()+"\n"
		return nil // it stays as it is until all it stands for was looked at
	case t.job.DryRun:
		return nil
	case !errors.Is(err, unix.ENOENT):
		// It says nothing, so the worst is assumed.
		t.doubtful, t.othersMark = true, true
		return nil
	}
	fd, err := openat(t.root.fd, markName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil // nothing can be made here: the first file says what is wrong, and needs no mark
	}
	f := os.NewFile(uintptr(fd), markName)
	_, err = f.WriteString(ours)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		if err = retry(func() error { return unix.Fsync(t.root.fd) }); err == unix.EINVAL {
			err = nil // this file system does not sync folders
		}
	}
	if err != nil {
		return explain("leave a mark in", t.o.Root, err)
	}
	return nil
}

func (t *finding) readMark() ([]byte, error) {
	if t.root.absent {
		return nil, unix.ENOENT
	}
	fd, err := openat(t.root.fd, markName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), markName)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4096))
}

// settled takes the mark away once everything is on the disk, unless it stands for files that this restore passed by.
func (t *finding) settled() {
	if t.doubtful && (t.othersMark || t.job.Partial) {
		return
	}
	_ = retry(func() error { return unix.Unlinkat(t.root.fd, markName, 0) }) // if it stays, the next restore reads more than it must
}

// torn reports whether a file that is doubtful and carries the entry's time does not hold the entry's content.
func (t *finding) torn(dir int, name string, st *unix.Stat_t, e *format.Entry) bool {
	if !t.doubtful || !e.Kind.HasContent() || !time.Unix(st.Mtim.Unix()).Equal(e.Modified.Time) {
		return false
	}
	if st.Size != e.Size {
		return true
	}
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // not to be read, so not to be judged; writing it again would fail as well
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return !holds(t.ctx, f, e)
}
