package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	arrowmemory "github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/serve"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/api"
	"modelmanager.dev/internal/auth"
	authlocal "modelmanager.dev/internal/auth/local"
	"modelmanager.dev/internal/batch"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/gateway"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
	platformmemory "modelmanager.dev/internal/platform/memory"
	"modelmanager.dev/internal/registry"
	registrymemory "modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/rollout"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), // idle connections of http.DefaultClient
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
	)
}

// world is a whole server over memory: the real registry, platform, gateway,
// batch service and API, and agents that are functions.
type world struct {
	t        testing.TB
	api      *api.API
	server   *httptest.Server
	client   *client.Client
	registry *registry.Registry
	bucket   *storage.Bucket
	uploads  *storage.Uploads
	gateway  *gateway.Gateway
	rollouts *rollout.Loop
	log      *syncBuffer
	allowed  string // a folder that jobs may use

	mu     sync.Mutex
	others []peers.Peer                                  // servers beside this one
	before func(ctx context.Context, s *spec.Spec) error // each call of a worker
	loads  func(ctx context.Context, s *spec.Spec) error // each start of a replica
}

// syncBuffer is a log that many write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOf(t, everybody())
}

// newWorldOf is a world whose callers are known by an Auth.
func newWorldOf(t testing.TB, callers *auth.Auth) *world {
	t.Helper()
	return newWorldOn(t, callers, registrymemory.New(), "mem://")
}

