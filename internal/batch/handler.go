package batch

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/problem"
)

// Handler serves the agents' endpoints, described at shard.PathJobs, where it
// is to be mounted.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(ctx context.Context, call *call) (any, error)) {
		mux.HandleFunc("POST "+shard.PathJobs+"{job}/{step}/{index}/attempts"+pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := s.answer(w, r, do)
			if err != nil {
				problem.Write(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer) // the agent has gone if this fails
		})
	}
	handle("", s.assign)
	handle("/{attempt}/renew", s.renew)
	handle("/{attempt}/pieces/{piece}", s.piece)
	handle("/{attempt}/store", s.store)
	handle("/{attempt}/progress", s.progress)
	handle("/{attempt}/plan", s.commitPlan)
	handle("/{attempt}/commit", s.commit)
	handle("/{attempt}/fault", s.fault)
	return mux
}

// call is one call of an agent, whose token has been checked.
type call struct {
	job     string
	step    platform.Step
	index   int
	attempt string
	piece   int
	body    []byte
}

var attemptPattern = regexp.MustCompile(`^[a-z2-7]{10}$`)

func newAttempt() string { return strings.ToLower(rand.Text()[:10]) }

// maxBody bounds a call's body: a plan of 1e5 shards is some 20 MB.
const maxBody = 64 << 20

func (s *Service) answer(w http.ResponseWriter, r *http.Request, do func(context.Context, *call) (any, error)) (any, error) {
	c := &call{job: r.PathValue("job"), step: platform.Step(r.PathValue("step")), attempt: r.PathValue("attempt")}
	if err := s.admit(r, c.job, string(c.step)); err != nil {
		return nil, err
	}
	if err := checkID(c.job); err != nil {
		return nil, err
	}
	var err error
	if c.index, err = parseIndex(r.PathValue("index")); err != nil {
		return nil, err
	}
	if c.piece, err = parseIndex(r.PathValue("piece")); err != nil {
		return nil, err
	}
	if c.attempt != "" && !attemptPattern.MatchString(c.attempt) {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is no attempt", c.attempt)
	}
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "reading an agent's call: %w", err)
	}
	return do(r.Context(), c)
}

func parseIndex(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1e5 {
		return 0, modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is no shard's number", text)
	}
	return n, nil
}

func (c *call) decode(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "reading an agent's call: %w", err)
	}
	return nil
}

// open finds the live job of a call. A finished or cancelled one takes nothing
// from an agent any more.
func (s *Service) openCall(ctx context.Context, c *call) (*tracker, error) {
	for _, key := range []string{manifestKey(c.job), cancelKey(c.job)} {
		over, err := s.exists(ctx, key)
		if err != nil {
			return nil, err
		}
		if over {
			return nil, modelmanager.Errorf(modelmanager.CodeConflict, "job %s is finished or cancelled", c.job)
		}
	}
	s.mu.Lock()
	t := s.jobs[c.job]
	s.mu.Unlock()
	if t == nil {
		r, err := s.record(ctx, c.job)
		if err != nil {
			return nil, err
		}
		t = s.track(r)
	}
	if t.planned() == nil {
		if err := s.refresh(ctx, t); err != nil {
			return nil, err
		}
	}
	if c.step == platform.StepPlan {
		if c.index != 0 {
			return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "a plan has one task, 0")
		}
		return t, nil
	}
	p := t.planned()
	if p == nil || c.index >= len(p.Shards) {
		return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "job %s has no shard %d", c.job, c.index)
	}
	return t, nil
}

// progress takes an attempt's counts.
func (s *Service) progress(ctx context.Context, c *call) (any, error) {
	var body shard.Progress
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	t, err := s.openCall(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.step == platform.StepShards {
		t.progress(c.index, attempt{id: c.attempt, rows: body.Rows, cpu: max(body.CPUSeconds, 0), guilt: clipped(body.Guilt), at: s.now()})
		s.tell(ctx, t)
		if err := s.hear(ctx, t); err != nil {
			s.log.Debug("what other servers know of a job isn't known now", "job", c.job, "error", err)
		}
	}
	return t.order(), nil
}

// fault keeps why an attempt gave up, for the manifest.
func (s *Service) fault(ctx context.Context, c *call) (any, error) {
	var body shard.Fault
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	body.Message = clip(body.Message)
	if _, err := s.openCall(ctx, c); err != nil {
		return nil, err
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.config.Bucket.WriteAll(ctx, faultKey(c.job, string(c.step), c.index), data)
}

// clip bounds what an agent says.
func clip(message string) string {
	const most = 4 << 10
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most], "") + " …"
	}
	return message
}

// clipped is what an attempt says of the model, within bounds.
func clipped(guilt shard.Guilt) shard.Guilt {
	guilt.Failed, guilt.Message = max(guilt.Failed, 0), clip(guilt.Message)
	return guilt
}
