//go:build !linux

package todevice

import "errors"

// openDevice: exclusive opening, which keeps mounted disks safe, is Linux's.
func openDevice(string) (device, error) {
	return nil, errors.New("writing to devices works on Linux only; restore to a file and write that")
}
