package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

// doubler predicts twice x; rows whose x is in refuse are refused, calls with
// one that is in broken fail.
type doubler struct {
	refuse, broken func(x float64) bool
	before         func(ctx context.Context, rows arrow.RecordBatch) error
}

func (d *doubler) Predict(ctx context.Context, rows arrow.RecordBatch) (*worker.Answer, error) {
	if d.before != nil {
		if err := d.before(ctx, rows); err != nil {
			return nil, err
		}
	}
	x := rows.Column(0).(*array.Float64)
	builder := array.NewFloat64Builder(memory.DefaultAllocator)
	defer builder.Release()
	answer := &worker.Answer{}
	for i := range x.Len() {
		switch v := x.Value(i); {
		case d.broken != nil && d.broken(v):
			return nil, modelmanager.Errorf(modelmanager.CodeModelError, "cannot score %v", v)
		case d.refuse != nil && d.refuse(v):
			builder.AppendNull()
			answer.Errors = append(answer.Errors, modelmanager.RowError{Row: int64(i), Message: fmt.Sprintf("refuses %v", v)})
		default:
			builder.Append(2 * v)
		}
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "y", Type: arrow.PrimitiveTypes.Float64, Nullable: true}}, nil)
	answer.Record = array.NewRecordBatch(schema, []arrow.Array{builder.NewArray()}, int64(x.Len()))
	return answer, nil
}

func (d *doubler) Close() error { return nil }

// fakePlatform runs tasks as goroutines. kill, if set, is asked for each task
// when it starts, and may return when to kill it.
type fakePlatform struct {
	predictor func() worker.Predictor
	broken    error // why the model can't start
	kill      func(index, attempt int) <-chan struct{}
	full      chan struct{} // no task starts until it is closed
	twice     bool          // each task runs twice at the same time
	runDir    string        // of its agents

	mu    sync.Mutex
	steps map[string]*fakeStep
	subs  map[int]func(platform.JobEvent)
	next  int
}

type fakeStep struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (f *fakePlatform) SubscribeJobs(event func(platform.JobEvent)) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = make(map[int]func(platform.JobEvent))
	}
	f.next++
	id := f.next
	f.subs[id] = event
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, id)
	}
}

func (f *fakePlatform) emit(event platform.JobEvent) {
	f.mu.Lock()
	var subs []func(platform.JobEvent)
	for _, sub := range f.subs {
		subs = append(subs, sub)
	}
	f.mu.Unlock()
	for _, sub := range subs {
		sub(event)
	}
}

func (f *fakePlatform) StartJob(_ context.Context, run platform.JobRun) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.steps == nil {
		f.steps = make(map[string]*fakeStep)
	}
	key := run.Job + string(run.Step)
	if old := f.steps[key]; old != nil {
		select {
		case <-old.done:
		default:
			return nil // under way
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	step := &fakeStep{cancel: cancel, done: make(chan struct{})}
	f.steps[key] = step
	go f.run(ctx, run, step)
	return nil
}

func (f *fakePlatform) run(ctx context.Context, run platform.JobRun, step *fakeStep) {
	defer step.cancel()
	if f.full != nil {
		<-f.full
	}
	slots := make(chan struct{}, run.Parallelism)
	var group sync.WaitGroup
	var mu sync.Mutex
	state := platform.TaskSucceeded
	for index := range run.Count {
		if slices.Contains(run.Done, index) {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if f.task(ctx, run, index) != nil {
				mu.Lock()
				state = platform.TaskFailed
				mu.Unlock()
			}
		})
	}
	group.Wait()
	event := platform.JobEvent{Job: run.Job, Step: run.Step, Index: -1, State: state}
	if ctx.Err() != nil {
		event.State, event.Fault = platform.TaskFailed, modelmanager.CodeCancelled
	}
	close(step.done)
	f.emit(event)
}

