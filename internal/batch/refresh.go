package batch

import (
	"context"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev/internal/storage"
)

const (
	// listPage is how many objects a store lists in one call.
	listPage = 1000
	// maxReads bounds how many records of shards are read at the same time.
	maxReads = 16
)

// refresh reads what is new in the job's folder.
func (s *Service) refresh(ctx context.Context, t *tracker) error {
	if err := s.hear(ctx, t); err != nil { // also of a job that waits to be planned
		return err
	}
	if planned, err := s.refreshPlan(ctx, t); err != nil || !planned {
		return err
	}
	t.reading.Lock()
	defer t.reading.Unlock()
	return s.readShards(ctx, t)
}

// glance reads what is new in the job's folder, unless that was done so lately
// that doing it again costs more than it tells: a listing takes as many calls
// as there are thousands of shards done.
func (s *Service) glance(ctx context.Context, t *tracker) error {
	if err := s.hear(ctx, t); err != nil {
		return err
	}
	if planned, err := s.refreshPlan(ctx, t); err != nil || !planned {
		return err
	}
	t.reading.Lock()
	defer t.reading.Unlock()
	if !t.mayList(s.now()) {
		return nil
	}
	return s.readShards(ctx, t)
}

// refreshPlan reads the plan, unless it is known; false if there is none.
func (s *Service) refreshPlan(ctx context.Context, t *tracker) (planned bool, err error) {
	if t.planned() != nil {
		return true, nil
	}
	p, err := s.plan(ctx, t.record.Job.ID)
	if err != nil || p == nil {
		return false, err
	}
	t.setPlan(p)
	return true, nil
}

// readShards reads the records of shards that aren't known to be done. The
// caller holds reading.
func (s *Service) readShards(ctx context.Context, t *tracker) error {
	prefix := shardsPrefix(t.record.Job.ID)
	listed := s.now()
	objects, err := s.config.Bucket.List(ctx, prefix, "", 0)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxReads)
	for _, index := range t.unknown(objects, prefix) {
		group.Go(func() error { return s.readShard(ctx, t, index) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listed = listed
	return nil
}

// readShard reads a shard's record, if there is one by now.
func (s *Service) readShard(ctx context.Context, t *tracker, index int) error {
	done := new(shardRecord)
	found, err := s.load(ctx, shardKey(t.record.Job.ID, index), done)
	if err == nil && found {
		t.finished(done)
	}
	return err
}

// mayList tells whether it is time to list the shards that are done.
func (t *tracker) mayList(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Sub(t.listed) >= eventInterval*time.Duration(len(t.tally.done)/listPage)
}

// setPlan takes the plan, and counts its rows once.
func (t *tracker) setPlan(p *plan) {
	total, known := p.rows()
	t.mu.Lock()
	t.plan, t.rows = p, planned{total, known}
	t.tally.proven = t.tally.proven || p.Proven
	t.mu.Unlock()
	t.notify()
}

// unknown returns the shards that have a record, and aren't known to be done.
func (t *tracker) unknown(objects []storage.Object, prefix string) []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	var unknown []int
	for _, object := range objects {
		index, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(object.Key, prefix), ".json"))
		if err == nil && index < len(t.plan.Shards) && t.tally.done[index] == nil {
			unknown = append(unknown, index)
		}
	}
	return unknown
}
