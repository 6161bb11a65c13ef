package shard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/problem"
)

// patience is how long an agent tries to reach its server, which may be
// restarting, before it gives up.
const patience = 2 * time.Minute

// renewBefore is how long before their end URLs are renewed.
const renewBefore = 3 * time.Minute

// client speaks with the server for one task.
type client struct {
	http     *http.Client
	task     agent.Task
	patience time.Duration
	store    *store
}

func newClient(task agent.Task) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 8
	transport.DisableCompression = true
	transport.Proxy = nil // the server is reached as its address says
	transport.WriteBufferSize, transport.ReadBufferSize = 64<<10, 64<<10
	return &client{http: &http.Client{Transport: transport}, task: task, patience: patience, store: newStore()}
}

func (c *client) close() {
	c.http.CloseIdleConnections()
	c.store.transport.CloseIdleConnections()
}

// post calls an endpoint of the task, again and again while the server can't
// be reached or is unwell.
func (c *client) post(ctx context.Context, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, 5*time.Second
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		err := c.once(ctx, path, data, into)
		if err != nil && !worthwhile(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(c.patience))
	var stopped *backoff.PermanentError
	if errors.As(err, &stopped) {
		err = stopped.Err
	}
	return err
}

func (c *client) once(ctx context.Context, path string, data []byte, into any) error {
	address := c.task.Server + TaskPath(c.task.Job, c.task.Step, c.task.Index) + "/attempts" + path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.task.Token)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return unreachable(ctx, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refusal(response)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return unreachable(ctx, err)
	}
	return nil
}

// unreachable is what a broken connection means. It doesn't tell the address,
// in which there may be a signature.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return modelmanager.Errorf(modelmanager.CodeUnavailable, "calling the server: %w", err)
}

// refusal reads the problem of an answer that is an error.
func refusal(response *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	var p problem.Problem
	if json.Unmarshal(data, &p) == nil && p.Code != "" {
		return &modelmanager.Error{Code: p.Code, Detail: p.Detail, Rows: p.Errors}
	}
	code := modelmanager.CodeForbidden
	if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
		code = modelmanager.CodeUnavailable
	}
	return modelmanager.Errorf(code, "the server answers %s", response.Status)
}

// worthwhile tells whether a failed call may succeed later.
func worthwhile(err error) bool {
	switch modelmanager.CodeOf(err) {
	case modelmanager.CodeUnavailable, modelmanager.CodeStorage, modelmanager.CodeTooManyRequests, modelmanager.CodeInternal:
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return false
}

// session is one attempt's side of the conversation.
type session struct {
	*client
	assignment Assignment
	mu         sync.Mutex // guards urls
	urls       URLs
}

// begin asks for an assignment.
func (c *client) begin(ctx context.Context) (*session, error) {
	s := &session{client: c}
	if err := c.post(ctx, "", struct{}{}, &s.assignment); err != nil {
		return nil, err
	}
	s.urls = s.assignment.URLs
	return s, nil
}

// call calls an endpoint of the attempt.
func (s *session) call(ctx context.Context, what string, body, into any) error {
	return s.post(ctx, "/"+s.assignment.Attempt+"/"+what, body, into)
}

// url returns one of the attempt's URLs, renewed if need be.
func (s *session) url(ctx context.Context, pick func(*URLs) string) (string, error) {
	urls, err := s.fresh(ctx)
	if err != nil {
		return "", err
	}
	return s.task.Server + pick(&urls), nil
}

// fresh returns the attempt's URLs, renewed if need be.
func (s *session) fresh(ctx context.Context) (URLs, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Until(s.urls.Until) < renewBefore {
		var fresh URLs
		if err := s.call(ctx, "renew", struct{}{}, &fresh); err != nil {
			return URLs{}, err
		}
		s.urls = fresh
	}
	return s.urls, nil
}

// reading returns a client whose requests, whatever their address, go to one
// of the attempt's URLs as it is at that time.
func (s *session) reading(pick func(*URLs) string) *http.Client {
	return &http.Client{Transport: &signed{session: s, pick: pick}}
}

// readingInput is reading of the input, at the store itself if that can be.
func (s *session) readingInput() *http.Client {
	return &http.Client{Transport: &signed{session: s, pick: pickInput, direct: true}}
}

func pickInput(u *URLs) string { return u.Input }

type signed struct {
	session *session
	pick    func(*URLs) string
	direct  bool
}

// RoundTrip sends a request to the signed URL.
func (t *signed) RoundTrip(request *http.Request) (*http.Response, error) {
	urls, err := t.session.fresh(request.Context())
	if err != nil {
		return nil, err
	}
	if t.direct {
		if response := t.session.store.get(request, urls.Direct, t.session.assignment.ETag); response != nil {
			return response, nil
		}
	}
	to, err := request.URL.Parse(t.session.task.Server + t.pick(&urls))
	if err != nil {
		return nil, errors.New("the server gave an address that can't be read")
	}
	clone := request.Clone(request.Context())
	clone.URL, clone.Host = to, ""
	return t.session.http.Transport.RoundTrip(clone)
}

// get reads a small object; nil if there is none.
func (s *session) get(ctx context.Context, pick func(*URLs) string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.task.Server, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.reading(pick).Do(request)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	err = refusal(response)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return nil, nil
	}
	return nil, err
}
