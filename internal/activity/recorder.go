package activity

import (
	"sync"
	"time"

	"modelmanager.dev/internal/platform"
)

// Recorder counts the calls that one server answers. Its methods may be called
// by many goroutines.
type Recorder struct {
	mu     sync.Mutex
	models map[string]map[int]*Counter // that were called within Kept
}

// NewRecorder makes a Recorder that has counted nothing.
func NewRecorder() *Recorder { return &Recorder{models: map[string]map[int]*Counter{}} }

// Counter counts the calls of one version: those of the last hour, and, for
// those who add up for ever, all of them.
type Counter struct {
	recorder *Recorder
	ref      platform.Ref

	mu     sync.Mutex
	kept   bool // by the recorder
	last   time.Time
	window *window // nil before the first call, and an hour after the last one
	totals *Totals // nil before the first call
}

// Counter returns what counts a version's calls. A version has one at a time:
// it has to be asked for once, by who has the version.
func (r *Recorder) Counter(ref platform.Ref) *Counter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.models[ref.Model][ref.Version]; c != nil {
		return c
	}
	return &Counter{recorder: r, ref: ref}
}

// Record counts a call that ended now.
func (c *Counter) Record(now time.Time, call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.kept {
		c.mu.Unlock()
		c.recorder.keep(c, now)
		c.mu.Lock()
	}
	if now.After(c.last) {
		c.last = now
	}
	c.window.record(now, call)
	c.totals.record(call)
}

// keep remembers a counter from its first call on.
func (r *Recorder) keep(c *Counter, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept {
		return
	}
	c.kept, c.last, c.window = true, now, new(window)
	if c.totals == nil {
		c.totals = new(Totals)
	}
	if r.models[c.ref.Model] == nil {
		r.models[c.ref.Model] = map[int]*Counter{}
	}
	r.models[c.ref.Model][c.ref.Version] = c
}

// Called tells whether there was a call within the last hour.
func (c *Counter) Called() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}

// AddTo adds all that was ever counted to a sum.
func (c *Counter) AddTo(sum *Totals) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.totals != nil {
		sum.add(c.totals)
	}
}

// MoveTo is AddTo; the counter starts again from nothing.
func (c *Counter) MoveTo(sum *Totals) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.totals != nil {
		sum.add(c.totals)
		*c.totals = Totals{}
	}
}

// Sweep drops what is older than an hour.
func (r *Recorder) Sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for model, versions := range r.models {
		for number, c := range versions {
			c.mu.Lock()
			if now.Sub(c.last) > Kept {
				c.kept, c.window = false, nil
				delete(versions, number)
			}
			c.mu.Unlock()
		}
		if len(versions) == 0 {
			delete(r.models, model)
		}
	}
}

// model returns the slots of a model's versions that reach beyond a time.
func (r *Recorder) model(model string, since time.Time) map[int][]Slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[int][]Slot{}
	for number, c := range r.models[model] {
		found[number] = c.slots(since)
	}
	return found
}

// all returns what was counted of every version since a time, and when each
// was called last.
func (r *Recorder) all(since time.Time) map[platform.Ref]lately {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[platform.Ref]lately{}
	for _, versions := range r.models {
		for _, c := range versions {
			var l lately
			for _, s := range c.slots(since) {
				l.counts = l.counts.Plus(s.Counts)
			}
			if l.counts.Calls > 0 {
				c.mu.Lock()
				l.last = c.last
				c.mu.Unlock()
				found[c.ref] = l
			}
		}
	}
	return found
}

type lately struct {
	counts Counts
	last   time.Time
}

func (c *Counter) slots(since time.Time) []Slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.window == nil {
		return nil
	}
	return c.window.slots(since.Unix())
}

// Counts returns what this server counted of a version since a time.
func (r *Recorder) Counts(ref platform.Ref, since time.Time) Counts {
	var sum Counts
	for _, s := range r.model(ref.Model, since)[ref.Version] {
		sum = sum.Plus(s.Counts)
	}
	return sum
}
