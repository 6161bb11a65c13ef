// Package platformtest holds the conformance suite that every platform.Driver
// passes, and the fake agent that the suite's workloads run in. Nothing here
// expects a driver to be quick: every wait is for a condition, with a deadline.
package platformtest

import (
	"context"
	"testing"
	"time"

	"modelmanager.dev/internal/platform"
)

// Fixture is a driver, open for one test, with what the suite must do behind
// its back.
type Fixture struct {
	Driver platform.Driver
	// Workload prepares a version that behaves as told; name is its model's.
	Workload func(t *testing.T, name string, behaviour Behaviour) platform.Workload
	// Kill makes a replica die at once, as a crash does.
	Kill func(t *testing.T, replica platform.Replica)
	// Processes counts the processes of the driver's replicas and tasks that
	// are left; nil where there are none to count.
	Processes func(t *testing.T) int
	// Patience is the deadline of each wait; default 30 s.
	Patience time.Duration
	// Survives says that what runs outlives its driver: it opens another one on
	// the same platform. Nil: Close ends everything.
	Survives func(t *testing.T) platform.Driver
	// NoTasks leaves out the tests of jobs: the fixture's agents are real, and
	// want a real server to work for.
	NoTasks bool
}

// Run runs the suite. open opens a new, empty driver; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) *Fixture) {
	tests := []struct {
		name string
		run  func(*harness)
		task bool
	}{
		{name: "ScaleUpAndDown", run: testScale},
		{name: "AnswersWithItsKeyAlone", run: testKey},
		{name: "DeadReplicaIsReplaced", run: testReplaced},
		{name: "DrainsBeforeItEnds", run: testDrain},
		{name: "DrainsOnClose", run: testDrainOnClose},
		{name: "CrashLoop", run: testCrashLoop},
		{name: "ScaleIsIdempotentAndConcurrent", run: testConcurrentScale},
		{name: "ScaleOfNothingToZero", run: testScaleNothing},
		{name: "WatchTellsWhatExists", run: testWatch},
		{name: "EnsureWakes", run: testEnsure},
		{name: "Logs", run: testLogs},
		{name: "CloseLeavesNothing", run: testClose},
		{name: "TasksSideBySide", run: testTasks, task: true},
		{name: "TasksDoneAreSkipped", run: testTasksDone, task: true},
		{name: "ModelFaultFailsTheIndex", run: testModelFault, task: true},
		{name: "StorageFaultIsRetried", run: testStorageFault, task: true},
		{name: "RetriesEnd", run: testRetriesEnd, task: true},
		{name: "KilledTaskLeavesItsLog", run: testKilled, task: true},
		{name: "StartJobIsIdempotent", run: testStartTwice, task: true},
		{name: "StopJobLeavesNothing", run: testStopJob, task: true},
		{name: "StepTimesOut", run: testTimeout, task: true},
		{name: "JobsTakeTurns", run: testTurns, task: true},
		{name: "AnotherDriverGoesOn", run: testTakeover, task: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fixture := open(t)
			if test.task && fixture.NoTasks {
				if err := fixture.Driver.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				return
			}
			h := newHarness(t, fixture)
			test.run(h)
		})
	}
}

// harness is one test's driver with a Platform over it.
type harness struct {
	*testing.T
	fixture  *Fixture
	driver   platform.Driver
	platform *platform.Platform
	jobs     *record
}

func newHarness(t *testing.T, fixture *Fixture) *harness {
	if fixture.Patience == 0 {
		fixture.Patience = 30 * time.Second
	}
	h := &harness{T: t, fixture: fixture}
	h.use(fixture.Driver)
	return h
}

// use puts a Platform over a driver, until the test ends.
func (h *harness) use(driver platform.Driver) {
	h.driver, h.jobs = driver, newRecord()
	h.platform = platform.New(driver, platform.Options{Images: true})
	running := h.platform
	cancelJobs := running.SubscribeJobs(h.jobs.add)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = running.Run(ctx) // it returns nil when ctx ends
	}()
	h.Cleanup(func() {
		if err := driver.Close(); err != nil {
			h.Errorf("Close: %v", err)
		}
		cancelJobs()
		cancel()
		<-ended
	})
}

// context returns one that ends with the fixture's patience.
func (h *harness) context() context.Context {
	ctx, cancel := context.WithTimeout(h.Context(), h.fixture.Patience)
	h.Cleanup(cancel)
	return ctx
}

// until waits for a condition.
func (h *harness) until(what string, condition func() bool) {
	h.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(h.fixture.Patience)
	defer deadline.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			h.Fatalf("waited %s in vain until %s", h.fixture.Patience, what)
		}
	}
}

func (h *harness) scale(workload platform.Workload, replicas int) {
	h.Helper()
	if err := h.platform.Scale(h.context(), workload, replicas); err != nil {
		h.Fatalf("Scale(%s, %d): %v", workload.Ref(), replicas, err)
	}
}

func (h *harness) good(name string) platform.Workload {
	return h.fixture.Workload(h.T, name, Behaviour{})
}