// newWorldOn is a world that keeps its models and its objects elsewhere.
func newWorldOn(t testing.TB, callers *auth.Auth, models registry.Store, objects string) *world {
	t.Helper()
	w := &world{t: t, log: &syncBuffer{}, allowed: t.TempDir()}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bucket, err := storage.Open(t.Context(), objects)
	must(err)
	locations, err := storage.NewLocations(t.Context(), []string{"file://" + filepath.ToSlash(w.allowed)})
	must(err)
	w.bucket, w.uploads = bucket, storage.NewUploads(bucket)
	w.registry = registry.New(models, registry.Options{Logger: logger})
	driver, err := platformmemory.New(platformmemory.Options{Predict: w.predict, Task: w.task, Load: w.load})
	must(err)
	runs := platform.New(driver, platform.Options{Logger: logger})
	recorder := activity.NewRecorder()
	w.gateway, err = gateway.New(gateway.Config{Registry: w.registry, Platform: runs, Workload: w.workload, Activity: recorder, Logger: logger})
	must(err)
	activities := activity.New(activity.Config{
		Recorder: recorder, Platform: runs, Peers: w, Key: []byte("peers"),
		Loads: func() (loads []activity.Load) {
			for _, load := range w.gateway.Load() {
				loads = append(loads, activity.Load{Ref: load.Ref, InFlight: load.InFlight, Waiting: load.Waiting})
			}
			return loads
		},
	})
	w.rollouts = rollout.New(rollout.Config{
		Registry: w.registry, Platform: runs, Workload: w.workload, Since: activities.Since, Every: 10 * time.Millisecond, Logger: logger,
	})
	signer := storage.NewSigner([]byte("objects"))
	internal := http.NewServeMux()
	agents := httptest.NewServer(internal)
	jobs := batch.New(batch.Config{
		Bucket: bucket, Locations: locations, Uploads: w.uploads, Signer: signer, Platform: runs, Versions: w.registry,
		Key: []byte("jobs"), Server: agents.URL, Logger: logger, Poll: 20 * time.Millisecond, Grace: time.Second,
	})
	internal.Handle(shard.PathJobs, jobs.Handler())
	internal.Handle(storage.PathObjects, storage.Handler(signer, bucket, locations))
	w.api = api.New(api.Config{
		Registry: w.registry, Platform: runs, Gateway: w.gateway, Activity: activities, Rollouts: w.rollouts, Jobs: jobs, Uploads: w.uploads, Bucket: bucket,
		Adopt: w.adopt, Auth: callers, Version: "test", Logger: logger,
	})
	w.server = httptest.NewServer(w.api)
	w.client = w.connect(w.server.URL)

	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	for _, run := range []func(context.Context) error{w.registry.Run, runs.Run, jobs.Run, w.rollouts.Run} {
		loops.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() {
		w.api.Drain()
		w.server.Close()
		if err := w.gateway.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		cancel()
		activities.Close()
		loops.Wait()
		if err := errors.Join(driver.Close(), bucket.Close()); err != nil {
			t.Error(err)
		}
		agents.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	must(w.registry.WaitSynced(t.Context()))
	return w
}

// Peers implements peers.Finder.
func (w *world) Peers(context.Context) ([]peers.Peer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.others, nil
}

// everybody may do everything.
func everybody() *auth.Auth {
	return auth.New(auth.Options{Authenticator: authlocal.Everybody{}, Authorizer: authlocal.Everybody{}})
}

func (w *world) connect(url string) *client.Client {
	w.t.Helper()
	transport := &http.Transport{}
	w.t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(url, client.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) workload(ctx context.Context, ref platform.Ref) (platform.Workload, error) {
	version, err := w.registry.Version(ctx, ref.Model, ref.Version)
	if err != nil {
		return platform.Workload{}, err
	}
	parsed, err := spec.FromCanonical(version.Spec)
	return platform.Workload{Version: version, Spec: parsed, Key: "key"}, err
}

// adopt takes any upload for an archive.
func (w *world) adopt(ctx context.Context, id string) (modelmanager.Artifact, error) {
	upload, err := w.uploads.Get(ctx, id)
	return modelmanager.Artifact{Digest: "sha256:" + upload.SHA256, Archive: "artifacts/" + upload.SHA256, Size: upload.Size}, err
}

// predict answers as an agent does: the agent's own handler, over a worker
// that is a function.
func (w *world) predict(workload platform.Workload, rw http.ResponseWriter, r *http.Request) {
	features, err := dataset.Compile(workload.Spec.Features)
	if err != nil {
		w.t.Error(err)
		return
	}
	predictions, err := dataset.Compile(workload.Spec.Predictions)
	if err != nil {
		w.t.Error(err)
		return
	}
	queue := serve.NewQueue(&multiplier{w, workload.Spec}, serve.QueueOptions{Waiting: 100, BatchRows: 100})
	defer func() { _ = queue.Drain(context.Background()) }()
	handler := &serve.Handler{
		Model: workload.Version.Model, Version: workload.Version.Number, Features: features, Predictions: predictions,
		Queue: queue, TimeoutHeader: agent.HeaderTimeout, PredictedHeader: agent.HeaderPredicted, InvalidHeader: agent.HeaderInvalid,
	}
	handler.ServeHTTP(rw, r)
}

// task runs a task of a job as an agent does.
func (w *world) task(ctx context.Context, task control.Task) error {
	run := task.Run
	config := agent.Config{Model: run.Workload.Version.Model, Task: &agent.Task{
		Server: run.Server, Token: run.Token, Job: run.Job, Step: string(run.Step), Index: task.Index, Attempt: task.Attempt,
	}}
	_, err := shard.Run(ctx, config, func(context.Context) (worker.Predictor, error) { return &multiplier{w, run.Workload.Spec}, nil })
	return err
}

// hold makes every call of a worker wait.
func (w *world) hold(before func(context.Context, *spec.Spec) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = before
}

// start makes every replica start so.
func (w *world) start(load func(context.Context, *spec.Spec) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loads = load
}

func (w *world) load(ctx context.Context, workload platform.Workload, report func(agent.Stage, string)) error {
	w.mu.Lock()
	load := w.loads
	w.mu.Unlock()
	if load == nil {
		return nil
	}
	report(agent.StageLoading, "")
	return load(ctx, workload.Spec)
}

// multiplier predicts factor times x; it refuses 13, and fails at 666.
type multiplier struct {
	*world
	spec *spec.Spec
}

func (m *multiplier) Predict(ctx context.Context, rows arrow.RecordBatch) (*worker.Answer, error) {
	m.mu.Lock()
	before := m.before
	m.mu.Unlock()
	if before != nil {
		if err := before(ctx, m.spec); err != nil {
			return nil, err
		}
	}
	factor, ok := m.spec.Params["factor"].(float64)
	if !ok {
		factor = 2
	}
	builder := array.NewFloat64Builder(arrowmemory.DefaultAllocator)
	defer builder.Release()
	answer := &worker.Answer{}
	x := rows.Column(0).(*array.Float64)
	for i := range x.Len() {
		switch value := x.Value(i); value {
		case 666:
			return nil, modelmanager.Errorf(modelmanager.CodeModelError, "the worker died")
		case 13:
			builder.AppendNull()
			answer.Errors = append(answer.Errors, modelmanager.RowError{Row: int64(i), Message: "13 brings bad luck"})
		default:
			builder.Append(factor * value)
		}
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "y", Type: arrow.PrimitiveTypes.Float64, Nullable: true}}, nil)
	answer.Record = array.NewRecordBatch(schema, []arrow.Array{builder.NewArray()}, int64(x.Len()))
	return answer, nil
}

func (m *multiplier) Close() error { return nil }

// source is a model.yaml as JSON; change may change it.
func source(name string, change func(map[string]any)) json.RawMessage {
	s := map[string]any{
		"name": name, "summary": "Some times x.", "owner": "me@example.org",
		"labels":      map[string]any{"customer": "st-mary"},
		"features":    []any{map[string]any{"name": "x", "type": "number"}},
		"predictions": []any{map[string]any{"name": "y", "type": "number"}},
		"run":         map[string]any{"python": "predict.py:predict"},
		"examples":    []any{map[string]any{"name": "one", "features": map[string]any{"x": 1}}},
	}
	if change != nil {
		change(s)
	}
	data, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return data
}

// with sets a key of a model.yaml.
func with(key string, value any) func(map[string]any) {
	return func(s map[string]any) { s[key] = value }
}

// publish publishes a version of a model.
func (w *world) publish(name string, change func(map[string]any)) modelmanager.PublishResult {
	w.t.Helper()
	result, err := w.client.Publish(w.t.Context(), name, w.publication(name, change), "")
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

func (w *world) publication(name string, change func(map[string]any)) modelmanager.PublishRequest {
	w.t.Helper()
	upload, err := w.client.Upload(w.t.Context(), "archive", strings.NewReader("the folder"))
	if err != nil {
		w.t.Fatal(err)
	}
	return modelmanager.PublishRequest{Spec: source(name, change), Artifact: modelmanager.ArtifactRef{Upload: upload.ID}}
}

// call sends a request as it is written, and returns the answer with its body.
func (w *world) call(method, path, body string, header ...string) (*http.Response, string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
			continue
		}
		request.Header.Set(header[i], header[i+1])
	}
	response, err := w.server.Client().Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response, string(data)
}

