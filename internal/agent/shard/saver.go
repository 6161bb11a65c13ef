package shard

import (
	"context"
	"encoding/json"
	"io"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
)

// saver keeps the progress of the search for guilty rows with the shard, so
// that its next attempt doesn't search again.
type saver struct {
	owner  *run
	resume worker.Progress
	latest chan worker.Progress
}

// newSaver reads what an earlier attempt has found.
func (r *run) newSaver(ctx context.Context) (*saver, error) {
	s := &saver{owner: r, latest: make(chan worker.Progress, 1)}
	body, err := r.get(ctx, func(u *URLs) string { return u.Search })
	if err != nil {
		return nil, err
	}
	if body != nil {
		defer body.Close()
		data, err := io.ReadAll(io.LimitReader(body, 64<<20))
		if err != nil {
			return nil, modelmanager.Errorf(modelmanager.CodeStorage, "reading what an earlier attempt found: %w", err)
		}
		if json.Unmarshal(data, &s.resume) != nil {
			s.resume = worker.Progress{} // of another release, maybe: search again
		}
	}
	return s, nil
}

// save takes the newest progress; an older one that isn't stored yet is dropped.
func (s *saver) save(p worker.Progress) {
	if p.Restarts == 0 && len(p.Guilty) == 0 {
		return // nothing that would cost anything to find again
	}
	select {
	case <-s.latest:
	default:
	}
	s.latest <- p
}

// run stores what is saved, until ctx ends.
func (s *saver) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-s.latest:
			s.store(ctx, p)
		}
	}
}

// store is best effort: what is lost is searched for again.
func (s *saver) store(ctx context.Context, p worker.Progress) {
	data, err := json.Marshal(p)
	if err != nil {
		return
	}
	u, err := s.owner.begin(ctx, func(u *URLs) string { return u.SearchPut })
	if err != nil {
		return
	}
	defer u.Abort()
	if _, err := u.Write(data); err == nil {
		_ = u.Close()
	}
}
