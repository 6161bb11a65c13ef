package platformtest

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

func testScale(h *harness) {
	w := h.good("scaled")
	seen := map[string]bool{}
	for _, n := range []int{1, 3, 1, 0, 2} {
		h.scale(w, n)
		for _, r := range h.untilReady(w.Ref(), n) {
			seen[r.ID] = true
			h.answers(r)
		}
	}
	if len(seen) < 5 {
		h.Errorf("saw %d replicas; after zero, new ones must have new ids", len(seen))
	}
}

func testKey(h *harness) {
	w := h.good("guarded")
	h.scale(w, 1)
	r := h.untilReady(w.Ref(), 1)[0]
	if r.Key != w.Key {
		h.Fatalf("the replica's key is %q, want the version's %q", r.Key, w.Key)
	}
	h.answers(r)
	for _, key := range []string{"", "wrong", w.Key + "x"} {
		status, _, err := call(h.context(), r, key)
		if err != nil || status != http.StatusUnauthorized && status != http.StatusForbidden {
			h.Errorf("with key %q: status %d, %v; want 401 or 403", key, status, err)
		}
	}
}

func testReplaced(h *harness) {
	w, other := h.good("mortal"), h.good("bystander")
	h.scale(w, 2)
	h.scale(other, 1)
	before := h.untilReady(w.Ref(), 2)
	bystander := h.untilReady(other.Ref(), 1)[0]
	h.fixture.Kill(h.T, before[0])
	h.until("the dead replica has a successor", func() bool {
		ready := h.ready(w.Ref())
		for _, r := range ready {
			if r.ID == before[0].ID && r.Address == before[0].Address {
				return false
			}
		}
		return len(ready) == 2
	})
	for _, r := range h.ready(w.Ref()) {
		h.answers(r)
	}
	if after := h.untilReady(other.Ref(), 1)[0]; after.ID != bystander.ID {
		h.Errorf("the other version's replica %s became %s", bystander.ID, after.ID)
	}
}

func testDrain(h *harness) { drain(h, func(w platform.Workload) { h.scale(w, 0) }) }

func testDrainOnClose(h *harness) {
	if h.fixture.Survives == nil {
		drain(h, func(platform.Workload) { go h.driver.Close() })
	}
}

// drain checks that a request in flight finishes while its replica ends.
func drain(h *harness, end func(platform.Workload)) {
	w := h.fixture.Workload(h.T, "slow", Behaviour{PredictTime: time.Second})
	h.scale(w, 1)
	r := h.untilReady(w.Ref(), 1)[0]
	var status int
	var body string
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		status, body, err = call(h.context(), r, r.Key)
	}()
	h.until("the request is in flight", func() bool {
		s, err := statusOf(h.context(), r)
		return err == nil && s.InFlight == 1
	})
	end(w)
	h.until("the replica no longer shows as ready", func() bool { return len(h.ready(w.Ref())) == 0 })
	<-done
	if err != nil || status != http.StatusOK {
		h.Errorf("the request in flight got %d %q, %v; want 200", status, body, err)
	}
	h.untilReady(w.Ref(), 0)
}

func testCrashLoop(h *harness) {
	bad := h.fixture.Workload(h.T, "broken", Behaviour{LoadError: "no module named pandas_of_the_suite"})
	good := h.good("sound")
	h.scale(bad, 1)
	h.scale(good, 1)
	h.untilReady(good.Ref(), 1)
	var reason string
	h.until("the broken version is failed, with a reason", func() bool {
		for _, r := range h.platform.Replicas(bad.Ref()) {
			if r.Stage == agent.StageFailed {
				reason = r.Reason
				return true
			}
		}
		return false
	})
	if !strings.Contains(reason, "no module named pandas_of_the_suite") {
		h.Errorf("the reason is %q; it should name what went wrong", reason)
	}
	h.until("its health is unhealthy", func() bool {
		return h.platform.Health(bad.Ref()).State == modelmanager.Unhealthy
	})
	if ready := h.ready(bad.Ref()); len(ready) > 0 {
		h.Errorf("a version that can't load shows as ready")
	}
	h.answers(h.untilReady(good.Ref(), 1)[0])
	h.scale(bad, 0)
	h.untilReady(bad.Ref(), 0)
	if state := h.platform.Health(bad.Ref()).State; state != modelmanager.Idle {
		h.Errorf("scaled to zero, the health is %s, want idle", state)
	}
}

