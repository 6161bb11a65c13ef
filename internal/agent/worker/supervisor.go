package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cenkalti/backoff/v5"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
)

// healthyRun is how long a worker must have lived for its death to count as
// the first one again. An answer counts as well.
const healthyRun = 10 * time.Second

// givenUp is the number of failed starts in a row after which calls fail
// instead of waiting for the next one.
const givenUp = 2

// State is what a Supervisor says of its worker.
type State struct {
	Ready    bool
	Failed   bool   // it can't be started, or keeps dying; it is tried again with back-off
	Reason   string // of Failed, one sentence
	Calls    int64
	InFlight int // 0 or 1
	LastCall time.Time
	Restarts int
	PID      int
	Memory   int64         // bytes
	Next     time.Duration // of Failed: until the next try
	Trouble  string        // what was wrong with its last calls, one sentence; "" if nothing was
	Remark   string        // what is odd about it, though nothing is wrong, one sentence; "" if nothing is
}

// Supervisor keeps a worker running, and asks it for predictions, one call at
// a time. It is a Predictor that many goroutines may use. A worker that is
// lost is started again, at once after its first death, later with back-off.
type Supervisor struct {
	options Options
	log     *Log
	slot    chan *live    // holds the worker while it is ready and idle
	done    chan struct{} // closed when the loop has ended
	cancel  context.CancelFunc

	mu       sync.Mutex
	state    State
	current  *live
	changed  chan struct{} // closed and replaced when state changes
	failures int           // starts that failed, in a row
	deaths   int           // since the last answer or healthy run
	lastErr  error
	nextTry  time.Time
	recent   recent
	peak     int64         // memory of workers that are gone, bytes
	spent    time.Duration // processor time of workers that are gone
	closed   bool
	calls    sync.WaitGroup
}

// live is a worker that has loaded.
type live struct {
	process *process
	session session
	since   time.Time
	broken  chan struct{} // closed by the call that met its end
	once    sync.Once
}

// NewSupervisor starts a worker, and keeps it running until Close.
func NewSupervisor(options Options) *Supervisor {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Supervisor{
		options: options.withDefaults(),
		slot:    make(chan *live, 1),
		done:    make(chan struct{}),
		cancel:  cancel,
		changed: make(chan struct{}),
	}
	s.log = newLog(s.options.RunDir, s.options.Output)
	go s.run(ctx)
	return s
}

// run starts workers, one after another.
func (s *Supervisor) run(ctx context.Context) {
	defer close(s.done)
	waits := s.newBackOff()
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			s.update(func() { s.state.Restarts++ })
		}
		p, session, err := open(ctx, &s.options, s.log)
		if ctx.Err() != nil {
			if err == nil {
				p.stop(s.options.Grace)
			}
			return
		}
		if err != nil {
			s.startFailed(ctx, waits, err)
			continue
		}
		s.serve(ctx, &live{process: p, session: session, since: time.Now(), broken: make(chan struct{})}, waits)
	}
}

func (s *Supervisor) newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = s.options.BackoffInitial
	b.MaxInterval = s.options.BackoffMax
	b.Multiplier = 2
	b.RandomizationFactor = 0.3
	b.Reset()
	return b
}

// startFailed records why a start failed, and waits for the next.
func (s *Supervisor) startFailed(ctx context.Context, waits *backoff.ExponentialBackOff, err error) {
	wait := waits.NextBackOff()
	s.options.Logger.Warn("the worker did not start", "reason", err.Error(), "again in", wait)
	s.update(func() {
		s.failures++
		s.fail(err, wait)
	})
	pause.For(ctx, wait)
}

// fail is called with the lock held.
func (s *Supervisor) fail(err error, wait time.Duration) {
	s.lastErr = err
	s.nextTry = time.Now().Add(wait)
	s.state.Ready, s.state.Failed, s.state.Reason, s.state.PID, s.state.Memory = false, true, err.Error(), 0, 0
}

