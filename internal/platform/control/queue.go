package control

import (
	"context"
	"sync"
)

// queue hands values from many goroutines to one, in order. It has no bound:
// whoever puts is never held up by a slow reader.
type queue[T any] struct {
	mu     sync.Mutex
	items  []T
	signal chan struct{}
}

func newQueue[T any]() *queue[T] {
	return &queue[T]{signal: make(chan struct{}, 1)}
}

func (q *queue[T]) put(items ...T) {
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.mu.Unlock()
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// drain calls each for every value, until ctx ends.
func (q *queue[T]) drain(ctx context.Context, each func(T)) error {
	for {
		q.mu.Lock()
		items := q.items
		q.items = nil
		q.mu.Unlock()
		for _, item := range items {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			each(item)
		}
		if len(items) > 0 {
			continue
		}
		select {
		case <-q.signal:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
