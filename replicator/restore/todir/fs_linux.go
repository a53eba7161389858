package todir

import "golang.org/x/sys/unix"

// casefold is FS_CASEFOLD_FL of linux/fs.h: the folder folds names (ext4, f2fs, bcachefs; tmpfs since Linux 6.13).
const casefold = 0x40000000

// foldsCase reports whether a folder is marked as one that folds names.
func foldsCase(dir int) bool {
	flags, err := unix.IoctlGetUint32(dir, unix.FS_IOC_GETFLAGS)
	return err == nil && flags&casefold != 0
}

// forWindows reports whether the file system is one that Windows reads.
func forWindows(dir int) bool {
	switch fsType(dir) {
	case 0x4d44, // vfat
		0x2011bab0,             // exfat
		0x5346544e, 0x7366746e, // ntfs, ntfs3
		0xff534d42, 0xfe534d42, 0x517b: // cifs, smb2, smb
		return true
	}
	return false
}

// inMemory reports whether the file system has no disk below it. There, room that is reserved is filled with zeros at once,
// which costs as much as writing to it.
func inMemory(dir int) bool {
	switch fsType(dir) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return true
	}
	return false
}

// fsType gives the number by which Linux knows a folder's file system, 0 where it cannot be asked.
func fsType(dir int) uint32 {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(dir, &st) }); err != nil {
		return 0
	}
	return uint32(st.Type) // its width differs between machines
}
