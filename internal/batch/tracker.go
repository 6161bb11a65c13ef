package batch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/platform"
)

// tracker is what this server knows of a live job: what it has read from the
// job's folder (that part is only a cache), and the attempts' own progress,
// which is nowhere else.
type tracker struct {
	mu       sync.Mutex
	record   *record
	plan     *plan
	done     map[int]*shardRecord
	live     map[int]attempt // of shards that aren't done
	changed  chan struct{}   // closed, and replaced, at each change
	stopping bool            // running shards are to commit what they have

	driven  bool      // by this server's Run
	touched time.Time // when somebody last asked for it

	cancelled bool
	steps     map[platform.Step]map[int]platform.JobEvent // by task; −1 is the step
	killed    []platform.JobEvent                         // attempts whose logs are still to be kept
	overAt    map[int]time.Time                           // when a shard's latest attempt that the platform saw end did

	// What other servers are told, and tell.
	lastTold   time.Time
	lastHeard  time.Time
	toldLast   news
	heardAt    map[string]time.Time  // by server, when what it told was written
	heardWaits map[string]heardWaits // by server
}

// attempt is a shard's latest attempt, as it last told us.
type attempt struct {
	id    string
	rows  modelmanager.JobRows
	cpu   float64 // seconds
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
		t = &tracker{record: r, done: make(map[int]*shardRecord), live: make(map[int]attempt), changed: make(chan struct{})}
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

func (t *tracker) notify() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.changed)
	t.changed = make(chan struct{})
}

// next returns a channel that is closed at the next change.
func (t *tracker) next() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// refresh reads what is new in the job's folder.
func (s *Service) refresh(ctx context.Context, t *tracker) error {
	id := t.record.Job.ID
	if err := s.hear(ctx, t); err != nil { // also of a job that waits to be planned
		return err
	}
	t.mu.Lock()
	p := t.plan
	t.mu.Unlock()
	if p == nil {
		var err error
		if p, err = s.plan(ctx, id); err != nil || p == nil {
			return err
		}
		t.mu.Lock()
		t.plan = p
		t.mu.Unlock()
		t.notify()
	}
	objects, err := s.config.Bucket.List(ctx, shardsPrefix(id), "", 0)
	if err != nil {
		return err
	}
	if t.known() >= len(objects) {
		return nil
	}
	for index := range p.Shards {
		if t.has(index) {
			continue
		}
		if err := s.readShard(ctx, t, index); err != nil {
			return err
		}
	}
	return nil
}

// readShard reads a shard's record, if there is one by now.
func (s *Service) readShard(ctx context.Context, t *tracker, index int) error {
	done := new(shardRecord)
	found, err := s.load(ctx, shardKey(t.record.Job.ID, index), done)
	if err == nil && found {
		t.finished(done)
	}
	return err
}

func (t *tracker) known() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.done)
}

func (t *tracker) has(index int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done[index] != nil
}

// finished notes that a shard is done.
func (t *tracker) finished(done *shardRecord) {
	t.mu.Lock()
	t.done[done.Index] = done
	delete(t.live, done.Index)
	t.mu.Unlock()
	t.notify()
}

// progress notes how far an attempt has come.
func (t *tracker) progress(index int, a attempt) {
	t.mu.Lock()
	if t.done[index] == nil {
		t.live[index] = a
	}
	t.mu.Unlock()
	t.notify()
}

// indexes returns the shards that are done.
func (t *tracker) indexes() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	var indexes []int
	for index := range t.done {
		indexes = append(indexes, index)
	}
	return indexes
}

// total returns the number of shards, 0 before there is a plan, and of those done.
func (t *tracker) total() (total, done int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.plan != nil {
		total = len(t.plan.Shards)
	}
	return total, len(t.done)
}

// rows adds up the shards that are done and, if asked, the attempts under way.
func (t *tracker) rows(live bool) modelmanager.JobRows {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows modelmanager.JobRows
	for _, done := range t.done {
		add(&rows, done.Rows)
	}
	if live {
		for _, a := range t.live {
			add(&rows, a.rows)
		}
	}
	return rows
}

func add(to *modelmanager.JobRows, rows modelmanager.JobRows) {
	to.Read += rows.Read
	to.Predicted += rows.Predicted
	to.Rejected += rows.Rejected
	for feature, n := range rows.Filled {
		if to.Filled == nil {
			to.Filled = make(map[string]int64)
		}
		to.Filled[feature] += n
	}
}

