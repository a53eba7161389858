package todir

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// copyFile makes temp in the folder to a copy of a file that was restored, attributes and holes included. What is read back
// from the disk was verified when it was written.
func (t *Target) copyFile(from int, fromName string, to int, temp string) error {
	in, err := openat(from, fromName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	src := os.NewFile(uintptr(in), fromName)
	defer src.Close()
	var st unix.Stat_t
	if err := unix.Fstat(in, &st); err != nil {
		return err
	}
	w := wanted{
		size: st.Size, uid: int(st.Uid), gid: int(st.Gid), mode: uint32(st.Mode) & 0o7777, hasMode: true, mtime: time.Unix(st.Mtim.Unix()), exact: true,
	}
	if w.xattrs, err = attributes(openHandle(in), &w); err != nil {
		w.exact = false // a file system that does not even say that it has none
	}
	out, err := openat(to, temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(out), temp)
	dropACLs(out)
	if err = copyData(dst, src, st.Size); err == nil {
		err = t.attrs.make(openHandle(out), to, temp, &w)
	}
	return errors.Join(err, dst.Close())
}

// copyData copies what is not zeros: holes stay holes. Both are read again and compared.
func copyData(dst, src *os.File, size int64) error {
	buf := make([]byte, 256<<10)
	zeros := make([]byte, len(buf))
	sum := sha256.New()
	for at := int64(0); at < size; {
		n, err := io.ReadFull(io.NewSectionReader(src, at, size-at), buf[:min(int64(len(buf)), size-at)])
		if err != nil {
			return err
		}
		sum.Write(buf[:n])
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := dst.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	again := sha256.New()
	if _, err := io.Copy(again, io.NewSectionReader(dst, 0, size)); err != nil {
		return err
	}
	if !bytes.Equal(again.Sum(nil), sum.Sum(nil)) {
		return fmt.Errorf("the copy holds other bytes than were written")
	}
	return nil
}
