package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// httpSession asks a worker that is a server of its own (run.http).
type httpSession struct {
	options *Options
	process *process
	client  *http.Client
	run     *spec.HTTP
	base    string
	id      int64
}

// readyPeriod is how often a server is asked whether it is ready.
const readyPeriod = 50 * time.Millisecond

// openHTTP starts a server and waits until it says that it is ready.
func openHTTP(ctx context.Context, o *Options, log *Log) (*process, session, error) {
	argv, err := o.argv()
	if err != nil {
		return nil, nil, err
	}
	env, err := o.environ()
	if err != nil {
		return nil, nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, nil, fmt.Errorf("finding a port for the worker: %w", err)
	}
	env = append(env, "MM_PORT="+port, "PORT="+port)
	p, err := o.launch(argv, env, log)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { p.kill("the agent is stopping") })
	defer stop()
	s := &httpSession{
		options: o,
		process: p,
		run:     o.Spec.Run.HTTP,
		base:    "http://127.0.0.1:" + port,
		// A transport of its own, that ends with the process: another worker
		// may get the same port. It never goes through a proxy.
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	go func() {
		<-p.exited
		s.client.CloseIdleConnections()
	}()
	if err := s.awaitReady(); err != nil {
		return nil, nil, o.loadFailure(p, err)
	}
	return p, s, nil
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

func (s *httpSession) awaitReady() error {
	timeout := s.options.startTimeout()
	deadline := time.Now().Add(timeout)
	ticker := time.NewTicker(readyPeriod)
	defer ticker.Stop()
	last := "nothing listens on $MM_PORT"
	for {
		status, err := s.probe(deadline)
		switch {
		case status == http.StatusOK:
			return nil
		case err == nil:
			last = fmt.Sprintf("%s answers %d", s.ready(), status)
		}
		if time.Now().After(deadline) {
			reason := fmt.Sprintf("%s was not ready within %s (timeouts.start): %s", s.options.program(), timeout, last)
			s.process.destroy(reason)
			return lost(modelmanager.CodeDeadlineExceeded, "%s", reason)
		}
		select {
		case <-s.process.exited:
			s.process.destroy("")
			return lost(modelmanager.CodeModelError, "%s", s.process.deathReason())
		case <-ticker.C:
		}
	}
}

func (s *httpSession) ready() string {
	if s.run.Ready == "" {
		return "/healthz"
	}
	return s.run.Ready
}

func (s *httpSession) probe(deadline time.Time) (status int, err error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+s.ready(), nil)
	if err != nil {
		return 0, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, nil
}

// call posts rows and reads the answer.
func (s *httpSession) call(rows arrow.RecordBatch) (*Answer, error) {
	s.id++
	body, contentType, err := s.encode(rows)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.options.predictTimeout())
	defer cancel()
	go func() {
		select {
		case <-s.process.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	path := s.run.Path
	if path == "" {
		path = "/invocations"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", contentType)
	response, err := s.client.Do(request)
	if err != nil {
		return nil, s.failure(ctx, err, rows.NumRows())
	}
	defer response.Body.Close()
	limit := s.options.AnswerLimit
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, s.failure(ctx, err, rows.NumRows())
	}
	if int64(len(answer)) > limit {
		return nil, s.process.nonsense("its answer is larger than allowed: more than %s", bytesText(limit))
	}
	return s.decode(response, answer, int(rows.NumRows()))
}

func (s *httpSession) failure(ctx context.Context, err error, rows int64) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		slow := fmt.Sprintf("the worker took longer than %s for %s (timeouts.predict)", s.options.predictTimeout(), countRows(rows))
		return s.process.failure(os.ErrDeadlineExceeded, slow)
	}
	if s.process.wait(time.Second) {
		s.process.destroy("")
		return lost(modelmanager.CodeModelError, "%s", s.process.deathReason())
	}
	return s.process.nonsense("%s", clip(strings.ReplaceAll(err.Error(), s.base, "")))
}

// decode makes an Answer of what the server said.
func (s *httpSession) decode(response *http.Response, body []byte, n int) (*Answer, error) {
	if response.StatusCode != http.StatusOK {
		message := fmt.Sprintf("it answered %d: %s", response.StatusCode, messageOf(body))
		busy := response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusTooManyRequests
		return nil, failed(message, busy)
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/csv") {
		return readAnswers(s.options.Predictions, body, n)
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, invalid("the server answered nothing")
	}
	if body[0] == '[' {
		return decodeJSON(s.options.Predictions, body, n, nil)
	}
	var outputs json.RawMessage
	r := new(reply)
	err := members(body, '{', func(key, value []byte) error {
		switch string(key) {
		case `"predictions"`, `"columns"`:
			r.Predictions = value
		case `"outputs"`:
			outputs = value
		case `"errors"`:
			return json.Unmarshal(value, &r.Errors)
		}
		return nil
	})
	if err != nil {
		return nil, invalid("the server's answer can't be read as JSON: %w", err)
	}
	if r.Predictions == nil && outputs != nil {
		if r.Predictions, err = fromTensors(outputs, s.options.Predictions.Fields(), n); err != nil {
			return nil, err
		}
	}
	if r.Predictions == nil {
		return nil, invalid("the server's answer has neither predictions nor outputs")
	}
	refused, err := checkRefusals(r.Errors, n)
	if err != nil {
		return nil, err
	}
	return decodeJSON(s.options.Predictions, r.Predictions, n, refused)
}

// messageOf finds the words in the body of an error.
func messageOf(body []byte) string {
	var e struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &e) == nil {
		for _, text := range []string{e.Message, string(e.Error), string(e.Detail)} {
			if text != "" && text != "null" {
				if unquoted, err := strconv.Unquote(text); err == nil {
					text = unquoted
				}
				return clip(text)
			}
		}
	}
	return clip(string(body[:min(len(body), 2*maxReason)]))
}
