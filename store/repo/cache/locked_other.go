//go:build !unix

package cache

// lockedBy asks the kernel which process has a file locked: not known here.
func lockedBy(string) int { return 0 }
