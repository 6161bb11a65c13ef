package worker

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWorkersGoAfterTheirAgent: a worker and what it starts are nicer than the
// agent, up to what the kernel knows.
func TestWorkersGoAfterTheirAgent(t *testing.T) {
	log := newLog(t.TempDir(), nil)
	defer log.Close()
	p, err := start([]string{"sh", "-c", "sleep 300 & echo $! >&4; wait"}, os.Environ(), t.TempDir(), log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.destroy("the test ends")
	child := make([]byte, 32)
	if _, err := p.answers.Read(child); err != nil { // both are there now
		t.Fatal(err)
	}
	niceness := func(which, who int) int {
		t.Helper()
		raw, err := unix.Getpriority(which, who)
		if err != nil {
			t.Fatal(err)
		}
		return 20 - raw // the system call's values are shifted, so that none is negative
	}
	own := niceness(unix.PRIO_PROCESS, 0)
	want := min(own+5, 19)
	// Of a group it is the least nice that is told.
	if got := niceness(unix.PRIO_PGRP, p.id()); got != want || want < own {
		t.Errorf("the worker and its child are %d nice, and the agent %d; want %d", got, own, want)
	}
	if err := syscall.Kill(p.id(), 0); err != nil {
		t.Error(err)
	}
}
