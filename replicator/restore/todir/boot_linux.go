package todir

import (
	"os"
	"strings"
)

// bootID tells one start of the machine from another; empty where it cannot be had.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
