package batch

import (
	"maps"
	"slices"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/platform"
)

// tracker is what this server knows of a live job: what it has read from the
// job's folder (that part is only a cache), and the attempts' own progress,
// which is nowhere else.
type tracker struct {
	mu       sync.Mutex
	record   *record
	plan     *plan
	rows     planned // of plan
	tally    tally
	changed  chan struct{} // closed at the next change
	awaited  bool          // somebody waits for that
	stopping bool          // running shards are to commit what they have

	reading sync.Mutex // held while the job's folder is read; taken before mu
	listed  time.Time  // when its shards were last listed

	driven  bool      // by this server's Run
	touched time.Time // when somebody last asked for it

	cancelled bool
	steps     steps
	killed    []platform.JobEvent // attempts whose logs are still to be kept
	overAt    map[int]time.Time   // when a shard's latest attempt that the platform saw end did

	// What other servers are told, and tell.
	lastTold   time.Time
	lastHeard  time.Time
	toldLast   news
	heardAt    map[string]time.Time  // by server, when what it told was written
	heardWaits map[string]heardWaits // by server
}

// planned is how many rows a plan has, counted once.
type planned struct {
	total int64
	known bool
}

func newTracker(r *record) *tracker {
	return &tracker{
		record: r, tally: newTally(), changed: make(chan struct{}),
		steps: make(steps), overAt: make(map[int]time.Time),
	}
}

// attempt is a shard's latest attempt, as it last told us.
type attempt struct {
	id    string
	rows  modelmanager.JobRows
	cpu   float64 // seconds
	guilt shard.Guilt
	began time.Time // zero: before this server
	at    time.Time
	heard bool // of another server, which it told
}

// track returns the tracker of a job that has no manifest.
func (s *Service) track(r *record) *tracker {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.jobs[r.Job.ID]
	if t == nil {
		s.prune()
		t = newTracker(r)
		s.jobs[r.Job.ID] = t
	}
	t.touched = s.now()
	return t
}

// prune drops trackers of jobs that another server drives, and that nobody
// here has asked for lately: they may have ended without us hearing of it.
func (s *Service) prune() {
	for id, t := range s.jobs {
		if !t.driven && s.now().Sub(t.touched) > 10*time.Minute {
			delete(s.jobs, id)
		}
	}
}

// lead returns the tracker of a job that this server's Run drives.
func (s *Service) lead(r *record) *tracker {
	t := s.track(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.driven = true
	return t
}

// forget drops the tracker of a job that is finished.
func (s *Service) forget(id string) {
	s.mu.Lock()
	t := s.jobs[id]
	delete(s.jobs, id)
	s.mu.Unlock()
	if t != nil {
		t.notify()
	}
}

// notify tells those who wait that something has changed.
func (t *tracker) notify() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.awaited {
		return
	}
	close(t.changed)
	t.changed, t.awaited = make(chan struct{}), false
}

// next returns a channel that is closed at the next change.
func (t *tracker) next() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.awaited = true
	return t.changed
}

func (t *tracker) has(index int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tally.done[index] != nil
}

// finished notes that a shard is done.
func (t *tracker) finished(done *shardRecord) {
	t.mu.Lock()
	t.tally.finish(done)
	delete(t.overAt, done.Index)
	t.mu.Unlock()
	t.notify()
}

// progress notes how far an attempt has come.
func (t *tracker) progress(index int, a attempt) {
	t.mu.Lock()
	t.tally.report(index, a)
	t.mu.Unlock()
	t.notify()
}

// indexes returns the shards that are done.
func (t *tracker) indexes() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.tally.done))
}

// shards returns the number of shards, 0 before there is a plan, and of those done.
func (t *tracker) shards() (total, done int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.plan != nil {
		total = len(t.plan.Shards)
	}
	return total, len(t.tally.done)
}

// total adds up the shards that are done and, if asked, the attempts under way.
func (t *tracker) total(live bool) sum {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tally.total(live)
}

// job describes the job as it is now.
func (t *tracker) job(now time.Time) modelmanager.Job {
	t.mu.Lock()
	defer t.mu.Unlock()
	job := t.record.Job
	job.Labels = maps.Clone(job.Labels)
	if job.Reason == "" {
		job.Reason = t.waitsFor(now)
	}
	if t.plan == nil {
		return job
	}
	total := t.tally.total(true)
	job.Rows, job.Input = total.rows, t.plan.Input
	if t.begun(now) {
		job.State, job.Started = modelmanager.JobRunning, &t.plan.Started
	}
	job.CPUSeconds = total.cpu
	job.Rows.Total = t.rows.total
	job.Shards = modelmanager.JobShards{Total: len(t.plan.Shards), Done: len(t.tally.done)}
	return job
}

