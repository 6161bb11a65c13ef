package platform

import "sync"

// subscribers passes events on to functions, each in a goroutine of its own
// and in order, so that none holds up another. Its methods are called one at a
// time.
type subscribers[T any] struct {
	next   int
	queues map[int]*subscription[T]
}

type subscription[T any] struct {
	mu    sync.Mutex
	wake  *sync.Cond
	items []T
	ended bool
}

func newSubscribers[T any]() *subscribers[T] {
	return &subscribers[T]{queues: map[int]*subscription[T]{}}
}

// add starts a subscription with some first events.
func (s *subscribers[T]) add(each func(T), first []T) (id int) {
	q := &subscription[T]{items: first}
	q.wake = sync.NewCond(&q.mu)
	s.next++
	s.queues[s.next] = q
	go q.run(each)
	return s.next
}

func (s *subscribers[T]) remove(id int) {
	q := s.queues[id]
	if q == nil {
		return
	}
	delete(s.queues, id)
	q.mu.Lock()
	q.ended, q.items = true, nil
	q.mu.Unlock()
	q.wake.Signal()
}

func (s *subscribers[T]) tell(event T) {
	for _, q := range s.queues {
		q.mu.Lock()
		q.items = append(q.items, event)
		q.mu.Unlock()
		q.wake.Signal()
	}
}

func (q *subscription[T]) run(each func(T)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.ended {
		if len(q.items) == 0 {
			q.wake.Wait()
			continue
		}
		item := q.items[0]
		q.items = q.items[1:]
		q.mu.Unlock()
		each(item)
		q.mu.Lock()
	}
}
