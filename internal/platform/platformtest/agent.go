package platformtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/spec"
)

// FakeAgent is a program that takes an agent's configuration, answers what an
// agent answers, and does what its spec's behaviour says, without a worker. It
// returns its exit code.
func FakeAgent(path string) int {
	code, err := fakeAgent(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

func fakeAgent(path string) (code int, err error) {
	config, err := agent.ReadConfig(path)
	if err != nil {
		return 1, err
	}
	s, err := spec.FromCanonical(config.Spec)
	if err != nil {
		return 1, err
	}
	behaviour, err := BehaviourOf(s)
	if err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if behaviour.Orphan {
		ctx = context.Background()
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGPIPE)
	} else if config.Lifeline {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // until its end
			os.Exit(1)
		}()
	}
	fmt.Fprintln(os.Stderr, FirstWords(config.Model)) // where its last words go, too: two streams have no order
	if config.Task != nil {
		code, reason := behaviour.RunTask(ctx, config.Task.Index, config.Task.Attempt)
		if code == killed {
			err := syscall.Kill(os.Getpid(), syscall.SIGKILL)
			// The first process of a container can't; it ends like one that was.
			return 128 + int(syscall.SIGKILL), err
		}
		if reason != "" {
			err = errors.New(reason)
		}
		return code, err
	}
	return 0, serve(ctx, config, behaviour)
}

// FirstWords is what an agent of a model writes first.
func FirstWords(model string) string { return "the agent of " + model + " starts" }

func serve(ctx context.Context, config agent.Config, behaviour Behaviour) error {
	network, address, _ := strings.Cut(config.Listen, ":")
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(config, behaviour), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return server.Shutdown(drain)
}

func handler(config agent.Config, behaviour Behaviour) http.Handler {
	status := agent.Status{Stage: agent.StageReady}
	if behaviour.LoadError != "" {
		status.Stage, status.Reason = agent.StageFailed, behaviour.LoadError
	}
	var inFlight atomic.Int64
	guard := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+config.Key {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next(w, r)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+agent.PathHealth, func(w http.ResponseWriter, _ *http.Request) {
		if status.Stage != agent.StageReady {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET "+agent.PathStatus, guard(func(w http.ResponseWriter, _ *http.Request) {
		now := status
		now.InFlight = int(inFlight.Load())
		_ = json.NewEncoder(w).Encode(now) // the caller has gone
	}))
	mux.HandleFunc("POST "+agent.PathPredict, guard(func(w http.ResponseWriter, r *http.Request) {
		inFlight.Add(1)
		defer inFlight.Add(-1)
		_, _ = io.Copy(io.Discard, r.Body) // what was asked doesn't matter
		Predict(r.Context(), behaviour, config.Model, w)
	}))
	return mux
}
