package control

import (
	"context"
	"sync"

	"modelmanager.dev/internal/platform"
)

// keptEvents bounds what a Feed keeps while nobody watches.
const keptEvents = 100_000

// keptLogs is how many events a Feed may keep and still take one with a log.
const keptLogs = 1000

// Feed passes events of jobs on to its watchers. What happens while nobody
// watches is kept for the next one, so that a watch that broke off loses
// nothing. It is used by many goroutines at once.
type Feed struct {
	mu       sync.Mutex
	kept     []platform.JobEvent
	watchers map[*queue[platform.JobEvent]]struct{}
}

// NewFeed returns a feed without watchers.
func NewFeed() *Feed {
	return &Feed{watchers: map[*queue[platform.JobEvent]]struct{}{}}
}

// Emit tells an event to every watcher.
func (f *Feed) Emit(event platform.JobEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.watchers) == 0 {
		if event.Log != "" && len(f.kept) >= keptLogs {
			return
		}
		if len(f.kept) == keptEvents {
			f.kept = f.kept[:copy(f.kept, f.kept[keptEvents/2:])]
		}
		f.kept = append(f.kept, event)
		return
	}
	for q := range f.watchers {
		q.put(event)
	}
}

// Watch follows the contract of platform.Driver.WatchJobs.
func (f *Feed) Watch(ctx context.Context, event func(platform.JobEvent)) error {
	q := newQueue[platform.JobEvent]()
	f.mu.Lock()
	q.put(f.kept...)
	f.kept = nil
	f.watchers[q] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers, q)
		f.mu.Unlock()
	}()
	return q.drain(ctx, event)
}
