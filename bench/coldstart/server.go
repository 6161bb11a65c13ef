package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"modelmanager.dev/test/program"
)

// server is a real `mm serve` with a data folder of its own.
type server struct {
	command *exec.Cmd
	address string
	data    string
	exited  chan struct{}
}

func startServer(ctx context.Context, dir, data string, verbose bool) (*server, error) {
	mm, err := program.Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{address: listener.Addr().String(), data: data, exited: make(chan struct{})}
	if err := listener.Close(); err != nil {
		return nil, err
	}
	s.command = exec.CommandContext(ctx, mm, "serve", "--models", filepath.Join(dir, "models"), "--data", s.data, "--listen", s.address)
	if verbose {
		s.command.Stderr = os.Stderr
	}
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("starting mm serve: %w", err)
	}
	go func() {
		defer close(s.exited)
		_ = s.command.Wait() // it is told to end
	}()
	return s, nil
}

func (s *server) stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		_ = s.command.Process.Kill()
		<-s.exited
	}
}

// awaitPublished waits until the server has built the model's environment, and
// has published the model.
func (s *server) awaitPublished(ctx context.Context, name string) error {
	return s.until(ctx, 10*time.Minute, "the model is published", func() bool {
		response, err := http.Get("http://" + s.address + "/v1/models/" + name)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode == http.StatusOK
	})
}

// firstPrediction waits until nothing of the model runs, and returns how long
// a prediction takes then.
func (s *server) firstPrediction(ctx context.Context, m model) (time.Duration, error) {
	err := s.until(ctx, 2*time.Minute, "the model is idle", func() bool {
		// Agents have run folders; what has the name of a zygote is none.
		entries, err := os.ReadDir(filepath.Join(s.data, "platform", "run"))
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), m.name) {
				return false
			}
		}
		return err == nil
	})
	if err != nil {
		return 0, err
	}
	body, err := json.Marshal(map[string]any{"rows": []json.RawMessage{m.row}})
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	response, err := http.Post("http://"+s.address+"/v1/models/"+m.name+"/predict", "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	took := time.Since(begin)
	if err != nil || response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("predicting: %s: %s (%v)", response.Status, text, err)
	}
	return took, nil
}

func (s *server) until(ctx context.Context, limit time.Duration, what string, condition func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-s.exited:
			return fmt.Errorf("the server ended before %s; run with -v to see why", what)
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain until %s", limit, what)
		}
	}
	return nil
}
