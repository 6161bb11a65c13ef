package batch

import (
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/storage"
)

// servers are two services that share a bucket, and know the same job.
func servers(t *testing.T) (services [2]*Service, trackers [2]*tracker) {
	t.Helper()
	bucket, err := storage.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	for i, name := range []string{"one", "two"} {
		services[i] = New(Config{Bucket: bucket, Name: name})
		trackers[i] = services[i].track(&record{Job: modelmanager.Job{ID: "job", MaxRejected: "100"}})
	}
	return services, trackers
}

func TestServersShareProgress(t *testing.T) {
	services, trackers := servers(t)
	now := time.Now()
	read := func(n int64) modelmanager.JobRows { return modelmanager.JobRows{Read: n, Predicted: n} }
	report := func(server, index int, id string, n int64, at time.Duration) {
		trackers[server].progress(index, attempt{id: id, rows: read(n), at: now.Add(at)})
		trackers[server].lastTold = time.Time{} // as if the last time were long ago
		services[server].tell(t.Context(), trackers[server])
	}
	expect := func(what string, want int64) {
		t.Helper()
		for server, service := range services {
			trackers[server].lastHeard = time.Time{}
			if err := service.hear(t.Context(), trackers[server]); err != nil {
				t.Fatal(err)
			}
			if got := trackers[server].total(true).rows.Read; got != want {
				t.Errorf("%s: server %d counts %d rows, want %d", what, server, got, want)
			}
		}
	}
	report(0, 0, "a", 10, 1)
	report(1, 1, "b", 20, 1)
	expect("each was told of a shard", 30)
	report(1, 0, "a", 15, 2)
	expect("an attempt goes on with the other server", 35)
	report(0, 1, "c", 5, 3)
	expect("a new attempt starts anew", 20)
	for _, tracker := range trackers {
		tracker.observe(platform.JobEvent{Step: platform.StepShards, Index: 0, State: platform.TaskFailed})
	}
	expect("an attempt that has ended isn't heard of again", 5)
	report(0, 0, "d", 7, time.Hour)
	expect("its successor is", 12)
	for _, tracker := range trackers {
		tracker.finished(&shardRecord{Index: 0, Commit: shard.Commit{Rows: read(100)}})
	}
	expect("what is committed counts once", 105)
}

// TestServersShareWhatAJobWaitsFor: the platform tells the leader alone, and a
// caller may ask any server. A server that is gone isn't believed for ever.
func TestServersShareWhatAJobWaitsFor(t *testing.T) {
	services, trackers := servers(t)
	now := time.Now()
	waits := func(state platform.TaskState, reason string) {
		trackers[0].observe(platform.JobEvent{Step: platform.StepPlan, Index: 0, State: state, Reason: reason})
		trackers[0].lastTold, trackers[1].lastHeard = time.Time{}, time.Time{}
		services[0].tell(t.Context(), trackers[0])
		if err := services[1].hear(t.Context(), trackers[1]); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when time.Time, reason string) {
		t.Helper()
		if got := trackers[1].job(when).Reason; got != reason {
			t.Errorf("the other server says that it waits for %q, want %q", got, reason)
		}
	}
	waits(platform.TaskWaiting, "no node has room for it")
	want(now, "no node has room for it")
	want(now.Add(time.Hour), "")
	waits(platform.TaskRunning, "")
	want(now, "")
}

func TestALoneServerTellsNobody(t *testing.T) {
	services, trackers := servers(t)
	services[0].config.Name = ""
	trackers[0].progress(0, attempt{id: "a", at: time.Now()})
	services[0].tell(t.Context(), trackers[0])
	if objects, err := services[0].config.Bucket.List(t.Context(), progressPrefix("job"), "", 0); err != nil || len(objects) != 0 {
		t.Fatalf("a lone server wrote %v (%v)", objects, err)
	}
}
