package worker

import (
	"context"
	"errors"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// MaxRestarts is how often a shard may restart its worker while it looks for
// the rows at fault.
const MaxRestarts = 64

// MaxUnproven bounds the rows of a job that fail before any row of it has
// passed: beyond it the model is at fault, not the rows.
const MaxUnproven = 64

// Progress is what a Search has found so far. It is saved with the shard, so
// that its next attempt doesn't search again.
type Progress struct {
	Restarts int  `json:"restarts"`
	Passed   bool `json:"passed"` // whether the worker has answered any row
	// Guilty are the rows at fault, counted from 0 over all calls of the shard.
	Guilty []modelmanager.RowError `json:"guilty,omitempty"`
}

// ErrStopped is the error of a search that was told to stop: nothing is known
// of the rows of its call.
var ErrStopped = errors.New("the search for the rows at fault was stopped")

// FailsEverything is the fault of a model that answers no row: CodeModelError.
func FailsEverything(message string) error {
	return modelmanager.Errorf(modelmanager.CodeModelError, "the model fails on every row: %s", message)
}

// SearchOptions say how a Search works.
type SearchOptions struct {
	// Predictions checks answers; one that breaks it is the fault of a row.
	// Without it answers are taken as they are.
	Predictions *dataset.Schema
	Resume      Progress       // of an earlier attempt at the same shard, with the same rows per call
	Save        func(Progress) // called when there is something new to save; may be nil
	MaxRestarts int            // zero: MaxRestarts
	// Proven tells whether the model has answered other rows of the job, by now:
	// it decides where no row of this shard passes. Nil: there are no others.
	Proven func(ctx context.Context) (bool, error)
	// Stop, once closed, ends a search under way at once, with ErrStopped; a
	// call of which nothing has failed goes on. Nil: nothing does.
	Stop <-chan struct{}
}

// Search is a Predictor for one shard that finds the rows at fault when a call
// fails as a whole, dies or times out: it halves the call on a fresh worker
// until single rows are known. A lone row is guilty after failing twice, which
// counts only if the model answers others: whoever takes the answers looks at
// Progress.Passed. It is for one goroutine, and calls must come in the order of
// the shard's rows.
type Search struct {
	predictor Predictor
	options   SearchOptions
	progress  Progress
	offset    int64 // of the next call's first row
	chunk     int64 // rows a call may have; 0: any number
}

// restarter is a Predictor whose worker can be replaced by a fresh one.
type restarter interface {
	Restart(ctx context.Context) error
}

// NewSearch returns a Search over predictor, which it closes with itself.
func NewSearch(predictor Predictor, options SearchOptions) *Search {
	if options.MaxRestarts == 0 {
		options.MaxRestarts = MaxRestarts
	}
	progress := options.Resume
	progress.Guilty = slices.Clone(progress.Guilty)
	return &Search{predictor: predictor, options: options, progress: progress}
}

// Close closes the predictor.
func (s *Search) Close() error { return s.predictor.Close() }

// Progress returns what has been found so far.
func (s *Search) Progress() Progress {
	p := s.progress
	p.Guilty = slices.Clone(p.Guilty)
	return p
}

// proven tells whether the model has answered any row.
func (s *Search) proven(ctx context.Context) (bool, error) {
	if s.progress.Passed || s.options.Proven == nil {
		return s.progress.Passed, nil
	}
	return s.options.Proven(ctx)
}

// Predict returns an Answer in which guilty rows are null and have errors. Its
// own error is not the fault of single rows.
func (s *Search) Predict(ctx context.Context, rows arrow.RecordBatch) (*Answer, error) {
	c := &searchCall{search: s, rows: rows, base: s.offset}
	defer c.release()
	answer, err := c.predict(ctx)
	if err != nil && c.searching != nil && context.Cause(c.searching) == ErrStopped {
		err = ErrStopped // whatever the call that it ended makes of that
	}
	return answer, err
}

func (c *searchCall) predict(ctx context.Context) (*Answer, error) {
	s, rows := c.search, c.rows
	n := rows.NumRows()
	from := int64(0)
	for _, guilty := range s.progress.Guilty {
		if row := guilty.Row - c.base; row >= 0 && row < n {
			c.errors = append(c.errors, modelmanager.RowError{Row: row, Message: guilty.Message})
		}
	}
	slices.SortFunc(c.errors, func(a, b modelmanager.RowError) int { return int(a.Row - b.Row) })
	for _, known := range slices.Clone(c.errors) {
		if err := c.chunks(ctx, from, known.Row); err != nil {
			return nil, err
		}
		c.parts = append(c.parts, part{from: known.Row, to: known.Row + 1})
		from = known.Row + 1
	}
	if err := c.chunks(ctx, from, n); err != nil {
		return nil, err
	}
	s.offset += n
	return c.answer()
}

// part is an answer to the rows from … to; without one, they are guilty.
type part struct {
	from, to int64
	record   arrow.RecordBatch
}

// searchCall is one call of Predict under way.
type searchCall struct {
	search *Search
	rows   arrow.RecordBatch
	base   int64
	parts  []part
	errors []modelmanager.RowError

	searching context.Context // of all that follows a failure; nil before it
	end       context.CancelCauseFunc
}

// searchContext returns the context of all that follows a failure: it ends when the
// search is to stop, so that a call that hangs doesn't hold it up.
func (c *searchCall) searchContext(ctx context.Context) context.Context {
	if c.searching != nil {
		return c.searching
	}
	c.searching, c.end = context.WithCancelCause(ctx)
	if stop := c.search.options.Stop; stop != nil {
		go func(searching context.Context, end context.CancelCauseFunc) {
			select {
			case <-stop:
				end(ErrStopped)
			case <-searching.Done():
			}
		}(c.searching, c.end)
	}
	return c.searching
}

func (c *searchCall) release() {
	if c.end != nil {
		c.end(nil)
	}
	for _, p := range c.parts {
		if p.record != nil {
			p.record.Release()
		}
	}
}

func (c *searchCall) chunks(ctx context.Context, from, to int64) error {
	for from < to {
		end := to
		if chunk := c.search.chunk; chunk > 0 {
			end = min(to, from+chunk)
		}
		if err := c.section(ctx, from, end, true); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// section answers the rows from … to. Without ask it is known that they fail
// together, and they are halved at once.
func (c *searchCall) section(ctx context.Context, from, to int64, ask bool) error {
	if c.searching != nil {
		ctx = c.searching
	}
	if ask || to-from == 1 {
		err := c.ask(ctx, from, to)
		if err == nil || ctx.Err() != nil || !Attributable(err) {
			return err
		}
		ctx = c.searchContext(ctx)
		if err := c.search.failed(ctx, err); err != nil {
			return err
		}
		if to-from == 1 {
			return c.lone(ctx, from, err)
		}
	}
	before := len(c.search.progress.Guilty)
	restarts := c.search.progress.Restarts
	middle := from + (to-from)/2
	if err := c.section(ctx, from, middle, true); err != nil {
		return err
	}
	// Where the first half has passed whole, it is the second that fails.
	firstPassed := len(c.search.progress.Guilty) == before && c.search.progress.Restarts == restarts
	if err := c.section(ctx, middle, to, !firstPassed); err != nil {
		return err
	}
	if len(c.search.progress.Guilty) == before && (c.search.chunk == 0 || to-from <= c.search.chunk) {
		c.search.chunk = max(1, (to-from)/2) // together they are too much; apart they pass
	}
	return nil
}

// lone asks for one row a second time, on a fresh worker.
func (c *searchCall) lone(ctx context.Context, row int64, first error) error {
	s := c.search
	if r, ok := s.predictor.(restarter); ok && !Lost(first) && s.progress.Restarts < s.options.MaxRestarts {
		s.progress.Restarts++
		s.save()
		if err := r.Restart(ctx); err != nil {
			return err
		}
	}
	err := c.ask(ctx, row, row+1)
	if err == nil || ctx.Err() != nil || !Attributable(err) {
		return err
	}
	if err := s.failed(ctx, err); err != nil {
		return err
	}
	message := clip(err.Error())
	c.errors = append(c.errors, modelmanager.RowError{Row: row, Message: message})
	c.parts = append(c.parts, part{from: row, to: row + 1})
	s.progress.Guilty = append(s.progress.Guilty, modelmanager.RowError{Row: c.base + row, Message: message})
	s.save()
	if len(s.progress.Guilty) < MaxUnproven {
		return nil
	}
	proven, err := s.proven(ctx)
	if err == nil && !proven {
		err = FailsEverything(s.progress.Guilty[0].Message)
	}
	return err
}

// ask asks for the rows from … to, and keeps the answer.
func (c *searchCall) ask(ctx context.Context, from, to int64) error {
	s := c.search
	if ctx.Err() != nil {
		return modelmanager.Errorf(modelmanager.CodeCancelled, "the call was cancelled: %w", context.Cause(ctx))
	}
	rows := c.rows.NewSlice(from, to)
	defer rows.Release()
	answer, err := s.predictor.Predict(ctx, rows)
	if err != nil {
		return err
	}
	record, refused := answer.Record, answer.Errors
	if s.options.Predictions != nil {
		checked, bad, err := s.options.Predictions.CheckPredictions(record, int(to-from))
		record.Release()
		if err != nil {
			return err
		}
		record, refused = checked, merge(refused, bad)
	}
	if !s.progress.Passed {
		s.progress.Passed = true
		s.save()
	}
	c.parts = append(c.parts, part{from, to, record})
	for _, r := range refused {
		r.Row += from
		c.errors = append(c.errors, r)
	}
	return nil
}

// merge adds what is wrong with answers to the rows that the model refused.
func merge(refused, bad []modelmanager.RowError) []modelmanager.RowError {
	if len(bad) == 0 {
		return refused
	}
	named := make(map[int64]bool, len(refused))
	for _, r := range refused {
		named[r.Row] = true
	}
	for _, b := range bad {
		if !named[b.Row] {
			refused = append(refused, b)
		}
	}
	return refused
}

// failed counts a failed call.
func (s *Search) failed(ctx context.Context, err error) error {
	if !Lost(err) {
		return nil
	}
	s.progress.Restarts++
	s.save()
	if s.progress.Restarts <= s.options.MaxRestarts {
		return nil
	}
	if proven, unknown := s.proven(ctx); unknown != nil {
		return unknown
	} else if !proven {
		return FailsEverything(clip(err.Error()))
	}
	return modelmanager.Errorf(modelmanager.CodeModelError,
		"the worker had to be restarted more than %d times to find the rows at fault; the last time: %w", s.options.MaxRestarts, err)
}

func (s *Search) save() {
	if s.options.Save != nil {
		s.options.Save(s.Progress())
	}
}

// answer puts the parts together.
func (c *searchCall) answer() (*Answer, error) {
	slices.SortFunc(c.errors, func(a, b modelmanager.RowError) int { return int(a.Row - b.Row) })
	if len(c.parts) == 1 && c.parts[0].record != nil {
		record := c.parts[0].record
		c.parts = nil
		return &Answer{Record: record, Errors: c.errors}, nil
	}
	slices.SortFunc(c.parts, func(a, b part) int { return int(a.from - b.from) })
	schema := c.schema()
	records := make([]arrow.RecordBatch, 0, len(c.parts))
	defer func() {
		for _, r := range records {
			r.Release()
		}
	}()
	for _, p := range c.parts {
		if p.record == nil {
			records = append(records, nullRecord(schema, p.to-p.from))
			continue
		}
		p.record.Retain()
		records = append(records, p.record)
	}
	record, err := Concatenate(schema, records)
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidPredictions, "the worker's answers differ in type from call to call: %w", err)
	}
	return &Answer{Record: record, Errors: c.errors}, nil
}

func (c *searchCall) schema() *arrow.Schema {
	for _, p := range c.parts {
		if p.record != nil {
			return p.record.Schema()
		}
	}
	if c.search.options.Predictions != nil {
		return c.search.options.Predictions.Arrow()
	}
	return arrow.NewSchema(nil, nil)
}
