package auth

import (
	"sync"
	"time"
)

// bounded is a map that many read and few write, of limited size. A full one
// makes room by what is over, else by any entry: tokens can be made up faster
// than anything could be kept about them.
type bounded[K comparable, V any] struct {
	limit int
	over  func(V, time.Time) bool

	mu      sync.RWMutex
	entries map[K]V
}

func newBounded[K comparable, V any](limit int, over func(V, time.Time) bool) *bounded[K, V] {
	return &bounded[K, V]{limit: limit, over: over, entries: map[K]V{}}
}

func (b *bounded[K, V]) get(k K) (V, bool) {
	b.mu.RLock()
	v, ok := b.entries[k]
	b.mu.RUnlock()
	return v, ok
}

func (b *bounded[K, V]) put(k K, v V, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.entries[k]; !there && len(b.entries) >= b.limit {
		b.makeRoom(now)
	}
	b.entries[k] = v
}

func (b *bounded[K, V]) drop(k K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.entries, k)
}

// makeRoom looks at some entries, in no order; b.mu is held.
func (b *bounded[K, V]) makeRoom(now time.Time) {
	looked, dropped := 0, 0
	for k, v := range b.entries {
		if b.over(v, now) {
			delete(b.entries, k)
			dropped++
		}
		if looked++; looked == 32 {
			break
		}
	}
	if dropped > 0 {
		return
	}
	for k := range b.entries {
		delete(b.entries, k)
		return
	}
}
