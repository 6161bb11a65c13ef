package control_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
)

var workload = platform.Workload{Version: modelmanager.Version{Model: "m", Number: 1}}

// TestBackoff lets a replica die at once, again and again: the pauses double up
// to the most, and begin anew after it had been good for a while.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		var births []time.Duration
		run := func(ctx context.Context, instance *control.Instance) error {
			mu.Lock()
			births = append(births, time.Since(begin))
			n := len(births)
			mu.Unlock()
			if n == 6 { // good for a while, then dead
				instance.Report(agent.StageReady, "")
				time.Sleep(20 * time.Second)
			}
			if n == 9 {
				<-ctx.Done()
				return nil
			}
			return errors.New("it died")
		}
		table := control.NewTable()
		r := control.NewReplicas(table, run, control.Backoff{First: time.Second, Most: 4 * time.Second, Steady: 10 * time.Second})
		if err := r.Scale(workload, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		seconds := func(n ...int) (list []time.Duration) {
			for _, s := range n {
				list = append(list, time.Duration(s)*time.Second)
			}
			return list
		}
		mu.Lock()
		// 0 +1 +2 +4 +4 +4, good until 35, at once, then 2 and 4 again.
		if diff := cmp.Diff(seconds(0, 1, 3, 7, 11, 15, 35, 37, 41), births); diff != "" {
			t.Errorf("replicas were started at (-want +got):\n%s", diff)
		}
		mu.Unlock()
		r.Close()
		if err := r.Scale(workload, 1); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
			t.Errorf("scaling after Close: %v", err)
		}
	})
}

// TestReadyOnesStay scales down: what isn't ready goes first.
func TestReadyOnesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		n := 0
		var ended []int
		run := func(ctx context.Context, instance *control.Instance) error {
			mu.Lock()
			n++
			me := n
			mu.Unlock()
			if me != 1 {
				instance.Report(agent.StageReady, "")
			}
			<-ctx.Done()
			mu.Lock()
			ended = append(ended, me)
			mu.Unlock()
			return nil
		}
		r := control.NewReplicas(control.NewTable(), run, control.Backoff{})
		for i := range 3 { // one by one, so that they count in order
			if err := r.Scale(workload, i+1); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for i := 2; i >= 1; i-- {
			if err := r.Scale(workload, i); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		mu.Lock()
		if diff := cmp.Diff([]int{1, 3}, ended); diff != "" {
			t.Errorf("replicas ended in the order (-want +got):\n%s\nwant the one that isn't ready, then the youngest", diff)
		}
		mu.Unlock()
		r.Close()
	})
}

// TestTurns has two steps share one slot.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		steps := control.NewSteps(1, control.NewFeed(), func(_ context.Context, task control.Task) error {
			mu.Lock()
			order = append(order, task.Run.Job)
			mu.Unlock()
			time.Sleep(time.Second)
			return nil
		}, control.Backoff{})
		for _, job := range []string{"large", "small"} {
			count := map[string]int{"large": 6, "small": 2}[job]
			if err := steps.Start(platform.JobRun{Job: job, Step: platform.StepShards, Count: count, Parallelism: count}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		mu.Lock()
		// The large one had its first turn before the small one came.
		want := []string{"large", "large", "small", "large", "small", "large", "large", "large"}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("tasks ran in the order (-want +got):\n%s", diff)
		}
		mu.Unlock()
		steps.Close()
	})
}

// TestWaitingIsNotLate has steps share one slot, each of which takes most of
// its time when it runs, and waits for the others much longer than that.
func TestWaitingIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := control.NewFeed()
		var mu sync.Mutex
		ends := make(map[string]modelmanager.Code)
		ctx, cancel := context.WithCancel(t.Context())
		watching := make(chan struct{})
		go func() {
			defer close(watching)
			_ = feed.Watch(ctx, func(event platform.JobEvent) {
				if event.Index < 0 {
					mu.Lock()
					ends[event.Job] = event.Fault
					mu.Unlock()
				}
			})
		}()
		steps := control.NewSteps(1, feed, func(ctx context.Context, task control.Task) error {
			length := time.Second
			if task.Run.Job == "slow" {
				length = time.Minute
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(length):
				return nil
			}
		}, control.Backoff{})
		for _, job := range []string{"a", "b", "c", "slow", "d"} {
			run := platform.JobRun{Job: job, Step: platform.StepShards, Count: 3, Parallelism: 3, Timeout: 4 * time.Second}
			if err := steps.Start(run); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		mu.Lock()
		want := map[string]modelmanager.Code{"a": "", "b": "", "c": "", "d": "", "slow": modelmanager.CodeDeadlineExceeded}
		if diff := cmp.Diff(want, ends); diff != "" {
			t.Errorf("steps ended (-want +got):\n%s", diff)
		}
		mu.Unlock()
		steps.Close()
		cancel()
		<-watching
	})
}

// TestFeedKeepsWhatNobodySaw watches after something happened.
func TestFeedKeepsWhatNobodySaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := control.NewFeed()
		feed.Emit(platform.JobEvent{Job: "a"})
		feed.Emit(platform.JobEvent{Job: "b"})
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		var wait sync.WaitGroup
		wait.Go(func() {
			_ = feed.Watch(ctx, func(e platform.JobEvent) { got = append(got, e.Job) }) // it ends with ctx
		})
		synctest.Wait()
		feed.Emit(platform.JobEvent{Job: "c"})
		synctest.Wait()
		cancel()
		wait.Wait()
		if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
			t.Errorf("the watch told (-want +got):\n%s", diff)
		}
	})
}
