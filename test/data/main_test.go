// Package data checks docs/data.md from end to end: the same row, sent as JSON,
// CSV, JSON Lines, Parquet and Excel, to Python with pandas, Python without and
// R, is the same row to every model and gets the same prediction.
//
// The models echo: of every feature they answer which type its column had and
// which value they saw (saw_…), and the value itself (back_…).
//
//   - cases_test.go is the table of rows, one rule a line; rows_test.go sends
//     them through the real program, in every format, to every language.
//   - files_test.go is about files: their dialects, encodings, compressions,
//     headers. It reads them as an agent does, and asks real workers.
//   - jobs_test.go is about what jobs do with files' other columns.
//   - answers_test.go is about what models return.
package data

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev/client"
	"modelmanager.dev/test/needs"
	"modelmanager.dev/test/program"
)

// server is the server under test, with the models of testdata.
var server struct {
	mm      string // its program
	dir     string // temporary
	api     *client.Client
	address string
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mm-data-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	server.dir = dir
	if server.mm, err = program.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop, err := serve(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the server:", err)
		return 1
	}
	defer stop()
	return m.Run()
}

// serve starts the server with the models of models(), and waits until they
// are published: that builds Python's environment, the first time.
func serve(dir string) (stop func(), err error) {
	folder := filepath.Join(dir, "models")
	if err := writeModels(folder); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	if err := program.KeepEnvironments(data); err != nil {
		return nil, err
	}
	started, err := program.Start(context.Background(), program.Options{
		MM: server.mm, Dir: dir, Data: data, Log: filepath.Join(dir, "server.log"), Args: []string{"--models", folder},
	})
	if err != nil {
		return nil, err
	}
	stop = func() {
		if err := started.Stop(syscall.SIGTERM); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := started.Published(ctx); err != nil {
		stop()
		return nil, err
	}
	server.address = started.URL
	if server.api, err = client.New(started.URL); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// within returns a context that ends after d, or with the test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// missing says what a language lacks here; "" if nothing.
func missing(language string) string {
	if language == "r" {
		if output, err := exec.Command("Rscript", "-e", "library(jsonlite)").CombinedOutput(); err != nil {
			return fmt.Sprintf("no R with jsonlite: %v %s", err, output)
		}
		return ""
	}
	if _, err := exec.LookPath("python3"); err != nil {
		return err.Error()
	}
	return ""
}

// need skips a test whose language is missing.
func need(t *testing.T, language string) {
	t.Helper()
	if reason := missing(language); reason != "" {
		needs.Skip(t, reason)
	}
}

// post sends a body to the API, and returns the status and the answer.
func post(t *testing.T, path, contentType, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t, 2*time.Minute), http.MethodPost, server.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Prefer", "wait=100")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}
