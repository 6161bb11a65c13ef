package environment

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a program and all that it starts end together.
func ownGroup(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
}
