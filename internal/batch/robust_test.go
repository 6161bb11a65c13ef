package batch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

// Whatever is killed, and whenever, each row is there once.
func TestKilledAttempts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, func(s *spec.Spec) { s.Batch.Retries = 6 })
		defer w.stop()
		// How many calls of the worker, over all attempts of a task, until the
		// next kill.
		kills := rapid.SliceOfN(rapid.IntRange(0, 12), 0, 3).Draw(rt, "kills")
		w.platform.twice = rapid.Bool().Draw(rt, "twice")
		restarts := rapid.IntRange(0, 2).Draw(rt, "restarts")
		var calls atomic.Int64
		var mu sync.Mutex
		kill := map[int64]chan struct{}{}
		w.platform.kill = func(index, attempt int) <-chan struct{} {
			if attempt >= len(kills) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			at := calls.Load() + int64(kills[attempt]) + 1
			if kill[at] == nil {
				kill[at] = make(chan struct{})
			}
			return kill[at]
		}
		restart := make(chan struct{}, 10)
		w.platform.predictor = func() worker.Predictor {
			return &doubler{before: func(context.Context, recordBatch) error {
				mu.Lock()
				defer mu.Unlock()
				n := calls.Add(1)
				if c := kill[n]; c != nil {
					close(c)
				}
				if n%4 == 0 {
					select {
					case restart <- struct{}{}:
					default:
					}
				}
				return nil
			}}
		}
		request := w.request(w.file("a.csv", csv(450, map[int]string{5: "x", 399: "x"})))
		request.MaxRejected = "2"
		job := w.submit(request)
		for range restarts {
			select {
			case <-restart:
				w.start()
			case <-w.over(job.ID):
			}
		}
		job = w.wait(job.ID)
		if job.State != modelmanager.JobSucceeded || job.Rows.Read != 450 || job.Rows.Rejected != 2 {
			rt.Fatalf("%+v", job)
		}
		if diff := cmp.Diff(scored(450, map[int]string{5: "", 399: ""}), normal(w.output(job.ID))); diff != "" {
			rt.Fatal(diff)
		}
		w.until(func() bool { return len(w.keys("active/")) == 0 })
		// An attempt that doesn't know yet that the job has ended may still write.
		w.until(w.platform.idle)
		if err := w.service.tidyJob(t.Context(), job.ID); err != nil {
			rt.Fatal(err)
		}
		if parts := w.keys("jobs/" + job.ID + "/parts/"); len(parts) != 5 {
			rt.Fatalf("parts left: %q", parts)
		}
	})
}

// A server that is killed is succeeded by another on the same bucket.
func TestServerIsReplaced(t *testing.T) {
	w := newWorld(t, nil)
	gate := make(chan struct{})
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(context.Context, recordBatch) error { <-gate; return nil }}
	}
	first := w.submit(w.request(w.file("a.csv", csv(250, nil))))
	w.until(func() bool { return !w.platform.idle() })
	w.start()
	second := w.submit(w.request(w.file("b.csv", csv(50, nil))))
	w.start()
	close(gate)
	for _, id := range []string{first.ID, second.ID} {
		if job := w.wait(id); job.State != modelmanager.JobSucceeded {
			t.Errorf("%+v", job)
		}
	}
}

// Agents outlive a server that is away for a moment.
func TestServerIsAway(t *testing.T) {
	w := newWorld(t, nil)
	var away atomic.Bool
	w.mu.Lock()
	inner := w.handler
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/commit") && away.CompareAndSwap(false, true) {
			// It has taken the commit, and dies before it says so.
			inner.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		if strings.HasSuffix(r.URL.Path, "/attempts") && r.Header.Get("X") == "" && away.Load() && len(r.URL.Path)%2 == 0 {
			away.Store(false)
			http.Error(rw, "starting", http.StatusServiceUnavailable)
			return
		}
		inner.ServeHTTP(rw, r)
	})
	w.mu.Unlock()
	job := w.run(w.request(w.file("a.csv", csv(250, nil))))
	if job.State != modelmanager.JobSucceeded {
		t.Errorf("%+v", job)
	}
	if diff := cmp.Diff(scored(250, nil), normal(w.output(job.ID))); diff != "" {
		t.Error(diff)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func TestCancel(t *testing.T) {
	w := newWorld(t, nil)
	gate := make(chan struct{})
	var once sync.Once
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(ctx context.Context, _ recordBatch) error {
			once.Do(func() { close(gate) })
			<-ctx.Done()
			return ctx.Err()
		}}
	}
	job := w.submit(w.request(w.file("a.csv", csv(5000, nil))))
	<-gate
	if _, err := w.service.Cancel(t.Context(), job.ID, "you"); err != nil {
		t.Fatal(err)
	}
	job = w.wait(job.ID)
	if job.State != modelmanager.JobCancelled || !strings.Contains(job.Reason, "you") {
		t.Errorf("%+v", job)
	}
	if !w.platform.idle() {
		t.Error("something still runs")
	}
	w.until(func() bool { return len(w.keys("active/")) == 0 })
	for _, key := range w.keys("jobs/" + job.ID + "/") {
		if strings.Contains(key, "/parts/") || strings.Contains(key, "/rejected/") {
			t.Errorf("%s is left", key)
		}
	}
	again, err := w.service.Cancel(t.Context(), job.ID, "me")
	if err != nil || again.State != modelmanager.JobCancelled {
		t.Error(again, err)
	}
	wantCode(t, w.service.Output(t.Context(), job.ID, io.Discard), modelmanager.CodeCancelled)
}

