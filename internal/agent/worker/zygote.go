package worker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"modelmanager.dev/internal/agent/shims"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/proc"
	"modelmanager.dev/internal/spec"
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
	Env     []string // the zygote's whole environment, NAME=value (see ZygoteEnviron)
	Home    string   // its $HOME; default: Dir
	Log     *os.File // what it prints; nil: nowhere
}

// ThreadsError is the error of a zygote that may not fork, since importing a
// module has started threads, which a fork doesn't copy.
type ThreadsError struct{ Module string }

func (e *ThreadsError) Error() string { return "importing " + e.Module + " starts threads" }

// A worker that was forked writes its own home and marker over those that the
// kernel shows of its zygote, in their place, so there must be room for them.
const homeRoom = 512

// environ returns the zygote's environment. Slashes at the end of a path say
// nothing, and make room.
func (o *ZygoteOptions) environ() []string {
	home := o.Home
	if home == "" {
		home = o.Dir
	}
	e := newEnviron()
	for _, name := range threadVariables {
		e.set(name, "1") // a fork doesn't copy threads
	}
	e.add(o.Env)
	e.set("HOME", home+strings.Repeat("/", max(0, homeRoom-len(home))))
	e.set("TMPDIR", home)
	e.set(markerVariable, strings.Repeat("-", len(rand.Text())))
	return e.list()
}

// ZygoteEnviron returns the environment in which the libraries of a version's
// worker are imported: that of the worker, without what is its own (secrets,
// params, its name), and with one thread, since those of more can't be forked.
func ZygoteEnviron(s *spec.Spec, environment environment.Environment) ([]string, error) {
	plain := *s
	plain.Secrets, plain.Params, plain.Resources.CPU = nil, nil, 0
	o := Options{Spec: &plain, Environment: environment}
	all, err := o.environ()
	return slices.DeleteFunc(all, func(entry string) bool { return strings.HasPrefix(entry, "MM_") }), err
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
	if err := os.Remove(filepath.Join(options.Dir, threadsFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing what the zygote before has said: %w", err)
	}
	z.cmd = exec.Command(options.Python, shim, "--zygote", z.socket)
	z.cmd.Stdin = strings.NewReader(strings.Join(options.Modules, "\n"))
	z.cmd.Dir = options.Dir
	z.cmd.Env = options.environ()
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
		if err == nil {
			proc.Yield(z.cmd.Process.Pid)
		}
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

// threadsFile is where a zygote names the module that has started threads.
const threadsFile = "threads"

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
			if module, err := os.ReadFile(filepath.Join(filepath.Dir(z.socket), threadsFile)); err == nil {
				return &ThreadsError{string(module)}
			}
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
