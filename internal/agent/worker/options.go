package worker

import (
	"io"
	"log/slog"
	"time"

	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/spec"
)

// Options say which worker to run, and how.
type Options struct {
	Model       string
	Version     int
	Spec        *spec.Spec
	Features    *dataset.Schema // of Spec.Features
	Predictions *dataset.Schema // of Spec.Predictions

	Dir         string // the model's folder: the worker's working directory
	RunDir      string // its $HOME and $TMPDIR, and where its log is kept
	Environment environment.Environment
	Secrets     map[string]string // values of the spec's secrets, by their variables; those that aren't there are left out
	Zygote      string            // socket of a pre-imported parent to fork from; may be ""

	// Back-off between restarts. Zero: 100 ms, growing to 30 s.
	BackoffInitial time.Duration
	BackoffMax     time.Duration

	// Grace is what a worker gets to end by itself, after the end of its
	// requests and again after SIGTERM. Zero: 2 s.
	Grace time.Duration

	// AnswerLimit bounds one answer, in bytes. Zero: 64 MiB.
	AnswerLimit int64

	// Output also takes what the worker writes, as much of it as the log keeps.
	Output io.Writer    // may be nil
	Reaper *Reaper      // may be nil
	Logger *slog.Logger // may be nil: nothing is logged
}

// withDefaults returns o with its zero fields filled in.
func (o Options) withDefaults() Options {
	if o.BackoffInitial == 0 {
		o.BackoffInitial = 100 * time.Millisecond
	}
	if o.BackoffMax == 0 {
		o.BackoffMax = 30 * time.Second
	}
	if o.Grace == 0 {
		o.Grace = 2 * time.Second
	}
	if o.AnswerLimit == 0 {
		o.AnswerLimit = 64 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o *Options) startTimeout() time.Duration {
	if d := time.Duration(o.Spec.Timeouts.Start); d > 0 {
		return d
	}
	return time.Minute
}

func (o *Options) predictTimeout() time.Duration {
	if d := time.Duration(o.Spec.Timeouts.Predict); d > 0 {
		return d
	}
	return 30 * time.Second
}
