package worker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"modelmanager.dev/internal/agent/shims"
)

// Zygote is a Python process that has imported what models of one environment
// import, and forks their workers from itself.
type Zygote struct {
	socket string
	cmd    *exec.Cmd
	exited chan struct{}
}

// ZygoteOptions say what to import, and where.
type ZygoteOptions struct {
	Python  string   // the interpreter of the environment
	Dir     string   // a folder of the zygote's own; its socket is there
	Modules []string // imported once; those that can't be are passed over
	Env     []string // the zygote's whole environment, NAME=value
	Log     *os.File // what it prints; nil: nowhere
}

// StartZygote starts a zygote and waits, up to a minute, until it has imported
// its modules. It dies with the calling process, and its workers with it.
func StartZygote(options ZygoteOptions) (*Zygote, error) {
	shim := filepath.Join(options.Dir, "worker.py")
	if err := os.WriteFile(shim, shims.Python(), 0o600); err != nil {
		return nil, fmt.Errorf("writing the zygote's program: %w", err)
	}
	z := &Zygote{socket: filepath.Join(options.Dir, "zygote.sock"), exited: make(chan struct{})}
	if err := os.Remove(z.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the zygote's old socket: %w", err)
	}
	z.cmd = exec.Command(options.Python, append([]string{shim, "--zygote", z.socket}, options.Modules...)...)
	z.cmd.Dir = options.Dir
	z.cmd.Env = options.Env
	if options.Log != nil {
		z.cmd.Stdout, z.cmd.Stderr = options.Log, options.Log
	}
	z.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The parent death signal is bound to this thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := z.cmd.Start()
		started <- err
		if err == nil {
			z.cmd.Wait()
			close(z.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting a zygote: %w", err)
	}
	if err := z.awaitSocket(time.Minute); err != nil {
		z.Close()
		return nil, err
	}
	return z, nil
}

func (z *Zygote) awaitSocket(limit time.Duration) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		if connection, err := net.Dial("unix", z.socket); err == nil {
			return connection.Close()
		}
		select {
		case <-ticker.C:
		case <-z.exited:
			return fmt.Errorf("the zygote ended while it imported: %v", z.cmd.ProcessState)
		case <-timeout.C:
			return fmt.Errorf("the zygote has not imported its modules within %s", limit)
		}
	}
}

// Socket is for Options.Zygote and the agent's Config.
func (z *Zygote) Socket() string { return z.socket }

// Exited is closed once the zygote is gone, for whatever reason.
func (z *Zygote) Exited() <-chan struct{} { return z.exited }

// Close ends the zygote, and its workers with it.
func (z *Zygote) Close() error {
	syscall.Kill(-z.cmd.Process.Pid, syscall.SIGKILL)
	<-z.exited
	return nil
}
