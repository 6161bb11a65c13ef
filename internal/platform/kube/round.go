package kube

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev/internal/pause"
)

// Times of the rounds in which steps take turns.
const (
	roundAfter = 100 * time.Millisecond // of a change, so that one round sees several
	roundEvery = time.Second            // while pods wait: some of it is a matter of time
	// endedFor is how long a pod that has ended counts as one that runs: the
	// cluster's controller may hear of its end later than we do, and would stop
	// another one for it. It replaces pods only a second after their end.
	endedFor = 250 * time.Millisecond
	// nudgeEvery is how often the controller of a Job that couldn't make pods is
	// asked to try again, where there is room now: by itself it waits up to a minute.
	nudgeEvery = 5 * time.Second
)

// seat is a pod of a step that has not ended, or only just.
type seat struct {
	placed  bool      // it has a node
	waiting bool      // no node has room for it
	ended   time.Time // zero: it has not
}

// setSeat notes where a pod of a step stands.
func (s *watchedStep) setSeat(pod *corev1.Pod) {
	old, known := s.seats[pod.UID]
	now := seat{placed: pod.Spec.NodeName != ""}
	if c := condition(pod, corev1.PodScheduled); !now.placed && c != nil {
		now.waiting = c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
	}
	switch {
	case !ended(pod) && pod.DeletionTimestamp == nil:
		if !known {
			s.stirred = time.Now()
		}
		s.seats[pod.UID] = now
	case known && old.placed && old.ended.IsZero():
		old.ended, s.stirred = time.Now(), time.Now()
		s.seats[pod.UID] = old
	case known && !old.placed:
		delete(s.seats, pod.UID)
	}
}

// turn is how a step stands; ok is false for one that isn't ours to hold back.
// Stuck is how long a Job may be without the pods that it may have.
func (s *watchedStep) turn(now time.Time, stuck time.Duration) (t turn, unmade int, ok bool) {
	if s.job == nil || !s.begun || s.over || s.gone || s.job.DeletionTimestamp != nil || suspended(s.job) || s.job.Labels[labelQueue] != "" {
		return turn{}, 0, false
	}
	t = turn{wanted: wantedParallelism(s.job), now: s.parallelism}
	for i := range s.tasks {
		if !s.tasks[i].final() {
			t.left++
		}
	}
	pods := 0
	for uid, seat := range s.seats {
		switch {
		case seat.ended.IsZero():
			pods++
		case now.Sub(seat.ended) >= endedFor:
			delete(s.seats, uid)
			continue
		}
		switch {
		case seat.placed:
			t.placed++
			if !seat.ended.IsZero() {
				t.ending++
			}
		case seat.waiting:
			t.waiting++
		default:
			t.made++
		}
	}
	// A quota, say, doesn't even let them be made.
	if missing := min(t.now, t.left) - pods; missing > 0 && now.Sub(s.stirred) > stuck {
		unmade = missing
		t.waiting += missing
	}
	return t, unmade, t.wanted > 0 && t.left > 0
}

// justEnded tells whether a pod of the step has ended that still counts.
func (s *watchedStep) justEnded() bool {
	for _, seat := range s.seats {
		if !seat.ended.IsZero() {
			return true
		}
	}
	return false
}

// setParallelism notes what a Job may run at a time, from a state of it that is
// no older than the last one noted.
func (s *watchedStep) setParallelism(job *batchv1.Job) {
	if job.Generation >= s.generation && job.Spec.Parallelism != nil {
		s.generation, s.parallelism = job.Generation, int(*job.Spec.Parallelism)
	}
}

// wantedParallelism is how many tasks at a time were asked for.
func wantedParallelism(job *batchv1.Job) int {
	if n, err := strconv.Atoi(job.Annotations[annotationParallelism]); err == nil {
		return n
	}
	if job.Spec.Parallelism == nil {
		return 1
	}
	return int(*job.Spec.Parallelism) // of a server that had no turns
}

