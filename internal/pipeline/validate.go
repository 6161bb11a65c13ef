package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/spec"
)

// ExampleResult is an example, and what the model answered.
type ExampleResult struct {
	Name        string          `json:"name"`
	Predictions json.RawMessage `json:"predictions,omitempty"`
	Problem     string          `json:"problem,omitempty"` // "": as expected
}

// Validator runs models' examples for real.
type Validator struct {
	Environments *environment.Manager
	Files        *Files // fetches what models name; nil: from any https address
	Scratch      string // a folder for temporary files; "": the system's

	// Secret returns what a model is given of a secret that it names; nil: nothing.
	Secret func(spec.Secret) (value string, err error)
}

// secrets returns what a model's secrets are, by their variables. None comes from
// this process's own variables by itself: what is validated is anybody's code.
func (v *Validator) secrets(t trial) (map[string]string, error) {
	values := map[string]string{}
	for i, secret := range t.Spec.Secrets {
		if v.Secret == nil {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "it wants the variable %s, and there are no secrets where it is tried", secret.Env)
		}
		value, err := v.Secret(secret)
		if err != nil {
			problem := t.place(fmt.Sprintf("secrets.%d", i))
			problem.Message = err.Error()
			return nil, spec.Problems{problem}
		}
		values[secret.Env] = value
	}
	return values, nil
}

// Validate runs a model's examples through its worker: together, reversed and
// one by one. Different answers are an error, unless its rows are dependent. What
// was found wrong with its files is in the report, too.
func (v *Validator) Validate(ctx context.Context, p *Prepared, options Options) (*Report, error) {
	report := &Report{Model: p.Spec.Name, Findings: slices.Clone(p.findings)}
	if p.skips(report) {
		return report, nil
	}
	err := v.run(ctx, trial{Prepared: p, Options: options, report: report})
	if err != nil || report.Err() != nil {
		options.sayOutput(report.Output)
	}
	if err != nil {
		return nil, err
	}
	return report, nil
}

// skips tells whether there is no point in running a model, since files of it
// aren't there yet.
func (p *Prepared) skips(report *Report) bool {
	if !slices.ContainsFunc(p.findings, func(f Finding) bool { return f.Code == FoundPointer }) {
		return false
	}
	report.Skipped = "some of its files are pointers of Git LFS"
	return true
}

// trial is one model that is run for real.
type trial struct {
	*Prepared
	Options
	report *Report
	// answered is called while the worker runs, when it has answered its
	// examples, with what came of each; may be nil.
	answered func(ctx context.Context, run *examplesRun, outcomes []outcome) error
}

