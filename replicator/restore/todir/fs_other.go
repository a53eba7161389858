//go:build !linux

package todir

// foldsCase is for marks that only Linux has; elsewhere probe tells.
func foldsCase(int) bool { return false }

// forWindows is not asked here: what such a file system cannot hold fails by name.
func forWindows(int) bool { return false }

// inMemory is not asked here, where no room is reserved.
func inMemory(int) bool { return false }
