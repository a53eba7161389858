//go:build !unix

package process

import "os/exec"

// ownGroup: there are no process groups here.
func ownGroup(*exec.Cmd) {}

// signalGroup kills the program alone; nothing gentler is there.
func signalGroup(cmd *exec.Cmd, _ bool) { _ = cmd.Process.Kill() }
