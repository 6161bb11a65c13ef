package platformtest

import (
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// testCloseLeavesAll closes a driver whose replicas aren't its own: they go on
// answering, and the next driver tells of them and scales them.
func testCloseLeavesAll(h *harness) {
	w := h.good("surviving")
	h.scale(w, 2)
	before := h.untilReady(w.Ref(), 2)
	if err := h.driver.Close(); err != nil {
		h.Fatalf("Close: %v", err)
	}
	if err := h.driver.Scale(h.context(), w, 1); err == nil {
		h.Error("a closed driver takes a version")
	}
	h.answers(before[0])
	h.use(h.fixture.Survives(h.T))
	ids := map[string]bool{}
	for _, r := range h.untilReady(w.Ref(), 2) {
		ids[r.ID] = true
		h.answers(r)
	}
	for _, r := range before {
		if !ids[r.ID] {
			h.Errorf("replica %s is not among those that the next driver tells of", r.ID)
		}
	}
	h.scale(w, 0)
	h.untilReady(w.Ref(), 0)
}

// testTakeover closes a driver in the middle of jobs. The next one goes on with
// the one that runs, and tells of those that have ended meanwhile.
func testTakeover(h *harness) {
	if h.fixture.Survives == nil {
		return
	}
	guilty := Behaviour{Tasks: map[int]TaskBehaviour{0: {Faults: []int{agent.ExitModelFault}}}, TaskTime: time.Second}
	ended := h.job("ended", guilty, nil)
	under := h.job("under-way", Behaviour{TaskTime: 4 * time.Second}, func(run *platform.JobRun) { run.Count, run.Parallelism = 2, 1 })
	h.until("the long job runs", func() bool { return h.most("under-way") > 0 })
	if err := h.driver.Close(); err != nil {
		h.Fatalf("Close: %v", err)
	}
	h.use(h.fixture.Survives(h.T))
	h.want(h.untilEnd("ended"), platform.TaskFailed, modelmanager.CodeModelError)
	h.want(h.untilEnd("under-way"), platform.TaskSucceeded, "")
	if n := len(h.outcomes("under-way")); n != 2 {
		h.Errorf("%d indexes have an outcome, want 2", n)
	}
	// Whoever starts listening now is told again of the one that has failed.
	n := len(h.jobs.of("ended"))
	if err := h.platform.StartJob(h.context(), ended); err != nil {
		h.Fatalf("StartJob of a step that has failed: %v", err)
	}
	h.until("the failed step is told of again", func() bool {
		events := h.jobs.of("ended")
		return len(events) > n && events[len(events)-1].Index == -1 && events[len(events)-1].Fault == modelmanager.CodeModelError
	})
	for _, run := range []platform.JobRun{ended, under} {
		if err := h.platform.StopJob(h.context(), run.Job, run.Step); err != nil {
			h.Errorf("StopJob: %v", err)
		}
	}
}