func testConcurrentScale(h *harness) {
	workloads := []platform.Workload{h.good("first"), h.good("second")}
	var wait sync.WaitGroup
	for i := range 24 {
		wait.Go(func() {
			if err := h.driver.Scale(h.context(), workloads[i%2], 1+i%3); err != nil {
				h.Errorf("Scale: %v", err)
			}
		})
	}
	wait.Wait()
	ids := make([]string, 2)
	for i, w := range workloads {
		h.scale(w, 1)
		ids[i] = h.untilReady(w.Ref(), 1)[0].ID
	}
	for range 3 {
		h.scale(workloads[0], 1)
	}
	for i, w := range workloads {
		if id := h.untilReady(w.Ref(), 1)[0].ID; id != ids[i] {
			h.Errorf("scaling to the same number replaced %s by %s", ids[i], id)
		}
	}
}

func testScaleNothing(h *harness) {
	w := h.good("never")
	h.scale(w, 0)
	if replicas := h.platform.Replicas(w.Ref()); len(replicas) != 0 {
		h.Errorf("there are replicas: %v", replicas)
	}
}

func testWatch(h *harness) {
	w := h.good("watched")
	h.scale(w, 2)
	h.untilReady(w.Ref(), 2)

	watch := newWatch(h)
	h.until("the watch is synced", watch.isSynced)
	if n := watch.beforeSync(); n != 2 {
		h.Errorf("before Synced, %d replicas were told of, want 2", n)
	}
	h.scale(w, 3)
	h.until("the watch tells of the third", func() bool { return watch.count(agent.StageReady) == 3 })
	h.scale(w, 0)
	h.until("the watch tells that all are gone", func() bool { return watch.present() == 0 })
	if problem := watch.problem(); problem != "" {
		h.Error(problem)
	}
}

func testEnsure(h *harness) {
	w := h.good("woken")
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			if err := h.platform.Ensure(h.context(), w); err != nil {
				h.Errorf("Ensure: %v", err)
			}
		})
	}
	wait.Wait()
	h.answers(h.untilReady(w.Ref(), 1)[0])
	h.scale(w, 2)
	if err := h.driver.Scale(h.context(), w, platform.AtLeastOne); err != nil {
		h.Fatalf("Scale to at least one: %v", err)
	}
	h.untilReady(w.Ref(), 2)
	h.scale(w, 0)
	if err := h.platform.Ensure(h.context(), w); err != nil {
		h.Fatalf("Ensure while the last replica ends: %v", err)
	}
	h.answers(h.untilReady(w.Ref(), 1)[0])
}

func testLogs(h *harness) {
	w := h.good("talkative")
	h.scale(w, 1)
	h.untilReady(w.Ref(), 1)
	for _, lines := range []int{1, 100} {
		logs, err := h.platform.Logs(h.context(), w.Ref(), lines)
		if err != nil {
			h.Fatalf("Logs: %v", err)
		}
		text, err := io.ReadAll(logs)
		if closeErr := logs.Close(); err != nil || closeErr != nil {
			h.Fatalf("reading the logs: %v, %v", err, closeErr)
		}
		if n := strings.Count(string(text), "\n"); n > lines {
			h.Errorf("asked for %d lines, got %d", lines, n)
		}
	}
}

func testClose(h *harness) {
	if h.fixture.Survives != nil {
		testCloseLeavesAll(h)
		return
	}
	good := h.good("closed")
	bad := h.fixture.Workload(h.T, "closed-broken", Behaviour{LoadError: "it can't"})
	h.scale(good, 2)
	h.scale(bad, 1)
	h.untilReady(good.Ref(), 2)
	if err := h.driver.Close(); err != nil {
		h.Fatalf("Close: %v", err)
	}
	h.until("nothing is left", func() bool { return len(h.platform.Replicas(good.Ref()))+len(h.platform.Replicas(bad.Ref())) == 0 })
	h.noProcesses()
	if err := h.driver.Scale(h.context(), good, 1); err == nil {
		h.Error("a closed driver takes a version")
	}
}

func (h *harness) noProcesses() {
	h.Helper()
	if h.fixture.Processes == nil {
		return
	}
	if n := h.fixture.Processes(h.T); n > 0 {
		h.Errorf("%d processes are left", n)
	}
}