// serve offers a worker to callers until it is gone.
func (s *Supervisor) serve(ctx context.Context, l *live, waits *backoff.ExponentialBackOff) {
	s.update(func() {
		s.current = l
		s.failures = 0
		s.state.Ready, s.state.Failed, s.state.Reason, s.state.PID = true, false, "", l.process.id()
	})
	l.process.idle.Store(true)
	s.slot <- l
	select {
	case <-l.broken:
	case <-l.process.exited:
	case <-ctx.Done():
	}
	// Whoever has it puts it back, or has found it broken.
	select {
	case <-s.slot:
	default:
		select {
		case <-s.slot:
		case <-l.broken:
		}
	}
	if ctx.Err() != nil {
		l.process.stop(s.options.Grace)
		return
	}
	reason := l.process.deathReason()
	l.process.destroy(reason)
	var deaths int
	s.update(func() {
		s.current = nil
		s.peak = max(s.peak, l.process.peakMemory())
		s.spent += l.process.cpuTime()
		if time.Since(l.since) > healthyRun {
			s.deaths = 0
		}
		s.deaths++
		deaths = s.deaths
		s.state.Ready, s.state.PID, s.state.Memory = false, 0, 0
	})
	if deaths == 1 {
		waits.Reset()
		return
	}
	wait := waits.NextBackOff()
	s.options.Logger.Warn("the worker died", "reason", reason, "again in", wait)
	s.update(func() { s.fail(lost(modelmanager.CodeModelError, "%s", reason), wait) })
	pause.For(ctx, wait)
}

func (s *Supervisor) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// State returns what is known of the worker right now.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	if s.current != nil {
		state.Memory = s.current.process.resident.Load()
	}
	if state.Failed {
		state.Next = max(0, time.Until(s.nextTry))
	}
	state.Trouble, state.Remark = s.recent.sentence(time.Now()), s.remark(time.Now())
	return state
}

// Invalid tells that the answer of the last call couldn't be used, and why.
func (s *Supervisor) Invalid(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent.spoil(err, time.Now())
}

// CPU returns the processor time that workers, and the process that supervises
// them, have taken so far.
func (s *Supervisor) CPU() time.Duration {
	s.mu.Lock()
	spent, current := s.spent, s.current
	s.mu.Unlock()
	if current != nil {
		spent += current.process.cpuTime()
	}
	var own syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil {
		spent += time.Duration(own.Utime.Nano() + own.Stime.Nano())
	}
	return spent
}

// Changed returns a channel that is closed when the state changes next.
func (s *Supervisor) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// WaitReady waits until the worker is ready. It fails once the worker can't be
// started, with the reason.
func (s *Supervisor) WaitReady(ctx context.Context) error {
	for {
		s.mu.Lock()
		ready, changed, err := s.state.Ready, s.changed, s.givenUp()
		s.mu.Unlock()
		if ready || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-s.done:
			return errClosed()
		case <-ctx.Done():
			return s.Waited(ctx)
		}
	}
}

// givenUp returns why calls don't wait for a worker; nil if they do. The
// caller holds the lock.
func (s *Supervisor) givenUp() error {
	if s.failures < givenUp {
		return nil
	}
	var e *modelmanager.Error
	code := modelmanager.CodeModelError
	if errors.As(s.lastErr, &e) && e.Code != modelmanager.CodeDeadlineExceeded {
		code = e.Code
	}
	return &modelmanager.Error{Code: code, Detail: "the worker can't be started: " + s.lastErr.Error(), Err: &startError{s.lastErr}}
}

func errClosed() error {
	return &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "the worker has been stopped", RetryAfter: time.Second}
}

// Waited is the error of a caller whose time is up before the worker took its call.
func (s *Supervisor) Waited(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return modelmanager.Errorf(modelmanager.CodeCancelled, "the call was cancelled: %w", ctx.Err())
	}
	state := s.State()
	if state.Ready {
		return modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "the deadline passed while the worker was busy with other calls")
	}
	detail := "the deadline passed while the worker was loading"
	if state.Failed {
		detail = "the deadline passed while the worker could not be started: " + state.Reason
	}
	return &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: detail, RetryAfter: max(time.Second, state.Next)}
}

