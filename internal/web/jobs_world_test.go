package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	arrowmemory "github.com/apache/arrow-go/v18/arrow/memory"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/api"
	"modelmanager.dev/internal/auth"
	authlocal "modelmanager.dev/internal/auth/local"
	"modelmanager.dev/internal/batch"
	"modelmanager.dev/internal/gateway"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
	platformmemory "modelmanager.dev/internal/platform/memory"
	"modelmanager.dev/internal/registry"
	registrymemory "modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
	"modelmanager.dev/internal/web"
)

// jobsWorld is a whole server over memory with the pages in front, and a
// browser without JavaScript. Its model doubles x, and names the side.
type jobsWorld struct {
	t       testing.TB
	server  *httptest.Server
	api     *client.Client
	browser *http.Client
	at      *url.URL // the page that the browser shows

	bucket *storage.Bucket

	mu    sync.Mutex
	hold  chan struct{}   // calls of workers wait for it, unless it is nil
	loads []activity.Load // what the server has under way
}

func newJobsWorld(t testing.TB) *jobsWorld {
	t.Helper()
	return newJobsWorldOf(t, "mem://", 0)
}

// newJobsWorldOf is a world with a storage of its own, and a largest upload.
func newJobsWorldOf(t testing.TB, objects string, maxUpload int64) *jobsWorld {
	t.Helper()
	w := &jobsWorld{t: t}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	logger := slog.New(slog.DiscardHandler)
	bucket, err := storage.Open(t.Context(), objects)
	must(err)
	w.bucket = bucket
	locations, err := storage.NewLocations(t.Context(), nil)
	must(err)
	uploads := storage.NewUploads(bucket)
	models := registry.New(registrymemory.New(), registry.Options{Logger: logger})
	driver, err := platformmemory.New(platformmemory.Options{
		Predict: func(platform.Workload, http.ResponseWriter, *http.Request) {},
		Task:    w.task,
	})
	must(err)
	runs := platform.New(driver, platform.Options{Logger: logger})
	recorder := activity.NewRecorder()
	gate, err := gateway.New(gateway.Config{Registry: models, Platform: runs, Activity: recorder, Logger: logger,
		Workload: func(context.Context, platform.Ref) (platform.Workload, error) {
			return platform.Workload{}, errors.New("nobody calls in real time here")
		}})
	must(err)
	activities := activity.New(activity.Config{Recorder: recorder, Platform: runs, Peers: peers.None{}, Key: []byte("peers"), Loads: func() []activity.Load {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.loads
	}})
	signer := storage.NewSigner([]byte("objects"))
	internal := http.NewServeMux()
	agents := httptest.NewServer(internal)
	jobs := batch.New(batch.Config{
		Bucket: bucket, Locations: locations, Uploads: uploads, Signer: signer, Platform: runs, Versions: models,
		Key: []byte("jobs"), Server: agents.URL, Logger: logger, Poll: 20 * time.Millisecond, Grace: time.Second,
	})
	internal.Handle(shard.PathJobs, jobs.Handler())
	internal.Handle(storage.PathObjects, storage.Handler(signer, bucket, locations))
	rest := api.New(api.Config{
		Registry: models, Platform: runs, Gateway: gate, Activity: activities, Jobs: jobs, Uploads: uploads, MaxUpload: maxUpload, Bucket: bucket, Version: "test", Logger: logger,
		Auth: auth.New(auth.Options{Authenticator: authlocal.Everybody{}, Authorizer: authlocal.Everybody{}}),
		Adopt: func(ctx context.Context, id string) (modelmanager.Artifact, error) {
			upload, err := uploads.Get(ctx, id)
			return modelmanager.Artifact{Digest: "sha256:" + upload.SHA256, Archive: "artifacts/" + upload.SHA256, Size: upload.Size}, err
		},
	})
	pages, err := web.New(web.Config{API: rest, Key: bytes.Repeat([]byte("k"), 32), Version: "test", Logger: logger})
	must(err)
	w.server = httptest.NewServer(pages)
	transport := &http.Transport{}
	jar, err := cookiejar.New(nil)
	must(err)
	w.browser = &http.Client{Transport: transport, Jar: jar}
	w.api, err = client.New(w.server.URL, client.WithHTTPClient(&http.Client{Transport: transport}))
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	for _, run := range []func(context.Context) error{models.Run, runs.Run, jobs.Run} {
		loops.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() {
		w.release()
		rest.Drain()
		transport.CloseIdleConnections()
		w.server.Close()
		must(gate.Shutdown(context.Background()))
		cancel()
		activities.Close()
		loops.Wait()
		must(errors.Join(driver.Close(), bucket.Close()))
		agents.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	must(models.WaitSynced(t.Context()))
	w.publish()
	return w
}

func (w *jobsWorld) publish() {
	w.t.Helper()
	w.publishAs(nil)
}

// publishAs publishes a version whose spec differs in some keys.
func (w *jobsWorld) publishAs(change map[string]any) {
	w.t.Helper()
	about := map[string]any{
		"name": "doubler", "summary": "Twice x.", "owner": "me@example.org", "serve": []string{"batch"},
		"features": []any{
			map[string]any{"name": "x", "type": "number", "maximum": 1000},
			map[string]any{"name": "side", "type": "string", "enum": []string{"left", "right"}},
		},
		"predictions": []any{map[string]any{"name": "y", "type": "number"}, map[string]any{"name": "word", "type": "string"}},
		"run":         map[string]any{"python": "predict.py:predict"},
		"batch":       map[string]any{"rows_per_shard": 1000},
		"examples":    []any{map[string]any{"features": map[string]any{"x": 1, "side": "left"}}},
	}
	maps.Copy(about, change)
	source, err := json.Marshal(about)
	if err != nil {
		w.t.Fatal(err)
	}
	upload, err := w.api.Upload(w.t.Context(), "archive", strings.NewReader("the folder"))
	if err != nil {
		w.t.Fatal(err)
	}
	request := modelmanager.PublishRequest{Spec: source, Artifact: modelmanager.ArtifactRef{Upload: upload.ID}}
	if _, err := w.api.Publish(w.t.Context(), "doubler", request, ""); err != nil {
		w.t.Fatal(err)
	}
}

func (w *jobsWorld) task(ctx context.Context, task control.Task) error {
	run := task.Run
	config := agent.Config{Model: run.Workload.Version.Model, Task: &agent.Task{
		Server: run.Server, Token: run.Token, Job: run.Job, Step: string(run.Step), Index: task.Index, Attempt: task.Attempt,
	}}
	_, err := shard.Run(ctx, config, func(context.Context) (worker.Predictor, error) { return &doubling{w, run.Workload.Spec}, nil })
	return err
}

// pause makes workers wait until release.
func (w *jobsWorld) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = make(chan struct{})
}

func (w *jobsWorld) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hold != nil {
		close(w.hold)
		w.hold = nil
	}
}

