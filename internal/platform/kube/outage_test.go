package kube

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/test/cluster"
)

// line is the way to the API server, which can be cut.
type line struct {
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, fmt.Errorf("dial %s: the line is cut", address)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		l.conns[conn] = struct{}{}
	}
	return conn, err
}

func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for conn := range l.conns {
		_ = conn.Close() // all there are, whatever their state
		delete(l.conns, conn)
	}
}

// TestTheAPIServerIsAway: replicas stay known and answer, calls fail with a
// code that says so, and what happened meanwhile is told when it is back.
func TestTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	there := w.driver(t, namespace, nil)
	way := &line{conns: map[net.Conn]struct{}{}}
	config := rest.CopyConfig(w.Config)
	config.Dial = way.dial
	d := w.driver(t, namespace, func(o *Options) { o.Config = config })
	p := platform.New(d, platform.Options{Images: true})
	var mu sync.Mutex
	var events []platform.JobEvent
	cancelJobs := p.SubscribeJobs(func(event platform.JobEvent) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, event)
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	t.Cleanup(func() {
		cancelJobs()
		cancel()
		running.Wait()
	})
	until := func(what string, condition func() bool) {
		t.Helper()
		cluster.Eventually(t, 2*time.Minute, what, func(context.Context) (bool, string, error) { return condition(), "", nil })
	}
	event := func(job string, want func(platform.JobEvent) bool) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range events {
				if e.Job == job && want(e) {
					return true
				}
			}
			return false
		}
	}

	version := w.workload(t, "cut-off", platformtest.Behaviour{})
	if err := p.Scale(t.Context(), version, 1); err != nil {
		t.Fatal(err)
	}
	until("the replica is ready", func() bool { return p.Health(version.Ref()).State == modelmanager.Healthy })
	hang := platformtest.Behaviour{Tasks: map[int]platformtest.TaskBehaviour{0: {Hang: true}}}
	short, stopped := w.run(t, "short", platformtest.Behaviour{TaskTime: 2 * time.Second}), w.run(t, "stopped", hang)
	for _, run := range []platform.JobRun{short, stopped} {
		if err := p.StartJob(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		until("the job runs", event(run.Job, func(e platform.JobEvent) bool { return e.State == platform.TaskRunning }))
	}

	way.set(true)
	if err := p.Scale(t.Context(), version, 2); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("scaling without an API server: %v", err)
	}
	if err := there.StopJob(t.Context(), stopped.Job, stopped.Step); err != nil {
		t.Fatal(err)
	}
	if err := there.Scale(t.Context(), version, 3); err != nil {
		t.Fatal(err)
	}
	others := observe(t, there)
	cluster.Eventually(t, time.Minute, "there are three replicas", func(context.Context) (bool, string, error) {
		ready := 0
		for _, r := range others.of(version.Ref()) {
			if r.Stage == agent.StageReady {
				ready++
			}
		}
		return ready == 3, fmt.Sprint(others.of(version.Ref())), nil
	})
	others.untilEvent(t, "short", func(e platform.JobEvent) bool { return e.Index == -1 })
	if replicas := p.Replicas(version.Ref()); len(replicas) != 1 || replicas[0].Stage != agent.StageReady {
		t.Errorf("cut off, it knows of %v", replicas)
	}
	way.set(false)
	until("all three are told of", func() bool {
		ready := 0
		for _, r := range p.Replicas(version.Ref()) {
			if r.Stage == agent.StageReady {
				ready++
			}
		}
		return ready == 3
	})
	until("the end of the short job is told", event("short", func(e platform.JobEvent) bool { return e.Index == -1 && e.State == platform.TaskSucceeded }))
	until("that the other was stopped is told", event("stopped", func(e platform.JobEvent) bool { return e.Index == -1 && e.Fault == modelmanager.CodeCancelled }))
}
