package agent

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/serve"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
)

// Bounds of the queue before a worker.
const (
	waitingPerConcurrency = 32
	leastWaiting          = 256
	microBatchRows        = 1000
)

// replica is an agent that serves requests.
type replica struct {
	supervisor *worker.Supervisor
	queue      *serve.Queue
	key        [sha256.Size]byte
	stopping   atomic.Bool
}

// serveRequests serves until ctx ends, then drains.
func serveRequests(ctx context.Context, config Config, options worker.Options) error {
	if options.Spec.Run.Job != nil {
		return modelmanager.Errorf(modelmanager.CodeNotServed, "%s runs whole files only (run.job); it doesn't answer requests", config.Model)
	}
	if config.Key == "" {
		return modelmanager.Errorf(modelmanager.CodeInternal, "the agent of %s has no key to check its callers by", config.Model)
	}
	listener, err := listen(config.Listen)
	if err != nil {
		return err
	}
	r := &replica{key: sha256.Sum256([]byte(config.Key))}
	r.supervisor = worker.NewSupervisor(options)
	r.queue = serve.NewQueue(r.supervisor, serve.QueueOptions{
		Waiting:   max(leastWaiting, waitingPerConcurrency*options.Spec.Scale.Concurrency),
		BatchRows: microBatchRows,
		Dependent: options.Spec.Rows == spec.Dependent,
		Waited:    r.supervisor.Waited,
	})
	server := &http.Server{
		Handler: r.routes(&serve.Handler{
			Model:         config.Model,
			Version:       config.Version,
			Features:      options.Features,
			Predictions:   options.Predictions,
			Queue:         r.queue,
			Invalid:       r.supervisor.Invalid,
			TimeoutHeader: HeaderTimeout,

			PredictedHeader: HeaderPredicted,
			InvalidHeader:   HeaderInvalid,
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	r.drain(server, drainTime(context.Cause(ctx), options))
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", config.Listen, err)
	}
	return nil
}

// drainTime is how long requests in flight may take to finish.
func drainTime(cause error, options worker.Options) time.Duration {
	if errors.Is(cause, errOrphaned) {
		return 0
	}
	return time.Duration(options.Spec.Timeouts.Predict) + 5*time.Second
}

// drain refuses new requests, finishes those in flight, closes connections,
// and ends the worker: in this order.
func (r *replica) drain(server *http.Server, limit time.Duration) {
	r.stopping.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r.queue.Drain(ctx)
	// Connections of requests that are answered close by themselves; idle ones at once.
	if err := server.Shutdown(ctx); err != nil {
		server.Close()
	}
	r.supervisor.Close()
}

// listen opens "unix:/path" or "tcp:host:port".
func listen(address string) (net.Listener, error) {
	network, where, ok := strings.Cut(address, ":")
	if !ok || network != "unix" && network != "tcp" {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "the agent can't listen on %q: write unix:/path or tcp:host:port", address)
	}
	if network == "unix" {
		// A socket that an earlier agent left behind can't be bound again.
		if err := os.Remove(where); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("removing the old socket: %w", err)
		}
	}
	listener, err := net.Listen(network, where)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	if network == "unix" {
		if err := os.Chmod(where, 0o600); err != nil {
			listener.Close()
			return nil, fmt.Errorf("closing the socket to others: %w", err)
		}
	}
	return listener, nil
}

func (r *replica) routes(predict http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(PathPredict, r.guard(predict))
	mux.Handle("GET "+PathStatus, r.guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(r.status())
	})))
	mux.HandleFunc("GET "+PathHealth, func(w http.ResponseWriter, _ *http.Request) {
		if status := r.status(); status.Stage != StageReady {
			http.Error(w, strings.TrimSpace(string(status.Stage)+" "+status.Reason), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// guard refuses callers without the version's key, and all callers once the
// agent is stopping.
func (r *replica) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		key, ok := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(key))
		if !ok || subtle.ConstantTimeCompare(sum[:], r.key[:]) != 1 {
			problem.Write(w, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "callers of an agent send the key of its version"))
			return
		}
		next.ServeHTTP(w, request)
	})
}

// status is what this replica says of itself.
func (r *replica) status() Status {
	state, load := r.supervisor.State(), r.queue.Load()
	status := Status{
		Stage:    StageLoading,
		InFlight: load.InFlight,
		Waiting:  load.Waiting,
		Calls:    load.Calls,
		LastCall: load.LastCall,
		Restarts: state.Restarts,
		PID:      state.PID,
		Memory:   state.Memory,
	}
	switch {
	case r.stopping.Load():
		status.Stage = StageStopping
	case state.Ready:
		status.Stage, status.Reason, status.Remark = StageReady, state.Trouble, state.Remark
	case state.Failed:
		status.Stage, status.Reason = StageFailed, state.Reason
	case state.Trouble != "":
		status.Reason = "the model is loading again: " + state.Trouble
	}
	return status
}
