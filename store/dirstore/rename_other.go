//go:build !linux

package dirstore

import (
	"errors"
	"os"
)

// renameFree is for Linux, which alone has such a call.
func renameFree(*os.Root, string, string) error { return errors.ErrUnsupported }