// begun tells whether any of the job's shards has, as far as this server knows:
// until one has a place to run, the job is as queued as before it was planned.
// The caller holds the lock.
func (t *tracker) begun(now time.Time) bool {
	if len(t.tally.done)+len(t.tally.live) > 0 || t.steps.begun(platform.StepShards) {
		return true
	}
	return !t.driven && t.waitsFor(now) == ""
}

// overLimit tells whether the job has more rejected rows than it may. A
// percentage of rows that nobody has counted yet can only be told at the end.
func (t *tracker) overLimit() bool {
	max, err := parseLimit(t.record.Job.MaxRejected)
	if err != nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	rejected := t.tally.rejected()
	if t.plan == nil || rejected == 0 {
		return false
	}
	all := t.rows
	if !all.known && len(t.tally.done) == len(t.plan.Shards) {
		all = planned{t.tally.doneSum.rows.Read, true}
	}
	if max.percent >= 0 && !all.known {
		return false
	}
	return max.passed(rejected, all.total)
}

// unproven returns the shards that are done, and in which the model has
// answered no row, as it has none of the job.
func (t *tracker) unproven() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tally.unproven() == 0 {
		return nil
	}
	var indexes []int
	for index, done := range t.tally.done {
		if done.Failed > 0 {
			indexes = append(indexes, index)
		}
	}
	return indexes
}

// takeBack forgets that a shard is done.
func (t *tracker) takeBack(index int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally.takeBack(index)
}

// stop asks running shards to commit what they have.
func (t *tracker) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopping = true
}

// order is what to answer to an attempt's progress.
func (t *tracker) order() shard.Order {
	over := t.overLimit()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopping = t.stopping || over
	return shard.Order{Stop: t.stopping, Proven: t.tally.proven, Undecided: t.tally.undecided()}
}

// failsEverything tells whether the model is at fault, rather than its rows:
// it has failed on many of the job's, or on all of them, and answered none.
func (t *tracker) failsEverything() (message string, yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	failed, over := t.tally.unproven(), t.plan != nil && len(t.tally.done) == len(t.plan.Shards)
	many := failed >= worker.MaxUnproven && !t.tally.undecided()
	return t.tally.message, many || over && failed > 0
}

// running tells whether attempts are under way.
func (t *tracker) running() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.tally.live) > 0
}

// planned returns the plan, nil before there is one.
func (t *tracker) planned() *plan {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.plan
}

// winner returns the attempt that a shard's record names.
func (t *tracker) winner(index int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if done := t.tally.done[index]; done != nil {
		return done.Attempt
	}
	return ""
}

// begin forgets what the platform said of an earlier run of a step.
func (t *tracker) begin(step platform.Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.steps, step)
}

// observe notes what the platform says of a task, or of a step as a whole.
func (t *tracker) observe(event platform.JobEvent) {
	if event.State == platform.TaskKilled {
		t.wasKilled(event)
		return
	}
	t.mu.Lock()
	t.steps.observe(event)
	if event.State != platform.TaskRunning && event.Index >= 0 {
		t.tally.end(event.Index) // or done, or about to start anew
		t.overAt[event.Index] = time.Now()
	}
	t.mu.Unlock()
	t.notify()
}

// busy tells whether the platform runs tasks of the job.
func (t *tracker) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.steps.busy()
}

// waitsFor says why nothing of the job runs, as this server or another has it
// from the platform. The caller holds the lock.
func (t *tracker) waitsFor(now time.Time) string {
	if reason := t.steps.waits(); reason != "" {
		return reason
	}
	for _, server := range slices.Sorted(maps.Keys(t.heardWaits)) {
		if heard := t.heardWaits[server]; heard.reason != "" && now.Before(heard.until) {
			return heard.reason
		}
	}
	return ""
}

// ended returns the event that ended a step.
func (t *tracker) ended(step platform.Step) (platform.JobEvent, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.steps.end(step)
}

// failures returns the tasks of a step that failed for good, and whose shards
// aren't done, in order.
func (t *tracker) failures(step platform.Step) []platform.JobEvent {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(t.steps.failures(step), func(event platform.JobEvent) bool { return t.tally.done[event.Index] != nil })
}

// hopelessAfter is how many shards a model may fail before any row of the job
// has gone through it.
const hopelessAfter = 5

// hopeless tells whether a model fails whatever it is given: the shards that
// are left would only tell the same, one after another.
func (t *tracker) hopeless(step platform.Step) bool {
	if t.total(true).rows.Read > 0 { // asked first: it costs the same however many have failed
		return false
	}
	failures := t.failures(step)
	return len(failures) >= hopelessAfter &&
		!slices.ContainsFunc(failures, func(event platform.JobEvent) bool { return event.Fault != modelmanager.CodeModelError })
}

// cancelAsked tells whether this server was asked to cancel the job.
func (t *tracker) cancelAsked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cancelled
}

// cancel notes that this server was asked to cancel the job.
func (t *tracker) cancel() {
	t.mu.Lock()
	t.cancelled = true
	t.mu.Unlock()
	t.notify()
}
