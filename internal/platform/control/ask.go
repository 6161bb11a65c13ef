package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"modelmanager.dev/internal/agent"
)

// AgentClient asks one agent how it is.
type AgentClient struct {
	client *http.Client
	url    string
}

const (
	askTimeout = 5 * time.Second
	// mostStatus bounds what is read of an answer.
	mostStatus = 1 << 20
)

// ErrNotListening is the error of an agent that has not come so far.
var ErrNotListening = errors.New("the agent doesn't listen yet")

// NewAgentClient returns a client of the agent at an address, of a network as
// platform.Replica has them. Close frees its connection.
func NewAgentClient(network, address string) *AgentClient {
	dialer := &net.Dialer{Timeout: askTimeout}
	return &AgentClient{
		client: &http.Client{
			Timeout: askTimeout,
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return dialer.DialContext(ctx, network, address)
				},
				MaxIdleConns: 1, IdleConnTimeout: askTimeout,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url: "http://agent" + agent.PathStatus,
	}
}

// Close frees the client's connection.
func (c *AgentClient) Close() { c.client.CloseIdleConnections() }

// Ask returns what the agent says of itself to somebody with its version's key.
func (c *AgentClient) Ask(ctx context.Context, key string) (agent.Status, error) {
	var status agent.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return status, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := c.client.Do(request)
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return status, ErrNotListening
	}
	if err != nil {
		return status, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return status, fmt.Errorf("it says %s", response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, mostStatus)).Decode(&status); err != nil {
		return status, fmt.Errorf("reading its status: %w", err)
	}
	return status, nil
}
