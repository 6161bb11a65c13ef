package worker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"modelmanager.dev/internal/proc"
)

// markerVariable is in the environment of every process that a worker starts,
// unless that clears it: how those that left the process group are found.
const markerVariable = "MM_WORKER_ID"

// process is a running worker: an operating system process in a group of its
// own. It is over when the process exits, whatever holds its pipes.
type process struct {
	pid      int
	marker   string
	requests *os.File // file descriptor 3 of the worker
	answers  *os.File // 4
	log      *Log
	reaper   *Reaper
	name     string // of the program, for reasons

	exited chan struct{} // closed once the process has exited and its group is dead
	status syscall.WaitStatus

	family     family
	killMu     sync.Mutex
	killReason string // set by the first kill
	peak       atomic.Int64
	resident   atomic.Int64
	cpu        atomic.Int64 // nanoseconds of processor time, as last seen
	idle       atomic.Bool  // it has loaded, and has no call
	odd        atomic.Pointer[oddities]
}

// plumbing is the worker's side of its pipes.
type plumbing struct {
	requests *os.File // to read
	answers  *os.File // to write
}

func (c plumbing) close() {
	c.requests.Close()
	c.answers.Close()
}

// newProcess makes a process that has not been started.
func newProcess(name string, log *Log, reaper *Reaper) (*process, plumbing, error) {
	requestsRead, requestsWrite, err := os.Pipe()
	if err != nil {
		return nil, plumbing{}, err
	}
	answersRead, answersWrite, err := os.Pipe()
	if err != nil {
		requestsRead.Close()
		requestsWrite.Close()
		return nil, plumbing{}, err
	}
	p := &process{
		marker:   rand.Text(),
		requests: requestsWrite,
		answers:  answersRead,
		log:      log,
		reaper:   reaper,
		name:     name,
		exited:   make(chan struct{}),
	}
	return p, plumbing{requestsRead, answersWrite}, nil
}

// closePipes closes the agent's side.
func (p *process) closePipes() {
	p.requests.Close()
	p.answers.Close()
}

// start starts argv in dir. The process dies with the agent.
func start(argv, env []string, dir string, log *Log, reaper *Reaper) (*process, error) {
	p, worker, err := newProcess(argv[0], log, reaper)
	if err != nil {
		return nil, err
	}
	defer worker.close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(env, markerVariable+"="+p.marker)
	cmd.ExtraFiles = []*os.File{worker.requests, worker.answers}
	output, outputWrite, err := os.Pipe()
	if err != nil {
		p.closePipes()
		return nil, err
	}
	defer outputWrite.Close()
	cmd.Stdout, cmd.Stderr = outputWrite, outputWrite
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started := make(chan error)
	go p.run(cmd, output, started)
	if err := <-started; err != nil {
		output.Close()
		p.closePipes()
		return nil, err
	}
	return p, nil
}

// outputDelay is how long a dead worker's output may still come: children that
// keep it open keep nobody waiting.
const outputDelay = 200 * time.Millisecond

// run starts cmd and waits for it. The parent death signal is bound to the
// thread that starts the process, so that thread stays until it has exited.
func (p *process) run(cmd *exec.Cmd, output *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	release := p.reaper.starting()
	err := cmd.Start()
	if err != nil {
		release(0)
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	proc.Yield(p.pid)
	release(p.pid)
	started <- nil
	var copied sync.WaitGroup
	copied.Go(p.log.follow(output))
	err = cmd.Wait()
	output.SetReadDeadline(time.Now().Add(outputDelay))
	copied.Wait()
	output.Close()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintf(p.log, "[waiting for the worker: %v]\n", err)
	}
	var status syscall.WaitStatus
	if cmd.ProcessState != nil {
		status, _ = cmd.ProcessState.Sys().(syscall.WaitStatus)
	}
	p.finish(status)
}

// finish is called once, when the process has exited.
func (p *process) finish(status syscall.WaitStatus) {
	p.status = status
	p.killMu.Lock()
	p.sweep()
	p.reaper.forget(p.pid)
	p.pid = 0
	p.killMu.Unlock()
	close(p.exited)
	// What the worker wrote before it went is in the pipe still.
	p.answers.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	p.requests.SetWriteDeadline(time.Now())
}

// kill kills the process with everything it started. The first reason stays.
func (p *process) kill(reason string) {
	p.killMu.Lock()
	defer p.killMu.Unlock()
	if p.pid == 0 {
		return
	}
	if p.killReason == "" {
		p.killReason = reason
	}
	syscall.Kill(-p.pid, syscall.SIGKILL)
}

// terminate asks the group to end.
func (p *process) terminate() {
	p.killMu.Lock()
	defer p.killMu.Unlock()
	if p.pid != 0 {
		syscall.Kill(-p.pid, syscall.SIGTERM)
	}
}

// sweep kills what is left of the group, and what left it. The caller holds killMu.
func (p *process) sweep() {
	syscall.Kill(-p.pid, syscall.SIGKILL)
	for range 100 {
		left := append(marked(p.marker), p.reaper.adopted()...)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		p.reaper.reap()
		time.Sleep(time.Millisecond)
	}
}

// wait waits for the exit, at most for d.
func (p *process) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.exited:
		return true
	case <-timer.C:
		return false
	}
}

// stop ends the worker: end of its requests, then SIGTERM, then SIGKILL, with
// grace between. When it returns, nothing of the worker is left.
func (p *process) stop(grace time.Duration) {
	p.requests.Close()
	if !p.wait(grace) {
		p.terminate()
		if !p.wait(grace) {
			p.kill("it did not end when told to")
			<-p.exited
		}
	}
	p.answers.Close()
}

// destroy kills the worker and waits until nothing of it is left.
func (p *process) destroy(reason string) {
	p.kill(reason)
	<-p.exited
	p.requests.Close()
	p.answers.Close()
}

// id returns the process's id; 0 once it has exited.
func (p *process) id() int {
	p.killMu.Lock()
	defer p.killMu.Unlock()
	return p.pid
}

// alive tells whether the process has not exited.
func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}