// run starts a model's worker, runs its examples, and looks at what it takes.
func (v *Validator) run(ctx context.Context, t trial) (err error) {
	s, report := t.Spec, t.report
	if s.NeedsImage() {
		report.Skipped = "it runs in an image of its own, which can't be run here; publishing runs them in its place, before it takes traffic"
		return nil
	}
	secrets, err := v.secrets(t)
	if err != nil {
		return err
	}
	begin := time.Now()
	built, err := v.Environments.Prepare(ctx, environment.Need{Spec: s, Dir: t.Dir}, t.Progress)
	if err == nil {
		built, err = v.lock(ctx, t, built)
	}
	if err != nil {
		return err
	}
	report.Environment = spec.Duration(time.Since(begin).Round(time.Millisecond))

	features, err := dataset.Compile(s.Features)
	if err != nil {
		return err
	}
	predictions, err := dataset.Compile(s.Predictions)
	if err != nil {
		return err
	}
	request, err := decodeExamples(s, features)
	if err != nil {
		return err
	}
	defer request.Record.Release()

	t.say("starting %s", s.Name)
	begin = time.Now()
	runDir, err := os.MkdirTemp(v.Scratch, "validate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(runDir)
	defer func() {
		if err != nil || report.Err() != nil {
			report.Output = outputOf(runDir, t.Dir)
		}
	}()
	predictor, err := startOnce(ctx, worker.Options{
		Model: s.Name, Spec: s, Features: features, Predictions: predictions,
		Dir: t.Dir, RunDir: runDir, Environment: built, Secrets: secrets,
	})
	if err != nil {
		return fmt.Errorf("validating %s: %w", s.Name, err)
	}
	defer predictor.Close()
	report.Start = spec.Duration(time.Since(begin).Round(time.Millisecond))

	run := &examplesRun{spec: s, features: features, asks: &atWork{predictor: predictor, predictions: predictions}}
	t.say("running its examples: %d", len(s.Examples))
	outcomes, err := run.all(ctx, request.Record, report)
	if err == nil && t.answered != nil {
		err = t.answered(ctx, run, outcomes)
	}
	t.weigh(predictor)
	if err == nil {
		err = run.amongVariations(ctx, outcomes[0])
	}
	return err
}

// startOnce is worker.Start without a second try: what fails here would fail now
// and then in production, and a model that hangs is found out in half the time.
func startOnce(ctx context.Context, options worker.Options) (worker.Predictor, error) {
	if options.Spec.Run.Job != nil {
		return worker.Start(ctx, options)
	}
	supervisor := worker.NewSupervisor(options)
	for {
		changed, state := supervisor.Changed(), supervisor.State()
		switch {
		case state.Ready:
			return supervisor, nil
		case state.Failed:
			supervisor.Close() // what went wrong is known already
			return nil, modelmanager.Errorf(modelmanager.CodeModelError, "the worker can't be started: %s", state.Reason)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			supervisor.Close()
			return nil, ctx.Err()
		}
	}
}

// decodeExamples checks the examples as requests are checked.
func decodeExamples(s *spec.Spec, features *dataset.Schema) (*dataset.Request, error) {
	rows := make([]map[string]json.RawMessage, len(s.Examples))
	for i, example := range s.Examples {
		rows[i] = example.Features
	}
	body, err := json.Marshal(map[string]any{"rows": rows})
	if err != nil {
		return nil, err
	}
	request, err := features.DecodeRequest(body, len(rows))
	if err != nil {
		return nil, fmt.Errorf("reading the examples of %s: %w", s.Name, err)
	}
	if len(request.Rejected) > 0 {
		return nil, &modelmanager.Error{
			Code:   modelmanager.CodeInvalidSpec,
			Detail: fmt.Sprintf("validating %s: the examples in model.yaml don't fit its features (row 0 is the first example)", s.Name),
			Rows:   request.Rejected,
		}
	}
	return request, nil
}

// examplesRun asks for the predictions of a model's examples.
type examplesRun struct {
	spec     *spec.Spec
	features *dataset.Schema
	asks     asker
}

// asker is who is asked: the model's worker, or a version in its place.
type asker interface {
	// ask returns the outcome of each row.
	ask(ctx context.Context, rows arrow.RecordBatch) ([]outcome, error)
}

func (r *examplesRun) ask(ctx context.Context, rows arrow.RecordBatch) ([]outcome, error) {
	outcomes, err := r.asks.ask(ctx, rows)
	if err != nil {
		return nil, fmt.Errorf("validating %s: %w", r.spec.Name, err)
	}
	return outcomes, nil
}

// all runs the examples in every way, and returns what came of them together.
func (r *examplesRun) all(ctx context.Context, rows arrow.RecordBatch, report *Report) ([]outcome, error) {
	together, err := r.together(ctx, rows, report)
	if err != nil || r.spec.SeesAllRows() {
		return together, err
	}
	if oneKind(r.spec.Examples) {
		if err := r.amongOthers(ctx, together[0], nil); err != nil {
			return together, err
		}
	}
	return together, r.independent(ctx, rows, together)
}

// together runs the examples in one call, and reports what each answers.
func (r *examplesRun) together(ctx context.Context, rows arrow.RecordBatch, report *Report) ([]outcome, error) {
	together, err := r.ask(ctx, rows)
	if err != nil {
		return nil, err
	}
	for i, example := range r.spec.Examples {
		result := ExampleResult{Name: exampleName(example, i), Predictions: together[i].prediction, Problem: together[i].problem}
		if result.Problem == "" {
			result.Problem = differs(r.spec.Predictions, example, together[i].prediction)
		}
		report.Examples = append(report.Examples, result)
	}
	return together, nil
}

// independent checks that each row's predictions don't change with the rows
// beside it.
func (r *examplesRun) independent(ctx context.Context, rows arrow.RecordBatch, together []outcome) error {
	n := int(rows.NumRows())
	for i := range n {
		one := rows.NewSlice(int64(i), int64(i+1))
		alone, err := r.ask(ctx, one)
		one.Release()
		if err != nil {
			return err
		}
		if !sameOutcome(alone[0], together[i]) {
			return r.dependent(i, "alone", alone[0], "together with the other examples", together[i])
		}
	}
	reversed, err := reverse(rows)
	if err != nil {
		return err
	}
	defer reversed.Release()
	backwards, err := r.ask(ctx, reversed)
	if err != nil {
		return err
	}
	for i := range n {
		if !sameOutcome(backwards[n-1-i], together[i]) {
			return r.dependent(i, "in reverse order", backwards[n-1-i], "together with the other examples", together[i])
		}
	}
	return nil
}

func (r *examplesRun) dependent(i int, how string, got outcome, otherwise string, then outcome) error {
	return modelmanager.Errorf(modelmanager.CodeRowDependent,
		"validating %s: example %s answers %s %s, and %s %s; "+
			"predict must score each row by itself (is something ranked or normalised over the rows of a call?). "+
			"If the question really is about all rows at once, say rows: dependent",
		r.spec.Name, exampleName(r.spec.Examples[i], i), got, how, then, otherwise)
}

func exampleName(example spec.Example, i int) string {
	if example.Name != "" {
		return example.Name
	}
	return fmt.Sprint(i + 1)
}

// outcome is a row's predictions, or why there are none.
type outcome struct {
	prediction json.RawMessage
	problem    string
}

func problemOf(e modelmanager.RowError) string {
	if e.Feature != "" {
		return e.Feature + ": " + e.Message
	}
	return e.Message
}

func (o outcome) String() string {
	if o.problem != "" {
		return "“" + o.problem + "”"
	}
	return string(o.prediction)
}

// atWork asks a model's worker.
type atWork struct {
	predictor   worker.Predictor
	predictions *dataset.Schema
}

func (r *atWork) ask(ctx context.Context, rows arrow.RecordBatch) ([]outcome, error) {
	n := int(rows.NumRows())
	answer, err := r.predictor.Predict(ctx, rows)
	if err != nil {
		return nil, err
	}
	defer answer.Record.Release()
	checked, bad, err := r.predictions.CheckPredictions(answer.Record, n)
	if err != nil {
		return nil, err
	}
	defer checked.Release()
	outcomes := make([]outcome, n)
	// What the worker refused is all null, which the check need not accept.
	for _, e := range slices.Concat(bad, answer.Errors) {
		outcomes[e.Row].problem = problemOf(e)
	}
	for i := range outcomes {
		if outcomes[i].problem == "" {
			outcomes[i].prediction = r.predictions.AppendRow(nil, checked, i)
		}
	}
	return outcomes, nil
}
