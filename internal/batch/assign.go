package batch

import (
	"context"
	"net/http"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/storage"
)

// urlsGoodFor is how long an attempt may begin transfers before it has to ask
// for new URLs.
const urlsGoodFor = 15 * time.Minute

// Bounds of what an attempt may store besides its rows.
const (
	maxLogs   = 64 << 20
	maxSearch = 16 << 20
)

// assign begins an attempt.
func (s *Service) assign(ctx context.Context, c *call) (any, error) {
	t, err := s.openCall(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.needed(ctx, t, c); err != nil {
		return nil, err
	}
	r, p := t.record, t.planned()
	version, err := s.config.Versions.Version(ctx, r.Job.Model, r.Job.Version)
	if err != nil {
		return nil, err
	}
	c.attempt = newAttempt()
	if c.step == platform.StepShards {
		t.progress(c.index, attempt{id: c.attempt, at: s.now(), began: s.now()}) // it counts as running from here on
	}
	a := shard.Assignment{
		Attempt: c.attempt, Job: c.job, Model: r.Job.Model, Version: r.Job.Version, Spec: version.Spec,
		Input: r.Job.Input, Output: r.Job.Output, ETag: r.Source.ETag, Proven: t.order().Proven,
	}
	if a.URLs, err = s.urls(ctx, t, c); err != nil {
		return nil, err
	}
	if c.step == platform.StepShards {
		a.Shard, a.Input, a.Scored = &p.Shards[c.index], p.Input, p.Started
		a.Output.Format = outputFormat(r, p)
	}
	return a, nil
}

// needed fails with CodeConflict if there is nothing left to do.
func (s *Service) needed(ctx context.Context, t *tracker, c *call) error {
	if c.step == platform.StepPlan {
		if t.planned() != nil {
			return modelmanager.Errorf(modelmanager.CodeConflict, "job %s is planned already", c.job)
		}
		return nil
	}
	if t.order().Stop {
		return modelmanager.Errorf(modelmanager.CodeConflict, "job %s is being stopped", c.job)
	}
	if !t.has(c.index) {
		if err := s.readShard(ctx, t, c.index); err != nil {
			return err
		}
	}
	if t.has(c.index) {
		return modelmanager.Errorf(modelmanager.CodeConflict, "shard %d of job %s is done already", c.index, c.job)
	}
	return nil
}

// outputFormat is what a job's parts are written as.
func outputFormat(r *record, p *plan) string {
	if r.Job.Output.Format != "" {
		return r.Job.Output.Format
	}
	return p.Input.Format
}

// outputExtension is how the names of parts end.
func outputExtension(r *record, p *plan) string {
	output := r.Job.Output
	output.Format = outputFormat(r, p)
	return output.Extension()
}

func (s *Service) urls(ctx context.Context, t *tracker, c *call) (shard.URLs, error) {
	r, p := t.record, t.planned()
	until := s.now().Add(urlsGoodFor)
	get := func(key string) string {
		return s.config.Signer.Path(storage.Grant{Method: http.MethodGet, Key: key, Until: until})
	}
	put := func(key string, max int64) string {
		return s.config.Signer.Path(storage.Grant{Method: http.MethodPut, Key: key, Until: until, MaxSize: max, Unless: manifestKey(c.job)})
	}
	whole := s.config.Signer.Path(storage.Grant{Method: http.MethodGet, Key: r.Source.Key, URI: r.Source.URI, Until: until})
	urls := shard.URLs{Until: until, Input: whole}
	from := r.Source
	if c.step == platform.StepShards {
		if one := p.Shards[c.index]; one.Piece != "" {
			urls.Input, from = get(one.Piece), source{Key: one.Piece}
		}
	}
	var err error
	if urls.Direct, err = s.direct(ctx, from); err != nil || c.step != platform.StepShards {
		return urls, err
	}
	if urls.Store, err = s.stores(ctx); err != nil {
		return urls, err
	}
	if only := p.Shards[c.index].Only; only != "" {
		urls.Rows = get(only)
	}
	urls.Part = put(partKey(c.job, c.index, c.attempt, outputExtension(r, p)), 0)
	urls.Rejected = put(rejectedKey(c.job, c.index, c.attempt), 0)
	urls.Logs = put(logsKey(c.job, c.index, c.attempt), maxLogs)
	urls.Search, urls.SearchPut = get(searchKey(c.job, c.index)), put(searchKey(c.job, c.index), maxSearch)
	return urls, nil
}

// renew gives an attempt new URLs for the same objects.
func (s *Service) renew(ctx context.Context, c *call) (any, error) {
	t, err := s.openCall(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.urls(ctx, t, c)
}

// piece tells the plan step where to put a piece of an input that it splits.
func (s *Service) piece(ctx context.Context, c *call) (any, error) {
	if _, err := s.openCall(ctx, c); err != nil {
		return nil, err
	}
	if c.step != platform.StepPlan {
		return nil, modelmanager.Errorf(modelmanager.CodeForbidden, "only the plan step splits an input")
	}
	key := pieceKey(c.job, c.attempt, c.piece)
	grant := storage.Grant{Method: http.MethodPut, Key: key, Until: s.now().Add(urlsGoodFor), Unless: manifestKey(c.job)}
	return struct {
		Key string `json:"key"`
		URL string `json:"url"`
	}{key, s.config.Signer.Path(grant)}, nil
}
