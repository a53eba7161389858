package dirsource

import "golang.org/x/sys/unix"

// apart reports whether a name in dir is on another mount than the root, bind mounts included, without opening it.
func (v *view) apart(dir int, name string) (bool, error) {
	mount, err := mountOf(dir, name)
	return err == nil && v.mount != 0 && mount != 0 && mount != v.mount, err
}

// isApart reports whether what is open as fd, and is st, is on another mount or file system than the root.
func (v *view) isApart(fd int, st *unix.Stat_t) bool {
	if uint64(st.Dev) != v.device {
		return true
	}
	apart, err := v.apart(fd, "")
	return err == nil && apart
}
