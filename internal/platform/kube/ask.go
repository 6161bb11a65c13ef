package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"modelmanager.dev/internal/agent"
)

// agentClient asks one agent how it is.
type agentClient struct {
	client *http.Client
	url    string
}

const (
	askTimeout = 5 * time.Second
	// mostStatus bounds what is read of an answer.
	mostStatus = 1 << 20
)

func newAgentClient(ip string) *agentClient {
	return &agentClient{
		client: &http.Client{
			Timeout: askTimeout,
			Transport: &http.Transport{
				DialContext:  (&net.Dialer{Timeout: askTimeout}).DialContext,
				MaxIdleConns: 1, IdleConnTimeout: 5 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url: "http://" + net.JoinHostPort(ip, strconv.Itoa(Port)) + agent.PathStatus,
	}
}

func (c *agentClient) close() { c.client.CloseIdleConnections() }

// errNotListening is the error of an agent that has not come so far.
var errNotListening = errors.New("the agent doesn't listen yet")

func (c *agentClient) ask(ctx context.Context, key string) (agent.Status, error) {
	var status agent.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return status, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := c.client.Do(request)
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return status, errNotListening
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
