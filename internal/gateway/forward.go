package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/gateway/upstream"
)

const (
	// The agent hears the caller's deadline and answers 504 itself; it gets
	// this much longer to do so.
	deadlineGrace = 250 * time.Millisecond
	// How long a replica is avoided after a connection to it died.
	suspectFor = time.Second
	// How long to wait for news of the only replica before asking it again.
	newsWait = 250 * time.Millisecond
	// Up to this size an answer is read before anything is passed on.
	holdAnswer = 64 << 10
	// net/http sets the Content-Length of what is shorter.
	serverBuffer = 2048
)

// passed are the request's headers that an agent gets; the caller's own
// credentials are not among them.
var passed = []string{
	"Accept", "Content-Type", "Content-Encoding", "Inference-Header-Content-Length",
	"Traceparent", "Tracestate", "X-Request-Id",
}

func appendPassed(lines []byte, from http.Header) []byte {
	for _, name := range passed {
		// net/http has checked that values hold no line breaks.
		if values := from[name]; len(values) > 0 {
			lines = append(lines, name...)
			lines = append(lines, ": "...)
			lines = append(lines, values[0]...)
			lines = append(lines, "\r\n"...)
		}
	}
	return lines
}

// How often a call is sent again: after a connection died, and after a replica
// said that it can't now.
const (
	retriesOfDeath   = 1
	retriesOfRefusal = 2
)

// forward sends the call to a replica and reads the beginning of its answer.
// It is sent again where a connection died or a replica is about to stop: a
// prediction changes nothing, and nothing was passed on yet.
func (c *call) forward() error {
	var avoid *replica
	deaths, refusals, unheard := 0, 0, 0
	for {
		r := c.version.pick(avoid)
		if r == nil {
			if err := c.awaitReplica(avoid); err != nil {
				return err
			}
			avoid = nil // it is gone, or it has come back
			continue
		}
		err := c.send(r)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED) && c.hasTime():
			// Nobody listens there, so the call was never heard: a worker's
			// container starts anew, or its end isn't known yet.
			if unheard++; unheard > 1 {
				c.awaitNews() // or replicas that are all gone would be asked in turns, without a pause
			}
		case upstream.KindOf(err) == upstream.Dead && deaths < retriesOfDeath:
			deaths++
		case err == nil && c.reply.Status == http.StatusServiceUnavailable && refusals < retriesOfRefusal && c.hasTime():
			// So says an agent that is stopping, or whose worker died, or whose
			// model asks for another try.
			refusals++
		default:
			return c.explain(err)
		}
		c.g.metrics.retries.Add(1)
		if c.reply != nil {
			c.reply.Close()
			c.reply = nil
		}
		avoid = c.elsewhere(r)
	}
}

// hasTime tells whether there is time for one more try.
func (c *call) hasTime() bool { return time.Until(c.deadline) > newsWait+deadlineGrace }

// awaitNews waits until something is heard of the version's replicas, for a while.
func (c *call) awaitNews() {
	timer := time.NewTimer(newsWait)
	defer timer.Stop()
	select {
	case <-c.version.change():
	case <-timer.C:
	case <-c.r.Context().Done():
	}
}

// elsewhere returns the replica to avoid: the one that failed, unless it is
// the only one and nothing is heard of its end.
func (c *call) elsewhere(r *replica) *replica {
	if c.version.pick(r) != nil {
		return r
	}
	timer := time.NewTimer(newsWait)
	defer timer.Stop()
	for {
		changed := c.version.change()
		if !c.version.has(r) || c.version.pick(r) != nil {
			return r
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-c.r.Context().Done():
			return nil
		}
	}
}