// Predict waits for the worker, and asks it. When ctx ends first, Predict
// returns at once; the worker finishes the call by itself.
func (s *Supervisor) Predict(ctx context.Context, rows arrow.RecordBatch) (*Answer, error) {
	l, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	type result struct {
		answer *Answer
		err    error
	}
	rows.Retain()
	if ctx.Done() == nil {
		answer, err := s.call(l, rows)
		return answer, err
	}
	results := make(chan result, 1)
	go func() {
		answer, err := s.call(l, rows)
		results <- result{answer, err}
	}()
	select {
	case r := <-results:
		return r.answer, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-results:
		return r.answer, r.err
	default:
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, modelmanager.Errorf(modelmanager.CodeCancelled, "the call was cancelled: %w", ctx.Err())
	}
	return nil, modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "the deadline passed while the worker was predicting %s", countRows(rows.NumRows()))
}

// take waits for the worker, and takes it out of its slot.
func (s *Supervisor) take(ctx context.Context) (*live, error) {
	for {
		s.mu.Lock()
		changed, err, closed := s.changed, s.givenUp(), s.closed
		if !closed && err == nil {
			s.calls.Add(1)
		}
		s.mu.Unlock()
		if closed {
			return nil, errClosed()
		}
		if err != nil {
			return nil, err
		}
		select {
		case l := <-s.slot:
			if l.process.alive() {
				return l, nil
			}
			l.once.Do(func() { close(l.broken) })
		case <-changed:
		case <-s.done:
			s.calls.Done()
			return nil, errClosed()
		case <-ctx.Done():
			s.calls.Done()
			return nil, s.Waited(ctx)
		}
		s.calls.Done()
	}
}

// call makes a call with a worker that was taken, and puts it back if it lives.
func (s *Supervisor) call(l *live, rows arrow.RecordBatch) (*Answer, error) {
	defer s.calls.Done()
	defer rows.Release()
	s.mu.Lock()
	s.state.InFlight = 1
	s.mu.Unlock()
	l.process.idle.Store(false)
	s.log.mark() // what ends it from now on has nothing to do with earlier calls
	answer, err := l.session.call(rows)
	l.process.idle.Store(true)
	s.mu.Lock()
	s.state.InFlight = 0
	s.state.Calls++
	s.state.LastCall = time.Now()
	s.recent.add(err, s.state.LastCall)
	if err == nil {
		s.deaths = 0
	}
	if Lost(err) {
		s.state.Ready = false
	}
	s.mu.Unlock()
	if Lost(err) {
		l.once.Do(func() { close(l.broken) })
	} else {
		s.slot <- l
	}
	return answer, err
}

// Restart kills the worker once it is idle; the next call meets a fresh one.
func (s *Supervisor) Restart(ctx context.Context) error {
	l, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer s.calls.Done()
	s.mu.Lock()
	s.state.Ready = false
	s.deaths = 0
	s.mu.Unlock()
	l.process.stop(s.options.Grace)
	l.once.Do(func() { close(l.broken) })
	return nil
}

// Log returns the worker's output.
func (s *Supervisor) Log() *Log { return s.log }

// Close ends the worker, and waits until nothing of it is left. A call under
// way may finish first, within the grace of Options.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.closed = true
	current := s.current
	s.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(finished)
	}()
	timer := time.NewTimer(s.options.Grace)
	defer timer.Stop()
	select {
	case <-finished:
	case <-timer.C:
		if current != nil {
			current.process.kill("the agent is stopping")
		}
	}
	s.cancel()
	<-s.done
	<-finished
	if err := s.log.Close(); err != nil {
		return fmt.Errorf("closing the worker's log: %w", err)
	}
	return nil
}
