//go:build !linux

package rehearse

import "os"

// forget: what was written is read back as the system has it.
func forget(*os.File) {}
