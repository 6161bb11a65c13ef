package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/spec"
)

// world is a registry over memory, and a platform and calls that are what a
// test says.
type world struct {
	t        *testing.T
	registry *registry.Registry
	loop     *Loop

	mu      sync.Mutex
	health  map[int]modelmanager.Health
	ready   map[int]time.Time
	ensured []int
	counts  map[int]activity.Counts
	asked   int
	err     error
	fail    error // of Workload
}

const model = `name: m
summary: A model.
owner: tests@example.org
labels: {content: "%d"}
features: [{name: x, type: number}]
predictions: [{name: y, type: number}]
run: {command: [./m]}
rollout: {strategy: canary, steps: [5, 25, 50], pause: 1m, back_when: {errors: 0.1}}
examples: [{features: {x: 2}}]
`

// newWorld has a model of three versions, of which the first has all traffic.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, registry: registry.New(memory.New(), registry.Options{Logger: slog.New(slog.DiscardHandler)}),
		health: map[int]modelmanager.Health{}, ready: map[int]time.Time{}, counts: map[int]activity.Counts{},
	}
	for i := range 3 {
		parsed, err := spec.Parse("model.yaml", fmt.Appendf(nil, model, i))
		if err != nil {
			t.Fatal(err)
		}
		digest := "sha256:" + strings.Repeat(fmt.Sprint(i), 64)
		if _, _, err := w.registry.Publish(t.Context(), registry.Publication{
			Spec: parsed, Artifact: modelmanager.Artifact{Digest: digest, Archive: "artifacts/" + digest}, By: "ana",
		}); err != nil {
			t.Fatal(err)
		}
	}
	w.set(modelmanager.All(1), "ana")
	w.loop = w.newLoop()
	return w
}

func (w *world) newLoop() *Loop {
	return New(Config{Registry: w.registry, Platform: w, Workload: w.workload, Since: w.since, Logger: slog.New(slog.DiscardHandler)})
}

func (w *world) set(traffic modelmanager.Traffic, by string) modelmanager.Traffic {
	w.t.Helper()
	m, err := w.registry.SetTraffic(context.Background(), "m", traffic, modelmanager.Change{By: by}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Traffic()
}

// begin publishes nothing, but sets a version's first step.
func (w *world) begin(version int) {
	w.t.Helper()
	step, reason, ok := First(w.traffic(), version, spec.Rollout{Steps: []int{5, 25, 50}}, "ana")
	if !ok {
		w.t.Fatal("nothing to begin")
	}
	if _, err := w.registry.SetTraffic(context.Background(), "m", step, modelmanager.Change{By: modelmanager.ByRollout, Reason: reason}, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) traffic() modelmanager.Traffic {
	w.t.Helper()
	m, err := w.registry.Get(context.Background(), "m")
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Traffic()
}

func (w *world) want(traffic string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.traffic(); text(got) != traffic {
		w.t.Fatalf("traffic is %s (%s), want %s", text(got), got.Reason, traffic)
	}
}

// run runs a loop, with its registry, until stop.
func (w *world) run(l *Loop) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = w.registry.Run(ctx) })
	loops.Go(func() {
		if err := l.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	synctest.Wait()
	return func() {
		cancel()
		loops.Wait()
	}
}

func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *world) Health(ref platform.Ref) modelmanager.Health {
	w.mu.Lock()
	defer w.mu.Unlock()
	if health, ok := w.health[ref.Version]; ok {
		return health
	}
	return modelmanager.Health{State: modelmanager.Idle}
}

func (w *world) Replicas(ref platform.Ref) []platform.Replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []platform.Replica{
		{ID: "new", Stage: agent.StageReady, Since: w.ready[ref.Version].Add(time.Minute)},
		{ID: "old", Stage: agent.StageReady, Since: w.ready[ref.Version]},
		{ID: "oldest", Stage: agent.StageLoading, Since: time.Unix(0, 0)},
	}
}

// Ensure makes a version run, unless the test says how it is.
func (w *world) Ensure(_ context.Context, workload platform.Workload) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	number := workload.Version.Number
	w.ensured = append(w.ensured, number)
	if _, ok := w.health[number]; !ok {
		w.health[number], w.ready[number] = modelmanager.Health{State: modelmanager.Healthy}, time.Now()
	}
	return nil
}

func (w *world) workload(ctx context.Context, ref platform.Ref) (platform.Workload, error) {
	if w.fail != nil {
		return platform.Workload{}, w.fail
	}
	version, err := w.registry.Version(ctx, ref.Model, ref.Version)
	if err != nil {
		return platform.Workload{}, err
	}
	parsed, err := spec.FromCanonical(version.Spec)
	return platform.Workload{Version: version, Spec: parsed}, err
}

