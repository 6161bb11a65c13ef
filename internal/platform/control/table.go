package control

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"modelmanager.dev/internal/platform"
)

// Table is the set of replicas there are, with their watchers. It is used by
// many goroutines at once.
type Table struct {
	mu       sync.Mutex
	replicas map[string]platform.Replica
	watchers map[*queue[platform.ReplicaEvent]]struct{}
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		replicas: map[string]platform.Replica{},
		watchers: map[*queue[platform.ReplicaEvent]]struct{}{},
	}
}

// Set keeps a replica's state, and tells the watchers if it changed.
func (t *Table) Set(replica platform.Replica) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.replicas[replica.ID]; ok && old == replica {
		return
	}
	t.replicas[replica.ID] = replica
	t.tell(platform.ReplicaEvent{Replica: replica})
}

// Remove forgets a replica, and tells the watchers that it is gone.
func (t *Table) Remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	replica, ok := t.replicas[id]
	if !ok {
		return
	}
	delete(t.replicas, id)
	t.tell(platform.ReplicaEvent{Replica: replica, Gone: true})
}

func (t *Table) tell(event platform.ReplicaEvent) {
	for q := range t.watchers {
		q.put(event)
	}
}

// Watch follows the contract of platform.Driver.WatchReplicas.
func (t *Table) Watch(ctx context.Context, event func(platform.ReplicaEvent)) error {
	q := newQueue[platform.ReplicaEvent]()
	t.mu.Lock()
	existing := make([]platform.Replica, 0, len(t.replicas))
	for _, replica := range t.replicas {
		existing = append(existing, replica)
	}
	slices.SortFunc(existing, func(a, b platform.Replica) int { return cmp.Compare(a.ID, b.ID) })
	for _, replica := range existing {
		q.put(platform.ReplicaEvent{Replica: replica})
	}
	q.put(platform.ReplicaEvent{Synced: true})
	t.watchers[q] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.watchers, q)
		t.mu.Unlock()
	}()
	return q.drain(ctx, event)
}
