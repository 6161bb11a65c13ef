package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"modelmanager.dev/internal/proc"
)

// dieWithParent puts a process into a group of its own, and has it told to
// finish when the thread that started it ends. (An agent then ends its worker;
// the lifeline does the same where this is not to be had.)
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

func threadID() int { return unix.Gettid() }

// endThoseOf kills every process that has a run folder, or one below it, as
// its home, and waits until they are gone. It goes by what a process itself
// carries, not by a number that was noted: numbers are given again.
func endThoseOf(runDir string) (killed int, err error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		left := 0
		for _, pid := range proc.List() {
			if pid == os.Getpid() || !livesIn(pid, runDir) {
				continue
			}
			if kill(pid, runDir) {
				killed++
			}
			left++
		}
		if left == 0 {
			return killed, nil
		}
		if time.Now().After(deadline) {
			return killed, fmt.Errorf("ending what an agent in %s has left behind: %d processes do not end", runDir, left)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill kills one process, through a handle that can't come to mean another.
func kill(pid int, runDir string) bool {
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(handle)
	if !livesIn(pid, runDir) {
		return false
	}
	err = unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0)
	return err == nil || errors.Is(err, unix.ESRCH)
}

// livesIn tells whether a live process was started with a home, or a mark, in
// runDir. A zombie's environment is empty. That of an agent is sealed, which no
// process is that happens to name the same file: it is known by its configuration.
func livesIn(pid int, runDir string) bool {
	within := func(path string) bool { return path == runDir || strings.HasPrefix(path, runDir+"/") }
	if proc.HasVariable(pid, func(name, value string) bool {
		return (name == "HOME" || name == "TMPDIR" || name == markVariable) && within(value)
	}) {
		return true
	}
	arguments := proc.Arguments(pid)
	return len(arguments) > 1 && filepath.Base(arguments[len(arguments)-1]) == configFile && within(arguments[len(arguments)-1]) && proc.Sealed(pid)
}
