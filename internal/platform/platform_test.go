package platform_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// scripted is a driver whose watches the test plays.
type scripted struct {
	mu     sync.Mutex
	scaled []int
	err    error
	jobs   []platform.JobRun
	watch  chan func(event func(platform.ReplicaEvent)) error // each watch takes one
}

func newScripted() *scripted {
	return &scripted{watch: make(chan func(func(platform.ReplicaEvent)) error, 10)}
}

func (d *scripted) Scale(_ context.Context, _ platform.Workload, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	d.scaled = append(d.scaled, n)
	return nil
}

func (d *scripted) calls() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]int(nil), d.scaled...)
}

func (d *scripted) WatchReplicas(ctx context.Context, event func(platform.ReplicaEvent)) error {
	for {
		select {
		case play := <-d.watch:
			if err := play(event); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *scripted) WatchJobs(ctx context.Context, _ func(platform.JobEvent)) error {
	<-ctx.Done()
	return ctx.Err()
}

func (d *scripted) StartJob(_ context.Context, run platform.JobRun) error {
	d.jobs = append(d.jobs, run)
	return nil
}

func (d *scripted) StopJob(context.Context, string, platform.Step) error { return nil }

func (d *scripted) Logs(context.Context, platform.Ref, int) (io.ReadCloser, error) {
	return nil, errors.New("there are none")
}

func (d *scripted) Close() error { return nil }

var (
	workload = platform.Workload{Version: modelmanager.Version{Model: "m", Number: 2, Artifact: modelmanager.Artifact{Archive: "a"}}, Spec: &spec.Spec{Name: "m"}}
	ref      = workload.Ref()
)

func at(id string, stage agent.Stage, reason string) platform.ReplicaEvent {
	return platform.ReplicaEvent{Replica: platform.Replica{ID: id, Ref: ref, Stage: stage, Reason: reason}}
}

// play runs a test over a Platform that follows a scripted driver, in a bubble
// whose time passes when everything waits.
func play(t *testing.T, test func(d *scripted, p *platform.Platform, tell func(...platform.ReplicaEvent))) {
	synctest.Test(t, func(t *testing.T) {
		d := newScripted()
		p := platform.New(d, platform.Options{Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		test(d, p, func(events ...platform.ReplicaEvent) {
			d.watch <- func(event func(platform.ReplicaEvent)) error {
				for _, e := range events {
					event(e)
				}
				return nil
			}
			synctest.Wait()
		})
		cancel()
		wait.Wait()
	})
}

func TestWatchBreaksOff(t *testing.T) {
	play(t, func(d *scripted, p *platform.Platform, tell func(...platform.ReplicaEvent)) {
		var got []string
		cancel := p.Subscribe(func(e platform.ReplicaEvent) {
			switch {
			case e.Synced:
				got = append(got, "synced")
			case e.Gone:
				got = append(got, "gone "+e.Replica.ID)
			default:
				got = append(got, e.Replica.ID+" "+string(e.Replica.Stage))
			}
		})
		defer cancel()
		if h := p.Health(ref); h.State != modelmanager.Unknown {
			t.Errorf("before the first watch, the health is %s", h.State)
		}
		tell(at("a", agent.StageReady, ""), at("b", agent.StageReady, ""), platform.ReplicaEvent{Synced: true})
		d.watch <- func(func(platform.ReplicaEvent)) error { return errors.New("the connection broke") }
		time.Sleep(time.Minute) // of the bubble: the watch is taken up again
		tell(at("b", agent.StageReady, ""), at("c", agent.StageLoading, ""))
		if n := len(p.Replicas(ref)); n != 3 {
			t.Errorf("before the new watch is synced there are %d replicas; a is not known to be gone yet", n)
		}
		tell(platform.ReplicaEvent{Synced: true})
		tell(platform.ReplicaEvent{Replica: platform.Replica{ID: "nobody", Ref: ref}, Gone: true})
		want := []string{"a ready", "b ready", "synced", "c loading", "gone a"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the subscriber was told (-want +got):\n%s", diff)
		}
		var late []string
		cancelLate := p.Subscribe(func(e platform.ReplicaEvent) { late = append(late, e.Replica.ID) })
		synctest.Wait()
		cancelLate()
		if len(late) != 3 || late[2] != "" {
			t.Errorf("a late subscriber was told %q, want both replicas and then Synced", late)
		}
	})
}

func TestEnsure(t *testing.T) {
	play(t, func(d *scripted, p *platform.Platform, tell func(...platform.ReplicaEvent)) {
		tell(platform.ReplicaEvent{Synced: true})
		ensure := func(want ...int) {
			t.Helper()
			if err := p.Ensure(t.Context(), workload); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, d.calls()); diff != "" {
				t.Errorf("the driver was told (-want +got):\n%s", diff)
			}
		}
		const some = platform.AtLeastOne
		ensure(some)
		ensure(some) // it's on its way
		tell(at("a", agent.StageScheduling, ""))
		time.Sleep(time.Hour)
		ensure(some) // it's there
		if err := p.Scale(t.Context(), workload, 0); err != nil {
			t.Fatal(err)
		}
		if replicas := p.Replicas(ref); replicas[0].Stage != agent.StageStopping {
			t.Errorf("scaled to zero, a replica shows as %s", replicas[0].Stage)
		}
		tell(at("a", agent.StageReady, "")) // told before it heard of its end
		ensure(some, 0, some)
		tell(platform.ReplicaEvent{Replica: platform.Replica{ID: "a", Ref: ref}, Gone: true})
		time.Sleep(time.Minute)
		ensure(some, 0, some, some) // the driver lost it: it's told again
		tell(at("b", agent.StageReady, ""))
		d.err = errors.New("no connection")
		if err := p.Scale(t.Context(), workload, 0); err == nil {
			t.Error("the driver's error is lost")
		}
		if replicas := p.Replicas(ref); replicas[0].Stage != agent.StageReady {
			t.Errorf("scaling failed, and the replica shows as %s", replicas[0].Stage)
		}
	})
}

func TestHealthAndStage(t *testing.T) {
	ready, failed, loading := at("a", agent.StageReady, ""), at("b", agent.StageFailed, "no numpy"), at("c", agent.StageLoading, "")
	preparing := at("d", agent.StagePreparing, "installing 3 Python packages")
	stopping := at("e", agent.StageStopping, "")
	odd := at("f", agent.StageReady, "")
	odd.Replica.Remark = "it ignores SIGTERM"
	tests := []struct {
		name        string
		events      []platform.ReplicaEvent
		health      modelmanager.Health
		stage       agent.Stage
		stageReason string
	}{
		{"nothing", nil, modelmanager.Health{State: modelmanager.Idle}, agent.StageScheduling, "waiting for a place to run"},
		{"ready", []platform.ReplicaEvent{ready, loading}, modelmanager.Health{State: modelmanager.Healthy}, agent.StageReady, ""},
		{"odd", []platform.ReplicaEvent{odd}, modelmanager.Health{State: modelmanager.Healthy, Reason: "it ignores SIGTERM"}, agent.StageReady, ""},
		{"degraded", []platform.ReplicaEvent{ready, failed}, modelmanager.Health{State: modelmanager.Degraded, Reason: "1 of 2 replicas fails: no numpy"}, agent.StageReady, ""},
		{"failed", []platform.ReplicaEvent{failed, stopping}, modelmanager.Health{State: modelmanager.Unhealthy, Reason: "no numpy"}, agent.StageFailed, "no numpy"},
		{"failed and loading", []platform.ReplicaEvent{failed, loading}, modelmanager.Health{State: modelmanager.Unhealthy, Reason: "no numpy"}, agent.StageLoading, "the model is loading"},
		{"preparing", []platform.ReplicaEvent{preparing}, modelmanager.Health{State: modelmanager.Starting, Reason: "installing 3 Python packages"}, agent.StagePreparing, "installing 3 Python packages"},
		{"the furthest", []platform.ReplicaEvent{preparing, loading}, modelmanager.Health{State: modelmanager.Starting, Reason: "the model is loading"}, agent.StageLoading, "the model is loading"},
		{"stopping", []platform.ReplicaEvent{stopping}, modelmanager.Health{State: modelmanager.Idle}, agent.StageScheduling, "waiting for a place to run"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			play(t, func(_ *scripted, p *platform.Platform, tell func(...platform.ReplicaEvent)) {
				tell(append(test.events, platform.ReplicaEvent{Synced: true})...)
				if diff := cmp.Diff(test.health, p.Health(ref)); diff != "" {
					t.Errorf("Health (-want +got):\n%s", diff)
				}
				if stage, reason := p.Stage(ref); stage != test.stage || reason != test.stageReason {
					t.Errorf("Stage is %s (%s), want %s (%s)", stage, reason, test.stage, test.stageReason)
				}
			})
		})
	}
}

func TestRefuses(t *testing.T) {
	image := workload
	image.Spec = &spec.Spec{Name: "m", Build: &spec.Build{Dockerfile: "Dockerfile"}}
	onlyImage := workload
	onlyImage.Version.Artifact = modelmanager.Artifact{Image: "registry.example.org/m@sha256:00"}
	d := newScripted()
	p := platform.New(d, platform.Options{})
	for _, w := range []platform.Workload{image, onlyImage} {
		for what, err := range map[string]error{
			"Scale":    p.Scale(t.Context(), w, 1),
			"Ensure":   p.Ensure(t.Context(), w),
			"StartJob": p.StartJob(t.Context(), platform.JobRun{Job: "j", Workload: w, Count: 1}),
		} {
			if modelmanager.CodeOf(err) != modelmanager.CodeNeedsKubernetes {
				t.Errorf("%s of a version that needs an image: %v", what, err)
			}
		}
		if err := p.Scale(t.Context(), w, 0); err != nil {
			t.Errorf("scaling it to zero: %v", err)
		}
		if err := platform.New(d, platform.Options{Images: true}).Scale(t.Context(), w, 1); err != nil {
			t.Errorf("where images run: %v", err)
		}
	}
	if err := p.Scale(t.Context(), workload, -1); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("scaling to -1: %v", err)
	}
	for _, count := range []int{0, -1, 100_001} {
		if err := p.StartJob(t.Context(), platform.JobRun{Job: "j", Workload: workload, Count: count}); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("a step of %d tasks: %v", count, err)
		}
	}
	d.jobs = nil
	run := platform.JobRun{Job: "j", Workload: workload, Count: 3, Parallelism: 0, Retries: -4, Done: []int{2, 7, 0, 2, -1}}
	if err := p.StartJob(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if got := d.jobs[0]; got.Parallelism != 1 || got.Retries != 0 || !cmp.Equal(got.Done, []int{0, 2}) {
		t.Errorf("the driver got %+v; what makes no sense should be put right", got)
	}
}