type doubling struct {
	*jobsWorld
	spec *spec.Spec
}

func (d *doubling) Predict(ctx context.Context, rows arrow.RecordBatch) (*worker.Answer, error) {
	d.mu.Lock()
	hold := d.hold
	d.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	y, word := array.NewFloat64Builder(arrowmemory.DefaultAllocator), array.NewStringBuilder(arrowmemory.DefaultAllocator)
	defer y.Release()
	defer word.Release()
	answer := &worker.Answer{}
	x := rows.Column(0).(*array.Float64)
	for i := range x.Len() {
		if x.Value(i) == 13 {
			y.AppendNull()
			word.AppendNull()
			answer.Errors = append(answer.Errors, modelmanager.RowError{Row: int64(i), Message: "13 brings bad luck"})
			continue
		}
		y.Append(2 * x.Value(i))
		word.Append([]string{"even", "=odd"}[int(x.Value(i))%2])
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "y", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, {Name: "word", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	answer.Record = array.NewRecordBatch(schema, []arrow.Array{y.NewArray(), word.NewArray()}, int64(x.Len()))
	return answer, nil
}

// CPU makes a shard cost two hours.
func (*doubling) CPU() time.Duration { return 2 * time.Hour }

func (*doubling) Close() error { return nil }

// visit opens an address, following redirects, and returns the page.
func (w *jobsWorld) visit(address string) (int, string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.absolute(address), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Accept", "text/html")
	return w.send(request)
}

func (w *jobsWorld) absolute(address string) string {
	base, _ := url.Parse(w.server.URL)
	to, err := base.Parse(address)
	if err != nil {
		w.t.Fatal(err)
	}
	return to.String()
}

func (w *jobsWorld) send(request *http.Request) (int, string) {
	w.t.Helper()
	response, err := w.browser.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.at = response.Request.URL
	return response.StatusCode, string(body)
}

// page opens an address that has a page.
func (w *jobsWorld) page(address string) string {
	w.t.Helper()
	status, body := w.visit(address)
	if status != http.StatusOK {
		w.t.Fatalf("%s: %d %s", address, status, mainOf(body))
	}
	return body
}

// upload sends a file as the page's form does, and returns the check page.
func (w *jobsWorld) upload(name string, content []byte) (int, string) {
	w.t.Helper()
	return w.uploadFrom("/models/doubler/batch", name, content)
}

// uploadFrom is upload from an address of that page.
func (w *jobsWorld) uploadFrom(address, name string, content []byte) (int, string) {
	w.t.Helper()
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	page := w.page(address)
	_ = parts.WriteField("csrf", csrfOf(w.t, page))
	if _, rest, found := strings.Cut(page, `name="version" value="`); found {
		version, _, _ := strings.Cut(rest, `"`)
		_ = parts.WriteField("version", version)
	}
	file, err := parts.CreateFormFile("file", name)
	if err != nil {
		w.t.Fatal(err)
	}
	_, _ = file.Write(content)
	_ = parts.Close()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL+"/models/doubler/batch/upload", &form)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", parts.FormDataContentType())
	return w.send(request)
}

// submit sends a form.
func (w *jobsWorld) submit(action string, form url.Values) (int, string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.absolute(action), strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.send(request)
}

var (
	csrfPattern   = regexp.MustCompile(`name="csrf" value="([^"]+)"`)
	inputPattern  = regexp.MustCompile(`<input ([^>]*)>`)
	selectPattern = regexp.MustCompile(`(?s)<select ([^>]*)>(.*?)</select>`)
	chosenPattern = regexp.MustCompile(`<option value="([^"]*)" selected`)
)

func csrfOf(t testing.TB, page string) string {
	t.Helper()
	found := csrfPattern.FindStringSubmatch(page)
	if found == nil {
		t.Fatal("the page has no token")
	}
	return found[1]
}

// checkForm is the check page's form as a browser would send it.
func checkForm(t testing.TB, page string) url.Values {
	t.Helper()
	_, rest, found := strings.Cut(page, `<form class="check"`)
	if !found {
		t.Fatalf("there is no form: %s", mainOf(page))
	}
	text, _, _ := strings.Cut(rest, "</form>")
	form := url.Values{}
	for _, match := range inputPattern.FindAllStringSubmatch(text, -1) {
		name, kind := attribute(match[1], "name"), attribute(match[1], "type")
		if name == "" || (kind == "radio" || kind == "checkbox") && !strings.Contains(match[1], " checked") {
			continue
		}
		form.Add(name, attribute(match[1], "value"))
	}
	for _, match := range selectPattern.FindAllStringSubmatch(text, -1) {
		value := ""
		if chosen := chosenPattern.FindStringSubmatch(match[2]); chosen != nil {
			value = html.UnescapeString(chosen[1])
		}
		form.Add(attribute(match[1], "name"), value)
	}
	return form
}

func attribute(tag, name string) string {
	_, rest, found := strings.Cut(" "+tag, " "+name+`="`)
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return html.UnescapeString(value)
}

var tagPattern = regexp.MustCompile(`(?s)<[^>]*>`)

// mainOf is the text of a page's main part.
func mainOf(page string) string {
	if _, rest, found := strings.Cut(page, "<main"); found {
		page, _, _ = strings.Cut(rest[strings.Index(rest, ">")+1:], "</main>")
	}
	return strings.Join(strings.Fields(html.UnescapeString(tagPattern.ReplaceAllString(page, " "))), " ")
}

// has checks that a page says all of these.
func has(t testing.TB, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(mainOf(page), text) && !strings.Contains(page, text) {
			t.Errorf("the page doesn't say %q: %s", text, mainOf(page))
		}
	}
}

// finished waits for the end of the job whose page the browser shows.
func (w *jobsWorld) finished() modelmanager.Job {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	job, err := w.api.WatchJob(ctx, strings.TrimPrefix(w.at.Path, "/jobs/"), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return job
}

// rowsOf is a CSV with rows 1 to n.
func rowsOf(n int) []byte {
	var b bytes.Buffer
	b.WriteString("id,x,side\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "r%d,%d,left\n", i, i%1000)
	}
	return b.Bytes()
}