func TestTimeout(t *testing.T) {
	w := newWorld(t, func(s *spec.Spec) { s.Batch.Timeout = spec.Duration(50 * time.Millisecond) })
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(ctx context.Context, _ recordBatch) error { <-ctx.Done(); return ctx.Err() }}
	}
	job := w.submit(w.request(w.file("a.csv", csv(50, nil))))
	if job = w.wait(job.ID); job.Code != modelmanager.CodeDeadlineExceeded {
		t.Errorf("%+v", job)
	}
}

// TestTimeoutOutlivesServers replaces the server again and again, sooner than
// the job is out of time: it ends all the same.
func TestTimeoutOutlivesServers(t *testing.T) {
	const timeout = 2 * time.Second
	w := newWorld(t, func(s *spec.Spec) { s.Batch.Timeout = spec.Duration(timeout) })
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(ctx context.Context, _ recordBatch) error { <-ctx.Done(); return ctx.Err() }}
	}
	id := w.submit(w.request(w.file("a.csv", csv(50, nil)))).ID
	over := func() bool {
		job, err := w.service.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return job.State.Final()
	}
	kept := func() float64 {
		var u used
		if _, err := w.service.load(t.Context(), usedKey(id), &u); err != nil {
			t.Fatal(err)
		}
		return u.Seconds
	}
	servers, began := 1, 0.0
	for {
		w.until(func() bool { return over() || kept() > began+timeout.Seconds()/5 })
		if over() {
			break
		}
		// As on one machine, its tasks end with the server.
		w.stop()
		began = kept()
		if err := w.platform.StopJob(t.Context(), id, platform.StepShards); err != nil {
			t.Fatal(err)
		}
		w.start()
		servers++
	}
	if job := w.wait(id); job.Code != modelmanager.CodeDeadlineExceeded || servers < 2 {
		t.Errorf("%+v, after %d servers", job, servers)
	}
	w.until(func() bool { return len(w.keys("jobs/"+id+"/used.json")) == 0 })
}

// TestWaitingIsNotLate has a job wait for a slot longer than it may take.
func TestWaitingIsNotLate(t *testing.T) {
	const timeout = 2 * time.Second
	w := newWorld(t, func(s *spec.Spec) { s.Batch.Timeout = spec.Duration(timeout) })
	full := make(chan struct{})
	w.platform.full = full
	job := w.submit(w.request(w.file("a.csv", csv(50, nil))))
	time.AfterFunc(timeout+time.Second, func() { close(full) })
	if job = w.wait(job.ID); job.State != modelmanager.JobSucceeded {
		t.Errorf("%+v", job)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t, nil)
	request := w.request(w.file("a.csv", csv(50, nil)))
	request.IdempotencyKey = "key"
	ids := make([]string, 8)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			job, err := w.service.Submit(t.Context(), request)
			if err != nil {
				t.Error(err)
			}
			ids[i] = job.ID
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal(ids)
		}
	}
	w.wait(ids[0])
	if job := w.submit(request); job.ID != ids[0] || job.State != modelmanager.JobSucceeded {
		t.Errorf("%+v", job)
	}
	other := request
	other.MaxRejected = "5"
	_, err := w.service.Submit(t.Context(), other)
	wantCode(t, err, modelmanager.CodeConflict)
	other = request
	other.By = "you"
	if job := w.submit(other); job.ID == ids[0] {
		t.Error("two callers share a key")
	}
}

