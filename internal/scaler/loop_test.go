package scaler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// world is a platform whose replicas are ready at once, and a registry.
type world struct {
	mu       sync.Mutex
	tell     func(platform.ReplicaEvent)
	tellM    func(modelmanager.Model)
	replicas map[platform.Ref][]platform.Replica
	next     int
	minimum  int
	loads    map[platform.Ref]Load
	loadErr  error
	status   map[platform.Ref]agent.Status
	scaled   []string
	scaler   *Scaler
	begun    time.Time
}

func (w *world) run(t *testing.T) (stop func()) {
	s := New(Config{
		Registry: models{w}, Platform: w, Workload: w.workload, Loads: w.askLoads, Status: w.askStatus,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	w.scaler, w.begun = s, time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-ended
	}
}

func newWorld() *world {
	return &world{
		replicas: map[platform.Ref][]platform.Replica{}, loads: map[platform.Ref]Load{}, status: map[platform.Ref]agent.Status{},
	}
}

type models struct{ *world }

func (m models) Subscribe(tell func(modelmanager.Model)) func() {
	m.tellM = tell
	return func() {}
}

func (w *world) Subscribe(tell func(platform.ReplicaEvent)) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell = tell
	for _, list := range w.replicas {
		for _, r := range list {
			tell(platform.ReplicaEvent{Replica: r})
		}
	}
	tell(platform.ReplicaEvent{Synced: true})
	return func() {}
}

func (w *world) Scale(_ context.Context, workload platform.Workload, n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ref := workload.Ref()
	w.scaled = append(w.scaled, fmt.Sprintf("%s/%d: %d", ref.Model, ref.Version, n))
	w.set(ref, n)
	return nil
}

// set makes replicas come and go.
func (w *world) set(ref platform.Ref, n int) {
	for len(w.replicas[ref]) < n {
		w.next++
		r := platform.Replica{ID: fmt.Sprint(w.next), Ref: ref, Stage: agent.StageReady}
		w.replicas[ref] = append(w.replicas[ref], r)
		if w.tell != nil {
			w.tell(platform.ReplicaEvent{Replica: r})
		}
	}
	for len(w.replicas[ref]) > n {
		last := len(w.replicas[ref]) - 1
		r := w.replicas[ref][last]
		w.replicas[ref] = w.replicas[ref][:last]
		w.tell(platform.ReplicaEvent{Replica: r, Gone: true})
	}
}

// since is how long ago the last scaler began.
func (w *world) since() time.Duration { return time.Since(w.begun) }

// gone is a version that was deleted.
var gone = platform.Ref{Model: "gone", Version: 1}

func (w *world) workload(_ context.Context, ref platform.Ref) (platform.Workload, error) {
	if ref == gone {
		return platform.Workload{}, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no %s", ref.Model)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return platform.Workload{
		Version: modelmanager.Version{Model: ref.Model, Number: ref.Version},
		Spec:    &spec.Spec{Scale: scale(w.minimum, 10, 8)},
	}, nil
}

func (w *world) askLoads(context.Context) ([]Load, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Load
	for ref, load := range w.loads {
		load.Ref = ref
		list = append(list, load)
	}
	return list, w.loadErr
}

func (w *world) askStatus(_ context.Context, r platform.Replica) (agent.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	status := w.status[r.Ref]
	if status.InFlight < 0 {
		return status, errors.New("it doesn't answer")
	}
	return status, nil
}

func (w *world) count(ref platform.Ref) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.replicas[ref])
}

func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

var one, two = platform.Ref{Model: "m", Version: 1}, platform.Ref{Model: "m", Version: 2}

func model(version int) modelmanager.Model {
	return modelmanager.Model{Name: "m", History: []modelmanager.Traffic{modelmanager.All(version)}}
}

func pass(d time.Duration) {
	time.Sleep(d) // of synctest's clock
	synctest.Wait()
}

func wantCount(t *testing.T, w *world, ref platform.Ref, want int, when string) {
	t.Helper()
	if n := w.count(ref); n != want {
		t.Errorf("%s: %d replicas of version %d, want %d (%v)", when, n, ref.Version, want, w.scaled)
	}
}

func TestIdleVersionEndsAfterItsIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.change(func() { w.set(one, 1) })
		defer w.run(t)()
		w.tellM(model(1))
		pass(9*time.Minute + 50*time.Second)
		wantCount(t, w, one, 1, "before")
		w.change(func() { w.status[one] = agent.Status{Calls: 1} }) // one call in between
		pass(9*time.Minute + 50*time.Second)
		wantCount(t, w, one, 1, "after a call")
		pass(time.Minute)
		wantCount(t, w, one, 0, "idle")
		if len(w.scaled) != 2 { // once as it was, which gives it what a newer server would, and once to nothing
			t.Errorf("scaled %v", w.scaled)
		}
	})
}

func TestNewLeaderRestartsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.change(func() { w.set(one, 1) })
		stop := w.run(t)
		pass(9 * time.Minute)
		stop()
		stop = w.run(t)
		defer stop()
		pass(9 * time.Minute)
		wantCount(t, w, one, 1, "nine minutes of a new leader")
		pass(2 * time.Minute)
		wantCount(t, w, one, 0, "eleven minutes")
	})
}

func TestLoadScalesUpAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.change(func() { w.set(one, 1) })
		defer w.run(t)()
		w.tellM(model(1))
		pass(time.Minute)
		w.change(func() { w.loads[one] = Load{InFlight: 40} })
		pass(10 * time.Second)
		if n := w.count(one); n < 4 {
			t.Errorf("a soaring load: %d replicas after ten seconds", n)
		}
		pass(2 * time.Minute)
		wantCount(t, w, one, 5, "steady")
		w.change(func() { w.loads[one] = Load{} })
		pass(3 * time.Minute)
		wantCount(t, w, one, 1, "afterwards")
		pass(10 * time.Minute)
		wantCount(t, w, one, 0, "idle")
	})
}

func TestWaitingCallsStartAVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.run(t)()
		w.change(func() { w.loads[one] = Load{Waiting: 3} })
		pass(3 * time.Second)
		wantCount(t, w, one, 1, "waiting")
	})
}

func TestVersionWithoutTrafficKeepsOneForIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.change(func() {
			w.set(one, 1)
			w.minimum = 2
		})
		defer w.run(t)()
		w.tellM(model(1))
		pass(time.Hour)
		wantCount(t, w, one, 2, "live")
		w.tellM(model(2))
		pass(9 * time.Minute)
		wantCount(t, w, one, 1, "just replaced")
		wantCount(t, w, two, 2, "live, with a minimum")
		pass(2 * time.Minute)
		wantCount(t, w, one, 0, "long replaced")
	})
}

// TestOnlyWhatARollbackGoesToIsKept: of many versions that follow each other, the
// one before the last keeps a replica, and so does one that is called by number.
func TestOnlyWhatARollbackGoesToIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.minimum = 1
		defer w.run(t)()
		version := func(n int) platform.Ref { return platform.Ref{Model: "m", Version: n} }
		for n := 1; n <= 5; n++ {
			w.tellM(model(n))
			w.change(func() { w.status[version(n)] = agent.Status{Calls: 7} })
			pass(3 * time.Second)
		}
		w.change(func() { w.status[version(4)] = agent.Status{Calls: 8} }) // the last of its traffic
		pass(15 * time.Second)
		for n := 1; n <= 3; n++ {
			wantCount(t, w, version(n), 0, "long replaced")
		}
		wantCount(t, w, version(4), 1, "just replaced")
		wantCount(t, w, version(5), 1, "live")

		pass(30 * time.Second)
		w.change(func() { w.status[version(4)] = agent.Status{Calls: 9} }) // by number
		pass(5 * time.Second)
		w.tellM(model(6))
		pass(5 * time.Second)
		w.tellM(model(7))
		pass(15 * time.Second)
		wantCount(t, w, version(4), 1, "replaced, and called by number since")
		wantCount(t, w, version(5), 0, "replaced, and not called since")
		wantCount(t, w, version(6), 1, "just replaced")

		w.tellM(model(5)) // live again, it's like any
		pass(time.Minute)
		wantCount(t, w, version(5), 1, "live again")
		wantCount(t, w, version(7), 1, "rolled back from")
		pass(10 * time.Minute)
		wantCount(t, w, version(4), 0, "idle")
	})
}

