package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adoptChildren makes this process the parent of whatever its children leave
// behind. What it returns ends all of them: to be called when nothing that was
// started on purpose is needed any more, a model's helpers in sessions of their
// own and builds that were given up included.
func adoptChildren() (end func()) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return func() {} // an old kernel: their own groups are ended all the same
	}
	return func() {
		// What is killed hands its own children over, so that several rounds are
		// needed; a process that can't be killed is not waited for.
		for range 200 {
			children := childrenOf(os.Getpid())
			if len(children) == 0 {
				return
			}
			for _, pid := range children {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// childrenOf returns the processes whose parent is the given one.
func childrenOf(parent int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name, in brackets, may hold anything; fields are counted after it.
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
		if len(fields) < 2 {
			continue
		}
		if owner, err := strconv.Atoi(string(fields[1])); err == nil && owner == parent {
			children = append(children, pid)
		}
	}
	return children
}