func (f *fakePlatform) task(ctx context.Context, run platform.JobRun, index int) error {
	for attempt := 0; ; attempt++ {
		f.emit(platform.JobEvent{Job: run.Job, Step: run.Step, Index: index, Attempt: attempt, State: platform.TaskRunning})
		code, err := f.attempt(ctx, run, index, attempt)
		event := platform.JobEvent{Job: run.Job, Step: run.Step, Index: index, Attempt: attempt, State: platform.TaskSucceeded}
		if code == 0 {
			f.emit(event)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if code == agent.ExitModelFault || attempt >= run.Retries {
			event.State, event.Fault, event.Reason = platform.TaskFailed, modelmanager.CodeModelError, err.Error()
			if code != agent.ExitModelFault {
				event.Fault = modelmanager.CodeStorage
			}
			f.emit(event)
			return err
		}
	}
}

func (f *fakePlatform) attempt(ctx context.Context, run platform.JobRun, index, attempt int) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f.kill != nil {
		if when := f.kill(index, attempt); when != nil {
			go func() {
				select {
				case <-when:
					cancel()
				case <-ctx.Done():
				}
			}()
		}
	}
	config := agent.Config{Model: run.Workload.Version.Model, RunDir: f.runDir, Task: &agent.Task{
		Server: run.Server, Token: run.Token, Job: run.Job, Step: string(run.Step), Index: index, Attempt: attempt,
	}}
	start := func(context.Context) (worker.Predictor, error) { return f.predictor(), nil }
	if f.broken != nil {
		start = func(context.Context) (worker.Predictor, error) { return nil, f.broken }
	}
	if !f.twice {
		return shard.Run(ctx, config, start)
	}
	codes, errs := make([]int, 2), make([]error, 2)
	var group sync.WaitGroup
	for i := range 2 {
		group.Go(func() { codes[i], errs[i] = shard.Run(ctx, config, start) })
	}
	group.Wait()
	return max(codes[0], codes[1]), errors.Join(errs...)
}

func (f *fakePlatform) StopJob(_ context.Context, job string, step platform.Step) error {
	f.mu.Lock()
	s := f.steps[job+string(step)]
	f.mu.Unlock()
	if s != nil {
		s.cancel()
		<-s.done
	}
	return nil
}

func (f *fakePlatform) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.steps {
		select {
		case <-s.done:
		default:
			return false
		}
	}
	return true
}

type recordBatch = arrow.RecordBatch

// until waits until something is so.
func (w *world) until(so func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	defer cancel()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			w.t.Fatal("it never came")
		case <-ticker.C:
		}
	}
}

type versions struct{ version modelmanager.Version }

func (v versions) Version(_ context.Context, model string, number int) (modelmanager.Version, error) {
	if model != v.version.Model || number != v.version.Number {
		return modelmanager.Version{}, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no version %d of %s", number, model)
	}
	return v.version, nil
}

// world is a bucket, with one server at a time over it.
type world struct {
	t         testing.TB
	bucket    *storage.Bucket
	in        string // folder of an allowed prefix
	locations *storage.Locations
	uploads   *storage.Uploads
	platform  *fakePlatform
	version   modelmanager.Version
	config    Config

	mu      sync.Mutex
	handler http.Handler
	server  *httptest.Server
	service *Service
	stop    func()
}

func newWorld(t testing.TB, change func(*spec.Spec)) *world {
	t.Helper()
	return newWorldIn(t, change, "", nil)
}

// newWorldIn keeps a world's objects in a store of its own, and lets it use
// some prefixes.
func newWorldIn(t testing.TB, change func(*spec.Spec), own string, prefixes []string) *world {
	t.Helper()
	s := &spec.Spec{
		Name: "doubler", Summary: "Twice x.", Owner: "me@example.org", Serve: []modelmanager.Mode{modelmanager.Batch}, Rows: spec.Independent,
		Features:    []modelmanager.Field{{Name: "x", Type: modelmanager.Number}},
		Predictions: []modelmanager.Field{{Name: "y", Type: modelmanager.Number}},
		Run:         spec.Run{Python: "predict.py:predict"},
		Resources:   spec.Resources{CPU: 500, Memory: 512 << 20, Disk: 1 << 30},
		Batch:       spec.Batch{RowsPerShard: 100, RowsPerCall: 10, Parallelism: 4, Timeout: spec.Duration(time.Minute), Retries: 3},
	}
	if change != nil {
		change(s)
	}
	text, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, in: t.TempDir(), platform: &fakePlatform{predictor: func() worker.Predictor { return &doubler{} }}}
	w.version = modelmanager.Version{Model: "doubler", Number: 3, Spec: text, Digest: "sha256:1",
		Artifact: modelmanager.Artifact{Digest: "sha256:2"}, Source: modelmanager.Source{Commit: "abc"}}
	if own == "" {
		own, prefixes = "mem://", []string{"file://" + w.in}
	}
	if w.bucket, err = storage.Open(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	if w.locations, err = storage.NewLocations(t.Context(), prefixes); err != nil {
		t.Fatal(err)
	}
	w.uploads = storage.NewUploads(w.bucket)
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		h := w.handler
		w.mu.Unlock()
		h.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.server.Close)
	key := []byte("secret")
	w.config = Config{
		Bucket: w.bucket, Locations: w.locations, Uploads: w.uploads, Signer: storage.NewSigner(key), Platform: w.platform,
		Versions: versions{w.version}, Key: key, Server: w.server.URL, Poll: 20 * time.Millisecond, Grace: time.Second,
	}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start starts a server, in place of the one before.
