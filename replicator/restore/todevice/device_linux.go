package todevice

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is an open block device.
type block struct{ *os.File }

// openDevice opens it exclusively: the kernel refuses one that is mounted or part of something.
func openDevice(path string) (device, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_EXCL, 0)
	if err != nil {
		return nil, err
	}
	return block{f}, nil
}

// Size implements device.
func (b block) Size() (int64, error) { return b.Seek(0, io.SeekEnd) }

// Zero implements device. Most devices do it by themselves.
func (b block) Zero(off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	if off%512 == 0 && n%512 == 0 {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, b.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span)))
		if errno == 0 {
			return nil
		}
	}
	return writeZeros(b, off, n)
}

// writeZeros writes zeros out.
func writeZeros(w io.WriterAt, off, n int64) error {
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		k, err := w.WriteAt(zeros[:min(n, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}
