package worker

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"modelmanager.dev/internal/proc"
)

// Reaper collects orphans: processes that a worker left behind, which become
// the agent's own children and would stay zombies for ever. A nil *Reaper
// collects nothing.
type Reaper struct {
	mu  sync.Mutex
	own map[int]bool // children that somebody waits for
}

// NewReaper makes this process the parent of its descendants' orphans.
func NewReaper() (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	return &Reaper{own: map[int]bool{}}, nil
}

// Run collects orphans until ctx ends. It must be this program's only way of
// starting processes apart from workers.
func (r *Reaper) Run(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			r.reap()
		}
	}
}

// starting holds off collecting while a child is started whose pid is not
// known yet; the returned function tells the pid, or 0 for none.
func (r *Reaper) starting() func(pid int) {
	if r == nil {
		return func(int) {}
	}
	r.mu.Lock()
	return func(pid int) {
		if pid != 0 {
			r.own[pid] = true
		}
		r.mu.Unlock()
	}
}

func (r *Reaper) forget(pid int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	delete(r.own, pid)
	r.mu.Unlock()
}

// adopted returns the live processes that have become our children. When a
// worker has exited, what it left behind and hid from us is among them.
func (r *Reaper) adopted() []int {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []int
	for _, s := range proc.Of(os.Getpid()) {
		if !r.own[s.PID] && !s.Zombie() {
			found = append(found, s.PID)
		}
	}
	return found
}

// reap collects the zombies among our children that nobody waits for.
func (r *Reaper) reap() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range proc.Of(os.Getpid()) {
		if !r.own[s.PID] && s.Zombie() {
			syscall.Wait4(s.PID, nil, syscall.WNOHANG, nil)
		}
	}
}