// rounds lets the steps take turns, until the watch ends.
func (w *taskWatch) rounds() {
	var room room
	for again := time.Duration(0); ; {
		var later <-chan time.Time
		if again > 0 {
			later = time.After(again)
		}
		select {
		case <-w.ctx.Done():
			return
		case <-later:
		case <-w.stir:
		}
		if !pause.For(w.ctx, roundAfter) {
			return
		}
		var changes []turnChange
		changes, again = w.round(&room, time.Now())
		for _, change := range changes {
			w.apply(change)
		}
	}
}

// stirs asks for a round soon.
func (w *taskWatch) stirs() {
	select {
	case w.stir <- struct{}{}:
	default:
	}
}

// turnChange is what a round changes of a step's Job.
type turnChange struct {
	step     *watchedStep
	job      *batchv1.Job
	old, new int
	nudge    bool // its controller should try to make pods again
}

// round decides how many tasks of each step may run at a time, and when the
// next round is due though nothing changes; 0: none is.
func (w *taskWatch) round(room *room, now time.Time) (changes []turnChange, again time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ready {
		return nil, 0
	}
	var steps []*watchedStep
	for _, s := range w.steps {
		steps = append(steps, s)
	}
	slices.SortFunc(steps, func(a, b *watchedStep) int { return strings.Compare(string(a.uid), string(b.uid)) })
	var turns []turn
	var uids []types.UID
	var unmade []int
	kept := steps[:0]
	placed := 0
	for _, s := range steps {
		t, missing, ok := s.turn(now, w.driver.options.Stuck)
		if !ok {
			continue
		}
		kept, turns, uids, unmade = append(kept, s), append(turns, t), append(uids, s.uid), append(unmade, missing)
		placed += t.placed
		// Some pods wait, or are to be made, and may turn out not to be.
		if again == 0 && (t.waiting > 0 || t.placed < min(t.wanted, t.left)) {
			again = roundEvery
		}
		if s.justEnded() {
			again = endedFor
		}
	}
	size := room.note(now, uids, turns)
	for i, next := range takeTurns(size, turns) {
		s := kept[i]
		nudge := unmade[i] > 0 && size > placed && now.Sub(s.nudged) >= nudgeEvery
		if !w.driver.takes(s.key) || next == turns[i].now && !nudge {
			continue
		}
		if nudge {
			s.nudged = now
		}
		changes = append(changes, turnChange{step: s, job: s.job, old: turns[i].now, new: next, nudge: nudge})
	}
	return changes, again
}

// apply changes a step's Job, unless another server has just done so.
func (w *taskWatch) apply(change turnChange) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	note := func(annotation, value string) operation {
		return operation{"add", "/metadata/annotations/" + strings.ReplaceAll(annotation, "/", "~1"), value}
	}
	operations := []operation{
		{"test", "/metadata/uid", change.job.UID},
		{"test", "/spec/parallelism", change.old},
		{"replace", "/spec/parallelism", change.new},
		note(annotationParallelism, strconv.Itoa(wantedParallelism(change.job))),
	}
	if change.nudge {
		operations = append(operations, note(annotationNudged, time.Now().UTC().Format(time.RFC3339Nano)))
	}
	patch, err := json.Marshal(operations)
	if err != nil {
		w.driver.options.Logger.Error("writing the turn of a Job", "job", change.job.Name, "error", err)
		return
	}
	job, err := w.driver.client.BatchV1().Jobs(change.job.Namespace).Patch(w.ctx, change.job.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		w.mu.Lock()
		change.step.setParallelism(job)
		w.mu.Unlock()
		w.driver.options.Logger.Debug("a job's turn", "job", change.job.Name, "from", change.old, "to", change.new)
	case apierrors.IsNotFound(err), apierrors.IsInvalid(err), apierrors.IsConflict(err), w.ctx.Err() != nil:
		// It has gone, or is another's work: the watch tells.
	default:
		w.driver.options.Logger.Warn("a job's turn can't be written", "job", change.job.Name, "error", err)
	}
}

// take notes that this driver was told to run a step, for as long as until isn't
// closed; others only watch it.
func (d *Driver) take(key stepKey, until <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.taken, func(_ stepKey, until <-chan struct{}) bool { return closed(until) })
	d.taken[key] = until
	for w := range d.tasks {
		w.stirs()
	}
}

func (d *Driver) takes(key stepKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	until, ok := d.taken[key]
	return ok && !closed(until)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
