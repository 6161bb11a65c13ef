package platformtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// record keeps events of jobs.
type record struct {
	mu     sync.Mutex
	events []platform.JobEvent
}

func newRecord() *record { return new(record) }

func (r *record) add(event platform.JobEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

// of returns the events of a job so far.
func (r *record) of(job string) []platform.JobEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []platform.JobEvent
	for _, event := range r.events {
		if event.Job == job {
			list = append(list, event)
		}
	}
	return list
}

// last returns the event of the whole step, once it has come.
func (r *record) last(job string) (platform.JobEvent, bool) {
	for _, event := range r.of(job) {
		if event.Index == -1 {
			return event, true
		}
	}
	return platform.JobEvent{}, false
}

func (h *harness) job(name string, behaviour Behaviour, change func(*platform.JobRun)) platform.JobRun {
	h.Helper()
	run := platform.JobRun{
		Job: name, Step: platform.StepShards, Workload: h.fixture.Workload(h.T, name, behaviour),
		Count: 1, Parallelism: 2, Timeout: 10 * time.Minute, Server: "http://127.0.0.1:9", Token: "token-of-" + name,
	}
	if change != nil {
		change(&run)
	}
	if err := h.platform.StartJob(h.context(), run); err != nil {
		h.Fatalf("StartJob: %v", err)
	}
	return run
}

// untilEnd waits for the end of a step, and returns its last event.
func (h *harness) untilEnd(job string) platform.JobEvent {
	h.Helper()
	var last platform.JobEvent
	h.until("job "+job+" has ended", func() (ok bool) {
		last, ok = h.jobs.last(job)
		return ok
	})
	if events := h.jobs.of(job); events[len(events)-1].Index != -1 {
		h.Errorf("job %s: the event of the whole step isn't the last: %v", job, events)
	}
	return last
}

// outcomes returns the final state of each index that ran.
func (h *harness) outcomes(job string) map[int]platform.JobEvent {
	outcomes := map[int]platform.JobEvent{}
	for _, event := range h.jobs.of(job) {
		if event.Index >= 0 && (event.State == platform.TaskSucceeded || event.State == platform.TaskFailed) {
			if _, twice := outcomes[event.Index]; twice {
				h.Errorf("job %s: index %d has two outcomes", job, event.Index)
			}
			outcomes[event.Index] = event
		}
	}
	return outcomes
}

// most returns how many tasks of a job ran at once at the most.
func (h *harness) most(job string) int {
	running, most := map[int]bool{}, 0
	for _, event := range h.jobs.of(job) {
		if event.Index < 0 || event.State == platform.TaskKilled {
			continue
		}
		if event.State == platform.TaskRunning {
			running[event.Index] = true
		} else {
			delete(running, event.Index)
		}
		most = max(most, len(running))
	}
	return most
}

func (h *harness) want(last platform.JobEvent, state platform.TaskState, fault modelmanager.Code) {
	h.Helper()
	if last.State != state || last.Fault != fault {
		h.Errorf("job %s ended %s with fault %q (%s), want %s with %q", last.Job, last.State, last.Fault, last.Reason, state, fault)
	}
}

func testTasks(h *harness) {
	h.job("parallel", Behaviour{TaskTime: 300 * time.Millisecond}, func(run *platform.JobRun) { run.Count = 6 })
	h.want(h.untilEnd("parallel"), platform.TaskSucceeded, "")
	if n := len(h.outcomes("parallel")); n != 6 {
		h.Errorf("%d indexes have an outcome, want 6", n)
	}
	if most := h.most("parallel"); most != 2 {
		h.Errorf("%d tasks ran at once at the most, want 2", most)
	}
	h.job("serial", Behaviour{}, func(run *platform.JobRun) { run.Count, run.Parallelism = 4, 1 })
	h.want(h.untilEnd("serial"), platform.TaskSucceeded, "")
	if most := h.most("serial"); most != 1 {
		h.Errorf("%d tasks ran at once at the most, want 1", most)
	}
}

func testTasksDone(h *harness) {
	h.job("resumed", Behaviour{}, func(run *platform.JobRun) { run.Count, run.Done = 5, []int{0, 2, 3} })
	h.want(h.untilEnd("resumed"), platform.TaskSucceeded, "")
	var ran []int
	for index := range h.outcomes("resumed") {
		ran = append(ran, index)
	}
	slices.Sort(ran)
	if !slices.Equal(ran, []int{1, 4}) {
		h.Errorf("indexes %v ran, want 1 and 4", ran)
	}
	h.job("complete", Behaviour{}, func(run *platform.JobRun) { run.Count, run.Done = 2, []int{0, 1} })
	h.want(h.untilEnd("complete"), platform.TaskSucceeded, "")
}

func testModelFault(h *harness) {
	b := Behaviour{Tasks: map[int]TaskBehaviour{1: {Faults: []int{agent.ExitModelFault}}}}
	h.job("guilty", b, func(run *platform.JobRun) { run.Count, run.Retries = 3, 3 })
	last := h.untilEnd("guilty")
	h.want(last, platform.TaskFailed, modelmanager.CodeModelError)
	outcomes := h.outcomes("guilty")
	if got := outcomes[1]; got.State != platform.TaskFailed || got.Fault != modelmanager.CodeModelError || got.Attempt != 1 {
		h.Errorf("index 1 ended as %+v; want failed by the model at its first attempt", got)
	}
	if !strings.Contains(last.Reason, taskReason(agent.ExitModelFault)) {
		h.Errorf("the reason is %q; it should be what the task said", last.Reason)
	}
	for _, index := range []int{0, 2} {
		if got := outcomes[index]; got.State != platform.TaskSucceeded {
			h.Errorf("index %d ended as %+v; one index must not hurt another", index, got)
		}
	}
}

