package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect makes a client of a handler's server.
func connect(t *testing.T, handler http.HandlerFunc, options ...client.Option) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return dial(t, server.URL, options...)
}

func dial(t *testing.T, address string, options ...client.Option) *client.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(address, append(options, client.WithHTTPClient(&http.Client{Transport: transport}))...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProblemsComeBackAsErrors(t *testing.T) {
	want := &modelmanager.Error{
		Code: modelmanager.CodeUnavailable, Detail: "loading", RetryAfter: 3 * time.Second,
		Rows: []modelmanager.RowError{{Row: 2, Feature: "x", Message: "is not a number"}},
	}
	c := connect(t, func(w http.ResponseWriter, _ *http.Request) { problem.Write(w, want) })
	_, err := c.Predict(t.Context(), "scorer", 0, modelmanager.PredictRequest{})
	var got *modelmanager.Error
	if !errors.As(err, &got) || got.Code != want.Code || got.Detail != want.Detail || got.RetryAfter != want.RetryAfter ||
		len(got.Rows) != 1 || got.Rows[0] != want.Rows[0] {
		t.Errorf("%+v", err)
	}
}

func TestWhatStandsInBetweenAnswers(t *testing.T) {
	for status, want := range map[int]modelmanager.Code{
		502: modelmanager.CodeUnavailable, 503: modelmanager.CodeUnavailable, 504: modelmanager.CodeUnavailable, 500: modelmanager.CodeInternal,
		401: modelmanager.CodeUnauthenticated, 403: modelmanager.CodeForbidden, 404: modelmanager.CodeNotFound,
		413: modelmanager.CodeTooLarge, 429: modelmanager.CodeTooManyRequests, 400: modelmanager.CodeBadRequest,
	} {
		c := connect(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			fmt.Fprint(w, "<html>"+strings.Repeat("sorry ", 1000))
		})
		_, err := c.Model(t.Context(), "scorer")
		var e *modelmanager.Error
		if !errors.As(err, &e) || e.Code != want || e.RetryAfter != 7*time.Second || len(e.Detail) > 600 {
			t.Errorf("%d: %v (%s)", status, err, modelmanager.CodeOf(err))
		}
	}
}

func TestNobodyThere(t *testing.T) {
	c := dial(t, "http://127.0.0.1:1")
	_, err := c.Model(t.Context(), "scorer")
	if modelmanager.CodeOf(err) != modelmanager.CodeUnavailable || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Model(ended, "scorer"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAddresses(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:8080", "ftp://a", "http://", "http://a b", "://", "http://%zz"} {
		if _, err := client.New(address); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestWhatIsSent(t *testing.T) {
	var got *http.Request
	var body []byte
	c := connect(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		fmt.Fprint(w, "{}")
	}, client.WithToken("secret"))
	_, err := c.Models(t.Context(), client.ModelQuery{Text: "a&b=c d", Labels: map[string]string{"k": "v=w&x"}, Serve: modelmanager.Batch, Limit: 7, PageToken: "p"})
	if err != nil || got.Header.Get("Authorization") != "Bearer secret" || got.URL.Query().Get("q") != "a&b=c d" ||
		got.URL.Query().Get("label") != "k=v=w&x" || got.URL.Query().Get("limit") != "7" || got.URL.Query().Get("page_token") != "p" {
		t.Errorf("%v %v", got.URL, err)
	}
	if _, err := c.SubmitJob(t.Context(), "scorer", modelmanager.JobRequest{MaxRejected: "5%"}, "key"); err != nil ||
		got.Header.Get("Idempotency-Key") != "key" || got.Header.Get("Content-Type") != "application/json" || !strings.Contains(string(body), `"max_rejected":"5%"`) {
		t.Errorf("%v %s %v", got.Header, body, err)
	}
	if _, err := c.Model(t.Context(), "a/b?c#d"); err != nil || got.URL.Path != "/v1/models/a/b?c#d" || got.URL.EscapedPath() != "/v1/models/a%2Fb%3Fc%23d" {
		t.Errorf("%v %v", got.URL, err)
	}
	for _, name := range []string{"", ".", ".."} {
		if _, err := c.Job(t.Context(), name); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestATokenThatRotates(t *testing.T) {
	var got string
	path := filepath.Join(t.TempDir(), "token")
	c := connect(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		fmt.Fprint(w, "{}")
	}, client.WithTokenSource(client.TokenFile(path)))
	if _, err := c.Model(t.Context(), "scorer"); modelmanager.CodeOf(err) != modelmanager.CodeUnauthenticated || !strings.Contains(err.Error(), path) {
		t.Errorf("without the file: %v", err)
	}
	for _, token := range []string{"one", "two"} {
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Model(t.Context(), "scorer"); err != nil || got != "Bearer "+token {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Model(t.Context(), "scorer"); modelmanager.CodeOf(err) != modelmanager.CodeUnauthenticated {
		t.Errorf("of an empty file: %v", err)
	}
}

// jobServer follows a job whose progress outlives the server.
func jobServer(rows *atomic.Int64, cut func(w http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		job := modelmanager.Job{ID: "j", State: modelmanager.JobRunning}
		job.Rows.Read = rows.Add(1)
		if job.Rows.Read >= 4 {
			job.State = modelmanager.JobSucceeded
		}
		data, _ := json.Marshal(job)
		fmt.Fprintf(w, ": still here\n\nevent: job\ndata: %s\n\n", data)
		_ = http.NewResponseController(w).Flush()
		if job.State == modelmanager.JobRunning {
			cut(w)
		}
	}
}

func TestWatchingOutlivesAServer(t *testing.T) {
	var rows atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	cut := make(chan struct{}, 10)
	handler := jobServer(&rows, func(w http.ResponseWriter) {
		cut <- struct{}{}
		panic(http.ErrAbortHandler)
	})
	serve := func(listener net.Listener) *http.Server {
		server := &http.Server{Handler: handler}
		go func() { _ = server.Serve(listener) }()
		return server
	}
	first := serve(listener)
	c := dial(t, "http://"+address)
	restarted := make(chan *http.Server, 1)
	go func() {
		<-cut
		first.Close()
		for {
			listener, err := net.Listen("tcp", address)
			if err == nil {
				restarted <- serve(listener)
				return
			}
		}
	}()
	var seen []int64
	job, err := c.WatchJob(t.Context(), "j", func(job modelmanager.Job) { seen = append(seen, job.Rows.Read) })
	if err != nil || job.State != modelmanager.JobSucceeded || len(seen) != 4 {
		t.Errorf("%+v %v, seen %v", job, err, seen)
	}
	server := <-restarted
	server.Close()
}

func TestWatchingEnds(t *testing.T) {
	c := connect(t, func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no job j"))
	})
	if _, err := c.WatchJob(t.Context(), "j", nil); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("%v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	var rows atomic.Int64
	c = connect(t, jobServer(&rows, func(http.ResponseWriter) { cancel() }))
	if _, err := c.WatchJob(ended, "j", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestATruncatedAnswerIsAnError(t *testing.T) {
	c := connect(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half of ")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	output, err := c.JobOutput(t.Context(), "j")
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	if _, err := io.ReadAll(output); err == nil {
		t.Error("half of an output was taken for all of it")
	}
	if _, err := c.Model(t.Context(), "scorer"); err == nil {
		t.Error("half of a model was taken for all of it")
	}
}
