package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"modelmanager.dev/client"
)

// newClient makes the API's own client, which calls it in process with the
// visitor's token.
func newClient(api http.Handler) (*client.Client, error) {
	return client.New("http://127.0.0.1",
		client.WithHTTPClient(&http.Client{Transport: inProcess{api}}),
		client.WithTokenSource(func(ctx context.Context) (string, error) {
			token, _ := ctx.Value(tokenKey{}).(string)
			return token, nil
		}))
}

// tokenKey is where a visit's context has the visitor's token.
type tokenKey struct{}

func withToken(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, tokenKey{}, token)
}

// inProcess is a transport that asks a handler. Answers stream: one is there
// as soon as the handler has written its header.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	call := r.Clone(ctx)
	call.RequestURI = call.URL.RequestURI()
	call.Host = call.URL.Host
	if call.Body == nil {
		call.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	answer := &answer{header: http.Header{}, body: writer, begun: make(chan struct{})}
	go func() {
		defer func() {
			err := error(nil)
			if cause := recover(); cause != nil {
				err = errors.New("the answer broke off")
			}
			answer.end(err)
			_ = call.Body.Close()
		}()
		t.handler.ServeHTTP(answer, call)
	}()
	select {
	case <-answer.begun:
	case <-ctx.Done():
		cancel()
		reader.CloseWithError(ctx.Err())
		return nil, ctx.Err()
	}
	response := &http.Response{
		StatusCode: answer.status, Status: strconv.Itoa(answer.status) + " " + http.StatusText(answer.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.sent, Body: &answerBody{PipeReader: reader, cancel: cancel}, ContentLength: -1, Request: r,
	}
	if length, err := strconv.ParseInt(answer.sent.Get("Content-Length"), 10, 64); err == nil {
		response.ContentLength = length
	}
	return response, nil
}

// answer is the http.ResponseWriter of a call in process.
type answer struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	begun  chan struct{} // closed when status and sent are there
	status int
	sent   http.Header
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if status < 200 { // informational
		return
	}
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Flush implements http.Flusher; what is written is there at once.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

func (a *answer) end(err error) {
	if err == nil {
		a.WriteHeader(http.StatusOK)
	} else {
		a.WriteHeader(http.StatusInternalServerError)
	}
	_ = a.body.CloseWithError(err)
}

// answerBody ends the call when its reader has had enough.
type answerBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}
