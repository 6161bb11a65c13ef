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
	"bufio"
	"context"
	"errors"
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
)

// program is the server under test, with the models of testdata.
var program struct {
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
	program.dir = dir
	stop, err := serve(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the server:", err)
		return 1
	}
	defer stop()
	return m.Run()
}

// serve builds mm, and starts it with the models of models().
func serve(dir string) (stop func(), err error) {
	build := exec.Command("go", "build", "-o", dir, "modelmanager.dev/cmd/mm")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building mm: %w\n%s", err, output)
	}
	folder := filepath.Join(dir, "models")
	if err := writeModels(folder); err != nil {
		return nil, err
	}
	// Python's environments are made once, and kept between runs.
	environments, err := environmentsDir()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	if err := os.Symlink(environments, filepath.Join(data, "environments")); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	command := exec.Command(filepath.Join(dir, "mm"), "serve", "--models", folder, "--data", data, "--listen", "127.0.0.1:0")
	command.Dir = dir
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	stop = func() {
		log.Close()
		command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			command.Process.Kill()
		}
	}
	if err := ready(log.Name(), ended); err != nil {
		text, _ := os.ReadFile(log.Name())
		stop()
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return stop, nil
}

func environmentsDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "modelmanager-test", "environments")
	return dir, os.MkdirAll(dir, 0o700)
}

// ready waits until the server listens, and all models are published: that
// builds Python's environment, the first time.
func ready(log string, ended chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if program.api == nil {
			if address := addressIn(log); address != "" {
				api, err := client.New(address)
				if err != nil {
					return err
				}
				program.address, program.api = address, api
			}
		} else if list, err := program.api.Models(ctx, client.ModelQuery{}); err == nil && len(list.Models) == len(models()) {
			return nil
		}
		if text, _ := os.ReadFile(log); strings.Contains(string(text), " is not published") {
			return errors.New("a model is not published")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the models are not all published within five minutes")
		case err := <-ended:
			ended <- err
			return fmt.Errorf("the server ended: %w", err)
		}
	}
}

func addressIn(log string) string {
	file, err := os.Open(log)
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if _, rest, found := strings.Cut(lines.Text(), "listens on "); found {
			return strings.Fields(rest)[0]
		}
	}
	return ""
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

// need skips a test whose language is missing, or fails it where nothing may
// be skipped.
func need(t *testing.T, language string) {
	t.Helper()
	reason := missing(language)
	switch {
	case reason == "":
	case os.Getenv("MM_TEST_NO_SKIP") == "1":
		t.Fatal(reason)
	default:
		t.Skip("SKIPPED: ", reason)
	}
}

// post sends a body to the API, and returns the status and the answer.
func post(t *testing.T, path, contentType, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t, 2*time.Minute), http.MethodPost, program.address+path, strings.NewReader(body))
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
