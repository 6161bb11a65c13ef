package batch

import (
	"context"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
)

// Get describes a job; CodeNotFound if there is none.
func (s *Service) Get(ctx context.Context, id string) (modelmanager.Job, error) {
	if err := checkID(id); err != nil {
		return modelmanager.Job{}, err
	}
	m, err := s.manifest(ctx, id)
	if err != nil {
		return modelmanager.Job{}, err
	}
	if m != nil {
		return m.Job, nil
	}
	r, err := s.record(ctx, id)
	if err != nil {
		return modelmanager.Job{}, err
	}
	t := s.track(r)
	if err := s.glance(ctx, t); err != nil {
		return modelmanager.Job{}, err
	}
	job := t.job(s.now())
	if cancelled, err := s.exists(ctx, cancelKey(id)); err == nil && cancelled {
		job.Reason = "is being cancelled"
	}
	// It may have finished while we looked.
	if m, err := s.manifest(ctx, id); err == nil && m != nil {
		s.forget(id)
		return m.Job, nil
	}
	return job, nil
}

// Query selects jobs; zero fields select all.
type Query struct {
	Model     string
	State     modelmanager.JobState
	Labels    map[string]string
	By        string
	Limit     int // default 100, at most 1000
	PageToken string
}

// List returns jobs, newest first.
func (s *Service) List(ctx context.Context, query Query) (Page, error) {
	if query.Limit <= 0 {
		query.Limit = 100
	}
	query.Limit = min(query.Limit, 1000)
	page := Page{Jobs: []modelmanager.Job{}}
	after := query.PageToken
	if after != "" && !idPattern.MatchString(after) {
		return page, modelmanager.Errorf(modelmanager.CodeBadRequest, "listing jobs: %q is no page token of ours", after)
	}
	for read := 0; ; {
		entries, more, err := s.entries(ctx, query.prefixes(), after)
		if err != nil {
			return page, err
		}
		for _, e := range entries {
			if len(page.Jobs) == query.Limit || read >= query.Limit+listReads {
				page.NextPageToken = after
				return page, nil
			}
			after = e.id
			if query.couldBe(e) {
				read++
			}
			job, ok, err := s.selected(ctx, e, query)
			if err != nil {
				return page, err
			}
			if ok {
				page.Jobs = append(page.Jobs, job)
			}
		}
		if !more {
			return page, nil
		}
	}
}

// entry is a job as the listings of objects name it.
type entry struct {
	id, model string
	state     modelmanager.JobState // "" of a live job
}

// prefixes are where the entries are of the jobs that the query wants. The
// history, which grows for ever, has none that is live.
func (q Query) prefixes() []string {
	if q.State != "" && !q.State.Final() {
		return []string{activePrefix}
	}
	return []string{activePrefix, historyPrefix}
}

// entries merges some of what is under prefixes, newest first, each job once.
func (s *Service) entries(ctx context.Context, prefixes []string, after string) (entries []entry, more bool, err error) {
	const batch = 500
	start := ""
	if after != "" {
		start = after + "." + "\U0010ffff"
	}
	last := ""
	for _, prefix := range prefixes {
		from := ""
		if start != "" {
			from = prefix + start
		}
		objects, err := s.config.Bucket.List(ctx, prefix, from, batch)
		if err != nil {
			return nil, false, err
		}
		for _, object := range objects {
			id, model, state := parseKey(strings.TrimPrefix(object.Key, prefix))
			if checkID(id) == nil {
				entries = append(entries, entry{id, model, state})
			}
		}
		if len(objects) == batch {
			more = true
			if id := entries[len(entries)-1].id; last == "" || id < last {
				last = id // beyond it, this listing has more in between
			}
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		if c := strings.Compare(a.id, b.id); c != 0 {
			return c
		}
		return -strings.Compare(string(a.state), string(b.state)) // finished before live
	})
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.id == b.id })
	if more {
		entries = slices.DeleteFunc(entries, func(e entry) bool { return e.id > last })
	}
	return entries, more, nil
}

// listReads bounds how many jobs are read, and found to be others than those
// that are wanted, for one page: it then ends early.
const listReads = 1000

