package batch

import (
	"context"
	"encoding/json"
	"time"
)

// batch.timeout counts the time in which tasks of the job run: waiting for a
// slot, or for a server, is not the job's fault. What was used is kept in the
// job's folder, so that whoever drives the job next goes on from there; it is
// written now and then, and what was used since may be lost with a server.

// usedEvery bounds how much of a job's time one write of it may lose.
const usedEvery = 10 * time.Second

// used is used.json.
type used struct {
	Seconds float64 `json:"seconds"`
}

func usedKey(id string) string { return folder(id) + "used.json" }

// resume takes up what servers before this one have counted.
func (d *drive) resume(ctx context.Context) error {
	var before used
	if _, err := d.load(ctx, usedKey(d.id), &before); err != nil {
		return err
	}
	d.used = time.Duration(before.Seconds * float64(time.Second))
	d.kept, d.active = d.used, false
	return nil
}

// count adds the time since the last look to what the job has used, if tasks
// of it were running.
func (d *drive) count() {
	now := d.now()
	if d.active {
		d.used += now.Sub(d.since)
	}
	d.since, d.active = now, d.t.busy()
}

// keepUsed writes down what the job has used, if that is at least so much more
// than is kept. That it can't be written now is no reason to stop.
func (d *drive) keepUsed(ctx context.Context, least time.Duration) {
	if d.used-d.kept < max(least, 1) {
		return
	}
	data, err := json.Marshal(used{d.used.Seconds()})
	if err == nil {
		err = d.config.Bucket.WriteAll(ctx, usedKey(d.id), data)
	}
	if err != nil {
		d.log.Debug("how long a job has run can't be kept now", "job", d.id, "error", err)
		return
	}
	d.kept = d.used
}

// leave keeps what was used until the end of this run, whatever cut it off.
func (d *drive) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	d.count()
	d.keepUsed(ctx, 0)
}
