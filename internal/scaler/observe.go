package scaler

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// Times of the loop's own.
const (
	statusTimeout = 2 * time.Second
	// The platform is told the same again only this much later.
	tellAgain = 10 * time.Second
)

// seen is what one look found of a version.
type seen struct {
	gateways int // calls under way, as gateways tell
	waiting  int // for a replica
	agents   int // calls under way and waiting, as agents tell
	used     bool
	unknown  bool
	wanted   bool
}

func (s *seen) load() int { return max(s.gateways, s.agents) + s.waiting }

// look adds up what gateways and agents tell.
func (s *Scaler) look(ctx context.Context, loads []Load, incomplete bool) map[platform.Ref]*seen {
	s.mu.Lock()
	found := map[platform.Ref]*seen{}
	var ask []platform.Replica
	for ref, v := range s.versions {
		found[ref] = &seen{unknown: incomplete}
		for _, r := range v.replicas {
			if r.Stage == agent.StageReady {
				ask = append(ask, r)
			}
		}
	}
	for _, load := range loads {
		sum := found[load.Ref]
		if sum == nil {
			if load.InFlight+load.Waiting == 0 && !load.Wanted {
				continue // nothing of it runs, nobody asks for it
			}
			sum = &seen{unknown: incomplete}
			found[load.Ref] = sum
		}
		sum.gateways += load.InFlight
		sum.waiting += load.Waiting
		sum.wanted = sum.wanted || load.Wanted
		// Only a change counts: the clocks of other machines may be off.
		if v := s.of(load.Ref); load.LastCall.After(v.lastCall) {
			v.lastCall, sum.used = load.LastCall, true
		}
	}
	s.mu.Unlock()

	var group errgroup.Group
	group.SetLimit(64)
	var mu sync.Mutex
	for _, replica := range ask {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, statusTimeout)
			defer cancel()
			status, err := s.config.Status(ctx, replica)
			mu.Lock()
			defer mu.Unlock()
			s.note(found[replica.Ref], replica, status, err)
			return nil
		})
	}
	_ = group.Wait()
	return found
}

// note takes in what an agent says of itself.
func (s *Scaler) note(sum *seen, replica platform.Replica, status agent.Status, err error) {
	if err != nil {
		sum.unknown = true // it may be too busy to answer
		return
	}
	sum.agents += status.InFlight + status.Waiting
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.versions[replica.Ref]
	if v == nil {
		return
	}
	if before, ok := v.calls[replica.ID]; ok && before != status.Calls {
		sum.used = true
	}
	if _, ok := v.replicas[replica.ID]; ok {
		v.calls[replica.ID] = status.Calls
	}
}

// apply decides for one version, and tells the platform.
func (s *Scaler) apply(ctx context.Context, now time.Time, ref platform.Ref, sum *seen) {
	s.mu.Lock()
	v := s.of(ref)
	workload := v.workload
	s.mu.Unlock()
	if workload == nil {
		w, err := s.config.Workload(ctx, ref)
		if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
			s.log.Warn("a version runs that isn't there any more; it ends", "model", ref.Model, "version", ref.Version)
			w = platform.Workload{Version: modelmanager.Version{Model: ref.Model, Number: ref.Version}}
			if err := s.config.Platform.Scale(ctx, w, 0); err != nil {
				s.log.Warn("it can't be ended", "model", ref.Model, "version", ref.Version, "error", err)
				return
			}
			s.mu.Lock()
			if len(v.replicas) == 0 {
				delete(s.versions, ref)
			}
			s.mu.Unlock()
			return
		}
		if err != nil {
			s.log.Warn("a running version can't be read; it keeps its replicas", "model", ref.Model, "version", ref.Version, "error", err)
			return
		}
		workload = &w
	}
	s.mu.Lock()
	v.workload = workload
	current, want := s.decide(now, ref, v, sum)
	tell := v.told < 0 && want > 0 && want == current && s.mayRenew(now, ref) || want != current && (want != v.told || now.Sub(v.toldAt) >= tellAgain)
	if tell {
		v.told, v.toldAt = want, now
	}
	if want == 0 && len(v.replicas) == 0 && sum.load() == 0 {
		delete(s.versions, ref) // nothing of it runs, and a call would start it: there may be very many
	}
	s.mu.Unlock()
	if !tell {
		return
	}
	s.log.Info("scaling", "model", ref.Model, "version", ref.Version, "from", current, "to", want, "load", sum.load())
	if err := s.config.Platform.Scale(ctx, *workload, want); err != nil && ctx.Err() == nil {
		s.log.Warn("a version can't be scaled; it will be tried again", "model", ref.Model, "version", ref.Version, "to", want, "error", err)
	}
}

// decide asks Desired; s.mu is held.
func (s *Scaler) decide(now time.Time, ref platform.Ref, v *version, sum *seen) (current, want int) {
	for _, r := range v.replicas {
		if r.Stage != agent.StageStopping {
			current++
		}
	}
	live := s.isLive(ref)
	if load := sum.load(); sum.used || load > 0 {
		v.lastUse = now
		if now.Sub(v.lost) >= lateness {
			v.past = time.Time{}
		}
	}
	v.window.add(now, sum.load())
	o := Observation{
		Scale: scaleOf(v.workload.Spec), Live: live || sum.wanted, Past: s.retired[ref.Model] || !v.past.IsZero() && now.Sub(v.past) >= lateness && !sum.wanted,
		Current: current, Load: sum.load(),
		Stable: v.window.average(now, StableWindow), Panic: v.window.average(now, PanicWindow),
		LastUse: v.lastUse, Unknown: sum.unknown,
	}
	if soars(o) {
		v.panicked = now
	}
	o.Panicked = v.panicked
	return current, Desired(now, o)
}

// A version that a new leader finds running is told once what it has, since an
// older server may have started it, with another agent. All of its replicas may
// be replaced then, so that this is done to a few versions at a time: the
// cluster needs room for the new ones beside the old ones.
const (
	renewAtOnce = 4
	renewAtMost = 2 * time.Minute // one that doesn't get ready is not to hold up the others
	// renewAtLeast is how long the first replica may take to be replaced.
	renewAtLeast = 6 * time.Second
)

// mayRenew takes a place among the versions that are renewed; s.mu is held.
func (s *Scaler) mayRenew(now time.Time, ref platform.Ref) bool {
	if len(s.renewals) >= renewAtOnce {
		return false
	}
	s.renewals[ref] = now
	return true
}

// settle gives the places of versions free that are as they should be.
func (s *Scaler) settle(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, since := range s.renewals {
		if age := now.Sub(since); age >= renewAtMost || age >= renewAtLeast && s.steady(ref) {
			delete(s.renewals, ref)
		}
	}
}

// steady tells whether a version has the replicas that it should have, all of
// them ready, and no other; s.mu is held.
func (s *Scaler) steady(ref platform.Ref) bool {
	v := s.versions[ref]
	if v == nil {
		return true
	}
	for _, r := range v.replicas {
		if r.Stage != agent.StageReady {
			return false
		}
	}
	return len(v.replicas) == v.told
}

func (s *Scaler) isLive(ref platform.Ref) bool {
	return slices.Contains(s.models[ref.Model], int32(ref.Version))
}

// scaleOf returns a spec's scale. A version that runs jobs only needs no
// replica before somebody asks for one.
func scaleOf(s *spec.Spec) spec.Scale {
	scale := s.Scale
	if len(s.Serve) > 0 && !slices.Contains(s.Serve, modelmanager.RealTime) {
		scale.Min = 0
	}
	return scale
}
