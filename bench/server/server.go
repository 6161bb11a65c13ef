// Package server starts the real server, bin/mm, for benchmarks of the whole,
// with the Python environment of its models.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"modelmanager.dev/test/program"
)

// Server is a running server.
type Server struct {
	*program.Server
	Python string // the interpreter of the models' environment
	mm     string
}

// Options say how to start a Server.
type Options struct {
	MM     string // the program
	Models string // a folder of models, all of one environment
	Dir    string // where it keeps its data; only environments outlive it
	Args   []string
}

// patience is how long the first start may take, which builds an environment.
const patience = 10 * time.Minute

// Start starts a server and waits until its models are published.
func Start(ctx context.Context, options Options) (_ *Server, err error) {
	if err := forget(options.Dir); err != nil {
		return nil, err
	}
	started, err := program.Start(ctx, program.Options{
		MM: options.MM, Data: options.Dir, Log: filepath.Join(options.Dir, "bench.log"),
		Args: append([]string{"--models", options.Models}, options.Args...),
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w (make build makes it)", err)
	} else if err != nil {
		return nil, err
	}
	s := &Server{Server: started, mm: options.MM}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.Published(ctx); err != nil {
		return nil, err
	}
	s.Python, err = interpreter(options.Dir)
	return s, err
}

// forget removes what an earlier run left, but for the environments.
func forget(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != "environments" {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// interpreter finds the Python of the newest environment.
func interpreter(dir string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "environments", "*", "bin", "python"))
	if err != nil || len(paths) == 0 {
		return "", errors.Join(err, fmt.Errorf("there is no Python environment in %s", dir))
	}
	newest, at := "", time.Time{}
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && info.ModTime().After(at) {
			newest, at = path, info.ModTime()
		}
	}
	return filepath.Abs(newest)
}

// Stop ends the server, and waits.
func (s *Server) Stop() {
	_ = s.Server.Stop(syscall.SIGTERM) // one that doesn't end is killed
}

// Run runs a command of the client, such as "jobs", "submit", and returns the
// CPU time that it took.
func (s *Server) Run(ctx context.Context, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, s.mm, args...)
	cmd.Env = append(os.Environ(), "MM_SERVER="+s.URL)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("mm %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// Forget deletes a finished job's data.
func (s *Server) Forget(ctx context.Context, job string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.URL+"/v1/jobs/"+job+"?data=true", nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode >= 300 {
		text, _ := io.ReadAll(reply.Body)
		return fmt.Errorf("deleting the data of job %s: %s: %s", job, reply.Status, text)
	}
	return nil
}

// OneModel makes a folder of models with one of them alone.
func OneModel(models, folder, model string) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(folder, model), os.DirFS(filepath.Join(models, model)))
}
