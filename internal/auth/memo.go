package auth

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"modelmanager.dev"
)

// Times of asking.
const (
	askTimeout = 5 * time.Second
	askAgain   = 5 * time.Second  // after a driver couldn't be asked
	awayFor    = 30 * time.Second // so long nobody waits for a driver that couldn't be asked
	patience   = time.Second      // how long one waits who has an old answer already
	asksAtOnce = 64
)

// finding is what asking a driver led to.
type finding struct {
	who   *Identity
	asked time.Time // when the oldest answer that it stands on was asked for
}

// memo remembers who was found for a key, and who wasn't.
type memo[K comparable] struct {
	good *bounded[K, *entry]
	bad  *bounded[K, refusal]
	log  *slog.Logger
	asks chan struct{} // one token for each question under way

	mu      sync.Mutex
	flights map[K]*flight
	warned  time.Time
}

// entry is a good answer. A key's entry is replaced, never changed.
type entry struct {
	who   *Identity
	asked time.Time
	renew time.Time // from then on it is asked for anew, in the background
	stale time.Time // from then on it is void
	away  atomic.Int64
}

type refusal struct {
	err   error
	until time.Time
}

// flight is a question under way; many may wait for it.
type flight struct {
	done chan struct{}
	who  *Identity
	err  error
}

func newMemo[K comparable](entries int, log *slog.Logger) *memo[K] {
	return &memo[K]{
		good: newBounded[K](entries, func(e *entry, now time.Time) bool { return !now.Before(e.stale) }),
		bad:  newBounded[K](entries, func(r refusal, now time.Time) bool { return !now.Before(r.until) }),
		log:  log, asks: make(chan struct{}, asksAtOnce), flights: map[K]*flight{},
	}
}

// fresh returns a good answer that needs no thought; nil if there is none.
func (m *memo[K]) fresh(k K, now time.Time) *Identity {
	if e, ok := m.good.get(k); ok && now.Before(e.renew) {
		return e.who
	}
	return nil
}

// known tells whether there is a good answer, if an old one.
func (m *memo[K]) known(k K) bool {
	e, ok := m.good.get(k)
	return ok && time.Now().Before(e.stale)
}

// asked returns when a key's good answer was asked for.
func (m *memo[K]) asked(k K) (time.Time, bool) {
	e, ok := m.good.get(k)
	if !ok {
		return time.Time{}, false
	}
	return e.asked, true
}

// get returns the answer for a key, asking if it must.
func (m *memo[K]) get(ctx context.Context, k K, ask func(context.Context) (finding, error)) (*Identity, error) {
	return m.find(ctx, k, ask, false)
}

// renewed is get for those who would rather wait than get an answer that is
// due for renewal.
func (m *memo[K]) renewed(ctx context.Context, k K, ask func(context.Context) (finding, error)) (*Identity, error) {
	return m.find(ctx, k, ask, true)
}

func (m *memo[K]) find(ctx context.Context, k K, ask func(context.Context) (finding, error), patient bool) (*Identity, error) {
	now := time.Now()
	e, ok := m.good.get(k)
	if !ok || !now.Before(e.stale) {
		if r, ok := m.bad.get(k); ok && now.Before(r.until) {
			return nil, r.err
		}
		return m.await(ctx, m.start(k, ask), nil, true)
	}
	if now.Before(e.renew) {
		return e.who, nil
	}
	failed := now.Sub(time.Unix(0, e.away.Load()))
	if failed < askAgain {
		return e.who, nil
	}
	f := m.start(k, ask)
	if !patient && now.Sub(e.asked) < allowedFor || failed < awayFor {
		return e.who, nil
	}
	return m.await(ctx, f, e, patient)
}

// await waits for an answer; an old one serves if there is none.
func (m *memo[K]) await(ctx context.Context, f *flight, old *entry, patient bool) (*Identity, error) {
	var late <-chan time.Time
	if !patient {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-f.done:
		if old != nil && modelmanager.CodeOf(f.err) == modelmanager.CodeUnavailable {
			return old.who, nil
		}
		return f.who, f.err
	case <-late:
		return old.who, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start asks, unless the same question is under way. It goes on when the one
// who asked has gone: others wait for it.
func (m *memo[K]) start(k K, ask func(context.Context) (finding, error)) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.flights[k]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	m.flights[k] = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		found, err := m.ask(ctx, ask)
		f.who, f.err = m.keep(k, found, err)
		m.mu.Lock()
		delete(m.flights, k)
		m.mu.Unlock()
		close(f.done)
	}()
	return f
}

func (m *memo[K]) ask(ctx context.Context, ask func(context.Context) (finding, error)) (finding, error) {
	select {
	case m.asks <- struct{}{}:
		defer func() { <-m.asks }()
		return ask(ctx)
	case <-ctx.Done():
		return finding{}, ctx.Err()
	}
}

// keep remembers an answer.
func (m *memo[K]) keep(k K, found finding, err error) (*Identity, error) {
	now := time.Now()
	switch modelmanager.CodeOf(err) {
	case "":
		m.good.put(k, newEntry(found, now), now)
		m.bad.drop(k)
		return found.who, nil
	case modelmanager.CodeUnauthenticated, modelmanager.CodeForbidden:
		m.bad.put(k, refusal{err, now.Add(deniedFor)}, now)
		m.good.drop(k)
		return nil, err
	}
	if e, ok := m.good.get(k); ok {
		e.away.Store(now.UnixNano())
	}
	m.warn(now, err)
	return nil, unavailable(err)
}

func newEntry(found finding, now time.Time) *entry {
	e := &entry{who: found.who, asked: found.asked, renew: found.asked.Add(renewAfter), stale: found.asked.Add(staleFor)}
	if end := found.who.Expires; !end.IsZero() {
		for _, t := range []*time.Time{&e.renew, &e.stale} {
			if end.Before(*t) {
				*t = end
			}
		}
	}
	if now.Sub(e.asked) >= allowedFor {
		e.away.Store(now.UnixNano()) // it stands on an old answer, which nobody can renew now
	}
	return e
}

// warn logs why drivers can't be asked, once in a while.
func (m *memo[K]) warn(now time.Time, err error) {
	m.mu.Lock()
	due := now.Sub(m.warned) >= awayFor
	if due {
		m.warned = now
	}
	m.mu.Unlock()
	if due {
		m.log.Warn("callers' rights can't be asked for; those who were allowed before stay so for up to 15 minutes", "error", err)
	}
}

func unavailable(err error) error {
	var e *modelmanager.Error
	if errors.As(err, &e) && e.Code == modelmanager.CodeUnavailable {
		return err
	}
	e = modelmanager.Errorf(modelmanager.CodeUnavailable, "who you are and what you may do can't be checked now; try again in a moment")
	e.RetryAfter, e.Err = 2*time.Second, err
	return e
}
