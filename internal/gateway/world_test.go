package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// world is everything around a gateway, in memory but for the sockets.
type world struct {
	t       *testing.T
	gateway *Gateway
	server  *httptest.Server
	dir     string

	mu       sync.Mutex
	models   map[string]modelmanager.Model
	tellM    func(modelmanager.Model)
	tellR    func(platform.ReplicaEvent)
	stages   map[platform.Ref]platform.Replica
	serve    []modelmanager.Mode
	ensured  map[platform.Ref]int
	onEnsure func(platform.Ref)
	replicas atomic.Int64
}

func newWorld(t *testing.T, limits Limits) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw") // short: paths of sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dir: dir,
		models:  map[string]modelmanager.Model{},
		stages:  map[platform.Ref]platform.Replica{},
		ensured: map[platform.Ref]int{},
		serve:   []modelmanager.Mode{modelmanager.RealTime},
	}
	w.gateway, err = New(Config{
		Registry: registryOf{w}, Platform: platformOf{w}, Workload: w.workload, Limits: limits,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/models/{model}/predict", func(rw http.ResponseWriter, r *http.Request) {
		w.gateway.Predict(rw, r, r.PathValue("model"), 0)
	})
	mux.HandleFunc("POST /v1/models/{model}/versions/{version}/predict", func(rw http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.PathValue("version"), &n)
		w.gateway.Predict(rw, r, r.PathValue("model"), n)
	})
	w.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		w.server.Close()
		if err := w.gateway.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return w
}

type registryOf struct{ *world }

func (w registryOf) Get(_ context.Context, name string) (modelmanager.Model, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, ok := w.models[name]
	if !ok {
		return m, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no model %s", name)
	}
	return m, nil
}

func (w registryOf) Subscribe(tell func(modelmanager.Model)) func() {
	w.tellM = tell
	return func() {}
}

type platformOf struct{ *world }

func (w platformOf) Subscribe(tell func(platform.ReplicaEvent)) func() {
	w.tellR = tell
	tell(platform.ReplicaEvent{Synced: true})
	return func() {}
}

func (w platformOf) Ensure(_ context.Context, workload platform.Workload) error {
	ref := workload.Ref()
	w.mu.Lock()
	w.ensured[ref]++
	do := w.onEnsure
	w.mu.Unlock()
	if do != nil {
		go do(ref)
	}
	return nil
}

func (w platformOf) Stage(ref platform.Ref) (agent.Stage, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.stages[ref]
	if !ok {
		return agent.StageScheduling, "waiting for a place to run"
	}
	return r.Stage, r.Reason
}

func (w *world) workload(_ context.Context, ref platform.Ref) (platform.Workload, error) {
	if ref.Version > 100 {
		return platform.Workload{}, modelmanager.Errorf(modelmanager.CodeNotFound, "%s has no version %d", ref.Model, ref.Version)
	}
	return platform.Workload{
		Version: modelmanager.Version{Model: ref.Model, Number: ref.Version},
		Spec:    &spec.Spec{Name: ref.Model, Serve: w.serve},
		Key:     "secret",
	}, nil
}

// traffic sets a model's traffic as the registry would.
func (w *world) traffic(model string, shares ...modelmanager.Share) {
	w.setTraffic(model, modelmanager.Traffic{Versions: shares})
}

func (w *world) setTraffic(model string, t modelmanager.Traffic) {
	w.mu.Lock()
	t.At = time.Now()
	m := w.models[model]
	m.Name, m.Serve, m.Latest = model, w.serve, 1000
	m.History = append([]modelmanager.Traffic{t}, m.History...)
	w.models[model] = m
	tell := w.tellM
	w.mu.Unlock()
	m.History = m.History[:1]
	tell(m)
}

// totals is what was counted of a version.
func (w *world) totals(model string, version int) activity.Totals {
	var sum activity.Totals
	w.gateway.table.recorder.Counter(platform.Ref{Model: model, Version: version}).AddTo(&sum)
	return sum
}

// pending asks about a model as the registry has it.
func (w *world) pending(model string) *modelmanager.Pending {
	w.t.Helper()
	m, err := registryOf{w}.Get(w.t.Context(), model)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.gateway.Pending(m)
}

func all(version int) modelmanager.Share { return modelmanager.Share{Version: version, Percent: 100} }

// report tells the gateway of a replica's state.
func (w *world) report(r platform.Replica, gone bool) {
	w.mu.Lock()
	if gone {
		delete(w.stages, r.Ref)
	} else {
		w.stages[r.Ref] = r
	}
	tell := w.tellR
	w.mu.Unlock()
	tell(platform.ReplicaEvent{Replica: r, Gone: gone})
}

// start runs an agent with this handler, and reports it as ready.
func (w *world) start(model string, version int, handler http.Handler) (platform.Replica, *http.Server) {
	w.t.Helper()
	r, listener := w.listen(model, version)
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	w.t.Cleanup(func() { server.Close() })
	w.report(r, false)
	return r, server
}

// raw runs an agent that handles connections by itself.
func (w *world) raw(model string, version int, handle func(net.Conn)) platform.Replica {
	r, listener := w.listen(model, version)
	var wait sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wait.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wait.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	w.t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wait.Wait()
	})
	w.report(r, false)
	return r
}

func (w *world) listen(model string, version int) (platform.Replica, net.Listener) {
	w.t.Helper()
	n := w.replicas.Add(1)
	path := filepath.Join(w.dir, fmt.Sprint(n))
	listener, err := net.Listen("unix", path)
	if err != nil {
		w.t.Fatal(err)
	}
	return platform.Replica{
		ID: fmt.Sprintf("replica-%d", n), Ref: platform.Ref{Model: model, Version: version},
		Network: "unix", Address: path, Key: "secret", Stage: agent.StageReady,
	}, listener
}

// says answers every request with a text.
func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get(agent.HeaderTimeout) == "" || r.URL.Path != agent.PathPredict {
			http.Error(w, "not what an agent expects", http.StatusTeapot)
			return
		}
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, text)
	})
}

type answer struct {
	status  int
	body    string
	version string
	header  http.Header
	err     error
}

// call sends a prediction; headers are pairs of name and value.
func (w *world) call(path, body string, headers ...string) answer {
	request, err := http.NewRequest("POST", w.server.URL+"/v1/models/"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	reply, err := w.server.Client().Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(reply.Body)
	return answer{reply.StatusCode, string(data), reply.Header.Get("Model-Version"), reply.Header, err}
}

func (a answer) want(t *testing.T, status int, body string) {
	t.Helper()
	if a.err != nil || a.status != status || !strings.Contains(a.body, body) {
		t.Errorf("got %d %q (%v), want %d with %q", a.status, a.body, a.err, status, body)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
