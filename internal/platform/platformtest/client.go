package platformtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// call sends one request to a replica, on a connection of its own.
func call(ctx context.Context, replica platform.Replica, key string) (status int, body string, err error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, replica.Network, replica.Address)
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://replica"+agent.PathPredict, strings.NewReader(`{"rows":[{"x":1}]}`))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", fmt.Errorf("reading the answer: %w", err)
	}
	return response.StatusCode, string(text), nil
}

// ready returns a version's ready replicas.
func (h *harness) ready(ref platform.Ref) []platform.Replica {
	var list []platform.Replica
	for _, r := range h.platform.Replicas(ref) {
		if r.Stage == agent.StageReady {
			list = append(list, r)
		}
	}
	return list
}

// untilReady waits until a version has exactly so many replicas, all ready.
func (h *harness) untilReady(ref platform.Ref, n int) []platform.Replica {
	h.Helper()
	var ready []platform.Replica
	h.until(fmt.Sprintf("%s has exactly %d replicas, all ready", ref, n), func() bool {
		ready = h.ready(ref)
		return len(ready) == n && len(h.platform.Replicas(ref)) == n
	})
	return ready
}

// answers checks that a replica answers.
func (h *harness) answers(replica platform.Replica) {
	h.Helper()
	status, body, err := call(h.context(), replica, replica.Key)
	if err != nil || status != http.StatusOK {
		h.Fatalf("replica %s answered %d %q, %v; want 200", replica.ID, status, body, err)
	}
}
