package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/gateway/upstream"
)

// shadows replays calls to shadow versions, after their answers. A full queue
// drops: nothing that is only watched may slow down what is asked for.
type shadows struct {
	g     *Gateway
	queue chan replay

	offered, dropped, replayed, failed counter
	equal, different                   counter
}

// replay is a call to be sent again, to a shadow.
type replay struct {
	version *version
	path    string
	header  []byte
	body    []byte
	sampled bool   // compare the answers
	status  int    // of the answer that was given
	answer  []byte // and its body
}

const shadowWorkers = 4

func newShadows(g *Gateway) *shadows {
	s := &shadows{g: g, queue: make(chan replay, g.limits.Shadow)}
	for range shadowWorkers {
		g.tasks.Go(s.work)
	}
	return s
}

// offerShadow queues a copy of an answered call, if its model has a shadow.
func (c *call) offerShadow() {
	if c.shadow == nil || c.shadow == c.version {
		return
	}
	s := c.g.shadows
	n := s.offered.Add(1)
	if len(s.queue) == cap(s.queue) {
		s.dropped.Add(1) // before anything is copied
		return
	}
	task := replay{
		version: c.shadow,
		path:    c.path(),
		header:  appendPassed(nil, c.r.Header),
		body:    bytes.Clone(c.body),
		sampled: c.whole && n%int64(c.g.limits.Sample) == 0,
	}
	if task.sampled {
		task.status, task.answer = c.reply.Status, bytes.Clone(c.first)
	}
	select {
	case s.queue <- task:
	default:
		s.dropped.Add(1)
	}
}

func (s *shadows) work() {
	for {
		select {
		case <-s.g.ctx.Done():
			return
		case task := <-s.queue:
			s.replay(task)
		}
	}
}

func (s *shadows) replay(task replay) {
	v := task.version
	if !v.enter() {
		s.dropped.Add(1)
		return
	}
	r := v.pick(nil)
	if r == nil {
		v.drop()
		s.dropped.Add(1)
		s.g.warm(v)
		return
	}
	started, seen := time.Now(), activity.Call{}
	defer func() { v.leave(started, seen) }()
	r.outstanding.Add(1)
	defer r.outstanding.Add(-1)
	wait := s.g.limits.Wait
	header := append(task.header, r.header...)
	header = append(header, agent.HeaderTimeout+": "+strconv.FormatInt(wait.Milliseconds(), 10)+"\r\n"...)
	reply, err := r.pool.Do(s.g.ctx, &upstream.Request{
		Method: http.MethodPost, Path: task.path, Header: header, Body: task.body, Deadline: started.Add(wait + deadlineGrace),
	})
	if err != nil {
		s.failed.Add(1)
		return
	}
	defer reply.Close()
	for _, field := range reply.Fields {
		switch string(field.Name) {
		case agent.HeaderPredicted:
			seen.Predictions = countOf(field.Value)
		case agent.HeaderInvalid:
			seen.Invalid = countOf(field.Value)
		}
	}
	answer, err := io.ReadAll(io.LimitReader(reply, s.g.limits.Answer))
	if err != nil {
		s.failed.Add(1)
		return
	}
	status := reply.Status
	seen.Status = status
	s.replayed.Add(1)
	if !task.sampled {
		return
	}
	if status == task.status && sameAnswer(task.answer, answer) {
		s.equal.Add(1)
	} else {
		s.different.Add(1)
	}
}

// sameAnswer compares two answers but for the version that each names.
func sameAnswer(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var left, right any
	if json.Unmarshal(a, &left) != nil || json.Unmarshal(b, &right) != nil {
		return false
	}
	for _, answer := range []any{left, right} {
		if object, ok := answer.(map[string]any); ok {
			delete(object, "version")
		}
	}
	return reflect.DeepEqual(left, right)
}