// cpuSeconds adds up what the shards that are done have cost and, if asked, the
// attempts under way.
func (t *tracker) cpuSeconds(live bool) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := 0.0
	for _, done := range t.done {
		sum += done.CPUSeconds
	}
	if live {
		for _, a := range t.live {
			sum += a.cpu
		}
	}
	return sum
}

// job describes the job as it is now.
func (t *tracker) job(now time.Time) modelmanager.Job {
	rows, cpu := t.rows(true), t.cpuSeconds(true)
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
	job.State, job.Rows, job.Input = modelmanager.JobRunning, rows, t.plan.Input
	job.Started = &t.plan.Started
	job.CPUSeconds = cpu
	job.Rows.Total, _ = t.plan.rows()
	job.Shards = modelmanager.JobShards{Total: len(t.plan.Shards), Done: len(t.done)}
	return job
}

// overLimit tells whether the job has more rejected rows than it may. A
// percentage of rows that nobody has counted yet can only be told at the end.
func (t *tracker) overLimit() bool {
	max, err := parseLimit(t.record.Job.MaxRejected)
	if err != nil {
		return true
	}
	rows := t.rows(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.plan == nil || rows.Rejected == 0 {
		return false
	}
	total, known := t.plan.rows()
	if !known && len(t.done) == len(t.plan.Shards) {
		total, known = rows.Read, true
	}
	if max.percent >= 0 && !known {
		return false
	}
	return max.passed(rows.Rejected, total)
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
	return shard.Order{Stop: t.stopping}
}

// running tells whether attempts are under way.
func (t *tracker) running() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.live) > 0
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
	if done := t.done[index]; done != nil {
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
	if t.steps == nil {
		t.steps = make(map[platform.Step]map[int]platform.JobEvent)
	}
	if t.steps[event.Step] == nil {
		t.steps[event.Step] = make(map[int]platform.JobEvent)
	}
	t.steps[event.Step][event.Index] = event
	if event.State != platform.TaskRunning {
		delete(t.live, event.Index) // or done, or about to start anew
		if t.overAt == nil {
			t.overAt = make(map[int]time.Time)
		}
		t.overAt[event.Index] = time.Now()
	}
	t.mu.Unlock()
	t.notify()
}

// busy tells whether the platform runs tasks of the job.
func (t *tracker) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tasks := range t.steps {
		for index, event := range tasks {
			if index >= 0 && event.State == platform.TaskRunning {
				return true
			}
		}
	}
	return false
}

// waitsFor says why nothing of the job runs, as this server or another has it
// from the platform. The caller holds the lock.
func (t *tracker) waitsFor(now time.Time) string {
	if reason := t.platformWaits(); reason != "" {
		return reason
	}
	for _, server := range slices.Sorted(maps.Keys(t.heardWaits)) {
		if heard := t.heardWaits[server]; heard.reason != "" && now.Before(heard.until) {
			return heard.reason
		}
	}
	return ""
}

// platformWaits says why nothing of the job runs, where the platform does. The
// caller holds the lock.
func (t *tracker) platformWaits() string {
	first, reason := -1, ""
	for _, tasks := range t.steps {
		for index, event := range tasks {
			switch {
			case index < 0:
			case event.State == platform.TaskRunning:
				return ""
			case event.State == platform.TaskWaiting && (first < 0 || index < first):
				first, reason = index, event.Reason
			}
		}
	}
	return reason
}

// ended returns the event that ended a step.
func (t *tracker) ended(step platform.Step) (platform.JobEvent, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	event, ok := t.steps[step][-1]
	return event, ok
}

// failures returns the tasks of a step that failed for good, and whose shards
// aren't done, in order.
func (t *tracker) failures(step platform.Step) []platform.JobEvent {
	t.mu.Lock()
	defer t.mu.Unlock()
	var failures []platform.JobEvent
	for index, event := range t.steps[step] {
		if index >= 0 && event.State == platform.TaskFailed && t.done[index] == nil {
			failures = append(failures, event)
		}
	}
	slices.SortFunc(failures, func(a, b platform.JobEvent) int { return a.Index - b.Index })
	return failures
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
