package platform

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"modelmanager.dev/internal/agent"
)

// replicaTable is what the driver's watch has told of replicas.
type replicaTable struct {
	mu     sync.RWMutex
	byRef  map[Ref]map[string]Replica
	synced bool
	// fresh is nil but while a watch tells what exists: the replicas it has told of.
	fresh map[string]bool
	// dismissed replicas are about to end: they show as stopping, whatever the
	// driver still says of them, which is kept here.
	dismissed   map[string]Replica
	subscribers *subscribers[ReplicaEvent]
}

func newReplicaTable() *replicaTable {
	return &replicaTable{
		byRef: map[Ref]map[string]Replica{}, dismissed: map[string]Replica{},
		subscribers: newSubscribers[ReplicaEvent](),
	}
}

// begin says that a watch starts, which tells all that exists.
func (t *replicaTable) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh = map[string]bool{}
}

func (t *replicaTable) apply(event ReplicaEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case event.Synced:
		t.sync()
	case event.Gone:
		t.remove(event.Replica)
	default:
		r := event.Replica
		if t.byRef[r.Ref] == nil {
			t.byRef[r.Ref] = map[string]Replica{}
		}
		if t.fresh != nil {
			t.fresh[r.ID] = true
		}
		if _, ok := t.dismissed[r.ID]; ok {
			t.dismissed[r.ID] = r
			r = stopping(r)
		}
		t.set(r)
	}
}

func (t *replicaTable) set(r Replica) {
	if old, ok := t.byRef[r.Ref][r.ID]; ok && old == r {
		return // told again by a new watch
	}
	t.byRef[r.Ref][r.ID] = r
	t.subscribers.tell(ReplicaEvent{Replica: r})
}

func stopping(r Replica) Replica {
	r.Stage, r.Reason, r.Remark = agent.StageStopping, "", ""
	return r
}

// sync ends what a new watch has not told of again.
func (t *replicaTable) sync() {
	var gone []Replica
	for _, replicas := range t.byRef {
		for _, r := range replicas {
			if t.fresh != nil && !t.fresh[r.ID] {
				gone = append(gone, r)
			}
		}
	}
	for _, r := range gone {
		t.remove(r)
	}
	t.fresh = nil
	if !t.synced {
		t.synced = true
		t.subscribers.tell(ReplicaEvent{Synced: true})
	}
}

func (t *replicaTable) remove(r Replica) {
	replicas := t.byRef[r.Ref]
	if _, ok := replicas[r.ID]; !ok {
		return
	}
	delete(replicas, r.ID)
	delete(t.dismissed, r.ID)
	if len(replicas) == 0 {
		delete(t.byRef, r.Ref)
	}
	t.subscribers.tell(ReplicaEvent{Replica: r, Gone: true})
}

// dismiss says that a version's present replicas will end.
func (t *replicaTable) dismiss(ref Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, r := range t.byRef[ref] {
		if _, ok := t.dismissed[id]; !ok {
			t.dismissed[id] = r
			t.set(stopping(r))
		}
	}
}

// recall takes back what dismiss said.
func (t *replicaTable) recall(ref Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.byRef[ref] {
		if r, ok := t.dismissed[id]; ok {
			delete(t.dismissed, id)
			t.set(r)
		}
	}
}

// alive tells whether a version has a replica that is there to stay.
func (t *replicaTable) alive(ref Ref) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, r := range t.byRef[ref] {
		if r.Stage != agent.StageStopping {
			return true
		}
	}
	return false
}

func (t *replicaTable) of(ref Ref) []Replica {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]Replica, 0, len(t.byRef[ref]))
	for _, r := range t.byRef[ref] {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Replica) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (t *replicaTable) refs() ([]Ref, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Keys(t.byRef)), t.synced
}

func (t *replicaTable) isSynced() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.synced
}

func (t *replicaTable) subscribe(event func(ReplicaEvent)) (cancel func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first []ReplicaEvent
	for _, replicas := range t.byRef {
		for _, r := range replicas {
			first = append(first, ReplicaEvent{Replica: r})
		}
	}
	if t.synced {
		first = append(first, ReplicaEvent{Synced: true})
	}
	id := t.subscribers.add(event, first)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.subscribers.remove(id)
	}
}
