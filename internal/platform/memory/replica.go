package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform/control"
)

// replica is one fake agent.
type replica struct {
	instance *control.Instance
	ready    atomic.Bool
	inFlight atomic.Int64
	calls    atomic.Int64
	lastCall atomic.Int64 // nanoseconds of the Unix time
	kill     context.CancelCauseFunc
}

// Kill makes a replica die, as if its process had; it reports whether there
// was one.
func (d *Driver) Kill(id, reason string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.live[id]
	if r != nil {
		r.kill(errors.New(reason))
	}
	return r != nil
}

func (d *Driver) runReplica(ctx context.Context, instance *control.Instance) error {
	life, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	r := &replica{instance: instance, kill: kill}
	d.mu.Lock()
	d.live[instance.ID] = r
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.live, instance.ID)
		d.mu.Unlock()
	}()

	instance.Report(agent.StageStarting, "")
	path := filepath.Join(d.dir, instance.ID[strings.LastIndex(instance.ID, "-")+1:])
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listening for replica %s: %w", instance.ID, err)
	}
	server := &http.Server{Handler: d.handler(r), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // ends by Shutdown or Close, below
	}()
	defer func() { <-served }()
	instance.Listen("unix", path)

	instance.Report(agent.StageLoading, "")
	if d.options.Load != nil {
		err := d.options.Load(life, instance.Workload, instance.Report)
		if err != nil && life.Err() == nil {
			_ = server.Close() // nothing is in flight: it was never ready
			return err
		}
	}
	if life.Err() == nil {
		r.ready.Store(true)
		instance.Report(agent.StageReady, "")
	}
	<-life.Done()
	if ctx.Err() == nil { // killed
		_ = server.Close() // breaks connections off, as a death does
		return context.Cause(life)
	}
	r.ready.Store(false)
	drain, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if server.Shutdown(drain) != nil {
		_ = server.Close() // what is in flight has had its time
	}
	return nil
}

func (d *Driver) handler(r *replica) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+agent.PathHealth, func(w http.ResponseWriter, _ *http.Request) {
		if !r.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET "+agent.PathStatus, r.guard(func(w http.ResponseWriter, _ *http.Request) {
		status := agent.Status{Stage: agent.StageLoading, InFlight: int(r.inFlight.Load()), Calls: r.calls.Load()}
		if r.ready.Load() {
			status.Stage = agent.StageReady
		}
		if at := r.lastCall.Load(); at != 0 {
			status.LastCall = time.Unix(0, at)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status) // the caller has gone
	}))
	mux.HandleFunc("POST "+agent.PathPredict, r.guard(func(w http.ResponseWriter, request *http.Request) {
		if !r.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.inFlight.Add(1)
		defer func() {
			r.inFlight.Add(-1)
			r.calls.Add(1)
			r.lastCall.Store(time.Now().UnixNano())
		}()
		d.options.Predict(r.instance.Workload, w, request)
	}))
	return mux
}

// guard refuses callers that don't know the version's key.
func (r *replica) guard(next http.HandlerFunc) http.HandlerFunc {
	want := "Bearer " + r.instance.Workload.Key
	return func(w http.ResponseWriter, request *http.Request) {
		if request.Header.Get("Authorization") != want {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next(w, request)
	}
}