// refused checks that a call is answered with a problem of this status and code.
func (w *world) refused(status int, code modelmanager.Code, method, path, body string, header ...string) string {
	w.t.Helper()
	response, answer := w.call(method, path, body, header...)
	var problem struct {
		Type, Title, Detail string
		Status              int
		Code                modelmanager.Code
	}
	err := json.Unmarshal([]byte(answer), &problem)
	if err != nil || response.StatusCode != status || problem.Status != status || problem.Code != code ||
		problem.Title == "" || problem.Detail == "" || problem.Type != "https://modelmanager.dev/problems/"+string(code) {
		w.t.Errorf("%s %.100s %.100s: %s %.500s; want %d %s", method, path, body, response.Status, answer, status, code)
	}
	if got := response.Header.Get("Content-Type"); got != "application/problem+json" {
		w.t.Errorf("%s %.100s: a problem of type %q", method, path, got)
	}
	return problem.Detail
}

// raw sends bytes, and returns all that comes back.
func (w *world) raw(send string) string {
	w.t.Helper()
	connection, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(connection, send); err != nil {
		w.t.Fatal(err)
	}
	_ = connection.(*net.TCPConn).CloseWrite()
	data, _ := io.ReadAll(connection)
	return string(data)
}

// file writes a file that jobs may read, and returns its URI.
func (w *world) file(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.allowed, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return "file://" + filepath.ToSlash(path)
}

// table is a CSV file with rows 1 to n.
func table(n int) string {
	var b strings.Builder
	b.WriteString("id,x\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "row-%d,%d\n", i, i)
	}
	return b.String()
}

// finished submits a job and waits for its end.
func (w *world) finished(model string, request modelmanager.JobRequest) modelmanager.Job {
	w.t.Helper()
	job, err := w.client.SubmitJob(w.t.Context(), model, request, "")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	job, err = w.client.WatchJob(ctx, job.ID, func(modelmanager.Job) {})
	if err != nil {
		w.t.Fatal(err)
	}
	return job
}

// refusedWith checks an error's code.
func refusedWith(t testing.TB, code modelmanager.Code, err error) *modelmanager.Error {
	t.Helper()
	var e *modelmanager.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("the error is %v (%s), want %s", err, modelmanager.CodeOf(err), code)
	}
	return e
}

func keysOf[V any](m map[string]V) []string { return slices.Collect(maps.Keys(m)) }

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}
