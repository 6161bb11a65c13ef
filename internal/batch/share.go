package batch

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
)

// Attempts report to whichever server they reach, and callers ask whichever
// they reach; only the leader sees what the platform does. Each of several
// servers writes what it knows of a job to jobs/<id>/progress/<server>.json, now
// and then, and reads what the others know: so all of them show the same, and
// the leader counts every rejected row. It is a convenience, and nothing is lost
// with it: what counts is committed.

const (
	// tellEvery is the least time between two writes of a job's progress.
	tellEvery = time.Second
	// That a job waits is told again this often, as long as it does, and
	// believed for twice as long: a server that is gone doesn't take it back.
	waitsEvery = 30 * time.Second
)

// news is what a server knows of a job under way.
type news struct {
	Attempts map[int]told `json:"attempts,omitempty"` // by shard
	Waits    string       `json:"waits,omitempty"`    // why nothing of it runs
}

// told is an attempt's progress, as one server has heard it.
type told struct {
	Attempt string               `json:"attempt"`
	Rows    modelmanager.JobRows `json:"rows"`
	CPU     float64              `json:"cpu,omitempty"` // seconds
	Guilt   shard.Guilt          `json:"guilt,omitzero"`
	Began   time.Time            `json:"began,omitzero"`
	At      time.Time            `json:"at"`
}

func progressPrefix(id string) string { return folder(id) + "progress/" }

func (s *Service) progressKey(id string) string { return progressPrefix(id) + s.config.Name + ".json" }

// tell writes what this server knows, if there are others.
func (s *Service) tell(ctx context.Context, t *tracker) {
	if s.config.Name == "" {
		return
	}
	known, fresh := t.toTell(s.now())
	if !fresh {
		return
	}
	data, err := json.Marshal(known)
	if err == nil {
		err = s.config.Bucket.WriteAll(ctx, s.progressKey(t.record.Job.ID), data)
	}
	if err != nil {
		s.log.Debug("the other servers aren't told of a job's progress now", "job", t.record.Job.ID, "error", err)
	}
}

// hear reads what other servers know.
func (s *Service) hear(ctx context.Context, t *tracker) error {
	if s.config.Name == "" || !t.mayHear(s.now()) {
		return nil
	}
	prefix := progressPrefix(t.record.Job.ID)
	objects, err := s.config.Bucket.List(ctx, prefix, "", 0)
	if err != nil {
		return err
	}
	for _, object := range objects {
		server := strings.TrimSuffix(strings.TrimPrefix(object.Key, prefix), ".json")
		if server == s.config.Name || !t.heardNews(server, object.Modified) {
			continue
		}
		var known news
		if found, err := s.load(ctx, object.Key, &known); err != nil || !found {
			return err
		}
		t.hear(server, known, s.now())
	}
	return nil
}

// toTell returns what this server knows; false if there is nothing new, or
// others were told a moment ago.
func (t *tracker) toTell(now time.Time) (news, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.lastTold) < tellEvery {
		return news{}, false
	}
	known := news{Attempts: map[int]told{}, Waits: t.steps.waits()}
	for index, a := range t.tally.live {
		if !a.heard {
			known.Attempts[index] = told{Attempt: a.id, Rows: a.rows, CPU: a.cpu, Guilt: a.guilt, Began: a.began, At: a.at}
		}
	}
	again := known.Waits != "" && now.Sub(t.lastTold) >= waitsEvery
	if !again && known.Waits == t.toldLast.Waits && maps.EqualFunc(known.Attempts, t.toldLast.Attempts, sameReport) {
		return news{}, false
	}
	t.lastTold, t.toldLast = now, known
	return known, true
}

func sameReport(a, b told) bool { return a.At.Equal(b.At) }

// mayHear tells whether the others were last asked a while ago.
func (t *tracker) mayHear(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.lastHeard) < tellEvery {
		return false
	}
	t.lastHeard = now
	return true
}

// heardNews notes when a server wrote, and tells whether that is new.
func (t *tracker) heardNews(server string, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.heardAt[server].Equal(at) {
		return false
	}
	if t.heardAt == nil {
		t.heardAt = map[string]time.Time{}
	}
	t.heardAt[server] = at
	return true
}

// heardWaits is why another server says that a job waits, until when.
type heardWaits struct {
	reason string
	until  time.Time
}

// hear takes what another server knows: of an attempt, the latest word counts.
func (t *tracker) hear(server string, known news, now time.Time) {
	t.mu.Lock()
	for index, a := range known.Attempts {
		if a.At.After(t.tally.live[index].at) && a.At.After(t.overAt[index]) {
			t.tally.report(index, attempt{id: a.Attempt, rows: a.Rows, cpu: a.CPU, guilt: a.Guilt, began: a.Began, at: a.At, heard: true})
		}
	}
	if t.heardWaits == nil {
		t.heardWaits = map[string]heardWaits{}
	}
	t.heardWaits[server] = heardWaits{known.Waits, now.Add(2 * waitsEvery)}
	t.mu.Unlock()
	t.notify()
}
