package cli

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"modelmanager.dev/internal/proc"
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
			children := proc.Of(os.Getpid())
			if len(children) == 0 {
				return
			}
			for _, child := range children {
				_ = syscall.Kill(child.PID, syscall.SIGKILL)
				_, _ = syscall.Wait4(child.PID, nil, syscall.WNOHANG, nil)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
