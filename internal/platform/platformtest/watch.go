package platformtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// watch is one watch of the driver's, and what it has told.
type watch struct {
	mu       sync.Mutex
	replicas map[string]platform.Replica
	gone     map[string]bool
	synced   bool
	before   int
	wrong    string
}

func newWatch(h *harness) *watch {
	w := &watch{replicas: map[string]platform.Replica{}, gone: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.driver.WatchReplicas(ctx, w.event) // it ends with ctx
	}()
	h.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

func (w *watch) event(event platform.ReplicaEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch id := event.Replica.ID; {
	case event.Synced && w.synced:
		w.wrong = "Synced was told twice"
	case event.Synced:
		w.synced, w.before = true, len(w.replicas)
	case w.gone[id]:
		w.wrong = fmt.Sprintf("replica %s was told of after it was gone", id)
	case event.Gone:
		delete(w.replicas, id)
		w.gone[id] = true
	default:
		old, ok := w.replicas[id]
		if ok && old.Stage == agent.StageStopping && event.Replica.Stage != agent.StageStopping {
			w.wrong = fmt.Sprintf("replica %s went from stopping to %s", id, event.Replica.Stage)
		}
		if event.Replica.Stage == agent.StageReady && event.Replica.Address == "" {
			w.wrong = fmt.Sprintf("replica %s is ready without an address", id)
		}
		w.replicas[id] = event.Replica
	}
}

func (w *watch) isSynced() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.synced
}

func (w *watch) beforeSync() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.before
}

func (w *watch) present() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.replicas)
}

func (w *watch) count(stage agent.Stage) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.replicas {
		if r.Stage == stage {
			n++
		}
	}
	return n
}

func (w *watch) problem() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong
}

// statusOf asks a replica for its status.
func statusOf(ctx context.Context, replica platform.Replica) (agent.Status, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, replica.Network, replica.Address)
		},
	}
	var status agent.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://replica"+agent.PathStatus, nil)
	if err != nil {
		return status, err
	}
	request.Header.Set("Authorization", "Bearer "+replica.Key)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return status, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return status, fmt.Errorf("replica %s says %s", replica.ID, response.Status)
	}
	return status, json.NewDecoder(response.Body).Decode(&status)
}
