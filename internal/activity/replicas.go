package activity

import (
	"slices"
	"sync"
	"time"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// replicas remembers how many replicas versions had in the last hour.
type replicas struct {
	mu       sync.Mutex
	stages   map[platform.Ref]map[string]agent.Stage // of those there are
	history  map[platform.Ref][]mark
	models   map[string]map[int]bool // the versions in history
	tidiedAt int64
}

// mark notes a minute in which the number of a version's ready replicas
// changed; it stays what it was until the next one.
type mark struct {
	minute     int64 // seconds since 1970
	most, last int
}

func newReplicas() *replicas {
	return &replicas{
		stages: map[platform.Ref]map[string]agent.Stage{}, history: map[platform.Ref][]mark{}, models: map[string]map[int]bool{},
	}
}

func (r *replicas) changed(now time.Time, event platform.ReplicaEvent) {
	if event.Synced {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ref, id := event.Replica.Ref, event.Replica.ID
	if event.Gone {
		delete(r.stages[ref], id)
		if len(r.stages[ref]) == 0 {
			delete(r.stages, ref)
		}
	} else {
		if r.stages[ref] == nil {
			r.stages[ref] = map[string]agent.Stage{}
		}
		r.stages[ref][id] = event.Replica.Stage
	}
	ready, _ := r.count(ref)
	r.note(ref, floor(now.Unix(), coarse), ready)
	r.tidy(now)
}

// count returns how many of a version's replicas answer, and how many don't;
// r.mu is held.
func (r *replicas) count(ref platform.Ref) (ready, pending int) {
	for _, stage := range r.stages[ref] {
		if stage == agent.StageReady {
			ready++
		} else {
			pending++
		}
	}
	return ready, pending
}

func (r *replicas) note(ref platform.Ref, minute int64, ready int) {
	marks := r.history[ref]
	n := len(marks)
	switch {
	case n == 0 && ready == 0:
		return
	case n > 0 && marks[n-1].last == ready:
		return
	case n > 0 && marks[n-1].minute >= minute:
		marks[n-1].most, marks[n-1].last = max(marks[n-1].most, ready), ready
	case n > 0:
		marks = append(marks, mark{minute: minute, most: max(marks[n-1].last, ready), last: ready})
	default:
		marks = []mark{{minute: minute, most: ready, last: ready}}
	}
	r.history[ref] = marks
	if r.models[ref.Model] == nil {
		r.models[ref.Model] = map[int]bool{}
	}
	r.models[ref.Model][ref.Version] = true
}

// tidy drops what is older than an hour, at most once a minute; r.mu is held.
func (r *replicas) tidy(now time.Time) {
	minute := floor(now.Unix(), coarse)
	if minute == r.tidiedAt {
		return
	}
	r.tidiedAt = minute
	oldest := minute - int64(Kept/time.Second)
	for ref, marks := range r.history {
		old := 0
		for old+1 < len(marks) && marks[old+1].minute <= oldest {
			old++
		}
		marks = slices.Clone(marks[old:])
		r.history[ref] = marks
		if len(marks) == 1 && marks[0].last == 0 && marks[0].minute < oldest {
			delete(r.history, ref)
			delete(r.models[ref.Model], ref.Version)
			if len(r.models[ref.Model]) == 0 {
				delete(r.models, ref.Model)
			}
		}
	}
}

// running returns how many replicas each version has that has any.
func (r *replicas) running(now time.Time) map[platform.Ref][2]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tidy(now)
	found := make(map[platform.Ref][2]int, len(r.stages))
	for ref := range r.stages {
		ready, pending := r.count(ref)
		found[ref] = [2]int{ready, pending}
	}
	return found
}

// minutes returns how many replicas a model's versions had at most, in each of
// n minutes from a first one.
func (r *replicas) minutes(model string, from int64, n int) map[int][]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[int][]int{}
	for version := range r.models[model] {
		counts := make([]int, n)
		marks, last := r.history[platform.Ref{Model: model, Version: version}], 0
		for i := range counts {
			minute := from + int64(i)*int64(coarse/time.Second)
			most := last
			for len(marks) > 0 && marks[0].minute <= minute {
				most, last = marks[0].last, marks[0].last
				if marks[0].minute == minute {
					most = marks[0].most
				}
				marks = marks[1:]
			}
			counts[i] = most
		}
		found[version] = counts
	}
	return found
}