func TestRefusedRequests(t *testing.T) {
	w := newWorld(t, nil)
	good := w.request(w.file("a.csv", csv(5, nil)))
	for name, test := range map[string]struct {
		change func(*Request)
		code   modelmanager.Code
	}{
		"version":      {func(r *Request) { r.Version = 9 }, modelmanager.CodeNotFound},
		"outside":      {func(r *Request) { r.Input.URI = "file:///etc/passwd" }, modelmanager.CodeForbidden},
		"output":       {func(r *Request) { r.Output.URI = "file:///etc/out" }, modelmanager.CodeForbidden},
		"none":         {func(r *Request) { r.Input.URI = "" }, modelmanager.CodeBadRequest},
		"both":         {func(r *Request) { r.Input.Upload = "X" }, modelmanager.CodeBadRequest},
		"missing":      {func(r *Request) { r.Input.URI += "x" }, modelmanager.CodeNotFound},
		"limit":        {func(r *Request) { r.MaxRejected = "-1" }, modelmanager.CodeBadRequest},
		"percent":      {func(r *Request) { r.MaxRejected = "NaN%" }, modelmanager.CodeBadRequest},
		"columns":      {func(r *Request) { r.Input.Columns = map[string]string{"q": "x"} }, modelmanager.CodeBadRequest},
		"add":          {func(r *Request) { r.Output.Add = []string{"_x"} }, modelmanager.CodeBadRequest},
		"format":       {func(r *Request) { r.Output.Format = "xml" }, modelmanager.CodeBadRequest},
		"wrong upload": {func(r *Request) { r.Input = modelmanager.JobInput{Upload: "../../x"} }, modelmanager.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			request := good
			test.change(&request)
			_, err := w.service.Submit(t.Context(), request)
			wantCode(t, err, test.code)
		})
	}
	if keys := w.keys("active/"); len(keys) > 0 {
		t.Error(keys)
	}
	for _, id := range []string{"", "x", "../x", strings.Repeat("0", 26)} {
		_, err := w.service.Get(t.Context(), id)
		wantCode(t, err, modelmanager.CodeNotFound)
	}
}

func TestHostileTokens(t *testing.T) {
	w := newWorld(t, nil)
	gate := make(chan struct{})
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(context.Context, recordBatch) error { <-gate; return nil }}
	}
	job := w.submit(w.request(w.file("a.csv", csv(150, nil))))
	other := w.submit(w.request(w.file("b.csv", csv(50, nil))))
	w.until(func() bool {
		p, _ := w.service.plan(t.Context(), job.ID)
		return p != nil
	})
	call := func(path, token string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	path := shard.TaskPath(job.ID, "shards", 0) + "/attempts"
	good := w.service.token(job.ID, "shards")
	for token, want := range map[string]int{
		good: 200, "": 401, "x": 403, good + "x": 403,
		w.service.token(other.ID, "shards"): 403, w.service.token(job.ID, "plan"): 403,
	} {
		if got := call(path, token); got != want {
			t.Errorf("%q: %d, want %d", token, got, want)
		}
	}
	for path, want := range map[string]int{
		shard.TaskPath(job.ID, "shards", 99) + "/attempts":                    404,
		shard.TaskPath(job.ID, "shards", -1) + "/attempts":                    400,
		shard.TaskPath(job.ID, "shards", 0) + "/attempts/..%2f..%2fx/commit":  400,
		shard.TaskPath(job.ID, "shards", 0) + "/attempts/aaaaaaaaaa/commit":   400,
		shard.TaskPath(job.ID, "shards", 0) + "/attempts/aaaaaaaaaa/plan":     403,
		shard.TaskPath(job.ID, "shards", 0) + "/attempts/aaaaaaaaaa/pieces/1": 403,
	} {
		if got := call(path, good); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	close(gate)
	w.wait(job.ID)
	w.wait(other.ID)
	if got := call(path, good); got != 409 {
		t.Errorf("a finished job takes attempts: %d", got)
	}
}

func TestListAndLabels(t *testing.T) {
	w := newWorld(t, nil)
	var ids []string
	for i := range 5 {
		request := w.request(w.file("a.csv", csv(5, nil)))
		request.Labels = map[string]string{"odd": fmt.Sprint(i % 2)}
		ids = append([]string{w.run(request).ID}, ids...)
	}
	list := func(query Query) (got []string) {
		t.Helper()
		for {
			page, err := w.service.List(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			for _, job := range page.Jobs {
				got = append(got, job.ID)
			}
			if query.PageToken = page.NextPageToken; query.PageToken == "" {
				return got
			}
		}
	}
	for _, test := range []struct {
		query Query
		want  []string
	}{
		{Query{}, ids}, {Query{Limit: 2}, ids}, {Query{Model: "doubler", State: "succeeded"}, ids}, {Query{Model: "x"}, nil},
		{Query{State: "failed"}, nil}, {Query{Labels: map[string]string{"odd": "1"}, Limit: 1}, []string{ids[1], ids[3]}},
	} {
		if diff := cmp.Diff(test.want, list(test.query)); diff != "" {
			t.Errorf("%+v:\n%s", test.query, diff)
		}
	}
	gate := make(chan struct{})
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(context.Context, recordBatch) error { <-gate; return nil }}
	}
	live := w.submit(w.request(w.file("a.csv", csv(5, nil)))).ID
	w.until(func() bool { return len(list(Query{State: modelmanager.JobRunning})) > 0 })
	if got := list(Query{State: modelmanager.JobRunning}); !slices.Equal(got, []string{live}) || len(list(Query{State: modelmanager.JobQueued})) > 0 {
		t.Errorf("running: %q, want %q alone", got, live)
	}
	close(gate)
	w.wait(live)
	if got := list(Query{State: modelmanager.JobRunning}); len(got) > 0 {
		t.Errorf("still running: %q", got)
	}
}