func (w *world) start() {
	if w.stop != nil {
		w.stop()
	}
	service := New(w.config)
	mux := http.NewServeMux()
	mux.Handle(shard.PathJobs, service.Handler())
	mux.Handle(storage.PathObjects, storage.Handler(w.config.Signer, w.bucket, w.locations))
	w.mu.Lock()
	w.handler, w.service = mux, service
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = service.Run(ctx)
	}()
	w.stop = func() { cancel(); <-done }
}

func (w *world) file(name string, data []byte) modelmanager.JobInput {
	w.t.Helper()
	if err := os.WriteFile(w.in+"/"+name, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return modelmanager.JobInput{URI: "file://" + w.in + "/" + name}
}

// csv makes rows 1 … n with an id and x = the row's number, but for bad ones.
func csv(n int, bad map[int]string) []byte {
	var b bytes.Buffer
	b.WriteString("id,x\n")
	for i := 1; i <= n; i++ {
		x := fmt.Sprint(i)
		if text, ok := bad[i]; ok {
			x = text
		}
		fmt.Fprintf(&b, "row-%d,%s\n", i, x)
	}
	return b.Bytes()
}

func (w *world) request(input modelmanager.JobInput) Request {
	return Request{Model: "doubler", Version: 3, Input: input, Output: modelmanager.JobOutput{Add: []string{}}, By: "me"}
}

func (w *world) submit(request Request) modelmanager.Job {
	w.t.Helper()
	job, err := w.service.Submit(w.t.Context(), request)
	if err != nil {
		w.t.Fatal(err)
	}
	return job
}

// wait waits for a job's end.
func (w *world) wait(id string) modelmanager.Job {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		job, err := w.service.Get(ctx, id)
		if err != nil {
			w.t.Fatal(err)
		}
		if job.State.Final() {
			return job
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("the job is still %+v", job)
		case <-ticker.C:
		}
	}
}

// over returns a channel that is closed when a job has ended.
func (w *world) over(id string) <-chan struct{} {
	done := make(chan struct{})
	service := w.service
	go func() {
		defer close(done)
		events, err := service.Events(w.t.Context(), id)
		if err == nil {
			for range events {
			}
		}
	}()
	return done
}

func (w *world) run(request Request) modelmanager.Job {
	w.t.Helper()
	return w.wait(w.submit(request).ID)
}

func (w *world) output(id string) string {
	w.t.Helper()
	var b bytes.Buffer
	if err := w.service.Output(w.t.Context(), id, &b); err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

type rejectedRow struct {
	Row     int64           `json:"row"`
	Feature string          `json:"feature"`
	Message string          `json:"message"`
	Raw     json.RawMessage `json:"raw"`
}

func (w *world) rejected(id string) []rejectedRow {
	w.t.Helper()
	var b bytes.Buffer
	if err := w.service.Rejected(w.t.Context(), id, &b); err != nil {
		w.t.Fatal(err)
	}
	var rows []rejectedRow
	for line := range strings.Lines(b.String()) {
		var row rejectedRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			w.t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func (w *world) keys(prefix string) []string {
	w.t.Helper()
	objects, err := w.bucket.List(w.t.Context(), prefix, "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}
