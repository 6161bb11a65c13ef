// Package worker runs a worker, the data scientist's own process, and asks it
// for predictions (docs/worker-protocol.md). A process is started clean, watched and killed
// with all its children; a connection speaks a protocol with it; a Supervisor
// starts it again when it dies; a Search finds the rows that a worker fails on.
//
// Nothing that a worker does is trusted: not its answers, not their size, not
// that it ends when it is told to.
package worker

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// Answer is what a worker says of the rows that it was asked for.
type Answer struct {
	// Record has one row per row asked, in the same order; a row that was
	// refused is all null. Its types are as the worker sent them: the schema's
	// CheckPredictions has the last word.
	Record arrow.RecordBatch
	// Errors holds the rows that the worker refused, with its reasons.
	Errors []modelmanager.RowError
}

// Predictor answers rows. Its errors are *modelmanager.Error with
// CodeModelError (the worker failed, died or took too much memory),
// CodeDeadlineExceeded (it took too long), CodeInvalidPredictions (the answer
// doesn't fit the question), CodeUnavailable (try again: the worker can't
// right now) or CodeCancelled.
type Predictor interface {
	Predict(ctx context.Context, rows arrow.RecordBatch) (*Answer, error)
	// Close ends the worker. It is called once, and no call is under way.
	Close() error
}
