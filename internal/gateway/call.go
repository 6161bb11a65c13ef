package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/gateway/upstream"
	"modelmanager.dev/internal/problem"
)

// call is one prediction on its way through the chain.
type call struct {
	g *Gateway
	w http.ResponseWriter
	r *http.Request

	started  time.Time
	wait     time.Duration
	deadline time.Time

	version *version
	shadow  *version // nil: none
	body    []byte
	replica *replica           // the one that answers
	reply   *upstream.Response // its answer, once its head is there
	first   []byte             // the first part of the answer, read before anything is passed on
	whole   bool               // first is all of it
	status  int                // told to the caller; 0: nothing yet

	predicted, invalid int // rows, as the agent tells

	// What the call leaves to later calls.
	request                                upstream.Request
	bodyBuffer, answerBuffer, headerBuffer []byte
}

func emptyCall() any {
	return &call{bodyBuffer: make([]byte, 0, 4<<10), answerBuffer: make([]byte, 4<<10), headerBuffer: make([]byte, 0, 512)}
}

// A buffer that grew beyond this is not left to later calls.
const keepBuffer = 256 << 10

func newCall(g *Gateway, w http.ResponseWriter, r *http.Request) *call {
	c := g.spare.Get().(*call)
	c.g, c.w, c.r, c.started = g, w, r, time.Now()
	return c
}

// free gives back what the call has borrowed.
func (c *call) free() {
	if c.reply != nil {
		c.reply.Close()
	}
	if cap(c.bodyBuffer) > keepBuffer || cap(c.answerBuffer) > keepBuffer {
		return
	}
	spare := &c.g.spare
	*c = call{bodyBuffer: c.bodyBuffer, answerBuffer: c.answerBuffer, headerBuffer: c.headerBuffer}
	spare.Put(c)
}

// path is what the agent is asked for: the caller's own query goes with it. It
// is encoded anew, since it becomes part of a line.
func (c *call) path() string {
	if c.r.URL.RawQuery == "" {
		return agent.PathPredict
	}
	return agent.PathPredict + "?" + c.r.URL.Query().Encode()
}

// fail answers with a problem, or cuts the connection where an answer has
// begun: a caller must never take half an answer for a whole one.
func (c *call) fail(err error) {
	if c.status != 0 {
		panic(http.ErrAbortHandler)
	}
	if c.version != nil {
		c.w.Header()["Model-Version"] = c.version.header
	}
	problem.Write(c.w, err)
}

// finish records what became of a call that has a version.
func (c *call) finish(err error) {
	status := c.status
	switch {
	case err != nil && status != 0:
		status = 0 // cut off
	case err != nil:
		status = problem.Status(modelmanager.CodeOf(err))
	}
	c.version.leave(c.started, activity.Call{Status: status, Predictions: c.predicted, Invalid: c.invalid})
}

// Headers that the gateway understands.
const (
	headerPrefer = "Prefer"
	headerKey    = "Traffic-Key"
)

// readDeadline takes the caller's deadline.
func (c *call) readDeadline() {
	c.wait = c.waitOf(c.r.Header[headerPrefer])
	c.deadline = c.started.Add(c.wait)
}

// waitOf reads Prefer: wait=N, whole seconds. As RFC 7240 wants it, a
// preference that makes no sense is ignored.
func (c *call) waitOf(prefer []string) time.Duration {
	wait := c.g.limits.Wait
	for _, line := range prefer {
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(part, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value, _, _ = strings.Cut(value, ";")
			seconds, err := strconv.ParseInt(strings.Trim(value, " \t\""), 10, 64)
			if err != nil || seconds < 0 {
				continue
			}
			seconds = min(max(seconds, 1), int64(c.g.limits.MaxWait/time.Second)+1)
			wait = min(time.Duration(seconds)*time.Second, c.g.limits.MaxWait)
		}
	}
	return wait
}

// A body up to this size has most probably arrived with its head.
const smallBody = 16 << 10

// readBody buffers the request's body, for the one retry that a prediction may
// need. It is read only now, when there is a replica for it: calls that wait
// for a model to start hold no memory.
func (c *call) readBody() error {
	limit, length := c.g.limits.Body, c.r.ContentLength
	if length > limit {
		return c.tooLarge()
	}
	if length < 0 || length > smallBody {
		// Not every ResponseWriter has deadlines; the server's own then apply.
		connection := http.NewResponseController(c.w)
		_ = connection.SetReadDeadline(c.deadline)
		// Past it the server would take the caller for gone.
		defer connection.SetReadDeadline(time.Time{})
	}
	body := c.bodyBuffer[:0]
	if length > int64(cap(body)) {
		body = make([]byte, 0, length)
	}
	for {
		if len(body) == cap(body) {
			if length >= 0 && int64(len(body)) >= length {
				break
			}
			body = append(body, 0)[:len(body)]
		}
		n, err := c.r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if int64(len(body)) > limit {
			return c.tooLarge()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return c.unreadable(err)
		}
	}
	// Read to its end, it costs net/http a look for more unless it is closed.
	_ = c.r.Body.Close()
	c.body, c.bodyBuffer = body, body
	return nil
}

func (c *call) tooLarge() error {
	return modelmanager.Errorf(modelmanager.CodeTooLarge,
		"the request's body is longer than %d bytes, the limit for one call; send fewer rows per call, or submit a job", c.g.limits.Body)
}

func (c *call) unreadable(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return modelmanager.Errorf(modelmanager.CodeTooLarge,
			"the request's body is longer than %d bytes, the limit for one call; send fewer rows per call, or submit a job", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return modelmanager.Errorf(modelmanager.CodeDeadlineExceeded,
			"the request's body did not arrive within %s, the call's deadline; a header Prefer: wait=N allows more", c.wait)
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest, "reading the request's body: %w", err)
}

// cancelled is the error of a call whose caller went away.
func (c *call) cancelled() error {
	return &modelmanager.Error{Code: modelmanager.CodeCancelled, Detail: "the caller went away before the answer", Err: context.Cause(c.r.Context())}
}
