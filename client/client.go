// Package client is a typed client of Model Manager's REST API.
//
//	c, err := client.New("http://127.0.0.1:8080")
//	answer, err := c.Predict(ctx, "tumour-malignancy", 0, modelmanager.PredictRequest{Rows: rows})
//
// Every error that the server answered is a *modelmanager.Error with a code
// from the closed set.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	token TokenSource // nil: none
}

// Option changes how a Client works.
type Option func(*Client)

// WithHTTPClient uses another HTTP client than http.DefaultClient.
func WithHTTPClient(client *http.Client) Option { return func(c *Client) { c.http = client } }

// New makes a client of the server at a base URL such as http://127.0.0.1:8080.
func New(server string, options ...Option) (*Client, error) {
	base, err := url.Parse(server)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"%q is not a server's address; it looks like http://127.0.0.1:8080", server)
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	c := &Client{base: base, http: http.DefaultClient}
	for _, option := range options {
		option(c)
	}
	return c, nil
}

// Server returns the server's base URL.
func (c *Client) Server() string { return c.base.String() }

// call is one request to the API.
type call struct {
	method string
	path   []string // escaped and joined
	query  url.Values
	header http.Header
	body   any       // sent as JSON
	stream io.Reader // or sent as it is
}

// do sends a call and decodes a JSON answer into out, unless out is nil.
func (c *Client) do(ctx context.Context, call call, out any) error {
	response, err := c.send(ctx, call)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", response.Request.URL, err)
	}
	return nil
}

// send sends a call; an answer that is an error comes back as one. The caller
// closes the body.
func (c *Client) send(ctx context.Context, call call) (*http.Response, error) {
	body := call.stream
	if call.body != nil {
		data, err := json.Marshal(call.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	parts, err := escaped(call.path)
	if err != nil {
		return nil, err
	}
	target := c.base.JoinPath(parts...)
	target.RawQuery = call.query.Encode()
	request, err := http.NewRequestWithContext(ctx, call.method, target.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range call.header {
		request.Header[name] = values
	}
	if call.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != nil {
		token, err := c.token(ctx)
		if err != nil {
			return nil, err
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
	}
	response, err := c.http.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) && ctx.Err() == nil {
			return nil, modelmanager.Errorf(modelmanager.CodeUnavailable,
				"no answer from %s: %w; is `mm serve` running there?", c.base, failed.Err)
		}
		return nil, err
	}
	if response.StatusCode >= 400 {
		defer response.Body.Close()
		return nil, decodeError(response)
	}
	return response, nil
}

// escaped refuses what would lead to another path than was meant.
func escaped(path []string) ([]string, error) {
	parts := make([]string, len(path))
	for i, part := range path {
		if part == "" || part == "." || part == ".." {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is no name of a model or a job", part)
		}
		parts[i] = url.PathEscape(part)
	}
	return parts, nil
}

// decodeError turns an error answer into a *modelmanager.Error.
func decodeError(response *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(response.Body, 8<<20)) // 10,000 rows can be wrong
	var p problem.Problem
	e := &modelmanager.Error{}
	if err := json.Unmarshal(data, &p); err == nil && p.Code != "" {
		e.Code, e.Detail, e.Rows = p.Code, p.Detail, p.Errors
	} else {
		e = modelmanager.Errorf(codeOf(response.StatusCode), "%s %s answered %s: %.200s",
			response.Request.Method, response.Request.URL, response.Status, bytes.TrimSpace(data))
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// codeOf is for answers that aren't the server's own, but those of something
// between it and us.
func codeOf(status int) modelmanager.Code {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return modelmanager.CodeUnauthenticated
	case http.StatusForbidden:
		return modelmanager.CodeForbidden
	case http.StatusNotFound:
		return modelmanager.CodeNotFound
	case http.StatusRequestEntityTooLarge:
		return modelmanager.CodeTooLarge
	case http.StatusTooManyRequests:
		return modelmanager.CodeTooManyRequests
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return modelmanager.CodeUnavailable
	}
	if status < 500 {
		return modelmanager.CodeBadRequest
	}
	return modelmanager.CodeInternal
}
