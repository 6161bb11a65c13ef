package batch

import (
	"fmt"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/storage"
)

// TestAReportTouchesNoOtherShard: what is kept of 1e5 shards is spoilt once it
// has been added up, so that a report, its answer or a look at the job that went
// through them would crash or count wrongly. What it costs can't grow, then.
func TestAReportTouchesNoOtherShard(t *testing.T) {
	const shards, live, rows = 100_000, 4, 10
	tracked := newTracker(&record{Job: modelmanager.Job{ID: "job", MaxRejected: "1%"}})
	p := &plan{}
	for range shards {
		p.Shards = append(p.Shards, shard.Shard{Slice: dataset.Slice{Rows: rows}})
	}
	tracked.setPlan(p)
	part := modelmanager.JobRows{Read: rows, Predicted: rows, Filled: map[string]int64{"x": rows}}
	for index := range shards - live {
		tracked.observe(platform.JobEvent{Step: platform.StepShards, Index: index, State: platform.TaskRunning})
		tracked.progress(index, attempt{rows: modelmanager.JobRows{Read: 1, Predicted: 1}, cpu: 0.1})
		tracked.finished(&shardRecord{Index: index, Commit: shard.Commit{Rows: part, CPUSeconds: 1}})
		tracked.observe(platform.JobEvent{Step: platform.StepShards, Index: index, State: platform.TaskSucceeded})
	}
	for index := range tracked.tally.done {
		tracked.tally.done[index] = nil
	}
	tracked.plan = &plan{Plan: shard.Plan{Shards: make([]shard.Shard, shards)}}

	woken := 0
	for report := range int64(1000) {
		changed := tracked.next()
		index := shards - live + int(report)%live
		tracked.progress(index, attempt{rows: modelmanager.JobRows{Read: report, Predicted: report - 1, Rejected: 1}, cpu: float64(report)})
		if tracked.order().Stop {
			t.Fatal("4 of 1e6 rows are rejected, and the job is stopped")
		}
		select {
		case <-changed:
			woken++
		default:
		}
	}
	if woken != 1000 {
		t.Errorf("who waited was woken %d times of 1000", woken)
	}
	job := tracked.job(time.Now())
	want := modelmanager.JobRows{Total: shards * rows, Read: (shards-live)*rows + 996 + 997 + 998 + 999, Rejected: live}
	want.Predicted = want.Read - live
	if got := job.Rows; got.Total != want.Total || got.Read != want.Read || got.Predicted != want.Predicted ||
		got.Rejected != want.Rejected || got.Filled["x"] != (shards-live)*rows {
		t.Errorf("the rows are %+v, want %+v", got, want)
	}
	if want := float64(shards - live + 996 + 997 + 998 + 999); job.CPUSeconds < want-1e-3 || job.CPUSeconds > want+1e-3 {
		t.Errorf("%v seconds, want %v", job.CPUSeconds, want)
	}
	if job.Shards != (modelmanager.JobShards{Total: shards, Done: shards - live}) || tracked.busy() {
		t.Errorf("%+v", job.Shards)
	}
	tracked.progress(shards-1, attempt{rows: modelmanager.JobRows{Read: 20_000, Rejected: 20_000}})
	if !tracked.order().Stop {
		t.Error("2% of the rows are rejected, and the job isn't stopped")
	}
}

// TestLargeJobsAreListedSeldom: a look at a job with thousands of shards done
// doesn't list them each time, and what must know does.
func TestLargeJobsAreListedSeldom(t *testing.T) {
	bucket, err := storage.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	service := New(Config{Bucket: bucket})
	now := time.Now()
	service.now = func() time.Time { return now }
	const shards = 2*listPage + 100
	p := &plan{}
	for range shards {
		p.Shards = append(p.Shards, shard.Shard{Slice: dataset.Slice{Rows: 1}})
	}
	if err := service.create(t.Context(), planKey("job"), p); err != nil {
		t.Fatal(err)
	}
	commit := func(from, to int) {
		t.Helper()
		for index := from; index < to; index++ {
			done := &shardRecord{Index: index, Commit: shard.Commit{Rows: modelmanager.JobRows{Read: 1, Predicted: 1}}}
			if err := service.create(t.Context(), shardKey("job", index), done); err != nil {
				t.Fatal(err)
			}
		}
	}
	tracked := service.track(&record{Job: modelmanager.Job{ID: "job"}})
	want := func(what string, want int) {
		t.Helper()
		total := tracked.total(false).rows
		if _, done := tracked.shards(); done != want || total.Read != int64(want) {
			t.Errorf("%s: %d shards are known, and %d rows, want %d", what, done, total.Read, want)
		}
	}
	look := func(read func() error) {
		t.Helper()
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	glance := func() error { return service.glance(t.Context(), tracked) }
	commit(0, 2*listPage)
	look(glance)
	want("the first look", 2*listPage)
	commit(2*listPage, 2*listPage+50)
	look(glance)
	want("a look at once after", 2*listPage)
	now = now.Add(2 * eventInterval)
	look(glance)
	want("a look later", 2*listPage+50)
	commit(2*listPage+50, shards)
	look(func() error { return service.refresh(t.Context(), tracked) })
	want(fmt.Sprintf("who must know of all %d", shards), shards)
}
