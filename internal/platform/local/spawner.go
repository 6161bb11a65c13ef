package local

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// spawner starts processes from one operating system thread that lives as long
// as it does. Two things hang on the thread: the kernel signals a child when
// the thread that started it ends (dieWithParent), not the process; and
// niceness is a thread's own, which its children inherit.
type spawner struct {
	work chan func()
	done chan struct{}
}

func newSpawner(niceness int) *spawner {
	s := &spawner{work: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		// Never unlocked: the thread ends with this goroutine, and its
		// niceness with it.
		runtime.LockOSThread()
		if niceness != 0 {
			_ = unix.Setpriority(unix.PRIO_PROCESS, threadID(), niceness) // being nicer is always allowed
		}
		for work := range s.work {
			work()
		}
	}()
	return s
}

// start starts a command, whose process ends when this one does.
func (s *spawner) start(command *exec.Cmd) error {
	command.SysProcAttr = dieWithParent()
	result := make(chan error, 1)
	s.work <- func() { result <- command.Start() }
	return <-result
}

// close ends the thread; nothing it has started may be left.
func (s *spawner) close() {
	close(s.work)
	<-s.done
}