// send has one exchange with a replica, up to the beginning of its answer's body.
func (c *call) send(r *replica) error {
	left := time.Until(c.deadline)
	if left < time.Millisecond {
		return &upstream.Failure{Kind: upstream.TimedOut, Err: context.DeadlineExceeded}
	}
	header := append(c.headerBuffer[:0], r.header...)
	header = append(header, agent.HeaderTimeout...)
	header = append(header, ": "...)
	header = strconv.AppendInt(header, left.Milliseconds(), 10)
	header = append(header, "\r\n"...)
	header = appendPassed(header, c.r.Header)
	c.headerBuffer = header
	c.request = upstream.Request{
		Method: http.MethodPost, Path: c.path(), Header: header, Body: c.body,
		Deadline: c.deadline.Add(deadlineGrace),
	}
	c.replica = r
	r.outstanding.Add(1)
	defer r.outstanding.Add(-1)
	reply, err := r.pool.Do(c.r.Context(), &c.request)
	if err == nil {
		c.reply = reply
		err = c.readFirst()
	}
	if err != nil && upstream.KindOf(err) == upstream.Dead {
		r.suspect.Store(time.Now().Add(suspectFor).UnixNano())
	}
	return err
}

// readFirst reads the answer's body, or the beginning of a long one.
func (c *call) readFirst() error {
	c.first, c.whole = nil, false
	answer, n := c.answerBuffer, 0
	if c.reply.Length > int64(len(answer)) {
		answer = make([]byte, min(c.reply.Length, holdAnswer))
	}
	for {
		if n == len(answer) {
			if n >= holdAnswer {
				break
			}
			answer = append(answer, make([]byte, n)...)
		}
		m, err := c.reply.Read(answer[n:])
		n += m
		if err == io.EOF {
			c.whole = true
			break
		}
		if err != nil {
			return err
		}
	}
	c.answerBuffer, c.first = answer, answer[:n]
	return nil
}

// explain words what a caller is told of a failed exchange.
func (c *call) explain(err error) error {
	if err == nil {
		return nil
	}
	v := c.version.ref
	switch upstream.KindOf(err) {
	case upstream.Cancelled:
		return c.cancelled()
	case upstream.TimedOut:
		return modelmanager.Errorf(modelmanager.CodeDeadlineExceeded,
			"%s version %d did not answer within %s, the call's deadline; send fewer rows, or allow more with the header Prefer: wait=N (at most %d)",
			v.Model, v.Version, c.wait, int(c.g.limits.MaxWait/time.Second))
	case upstream.Dead:
		c.g.log.Warn("the connection to a replica died", "model", v.Model, "version", v.Version, "replica", c.replica.ID, "error", err)
		wrapped := modelmanager.Errorf(modelmanager.CodeUnavailable,
			"%s version %d lost the replica that was answering, and a second one; try again in a second", v.Model, v.Version)
		wrapped.RetryAfter, wrapped.Err = time.Second, err
		return wrapped
	}
	c.g.log.Error("a replica's answer is malformed", "model", v.Model, "version", v.Version, "replica", c.replica.ID, "error", err)
	return modelmanager.Errorf(modelmanager.CodeInternal,
		"%s version %d gave an answer that can't be read as HTTP (%w); see its logs", v.Model, v.Version, err)
}

// deliver passes the answer on.
func (c *call) deliver() error {
	reply, header := c.reply, c.w.Header()
	for _, field := range reply.Fields {
		if n := c.count(field); n != nil {
			*n = countOf(field.Value)
			continue
		}
		copyField(header, field)
	}
	header["Model-Version"] = c.version.header
	length := reply.Length
	if c.whole {
		length = int64(len(c.first))
	}
	if length > c.g.limits.Answer {
		return c.answerTooLarge()
	}
	if length >= serverBuffer && reply.Status != http.StatusNoContent && reply.Status != http.StatusNotModified {
		header["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	c.status = reply.Status
	c.w.WriteHeader(reply.Status)
	if _, err := c.w.Write(c.first); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		return err
	}
	if c.whole {
		return nil
	}
	return c.stream(int64(len(c.first)))
}

// stream passes on what is left of a long answer.
func (c *call) stream(passed int64) error {
	buffer := c.answerBuffer
	for {
		n, err := c.reply.Read(buffer)
		if passed += int64(n); passed > c.g.limits.Answer {
			return c.answerTooLarge()
		}
		if n > 0 {
			if _, err := c.w.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return c.explain(err)
		}
	}
}

func (c *call) answerTooLarge() error {
	return modelmanager.Errorf(modelmanager.CodeTooLarge,
		"the answer is longer than %d bytes, the limit for one call; send fewer rows per call, or submit a job", c.g.limits.Answer)
}
