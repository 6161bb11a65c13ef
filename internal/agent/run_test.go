package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// replica is an agent under test, on a socket.
type replica struct {
	client *http.Client
	stop   context.CancelFunc
	done   chan error
}

func start(t *testing.T, predict string) *replica {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "predict.py"), []byte(predict), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &spec.Spec{
		Name: "double", Rows: spec.Independent,
		Features:    []modelmanager.Field{{Name: "x", Type: modelmanager.Number}},
		Predictions: []modelmanager.Field{{Name: "y", Type: modelmanager.Number}},
		Run:         spec.Run{Python: "predict.py:predict"},
		Resources:   spec.Resources{CPU: 500, Memory: 512 << 20},
		Timeouts:    spec.Timeouts{Start: spec.Duration(time.Minute), Predict: spec.Duration(10 * time.Second)},
	}
	text, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	config := agent.Config{Model: "double", Version: 7, Spec: text, Dir: dir, RunDir: t.TempDir(), Listen: "unix:" + socket, Key: "secret"}
	ctx, stop := context.WithCancel(context.Background())
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	r := &replica{client: &http.Client{Transport: transport}, stop: stop, done: make(chan error, 1)}
	go func() {
		code, err := agent.Run(ctx, config, nil, slog.New(slog.DiscardHandler))
		if code != 0 && err == nil {
			err = fmt.Errorf("exit code %d", code)
		}
		r.done <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
	return r
}

// get asks for a path, with the key, until the agent listens.
func (r *replica) do(t *testing.T, method, path, key, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, "http://agent"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(data))
}

// status asks until the agent has come to a stage.
func (r *replica) status(t *testing.T, stage agent.Stage) agent.Status {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	var last string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-ticker.C {
		code, body := r.do(t, http.MethodGet, agent.PathStatus, "secret", "")
		last = body
		var status agent.Status
		if code == http.StatusOK && json.Unmarshal([]byte(body), &status) == nil && status.Stage == stage {
			return status
		}
	}
	t.Fatalf("the agent is never %s: %s", stage, last)
	return agent.Status{}
}

func TestAnAgentServes(t *testing.T) {
	r := start(t, "def predict(rows: list):\n    return [2 * row['x'] for row in rows]\n")
	r.status(t, agent.StageReady)
	if code, body := r.do(t, http.MethodGet, agent.PathHealth, "", ""); code != http.StatusOK {
		t.Errorf("health: %d %s", code, body)
	}
	if code, body := r.do(t, http.MethodPost, agent.PathPredict, "wrong", `{"rows":[]}`); code != http.StatusUnauthorized {
		t.Errorf("with a wrong key: %d %s", code, body)
	}
	code, body := r.do(t, http.MethodPost, agent.PathPredict, "secret", `{"rows":[{"x":1},{"x":2.5}]}`)
	if want := `{"model":"double","version":7,"predictions":[{"y":2},{"y":5}]}`; code != http.StatusOK || body != want {
		t.Errorf("got %d %s", code, body)
	}
	status := r.status(t, agent.StageReady)
	if status.Calls != 1 || status.PID == 0 || status.LastCall.IsZero() {
		t.Errorf("status %+v", status)
	}
}

func TestAnAgentSaysWhyItFails(t *testing.T) {
	r := start(t, "import no_such_module\n")
	status := r.status(t, agent.StageFailed)
	if !strings.Contains(status.Reason, "predict.py failed to load: ModuleNotFoundError: No module named 'no_such_module'") {
		t.Errorf("the reason is %q", status.Reason)
	}
	if code, body := r.do(t, http.MethodGet, agent.PathHealth, "", ""); code != http.StatusServiceUnavailable || !strings.Contains(body, "no_such_module") {
		t.Errorf("health: %d %s", code, body)
	}
	code, body := r.do(t, http.MethodPost, agent.PathPredict, "secret", `{"rows":[{"x":1}]}`)
	if code != http.StatusBadGateway || !strings.Contains(body, "model_error") {
		t.Errorf("got %d %s", code, body)
	}
}

// TestAnAgentFinishesWhatItHas stops an agent in the middle of a call.
func TestAnAgentFinishesWhatItHas(t *testing.T) {
	r := start(t, "import time\ndef predict(rows: list):\n    time.sleep(0.5)\n    return [1] * len(rows)\n")
	r.status(t, agent.StageReady)
	answers := make(chan string, 1)
	go func() {
		code, body := r.do(t, http.MethodPost, agent.PathPredict, "secret", `{"rows":[{"x":1}]}`)
		answers <- fmt.Sprint(code, " ", body)
	}()
	for r.status(t, agent.StageReady).InFlight == 0 {
	}
	r.stop()
	if got, want := <-answers, `200 {"model":"double","version":7,"predictions":[{"y":1}]}`; got != want {
		t.Errorf("got %s", got)
	}
}

// TestNothingEscapesAnAgent runs a model whose child hides: another session,
// another group, an empty environment.
func TestNothingEscapesAnAgent(t *testing.T) {
	r := start(t, `
import subprocess
child = subprocess.Popen(["sleep", "3600"], env={}, start_new_session=True)
def predict(rows: list):
    return [child.pid] * len(rows)
`)
	r.status(t, agent.StageReady)
	_, body := r.do(t, http.MethodPost, agent.PathPredict, "secret", `{"rows":[{"x":1}]}`)
	var answer struct{ Predictions []struct{ Y float64 } }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Predictions) != 1 {
		t.Fatal(body, err)
	}
	child := fmt.Sprintf("/proc/%d/cmdline", int(answer.Predictions[0].Y))
	// Its parent goes on as soon as the kernel has begun to load the program.
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-ticker.C {
		text, err := os.ReadFile(child)
		if strings.HasPrefix(string(text), "sleep") {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%s is %q: %v", child, text, err)
		}
	}
	r.stop()
	err := <-r.done
	r.done <- err
	if text, _ := os.ReadFile(child); len(text) > 0 {
		t.Errorf("%q is left", text)
	}
}
