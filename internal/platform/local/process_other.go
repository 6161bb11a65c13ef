//go:build !linux

package local

import "syscall"

// dieWithParent puts a process into a group of its own. Its lifeline ends it
// when this process ends.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func threadID() int { return 0 }

// endThoseOf has nothing to go by here: a process's environment can't be read.
// Lifelines end agents, and agents their workers.
func endThoseOf(string) (killed int, err error) { return 0, nil }
