package serve

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
)

// QueueOptions bound a Queue.
type QueueOptions struct {
	Waiting   int  // requests that may wait; beyond, they are refused
	BatchRows int  // rows of a micro-batch, unless one request has more
	Dependent bool // predictions look across rows: one request a call

	// Waited explains a deadline that passed before the worker took the
	// request; nil for a plain deadline_exceeded.
	Waited func(ctx context.Context) error
}

// Queue asks a predictor for one call at a time. Requests that come while it
// is busy wait, and form the next micro-batch: there is no timer. A micro-batch
// that fails is asked again request by request.
type Queue struct {
	predictor worker.Predictor
	options   QueueOptions
	wake      chan struct{}
	ended     chan struct{} // closed when the loop has ended

	mu       sync.Mutex
	waiting  []*item
	inFlight int
	calls    int64
	lastCall time.Time
	draining bool
	idle     chan struct{} // closed when draining and nothing is left
}

// Load is how busy a Queue is.
type Load struct {
	InFlight int
	Waiting  int
	Calls    int64
	LastCall time.Time
}

// item is one request in the queue.
type item struct {
	ctx     context.Context
	record  arrow.RecordBatch
	results chan result // holds one
}

type result struct {
	answer *worker.Answer
	err    error
}

// NewQueue returns a queue before predictor, which it doesn't close.
func NewQueue(predictor worker.Predictor, options QueueOptions) *Queue {
	q := &Queue{
		predictor: predictor,
		options:   options,
		wake:      make(chan struct{}, 1),
		ended:     make(chan struct{}),
		idle:      make(chan struct{}),
	}
	go q.run()
	return q
}

// Predict waits for its turn and for the answer, at most until ctx ends.
func (q *Queue) Predict(ctx context.Context, record arrow.RecordBatch) (*worker.Answer, error) {
	it := &item{ctx: ctx, record: record, results: make(chan result, 1)}
	if err := q.add(it); err != nil {
		return nil, err
	}
	select {
	case r := <-it.results:
		return r.answer, r.err
	case <-ctx.Done():
	}
	if q.remove(it) {
		return nil, q.waited(ctx)
	}
	select {
	case r := <-it.results:
		return r.answer, r.err
	default:
	}
	return nil, overdue(ctx, "the deadline passed while the model was predicting")
}

func (q *Queue) add(it *item) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.draining {
		return &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "this replica is stopping", RetryAfter: time.Second}
	}
	if len(q.waiting) >= q.options.Waiting {
		return &modelmanager.Error{Code: modelmanager.CodeTooManyRequests, RetryAfter: time.Second,
			Detail: "too many requests wait for this model already; try again later"}
	}
	q.waiting = append(q.waiting, it)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// remove takes a request back that has not been handed to the worker.
func (q *Queue) remove(it *item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.waiting {
		if other == it {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.checkIdle()
			return true
		}
	}
	return false
}

func (q *Queue) waited(ctx context.Context) error {
	if q.options.Waited != nil {
		return q.options.Waited(ctx)
	}
	return overdue(ctx, "the deadline passed while the request waited for its turn")
}

func overdue(ctx context.Context, detail string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return modelmanager.Errorf(modelmanager.CodeCancelled, "the call was cancelled: %w", ctx.Err())
	}
	return modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "%s", detail)
}

// Load returns how busy the queue is.
func (q *Queue) Load() Load {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Load{q.inFlight, len(q.waiting), q.calls, q.lastCall}
}

// Drain refuses new requests, and waits until those there are have been
// answered, or ctx ends. It is called once.
func (q *Queue) Drain(ctx context.Context) error {
	q.mu.Lock()
	q.draining = true
	q.checkIdle()
	q.mu.Unlock()
	select {
	case <-q.idle:
		<-q.ended
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	left := q.waiting
	q.waiting = nil
	q.checkIdle()
	q.mu.Unlock()
	for _, it := range left {
		it.results <- result{err: &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "this replica is stopping", RetryAfter: time.Second}}
	}
	return ctx.Err()
}

// checkIdle is called with the lock held, whenever a request leaves.
func (q *Queue) checkIdle() {
	if !q.draining || q.inFlight > 0 || len(q.waiting) > 0 {
		return
	}
	select {
	case <-q.idle:
	default:
		close(q.idle)
	}
}

func (q *Queue) run() {
	defer close(q.ended)
	for {
		select {
		case <-q.wake:
		case <-q.idle:
			return
		}
		for batch := q.next(); len(batch) > 0; batch = q.next() {
			q.ask(batch)
			q.finish(batch)
		}
	}
}

// next takes the next micro-batch out of the queue.
func (q *Queue) next() []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []*item
	var rows int64
	for len(q.waiting) > 0 {
		it := q.waiting[0]
		n := it.record.NumRows()
		if len(batch) > 0 && (q.options.Dependent || rows+n > int64(q.options.BatchRows)) {
			break
		}
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		if it.ctx.Err() != nil {
			it.results <- result{err: q.waited(it.ctx)}
			continue
		}
		batch = append(batch, it)
		rows += n
	}
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.inFlight = len(batch)
	q.checkIdle()
	return batch
}

func (q *Queue) finish(batch []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight = 0
	q.calls += int64(len(batch))
	q.lastCall = time.Now()
	q.checkIdle()
}

// ask answers every request of a micro-batch.
func (q *Queue) ask(batch []*item) {
	if len(batch) == 1 {
		q.askOne(batch[0])
		return
	}
	ctx, cancel := all(batch)
	defer cancel()
	records := make([]arrow.RecordBatch, len(batch))
	for i, it := range batch {
		records[i] = it.record
	}
	joined, err := worker.Concatenate(records[0].Schema(), records)
	if err == nil {
		var answer *worker.Answer
		if answer, err = q.predictor.Predict(ctx, joined); err == nil {
			share(batch, answer)
			return
		}
		if !worker.Attributable(err) && ctx.Err() == nil {
			for _, it := range batch {
				it.results <- result{err: err}
			}
			return
		}
	}
	for _, it := range batch {
		if it.ctx.Err() != nil {
			it.results <- result{err: overdue(it.ctx, "the deadline passed while the model was predicting")}
			continue
		}
		q.askOne(it)
	}
}

// askOne answers one request. One whose worker was killed under it is asked
// once more.
func (q *Queue) askOne(it *item) {
	answer, err := q.predictor.Predict(it.ctx, it.record)
	if worker.KilledFromOutside(err) && it.ctx.Err() == nil {
		answer, err = q.predictor.Predict(it.ctx, it.record)
	}
	it.results <- result{answer, err}
}

// all returns a context that ends when those of all requests have ended.
func all(batch []*item) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	left := len(batch)
	stops := make([]func() bool, len(batch))
	for i, it := range batch {
		stops[i] = context.AfterFunc(it.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// share gives every request its rows of an answer.
func share(batch []*item, answer *worker.Answer) {
	var from int64
	for _, it := range batch {
		to := from + it.record.NumRows()
		part := &worker.Answer{Record: answer.Record.NewSlice(from, to)}
		for _, e := range answer.Errors {
			if e.Row >= from && e.Row < to {
				e.Row -= from
				part.Errors = append(part.Errors, e)
			}
		}
		it.results <- result{answer: part}
		from = to
	}
}
