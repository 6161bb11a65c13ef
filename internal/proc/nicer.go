package proc

import (
	"os/exec"
	"syscall"
)

// Where the processor is short, agents and their server go before all that they
// start for models: they do little, and every model's calls wait for them. So a
// model that computes, imports or is built costs others no more than its share.
const (
	nicer   = 5  // than the process that starts it
	nicest  = 19 // the kernel knows nothing beyond
	shifted = 20 // the system call's values, so that none is negative
)

// Nicer is the niceness of what this process starts for models.
func Nicer() int {
	raw, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		return nicer
	}
	return min(shifted-raw+nicer, nicest)
}

// Yield makes a group of processes, and what comes out of it, go after this process.
func Yield(group int) {
	_ = syscall.Setpriority(syscall.PRIO_PGRP, group, Nicer()) // being nicer is always allowed
}

// Run runs a command that builds something: a group of its own, which goes
// after this process, and all of which ends with the command's context.
func Run(command *exec.Cmd) error {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	if err := command.Start(); err != nil {
		return err
	}
	Yield(command.Process.Pid)
	return command.Wait()
}
