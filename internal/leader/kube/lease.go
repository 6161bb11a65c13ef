package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	coordination "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// term is a lease that is held.
type term struct {
	lease      *coordination.Lease // as last written
	renewed    time.Time           // before the last successful renewal was sent
	complained bool
}

// sighting is a lease of somebody else's, and when it was first seen so.
type sighting struct {
	version string
	at      time.Time
}

// acquire tries until the lease is held; its error is ctx's.
func (e *Elector) acquire(ctx context.Context) (*term, error) {
	for complain := true; ; {
		term, err := e.try(ctx)
		if term != nil {
			return term, nil
		}
		if err != nil && ctx.Err() == nil && complain {
			e.Logger.Warn("the lease can't be read or taken; it is tried again and again", "lease", e.Name, "error", err)
		}
		complain = err == nil
		pause := time.NewTimer(e.Retry + rand.N(e.Retry/5+1))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, ctx.Err()
		}
	}
}

// try takes the lease if it is free: absent, released, or not renewed for as
// long as its holder promised to. Without an error and a term, it isn't free.
func (e *Elector) try(ctx context.Context) (*term, error) {
	ctx, cancel := context.WithTimeout(ctx, e.Renew/2)
	defer cancel()
	begin := time.Now()
	lease, err := e.leases.Get(ctx, e.Name, meta.GetOptions{})
	if errors.IsNotFound(err) {
		lease = &coordination.Lease{ObjectMeta: meta.ObjectMeta{
			Name: e.Name, Labels: map[string]string{"app.kubernetes.io/managed-by": "model-manager"},
		}}
		e.fill(lease, begin)
		return taken(begin)(e.leases.Create(ctx, lease, meta.CreateOptions{}))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the lease: %w", err)
	}
	if !e.free(lease, time.Now()) {
		return nil, nil
	}
	begin = time.Now()
	e.fill(lease, begin)
	return taken(begin)(e.leases.Update(ctx, lease, meta.UpdateOptions{}))
}

// free tells whether a lease may be taken now. Only our own clock is asked: a
// lease is over when it has stood unchanged before our eyes for its duration.
func (e *Elector) free(lease *coordination.Lease, now time.Time) bool {
	holder := lease.Spec.HolderIdentity
	if holder == nil || *holder == "" || *holder == e.Identity {
		return true
	}
	if lease.ResourceVersion != e.seen.version {
		e.seen = sighting{lease.ResourceVersion, now}
		return false
	}
	promised := e.Lease
	if seconds := lease.Spec.LeaseDurationSeconds; seconds != nil && *seconds > 0 {
		promised = time.Duration(*seconds) * time.Second
	}
	return now.Sub(e.seen.at) >= promised
}

// fill makes a lease ours.
func (e *Elector) fill(lease *coordination.Lease, now time.Time) {
	spec := &lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity != e.Identity {
		transitions := int32(0)
		if spec.LeaseTransitions != nil {
			transitions = *spec.LeaseTransitions + 1
		}
		spec.LeaseTransitions = &transitions
		spec.AcquireTime = &meta.MicroTime{Time: now}
	}
	spec.HolderIdentity = &e.Identity
	spec.LeaseDurationSeconds = new(int32(e.Lease / time.Second))
	spec.RenewTime = &meta.MicroTime{Time: now}
}

// taken makes a term of what writing a lease led to. Another server that was
// quicker is no error.
func taken(begin time.Time) func(*coordination.Lease, error) (*term, error) {
	return func(lease *coordination.Lease, err error) (*term, error) {
		switch {
		case errors.IsConflict(err) || errors.IsAlreadyExists(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("taking the lease: %w", err)
		}
		return &term{lease: lease, renewed: begin}, nil
	}
}

// renew writes the lease again. errLost says that it is somebody else's now.
func (e *Elector) renew(t *term) error {
	ctx, cancel := context.WithTimeout(context.Background(), e.Renew/3)
	defer cancel()
	for {
		begin := time.Now()
		e.fill(t.lease, begin)
		lease, err := e.leases.Update(ctx, t.lease, meta.UpdateOptions{})
		if err == nil {
			t.lease, t.renewed = lease, begin
			return nil
		}
		if errors.IsConflict(err) {
			// Somebody wrote something into it, or an answer to us was lost.
			lease, err = e.leases.Get(ctx, e.Name, meta.GetOptions{})
			if err == nil {
				if holder := lease.Spec.HolderIdentity; holder == nil || *holder != e.Identity {
					return fmt.Errorf("%w: the lease is held by %s", errLost, name(holder))
				}
				t.lease = lease
				continue
			}
		}
		if errors.IsNotFound(err) {
			return fmt.Errorf("%w: somebody deleted its lease", errLost)
		}
		return err
	}
}

func name(holder *string) string {
	if holder == nil || *holder == "" {
		return "nobody"
	}
	return *holder
}

// release gives the lease up, so that another server needn't wait for its end.
// It is written only if nobody has written it since.
func (e *Elector) release(t *term) {
	ctx, cancel := context.WithTimeout(context.Background(), e.Retry)
	defer cancel()
	t.lease.Spec.HolderIdentity = nil
	t.lease.Spec.LeaseDurationSeconds = new(int32(1))
	t.lease.Spec.RenewTime = &meta.MicroTime{Time: time.Now()}
	if _, err := e.leases.Update(ctx, t.lease, meta.UpdateOptions{}); err != nil && !errors.IsConflict(err) && !errors.IsNotFound(err) {
		e.Logger.Warn("the lease can't be released; another server takes it when it is over", "lease", e.Name, "error", err)
	}
}
