package servers

import "syscall"

// dieWithParent has the kernel kill a server whose test program is gone, however it went.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
