package batch

import (
	"context"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/platform"
)

// Run drives every job to its end, until ctx ends. One server at a time runs
// it; another that takes over continues where this one was. Jobs that were
// running when ctx ends are left as they are.
func (s *Service) Run(ctx context.Context) error {
	cancel := s.config.Platform.SubscribeJobs(s.observe)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	driven := driven{jobs: make(map[string]bool)}
	poll := time.NewTicker(s.config.Poll)
	defer poll.Stop()
	var swept time.Time
	for {
		if err := s.driveAll(ctx, &driven, &group); err != nil && ctx.Err() == nil {
			s.log.Error("looking for jobs failed", "error", err)
		}
		if s.now().Sub(swept) > sweepInterval {
			swept = s.now()
			group.Go(func() { s.sweep(ctx) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		case <-poll.C:
		}
	}
}

// driven is the set of jobs that have a goroutine.
type driven struct {
	mu   sync.Mutex
	jobs map[string]bool
}

func (d *driven) begin(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.jobs[id] {
		return false
	}
	d.jobs[id] = true
	return true
}

func (d *driven) end(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.jobs, id)
}

// driveAll gives each live job a goroutine.
func (s *Service) driveAll(ctx context.Context, d *driven, group *sync.WaitGroup) error {
	objects, err := s.config.Bucket.List(ctx, activePrefix, "", 0)
	if err != nil {
		return err
	}
	for _, object := range objects {
		id, model, _ := parseKey(strings.TrimPrefix(object.Key, activePrefix))
		if checkID(id) != nil || !d.begin(id) {
			continue
		}
		group.Go(func() {
			defer d.end(id)
			err := s.drive(ctx, id)
			if modelmanager.CodeOf(err) == modelmanager.CodeNotFound && s.now().Sub(object.Modified) > time.Hour {
				err = s.config.Bucket.Delete(ctx, activeKey(id, model)) // marked, and never accepted
			}
			if err != nil && ctx.Err() == nil && modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
				s.log.Error("a job can't go on now; trying again", "job", id, "error", err)
				pause.For(ctx, s.config.Poll)
			}
		})
	}
	return nil
}

// observe takes an event of the platform.
func (s *Service) observe(event platform.JobEvent) {
	s.mu.Lock()
	t := s.jobs[event.Job]
	s.mu.Unlock()
	if t != nil {
		t.observe(event)
	}
}

// drive brings one job to its end. An error means that it can't go on now.
func (s *Service) drive(ctx context.Context, id string) error {
	r, err := s.record(ctx, id)
	if err != nil {
		return err
	}
	m, err := s.manifest(ctx, id)
	if err != nil {
		return err
	}
	if m != nil {
		return s.close(ctx, m)
	}
	d := &drive{Service: s, id: id, t: s.lead(r)}
	end, err := d.run(ctx)
	if err != nil {
		if !permanent(err) {
			return err
		}
		end = failed(err)
	}
	return d.finish(ctx, end)
}

// end is how a job ends.
type end struct {
	state  modelmanager.JobState
	code   modelmanager.Code
	reason string
}

func failed(err error) *end {
	return &end{state: modelmanager.JobFailed, code: modelmanager.CodeOf(err), reason: err.Error()}
}

// permanent tells whether trying again would fail again.
func permanent(err error) bool {
	switch modelmanager.CodeOf(err) {
	case modelmanager.CodeStorage, modelmanager.CodeUnavailable, modelmanager.CodeInternal,
		modelmanager.CodeConflict, modelmanager.CodeTooManyRequests:
		return false
	}
	return true
}
