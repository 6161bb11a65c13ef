package worker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Where the processor is short, agents and their server go before workers: they
// do little, and every model's calls wait for them. So a model that computes all
// the time costs others no more than its share.
const (
	nicer   = 5  // than the agent
	nicest  = 19 // the kernel knows nothing beyond
	shifted = 20 // the system call's values, so that none is negative
)

// workerNiceness is that of this process's workers.
func workerNiceness() int {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return nicer
	}
	return min(shifted-raw+nicer, nicest)
}

// yield makes a group of processes, and what comes out of it, go after its agent.
func yield(group int) {
	_ = syscall.Setpriority(unix.PRIO_PGRP, group, workerNiceness()) // being nicer is always allowed
}