func TestUploadsAndRetention(t *testing.T) {
	w := newWorld(t, nil)
	upload, err := w.uploads.Put(t.Context(), strings.NewReader(string(csv(150, nil))), 0)
	if err != nil {
		t.Fatal(err)
	}
	job := w.run(w.request(modelmanager.JobInput{Upload: upload.ID, Name: "a.csv"}))
	m, err := w.service.manifest(t.Context(), job.ID)
	if err != nil || m.InputSHA256 != upload.SHA256 {
		t.Errorf("%+v, %v", m, err)
	}
	w.until(func() bool { return len(w.keys("active/")) == 0 })
	if n, err := w.uploads.Sweep(t.Context(), time.Now().Add(time.Hour)); n != 0 || err != nil {
		t.Error("a job's input was swept", n, err)
	}
	w.stop()
	w.service.config.Retention = time.Hour
	if err := w.service.expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.output(job.ID)
	w.service.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if err := w.service.expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.service.Output(t.Context(), job.ID, io.Discard), modelmanager.CodeNotFound)
	if after, err := w.service.Get(t.Context(), job.ID); err != nil || after.State != modelmanager.JobSucceeded {
		t.Error(after, err)
	}
	if n, err := w.uploads.Sweep(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Error("an unused upload stayed", n, err)
	}
}

func TestOutputURI(t *testing.T) {
	w := newWorld(t, nil)
	request := w.request(w.file("a.csv", csv(250, nil)))
	request.Output.URI = "file://" + w.in + "/out/today/"
	job := w.run(request)
	if job.State != modelmanager.JobSucceeded {
		t.Fatalf("%+v", job)
	}
	out, err := storage.Open(t.Context(), "file://"+w.in+"/out")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := out.List(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	_, err = w.service.Submit(t.Context(), request)
	wantCode(t, err, modelmanager.CodeConflict)
	want := []string{"today/_JOB", "today/_SUCCESS", "today/part-00000.csv", "today/part-00001.csv", "today/part-00002.csv"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t, nil)
	gate := make(chan struct{})
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(context.Context, recordBatch) error { <-gate; return nil }}
	}
	job := w.submit(w.request(w.file("a.csv", csv(250, nil))))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	events, err := w.service.Events(ctx, job.ID)
	if err != nil {
		t.Fatal(err)
	}
	close(gate)
	var last modelmanager.Job
	for last = range events {
	}
	if last.State != modelmanager.JobSucceeded || last.Rows.Predicted != 250 {
		t.Errorf("%+v", last)
	}
}

// An agent plans what is too large for the server.
func TestPlanByAgent(t *testing.T) {
	w := newWorld(t, nil)
	w.config.PlanHere = 1
	w.start()
	job := w.run(w.request(w.file("a.csv", csv(250, nil))))
	if job.State != modelmanager.JobSucceeded || job.Shards.Total != 3 {
		t.Errorf("%+v", job)
	}
	job = w.run(w.request(w.file("b.csv", []byte("id,z\n1,2\n"))))
	if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeMissingColumn {
		t.Errorf("%+v", job)
	}
}