func (w *world) since(_ context.Context, name string, since time.Time) (map[int]activity.Counts, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	found := map[int]activity.Counts{}
	for version, c := range w.counts {
		found[version] = c
	}
	return found, w.err
}

func good(calls int64) activity.Counts { return activity.Counts{Calls: calls} }

func TestAGoodCanaryArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.change(func() { w.counts[2] = good(100) })
		stop := w.run(w.loop)
		defer stop()
		w.begin(2)
		for _, traffic := range []string{"1=95 2=5", "1=75 2=25", "1=50 2=50"} {
			w.want(traffic)
			begun := w.traffic().At
			for w.traffic().At.Equal(begun) {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			if took := time.Since(begun); took < time.Minute || took > 66*time.Second {
				t.Errorf("%s lasted %v", traffic, took)
			}
		}
		w.want("2=100")
		time.Sleep(time.Hour)
		w.want("2=100")
		m, err := w.registry.Get(t.Context(), "m")
		if err != nil || len(m.History) != 5 {
			t.Fatalf("%+v %v", m.History, err)
		}
		for i, says := range []string{"is through: all calls, after 100 calls at 50%", "step 3 of 3: 50%", "step 2 of 3: 25%", "step 1 of 3: 5%"} {
			if got := m.History[i]; !strings.Contains(got.Reason, says) || got.By != modelmanager.ByRollout {
				t.Errorf("setting %d: %q by %q", i, got.Reason, got.By)
			}
		}
		if w.asked > 150 {
			t.Errorf("it asked %d times in three minutes", w.asked)
		}
	})
}

func TestABadCanaryGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(modelmanager.Traffic{Versions: []modelmanager.Share{{Version: 1, Percent: 60}, {Version: 3, Percent: 40}}}, "ana")
		stop := w.run(w.loop)
		defer stop()
		w.begin(2)
		w.change(func() { w.counts[2] = good(100) })
		time.Sleep(65 * time.Second)
		w.want("1=75 2=25")
		w.change(func() { w.counts[2] = activity.Counts{Calls: 200, Errors: 30} })
		time.Sleep(10 * time.Second)
		w.want("1=60 3=40")
		got := w.traffic()
		if got.By != modelmanager.ByRollout || got.Back != 1 || !strings.Contains(got.Reason, "30 of 200 calls failed (15%), more than the 10% of back_when.errors") {
			t.Errorf("%+v", got)
		}
		time.Sleep(time.Hour)
		w.want("1=60 3=40")
	})
}

func TestAVersionThatCanNotStartGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		failed := modelmanager.Health{State: modelmanager.Unhealthy, Reason: "ModuleNotFoundError: numpy"}
		starting := modelmanager.Health{State: modelmanager.Starting, Reason: "the model is loading"}
		w.change(func() { w.health[2] = starting })
		stop := w.run(w.loop)
		defer stop()
		w.begin(2)
		for range 20 { // it is tried again and again
			w.change(func() { w.health[2] = failed })
			time.Sleep(4 * time.Second)
			w.change(func() { w.health[2] = starting })
			time.Sleep(time.Second)
		}
		w.want("1=100")
		if got := w.traffic(); !strings.Contains(got.Reason, "version 2 went back from 5%: it can't run: ModuleNotFoundError: numpy") {
			t.Errorf("%q", got.Reason)
		}
	})
}

func TestAVersionThatFailsOnceIsGivenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.change(func() { w.health[2] = modelmanager.Health{State: modelmanager.Unhealthy, Reason: "the node went away"} })
		stop := w.run(w.loop)
		defer stop()
		w.begin(2)
		time.Sleep(10 * time.Second)
		w.change(func() { w.health[2], w.ready[2] = modelmanager.Health{State: modelmanager.Healthy}, time.Now() })
		time.Sleep(30 * time.Second)
		w.want("1=95 2=5")
		w.change(func() { w.counts[2] = good(100) })
		time.Sleep(35 * time.Second) // a minute and more since it is ready
		w.want("1=75 2=25")
	})
}

func TestSomebodyElseDecides(t *testing.T) {
	for name, decide := range map[string]func(w *world) string{
		"promotes": func(w *world) string {
			if _, err := w.registry.SetTraffic(context.Background(), "m", modelmanager.All(2), modelmanager.Change{By: "ana"}, nil); err != nil {
				w.t.Error(err)
			}
			return "2=100"
		},
		"rolls back": func(w *world) string {
			if _, err := w.registry.Rollback(context.Background(), "m", modelmanager.Change{By: "ana"}, nil); err != nil {
				w.t.Error(err)
			}
			return "1=100"
		},
		"keeps it there": func(w *world) string {
			w.set(w.traffic(), "ana")
			return "1=95 2=5"
		},
		"splits": func(w *world) string {
			w.set(modelmanager.Traffic{Versions: []modelmanager.Share{{Version: 1, Percent: 50}, {Version: 2, Percent: 50}}}, "ana")
			return "1=50 2=50"
		},
		"tries another": func(w *world) string {
			w.begin(3)
			return "1=95 3=5"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				stop := w.run(w.loop)
				defer stop()
				w.begin(2)
				time.Sleep(30 * time.Second)
				want := decide(w)
				w.change(func() { w.counts[2] = activity.Counts{Calls: 1000, Errors: 1000} })
				time.Sleep(40 * time.Second)
				w.want(want)
			})
		})
	}
}