// couldBe tells whether a job can be one of those that the query wants, as far
// as its entry says.
func (q Query) couldBe(e entry) bool {
	return (q.Model == "" || e.model == q.Model) && (q.State == "" || e.state == "" || e.state == q.State)
}

// selected reads a job, if it can be one of those that the query wants.
func (s *Service) selected(ctx context.Context, e entry, query Query) (modelmanager.Job, bool, error) {
	if !query.couldBe(e) {
		return modelmanager.Job{}, false, nil
	}
	job, err := s.Get(ctx, e.id)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return job, false, nil // marked, and never accepted
	}
	if err != nil {
		return job, false, err
	}
	for name, value := range query.Labels {
		if got, ok := job.Labels[name]; !ok || got != value {
			return job, false, nil
		}
	}
	return job, (query.State == "" || job.State == query.State) && (query.By == "" || job.By == query.By), nil
}

// Cancel ends a job. It returns at once; the job is cancelled when its state
// says so, and then no process of it is left. A finished job stays as it is.
func (s *Service) Cancel(ctx context.Context, id, by string) (modelmanager.Job, error) {
	job, err := s.Get(ctx, id)
	if err != nil || job.State.Final() {
		return job, err
	}
	err = s.create(ctx, cancelKey(id), cancellation{By: by, At: s.now().UTC()})
	if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		return job, err
	}
	s.mu.Lock()
	t := s.jobs[id]
	s.mu.Unlock()
	if t != nil {
		t.cancel()
	}
	s.wake()
	return s.Get(ctx, id)
}

// Delete removes the data of a finished job; its manifest stays.
func (s *Service) Delete(ctx context.Context, id string) error {
	job, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if !job.State.Final() {
		return modelmanager.Errorf(modelmanager.CodeConflict, "deleting the data of job %s: it is %s; cancel it first", id, job.State)
	}
	if err := s.config.Bucket.WriteAll(ctx, tidyKey(id), []byte(tidyAll)); err != nil {
		return err
	}
	return s.deleteData(ctx, job)
}

// Folders of a job's payloads: everything that holds somebody's rows.
var payloads = []string{"parts/", "rejected/", "logs/", "input/", "rows/", "search/", "progress/"}

func (s *Service) deleteData(ctx context.Context, job modelmanager.Job) error {
	for _, name := range payloads {
		if err := s.config.Bucket.DeletePrefix(ctx, folder(job.ID)+name); err != nil {
			return err
		}
	}
	if job.Input.Upload != "" {
		return s.config.Uploads.Release(ctx, job.Input.Upload, job.ID)
	}
	return nil
}

// eventInterval is the least time between two events of a job.
const eventInterval = 500 * time.Millisecond

// Events sends the job as it is now, then at each change, at most twice a
// second, and closes the channel after its final state or when ctx ends.
func (s *Service) Events(ctx context.Context, id string) (<-chan modelmanager.Job, error) {
	job, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	events := make(chan modelmanager.Job)
	go func() {
		defer close(events)
		for {
			select {
			case events <- job:
			case <-ctx.Done():
				return
			}
			if job.State.Final() || !s.change(ctx, &job) {
				return
			}
		}
	}()
	return events, nil
}

// change waits until a job isn't what it was; false when ctx ends.
func (s *Service) change(ctx context.Context, job *modelmanager.Job) bool {
	before := *job
	for {
		s.mu.Lock()
		t := s.jobs[job.ID]
		s.mu.Unlock()
		var changed <-chan struct{}
		if t != nil {
			changed = t.next()
		}
		if !pause.For(ctx, eventInterval) {
			return false
		}
		if now, err := s.Get(ctx, job.ID); err == nil {
			*job = now
		}
		if !same(before, *job) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		case <-time.After(s.config.Poll): // other servers may know more
		}
	}
}

func same(a, b modelmanager.Job) bool {
	return a.State == b.State && a.Rows.Read == b.Rows.Read && a.Rows.Predicted == b.Rows.Predicted &&
		a.Rows.Rejected == b.Rows.Rejected && a.Shards == b.Shards && a.Reason == b.Reason
}
