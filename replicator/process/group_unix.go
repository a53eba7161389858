//go:build unix

package process

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a program into a process group of its own: a signal from the terminal is this program's to answer, and what
// it starts can be ended with it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// signalGroup asks the whole group to end, or kills it. There may be nobody left in it.
func signalGroup(cmd *exec.Cmd, kill bool) {
	sig := syscall.SIGTERM
	if kill {
		sig = syscall.SIGKILL
	}
	_ = syscall.Kill(-cmd.Process.Pid, sig)
}