// TestASettingMadeMeanwhileStays: somebody sets traffic between a look and what
// it leads to.
func TestASettingMadeMeanwhileStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.begin(2)
		seen := w.traffic()
		w.set(modelmanager.All(3), "ana")
		work, err := w.workload(t.Context(), platform.Ref{Model: "m", Version: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []activity.Counts{{Calls: 100}, {Calls: 100, Errors: 100}} {
			w.counts[2] = c
			w.loop.look(t.Context(), "m", canary{setting: seen, version: 2, work: &work, started: seen.At.Add(-time.Hour)})
			w.want("3=100")
		}
	})
}

func TestAnotherLeaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.change(func() { w.counts[2] = good(100) })
		stop := w.run(w.loop)
		w.begin(2)
		time.Sleep(40 * time.Second)
		stop()
		stop = w.run(w.newLoop())
		time.Sleep(15 * time.Second)
		w.want("1=95 2=5")
		time.Sleep(10 * time.Second) // the step began with the first leader
		w.want("1=75 2=25")
		// One that comes when it has long gone idle starts it again, rather than
		// take it for one that doesn't start.
		stop()
		w.change(func() { delete(w.health, 2); w.counts = map[int]activity.Counts{} })
		time.Sleep(time.Hour)
		stop = w.run(w.newLoop())
		defer stop()
		time.Sleep(2 * time.Second)
		w.want("1=75 2=25")
		w.change(func() { w.counts[2] = good(100) })
		time.Sleep(90 * time.Second)
		w.want("1=50 2=50")
	})
}

func TestNobodyCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run(w.loop)
		defer stop()
		w.begin(2)
		time.Sleep(2 * time.Minute)
		w.want("1=95 2=5")
		time.Sleep(70 * time.Second) // three pauses
		w.want("1=75 2=25")
		time.Sleep(10 * time.Minute)
		w.want("2=100")
		if len(w.ensured) != 1 || w.ensured[0] != 2 {
			t.Errorf("started: %v", w.ensured)
		}
	})
}

func TestWhatIsNotKnownHoldsItUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.change(func() { w.counts[2], w.err = good(100), errors.New("a server is silent") })
		stop := w.run(w.loop)
		defer stop()
		w.begin(2)
		time.Sleep(time.Hour)
		w.want("1=95 2=5")
		w.change(func() { w.err = nil })
		time.Sleep(10 * time.Second)
		w.want("1=75 2=25")
	})
}

func TestDescribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		describe := func() *modelmanager.Canary {
			t.Helper()
			m, err := w.registry.Get(t.Context(), "m")
			if err != nil {
				t.Fatal(err)
			}
			c, err := w.loop.Describe(t.Context(), m, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if c := describe(); c != nil {
			t.Errorf("%+v", c)
		}
		w.begin(2)
		since := w.traffic().At
		w.health[2], w.ready[2] = modelmanager.Health{State: modelmanager.Healthy}, since.Add(10*time.Second)
		w.counts[2], w.counts[1] = activity.Counts{Calls: 30, Errors: 1}, good(500)
		time.Sleep(20 * time.Second)
		c := describe()
		if c == nil || c.Version != 2 || c.Before != 1 || c.Step != 1 || len(c.Steps) != 3 || !c.Since.Equal(since) ||
			!c.Until.Equal(since.Add(70*time.Second)) || !c.Latest.Equal(since.Add(190*time.Second)) || c.Calls.Calls != 30 || c.CallsBefore.Calls != 500 ||
			!strings.Contains(c.Status, "30 calls at 5%, of which 1 failed") {
			text, _ := json.Marshal(c)
			t.Errorf("%s", text)
		}
		if got := strings.Join(c.BackWhen, "; "); got != "it can't run; more than 10% of its calls fail" {
			t.Errorf("back when %s", got)
		}
		w.set(w.traffic(), "ana")
		if c := describe(); c != nil {
			t.Errorf("%+v", c)
		}
		w.begin(3)
		w.fail = errors.New("the store is away")
		m, _ := w.registry.Get(t.Context(), "m")
		if _, err := w.loop.Describe(t.Context(), m, time.Second); err == nil {
			t.Error("what can't be read is described")
		}
	})
}
