package worker

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// Job is a Predictor that runs a command once a call.
type Job struct{ options Options }

// NewJob returns one.
func NewJob(options Options) *Job { return &Job{options.withDefaults()} }

// Predict runs the command.
func (j *Job) Predict(ctx context.Context, rows arrow.RecordBatch) (*Answer, error) {
	return nil, modelmanager.Errorf(modelmanager.CodeNotServed, "run.job: not yet")
}

// Close does nothing.
func (j *Job) Close() error { return nil }
