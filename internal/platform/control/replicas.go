package control

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/platform"
)

// Instance is one replica, as the function that runs it sees it.
type Instance struct {
	ID       string
	Workload platform.Workload
	// Report tells how far the replica has come, and why it is no further.
	Report func(stage agent.Stage, reason string)
	// Remark tells what is odd about a replica that is ready; "" for nothing.
	Remark func(text string)
	// Listen tells where the replica answers, before it is ready.
	Listen func(network, address string)
}

// RunReplica runs one replica until it dies, and returns why. When ctx ends it
// drains: it finishes what it has, takes no more, ends, and returns nil.
type RunReplica func(ctx context.Context, instance *Instance) error

// Replicas keeps each version at the number of replicas it was scaled to.
type Replicas struct {
	table   *Table
	run     RunReplica
	backoff Backoff

	mu     sync.Mutex
	sets   map[platform.Ref]*replicaSet
	closed bool
	wait   sync.WaitGroup
}

type replicaSet struct {
	workload platform.Workload
	slots    []*slot // oldest first
}

// slot is one replica and, when that has died, its successors.
type slot struct {
	stop    context.CancelFunc
	mu      sync.Mutex
	current platform.Replica
}

// end makes the slot's replica drain. It shows as stopping from now on.
func (r *Replicas) end(s *slot) {
	s.mu.Lock()
	if s.current.ID != "" && s.current.Stage != agent.StageStopping {
		s.current.Stage, s.current.Reason, s.current.Since = agent.StageStopping, "", time.Now()
		r.table.Set(s.current)
	}
	s.mu.Unlock()
	s.stop()
}

// bury forgets the slot's replica; what it still reports is not heard.
func (r *Replicas) bury(s *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.table.Remove(s.current.ID)
	s.current = platform.Replica{}
}

func (s *slot) stage() agent.Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Stage
}

// NewReplicas returns a Replicas that reports to table.
func NewReplicas(table *Table, run RunReplica, backoff Backoff) *Replicas {
	return &Replicas{table: table, run: run, backoff: backoff.withDefaults(), sets: map[platform.Ref]*replicaSet{}}
}

// Scale makes a version have this many replicas from now on; see
// platform.Driver.
func (r *Replicas) Scale(workload platform.Workload, replicas int) error {
	ref := workload.Ref()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "scaling %s: the server is shutting down", ref)
	}
	set := r.sets[ref]
	if set == nil {
		if replicas == 0 {
			return nil
		}
		set = new(replicaSet)
		r.sets[ref] = set
	}
	set.workload = workload
	if replicas == platform.AtLeastOne {
		replicas = max(len(set.slots), 1)
	}
	for len(set.slots) < replicas {
		set.slots = append(set.slots, r.start(workload))
	}
	for len(set.slots) > replicas {
		i := leastUseful(set.slots)
		r.end(set.slots[i])
		set.slots = slices.Delete(set.slots, i, i+1)
	}
	if replicas == 0 {
		delete(r.sets, ref)
	}
	return nil
}

// leastUseful picks the replica to end first: one that isn't ready before one
// that is, the youngest of equals.
func leastUseful(slots []*slot) int {
	for i := len(slots) - 1; i >= 0; i-- {
		if slots[i].stage() != agent.StageReady {
			return i
		}
	}
	return len(slots) - 1
}

// Close ends every replica and waits for them.
func (r *Replicas) Close() {
	r.mu.Lock()
	r.closed = true
	for ref, set := range r.sets {
		for _, s := range set.slots {
			r.end(s)
		}
		delete(r.sets, ref)
	}
	r.mu.Unlock()
	r.wait.Wait()
}

func (r *Replicas) start(workload platform.Workload) *slot {
	ctx, cancel := context.WithCancel(context.Background())
	s := &slot{stop: cancel}
	// The first replica is told of before Scale returns, so that whoever asks
	// next sees that one is on its way.
	first := r.birth(s, workload, "")
	r.wait.Go(func() {
		defer cancel()
		r.keep(ctx, s, first)
	})
	return s
}

// keep runs a replica and its successors until ctx ends.
func (r *Replicas) keep(ctx context.Context, s *slot, instance *Instance) {
	failures := 0
	for {
		started := time.Now()
		err := r.run(ctx, instance)
		if ctx.Err() != nil {
			r.bury(s)
			return
		}
		reason := "it ended by itself"
		if err != nil {
			reason = err.Error()
		}
		wasReady := s.stage() == agent.StageReady
		if wasReady && time.Since(started) >= r.backoff.Steady {
			failures = 0
		}
		failures++
		instance.Listen("", "")
		instance.Report(agent.StageFailed, reason)
		// One that had been good is replaced at once.
		alive := failures == 1 && wasReady || pause.For(ctx, r.backoff.delay(failures))
		r.bury(s)
		if !alive || ctx.Err() != nil {
			return
		}
		if instance = r.birth(s, instance.Workload, reason); ctx.Err() != nil {
			r.bury(s) // it was ended before it could show as stopping
			return
		}
	}
}

// birth makes a new replica known. after is why the one before it died.
func (r *Replicas) birth(s *slot, workload platform.Workload, after string) *Instance {
	ref := workload.Ref()
	id := fmt.Sprintf("%s-%d-%s", ref.Model, ref.Version, strings.ToLower(rand.Text()[:8]))
	s.mu.Lock()
	s.current = platform.Replica{ID: id, Ref: ref, Key: workload.Key, Stage: agent.StageScheduling, Since: time.Now()}
	if after != "" {
		s.current.Reason = "started again after: " + after
	}
	r.table.Set(s.current)
	s.mu.Unlock()
	update := func(change func(*platform.Replica)) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.current.ID == id {
			change(&s.current)
			r.table.Set(s.current)
		}
	}
	return &Instance{
		ID:       id,
		Workload: workload,
		Report: func(stage agent.Stage, reason string) {
			update(func(replica *platform.Replica) {
				if replica.Stage == agent.StageStopping {
					return // nothing comes after it
				}
				if reason == "" && after != "" && stage != agent.StageReady {
					reason = "started again after: " + after
				}
				if replica.Stage != stage {
					replica.Since = time.Now()
				}
				replica.Stage, replica.Reason = stage, reason
				if stage != agent.StageReady {
					replica.Remark = ""
				}
			})
		},
		Remark: func(text string) {
			update(func(replica *platform.Replica) {
				if replica.Stage == agent.StageReady {
					replica.Remark = text
				}
			})
		},
		Listen: func(network, address string) {
			update(func(replica *platform.Replica) { replica.Network, replica.Address = network, address })
		},
	}
}