// TestWhatIsBeforeACanaryIsKept: neither a canary that ends badly nor a roll-back
// makes a version past that a roll-back may go to.
func TestWhatIsBeforeACanaryIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.minimum = 1
		defer w.run(t)()
		set := func(change func(*modelmanager.Traffic)) {
			m := model(2)
			change(&m.History[0])
			w.tellM(m)
			pass(5 * time.Second)
		}
		w.tellM(model(1))
		pass(5 * time.Second)
		w.tellM(model(2))
		pass(5 * time.Second)
		for _, canary := range []int{3, 4} {
			set(func(setting *modelmanager.Traffic) {
				setting.By = modelmanager.ByRollout
				setting.Versions = []modelmanager.Share{{Version: 2, Percent: 90}, {Version: canary, Percent: 10}}
			})
		}
		set(func(setting *modelmanager.Traffic) { setting.By, setting.Back = modelmanager.ByRollout, 1 })
		wantCount(t, w, one, 1, "before the version that canaries were compared with")
		// Of the next one, the version before answers until it's ready.
		w.change(func() { w.loads[one] = Load{Wanted: true} })
		w.tellM(model(5))
		pass(15 * time.Second)
		wantCount(t, w, two, 1, "just replaced")
		wantCount(t, w, one, 1, "long replaced, and answering yet")
		w.change(func() { delete(w.loads, one) })
		pass(5 * time.Second)
		wantCount(t, w, one, 0, "long replaced")
	})
}

func TestNothingEndsWhileSomebodyCannotBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.change(func() {
			w.set(one, 1)
			w.loadErr = errors.New("one server is away")
		})
		defer w.run(t)()
		pass(time.Hour)
		wantCount(t, w, one, 1, "a server is away")
		w.change(func() {
			w.loadErr = nil
			w.status[one] = agent.Status{InFlight: -1}
		})
		pass(time.Hour)
		wantCount(t, w, one, 1, "the agent doesn't answer")
		w.change(func() { w.status[one] = agent.Status{} })
		pass(11 * time.Minute)
		wantCount(t, w, one, 0, "all are idle")
	})
}

func TestRetiredModelEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.minimum = 1
		defer w.run(t)()
		w.tellM(model(1))
		pass(5 * time.Second)
		wantCount(t, w, one, 1, "live")
		m := model(1)
		m.Retired = &modelmanager.Change{}
		w.change(func() { w.status[one] = agent.Status{InFlight: 1} })
		w.tellM(m)
		pass(11 * time.Minute)
		wantCount(t, w, one, 1, "retired, with a call under way")
		w.change(func() { w.status[one] = agent.Status{} })
		pass(5 * time.Second)
		wantCount(t, w, one, 0, "retired")
	})
}

// TestWhatDoesNotRunIsForgotten: of versions that have ended, live or not, and of
// those that are no more, nothing is kept.
func TestWhatDoesNotRunIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.change(func() {
			w.set(one, 1)
			w.set(two, 1)
			w.set(gone, 1)
		})
		defer w.run(t)()
		w.tellM(model(1))
		pass(5 * time.Second)
		wantCount(t, w, gone, 0, "no more")
		pass(11 * time.Minute)
		wantCount(t, w, one, 0, "idle, and live")
		wantCount(t, w, two, 0, "idle")
		w.scaler.mu.Lock()
		defer w.scaler.mu.Unlock()
		if n := len(w.scaler.versions); n > 0 {
			t.Errorf("%d versions are remembered", n)
		}
	})
}

// TestANewLeaderRenewsAFewAtATime: of many versions that run, only some are told
// again at once, and one that doesn't get ready holds nobody up for long.
func TestANewLeaderRenewsAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		const versions = 20
		ref := func(i int) platform.Ref { return platform.Ref{Model: "many", Version: i + 1} }
		w.change(func() {
			for i := range versions {
				w.set(ref(i), 1)
			}
			for i := range renewAtOnce {
				w.replicas[ref(i)][0].Stage = agent.StageLoading
			}
		})
		defer w.run(t)()
		told := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.scaled)
		}
		pass(time.Second)
		for last := 0; ; {
			now := told()
			if now-last > renewAtOnce {
				t.Fatalf("%d were told within a second", now-last)
			}
			if last = now; now == versions {
				break
			}
			if w.since() > 6*time.Minute {
				t.Fatalf("only %d were told", now)
			}
			pass(time.Second)
		}
		pass(time.Minute)
		if n := told(); n != versions {
			t.Errorf("%d were told, some of them twice", n)
		}
	})
}
