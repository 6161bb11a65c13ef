package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/platform/control"
)

// look asks the cluster's events about a pod that stays preparing.
func (w *replicaWatch) look(name string, p *watchedPod) {
	for wait := w.driver.options.Stuck; ; wait = min(2*wait, time.Minute) {
		if !pause.For(w.ctx, wait) {
			return
		}
		w.mu.Lock()
		current := w.pods[name] == p && p.state.preparing
		uid := p.pod.UID
		if !current {
			p.looks = false
		}
		w.mu.Unlock()
		if !current {
			return
		}
		events, err := w.driver.eventsOf(w.ctx, uid)
		if err != nil {
			if w.ctx.Err() == nil {
				w.driver.options.Logger.Warn("asking why a pod doesn't start", "pod", name, "error", err)
			}
			continue
		}
		w.mu.Lock()
		if w.pods[name] == p {
			p.events = events
			w.assess(p)
			w.tellVersion(p.ref)
		}
		w.mu.Unlock()
	}
}

// How often an agent is asked how it is: while it starts, more often the
// younger it is; while it fails; and once the cluster's own probe watches it.
const (
	askSoonest  = 10 * time.Millisecond
	askPart     = 20
	askStarting = 250 * time.Millisecond
	askFailed   = time.Second
	askReady    = 10 * time.Second
	silences    = 3 // in a row, before an agent that listens is called silent
)

// ask follows one run of an agent.
func (w *replicaWatch) ask(ctx context.Context, p *watchedPod, run agentRun) {
	agents := control.NewAgentClient("tcp", net.JoinHostPort(run.address, strconv.Itoa(Port)))
	defer agents.Close()
	key := w.driver.key(p.ref)
	silent, started := 0, time.Now()
	for {
		status, err := agents.Ask(ctx, key)
		if ctx.Err() != nil {
			return
		}
		every := min(askSoonest+time.Since(started)/askPart, askStarting)
		w.mu.Lock()
		switch {
		case ctx.Err() != nil:
			w.mu.Unlock()
			return
		case err == nil:
			silent = 0
			p.status, p.silent = &status, ""
			if status.Stage == agent.StageFailed {
				every = askFailed
			}
			if status.Stage == agent.StageReady {
				// The probe takes a while to agree.
				every = askFailed
				if p.state.ready {
					every = askReady
				}
			}
		case !errors.Is(err, control.ErrNotListening):
			if silent++; silent >= silences {
				p.status, p.silent = nil, fmt.Sprintf("its agent does not answer: %v", err)
			}
			every = askFailed
		default:
			p.status = nil
		}
		w.tellVersion(p.ref)
		w.mu.Unlock()
		if !pause.For(ctx, every) {
			return
		}
	}
}
