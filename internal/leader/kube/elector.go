// Package kube elects a leader by a Lease of Kubernetes. client-go's own
// elector releases a lease before the work that it guards has ended, and
// tells the work of a lost one only after it has tried to release it; this
// one does it the other way round.
package kube

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"modelmanager.dev"
)

// Options are all that an Elector is told.
type Options struct {
	Namespace string // of the Lease: the server's own
	Name      string // of the Lease; default modelmanager-leader
	Identity  string // of this process alone; default: the host's name and some random letters

	Lease  time.Duration // how long others wait after the last renewal that they saw, in whole seconds; default 15 s
	Renew  time.Duration // how long this server leads after its last renewal; default 10 s
	Retry  time.Duration // between two tries; default 2 s
	Logger *slog.Logger  // nil: slog.Default
}

// Elector is a leader.Elector. Its Run is called once at a time.
//
// No clocks are compared. Who leads stops at the latest Renew after it sent the
// last renewal that succeeded; another begins at the earliest Lease after it
// saw that renewal, which is later. What lies between is the time that lead has
// to return.
type Elector struct {
	Options
	leases coordination.LeaseInterface
	seen   sighting
}

// New makes an Elector. The server's account needs to get, create and update
// leases of coordination.k8s.io in its namespace.
func New(config *rest.Config, options Options) (*Elector, error) {
	e := &Elector{Options: options}
	if e.Name == "" {
		e.Name = "modelmanager-leader"
	}
	if e.Lease == 0 {
		e.Lease = 15 * time.Second
	}
	if e.Renew == 0 {
		e.Renew = 10 * time.Second
	}
	if e.Retry == 0 {
		e.Retry = 2 * time.Second
	}
	if e.Logger == nil {
		e.Logger = slog.Default()
	}
	if e.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("naming this server among others: %w", err)
		}
		e.Identity = host + "-" + rand.Text()[:8]
	}
	if e.Namespace == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "electing a leader: the lease has no namespace")
	}
	if e.Lease%time.Second != 0 || e.Renew >= e.Lease || e.Retry >= e.Renew {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal,
			"electing a leader: the lease is for %v, renewed within %v, tried every %v; each must be less than the one before, and the lease whole seconds", e.Lease, e.Renew, e.Retry)
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := coordination.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for leases: %w", err)
	}
	e.leases = client.Leases(e.Namespace)
	return e, nil
}

// errLost is why a term ends before the server does.
var errLost = errors.New("this server leads no more")

// Run implements leader.Elector.
func (e *Elector) Run(ctx context.Context, lead func(context.Context) error) error {
	for {
		term, err := e.acquire(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		e.Logger.Info("this server leads", "lease", e.Name, "identity", e.Identity)
		err = e.serve(ctx, term, lead)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errLost) {
			return err
		}
		e.Logger.Warn("this server leads no more; its loops have ended, and it tries again", "lease", e.Name, "reason", err)
	}
}

// serve leads for one term: until ctx ends, lead returns or the lease is lost.
// The lease is renewed until lead has returned, then it is released.
func (e *Elector) serve(ctx context.Context, t *term, lead func(context.Context) error) error {
	leading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	lost := time.AfterFunc(time.Until(t.renewed.Add(e.Renew)), func() {
		stop(fmt.Errorf("%w: it couldn't renew its lease for %v", errLost, e.Renew))
	})
	defer lost.Stop()
	done := make(chan error, 1)
	go func() {
		err := lead(leading)
		if err == nil && leading.Err() == nil {
			<-leading.Done() // lead had nothing more to do; the term goes on
		}
		done <- err
	}()
	retry := time.NewTicker(e.Retry)
	defer retry.Stop()
	for {
		select {
		case err := <-done:
			e.release(t)
			cause := context.Cause(leading)
			if !errors.Is(cause, errLost) {
				return err
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				e.Logger.Warn("the loops ended with an error after the lease was lost", "error", err)
			}
			return cause
		case <-retry.C:
		}
		// A lost lease is tried, too, while lead goes on: nobody else may have it yet.
		switch err := e.renew(t); {
		case errors.Is(context.Cause(leading), errLost):
			e.impatient(t)
		case err == nil && lost.Stop():
			lost.Reset(time.Until(t.renewed.Add(e.Renew)))
		case errors.Is(err, errLost):
			stop(err)
		case err != nil:
			e.Logger.Warn("the lease can't be renewed; it will be tried again", "lease", e.Name, "error", err)
		}
	}
}

// impatient complains of a lead that goes on when another may have begun.
func (e *Elector) impatient(t *term) {
	if time.Since(t.renewed) > e.Lease && !t.complained {
		t.complained = true
		e.Logger.Error("loops go on though the lease is lost; another server may lead at the same time", "lease", e.Name)
	}
}