func testStorageFault(h *harness) {
	b := Behaviour{Tasks: map[int]TaskBehaviour{
		0: {Faults: []int{agent.ExitStorageFault, agent.ExitStorageFault, 0}},
		1: {Faults: []int{1, 0}}, // an agent that broke
	}}
	h.job("flaky", b, func(run *platform.JobRun) { run.Count, run.Retries = 2, 2 })
	h.want(h.untilEnd("flaky"), platform.TaskSucceeded, "")
	outcomes := h.outcomes("flaky")
	if a, b := outcomes[0].Attempt, outcomes[1].Attempt; a != 3 || b != 2 {
		h.Errorf("the indexes succeeded at attempts %d and %d, want 3 and 2", a, b)
	}
}

func testRetriesEnd(h *harness) {
	b := Behaviour{Tasks: map[int]TaskBehaviour{0: {Faults: []int{agent.ExitStorageFault}}}}
	h.job("lost", b, func(run *platform.JobRun) { run.Retries = 1 })
	h.want(h.untilEnd("lost"), platform.TaskFailed, modelmanager.CodeStorage)
	if got := h.outcomes("lost")[0]; got.Attempt != 2 {
		h.Errorf("it failed at attempt %d, want 2", got.Attempt)
	}
}

func testKilled(h *harness) {
	b := Behaviour{Tasks: map[int]TaskBehaviour{0: {Faults: []int{killed}}}}
	h.job("killed", b, func(run *platform.JobRun) { run.Count, run.Retries = 2, 1 })
	h.want(h.untilEnd("killed"), platform.TaskFailed, modelmanager.CodeInternal)
	told := map[int]bool{}
	for _, event := range h.jobs.of("killed") {
		if event.State != platform.TaskKilled {
			continue
		}
		told[event.Attempt] = true
		if event.Index != 0 || event.Reason == "" || !strings.Contains(event.Log, FirstWords("killed")) {
			h.Errorf("of an agent that was killed it told %+v, want its index, a reason and its log", event)
		}
	}
	if !told[1] {
		h.Errorf("it told of the logs of the attempts %v, want that of the first", told)
	}
	if got := h.outcomes("killed")[1]; got.State != platform.TaskSucceeded {
		h.Errorf("index 1 ended as %+v; one index must not hurt another", got)
	}
}

func testStartTwice(h *harness) {
	run := h.job("twice", Behaviour{TaskTime: 500 * time.Millisecond}, func(run *platform.JobRun) { run.Count = 2 })
	for range 3 {
		if err := h.platform.StartJob(h.context(), run); err != nil {
			h.Fatalf("StartJob again: %v", err)
		}
	}
	h.want(h.untilEnd("twice"), platform.TaskSucceeded, "")
	h.outcomes("twice") // complains of an index with two outcomes
}

func testStopJob(h *harness) {
	b := Behaviour{Tasks: map[int]TaskBehaviour{0: {Hang: true}, 1: {Hang: true}, 2: {Hang: true}}}
	run := h.job("stopped", b, func(run *platform.JobRun) { run.Count = 3 })
	h.until("two tasks run", func() bool { return h.most("stopped") == 2 })
	if err := h.platform.StopJob(h.context(), run.Job, run.Step); err != nil {
		h.Fatalf("StopJob: %v", err)
	}
	h.noProcesses()
	h.want(h.untilEnd("stopped"), platform.TaskFailed, modelmanager.CodeCancelled)
	for range 2 {
		if err := h.platform.StopJob(h.context(), run.Job, run.Step); err != nil {
			h.Errorf("StopJob of one that isn't there: %v", err)
		}
	}
}

func testTimeout(h *harness) {
	b := Behaviour{Tasks: map[int]TaskBehaviour{0: {Hang: true}}}
	h.job("late", b, func(run *platform.JobRun) { run.Timeout = 2 * time.Second })
	h.want(h.untilEnd("late"), platform.TaskFailed, modelmanager.CodeDeadlineExceeded)
	h.noProcesses()
}

func testTurns(h *harness) {
	// The large job has tasks for many rounds of all places there are: a small
	// one that comes later is done long before it, or had to wait for it. Its
	// tasks are of a size of which few fit into a cluster.
	sized := func(run *platform.JobRun) {
		s := *run.Workload.Spec
		s.Resources.CPU = 400
		run.Workload.Spec = &s
	}
	h.job("large", Behaviour{TaskTime: 200 * time.Millisecond}, func(run *platform.JobRun) {
		run.Count, run.Parallelism = 200, 40
		sized(run)
	})
	h.until("the large job runs", func() bool { return h.most("large") > 0 })
	h.job("small", Behaviour{}, func(run *platform.JobRun) {
		run.Count = 2
		sized(run)
	})
	h.want(h.untilEnd("small"), platform.TaskSucceeded, "")
	if _, ended := h.jobs.last("large"); ended {
		h.Error("the small job had to wait for the large one")
	}
	if err := h.platform.StopJob(h.context(), "large", platform.StepShards); err != nil {
		h.Errorf("StopJob: %v", err)
	}
}

func taskReason(code int) string { return fmt.Sprintf("the task was told to end with code %d", code) }
