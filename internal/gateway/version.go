package gateway

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/gateway/upstream"
	"modelmanager.dev/internal/platform"
)

// version is an active version: its replicas, and its calls.
type version struct {
	ref      platform.Ref
	header   []string // the value of Model-Version; shared, never changed
	labelled bool     // has metrics of its own

	calls    atomic.Int64 // of this gateway, under way
	waiting  atomic.Int64 // of those, for a replica
	lastCall atomic.Int64 // when one began or ended
	gone     atomic.Bool  // removed from the table
	counter  *activity.Counter

	ready    atomic.Pointer[[]*replica]
	failed   atomic.Int64 // from when on, as it has replicas and all of them are failed; 0: it isn't
	workload atomic.Pointer[platform.Workload]

	mu       sync.Mutex
	replicas map[string]*replica
	changed  chan struct{} // closed, and replaced, when a replica changes
	ensured  time.Time     // when the platform was last asked to start it
}

// replica is one agent of a version.
type replica struct {
	platform.Replica
	pool        *upstream.Pool
	header      []byte // what each of its requests carries
	outstanding atomic.Int64
	suspect     atomic.Int64 // until when it is avoided: a connection to it died
	wasReady    time.Time    // when it was last seen ready; zero: never
}

func newVersion(ref platform.Ref, counter *activity.Counter) *version {
	v := &version{
		ref:      ref,
		header:   []string{strconv.Itoa(ref.Version)}[:1:1],
		counter:  counter,
		replicas: map[string]*replica{},
		changed:  make(chan struct{}),
	}
	v.ready.Store(new([]*replica))
	v.lastCall.Store(time.Now().UnixNano())
	return v
}

// enter counts a call, unless the version has been removed.
func (v *version) enter() bool {
	v.calls.Add(1)
	if v.gone.Load() {
		v.calls.Add(-1)
		return false
	}
	return true
}

// leave ends a call, and counts it.
func (v *version) leave(started time.Time, call activity.Call) {
	now := time.Now()
	v.lastCall.Store(now.UnixNano())
	call.Took = now.Sub(started)
	v.counter.Record(now, call)
	v.calls.Add(-1)
}

// drop ends a call that never was: a copy that nobody could take.
func (v *version) drop() {
	v.lastCall.Store(time.Now().UnixNano())
	v.calls.Add(-1)
}

// evict marks the version as removed, unless something needs it.
func (v *version) evict() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.replicas) > 0 {
		return false
	}
	v.gone.Store(true)
	if v.calls.Load() > 0 {
		v.gone.Store(false)
		return false
	}
	return true
}

func (v *version) isReady() bool { return len(*v.ready.Load()) > 0 }

// recovery is how long a replica that was ready may take to be so again before
// calls are refused for it: a worker that died over a bad row comes back at
// once, and the calls of others can wait for it.
const recovery = 5 * time.Second

// isFailed tells whether there is no use in waiting for a replica.
func (v *version) isFailed() bool {
	from := v.failed.Load()
	return from != 0 && time.Now().UnixNano() >= from
}

// apply takes in a replica's new state; false if the version has been removed
// from the table.
func (v *version) apply(event platform.ReplicaEvent, limits upstream.Limits) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone.Load() {
		return false
	}
	now, old := event.Replica, v.replicas[event.Replica.ID]
	if old != nil && (event.Gone || old.Network != now.Network || old.Address != now.Address || old.Key != now.Key) {
		old.pool.Close()
		delete(v.replicas, now.ID)
		old = nil
	}
	if !event.Gone {
		next := &replica{Replica: now}
		if old != nil {
			// The same agent at another stage: its connections and counts stay.
			if old.Stage == agent.StageReady {
				old.wasReady = time.Now()
			}
			old.Replica.Stage, old.Replica.Reason = now.Stage, now.Reason
			next = old
		} else {
			next.pool = upstream.NewPool(now.Network, now.Address, limits)
			next.header = []byte("Authorization: Bearer " + now.Key + "\r\n")
		}
		v.replicas[now.ID] = next
	}
	v.tell()
	return true
}

// tell publishes the replicas that take calls, and wakes who waits for them.
func (v *version) tell() {
	ready, other := make([]*replica, 0, len(v.replicas)), 0
	var failed int64 // 1 is the beginning of time: at once
	for _, r := range v.replicas {
		switch {
		case r.Stage == agent.StageReady && r.Address != "":
			ready = append(ready, r)
		case r.Stage == agent.StageFailed && r.wasReady.IsZero():
			failed = max(failed, 1)
		case r.Stage == agent.StageFailed:
			failed = max(failed, r.wasReady.Add(recovery).UnixNano())
		case r.Stage != agent.StageStopping:
			other++
		}
	}
	v.ready.Store(&ready)
	if other > 0 || len(ready) > 0 {
		failed = 0
	}
	v.failed.Store(failed)
	close(v.changed)
	v.changed = make(chan struct{})
}

// change returns a channel that is closed at the next change of a replica.
func (v *version) change() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// pick returns the ready replica with the least outstanding requests, other
// than avoid; those whose connections died lately come last. nil: there is none.
func (v *version) pick(avoid *replica) *replica {
	ready := *v.ready.Load()
	if len(ready) == 1 && ready[0] != avoid {
		return ready[0]
	}
	var best *replica
	var least int64
	start := 0
	if len(ready) > 1 {
		start = rand.IntN(len(ready)) // equals take turns
	}
	for i := range ready {
		r := ready[(start+i)%len(ready)]
		if r == avoid {
			continue
		}
		n := r.outstanding.Load()
		if until := r.suspect.Load(); until != 0 && time.Now().UnixNano() < until {
			n += 1 << 32
		}
		if best == nil || n < least {
			best, least = r, n
		}
	}
	return best
}

// has tells whether a replica still takes calls.
func (v *version) has(r *replica) bool {
	for _, other := range *v.ready.Load() {
		if other == r {
			return true
		}
	}
	return false
}

func (v *version) closeIdle(before time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.replicas {
		r.pool.CloseIdle(before)
	}
}

func (v *version) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.replicas {
		r.pool.Close()
	}
}
