package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/bench/report"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/kube"
)

func (b *bench) open(namespace string) (*kube.Store, error) {
	return kube.Open(b.cluster.Config(), kube.Options{Namespace: namespace})
}

// together does n things with all workers, and returns how long it took.
func (b *bench) together(n int, do func(i int) error) (time.Duration, error) {
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make(chan error, b.workers)
	start := time.Now()
	for range b.workers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return time.Since(start), nil
	}
}

// publish times publications through two replicas, by all the registry's
// rules: three versions of each model.
func (b *bench) publish(ctx context.Context, namespace, where string, publications int) error {
	var replicas []*registry.Registry
	for range 2 {
		store, err := b.open(namespace)
		if err != nil {
			return err
		}
		replicas = append(replicas, registry.New(store, registry.Options{}))
	}
	models := publications / b.versions
	before, err := processorOf(b.cluster.APIServer())
	if err != nil {
		return err
	}
	took, err := b.together(models, func(i int) error {
		s := specOf(i)
		for version := range b.versions {
			if _, _, err := replicas[(i+version)%2].Publish(ctx, publicationOf(s, fmt.Sprint(version))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.row(report.Row{
		What: fmt.Sprintf("publish through two replicas, %d at once, %s", b.workers, where),
		Ours: report.Rate(float64(models*b.versions)/took.Seconds(), "versions"),
	})
	after, err := processorOf(b.cluster.APIServer())
	b.row(report.Row{
		What: "one publication " + where + ": the apiserver's processor time",
		Ours: seconds((after - before) / float64(models*b.versions)),
	})
	return err
}

// fill writes all models and versions, and the same models in the naive form,
// and measures what they take in the apiserver.
func (b *bench) fill(ctx context.Context) error {
	store, err := b.open(ours)
	if err != nil {
		return err
	}
	version, _, err := b.weigh(ctx, b.models*b.versions, func(i int) error {
		p := publicationOf(specOf(i/b.versions), fmt.Sprint(i%b.versions))
		canonical, err := p.Spec.Canonical()
		if err != nil {
			return err
		}
		return store.CreateVersion(ctx, modelmanager.Version{
			Model: p.Spec.Name, Number: i%b.versions + 1, Digest: registry.Digest(canonical, p.Artifact.Digest), Spec: canonical,
			Artifact: p.Artifact, Source: p.Source, Created: time.Now(), By: p.By, ApprovedBy: p.ApprovedBy,
		})
	})
	if err != nil {
		return err
	}
	mine, myRate, err := b.weigh(ctx, b.models, func(i int) error {
		_, err := store.PutModel(ctx, recordOf(specOf(i), b.versions), registry.None)
		return err
	})
	if err != nil {
		return err
	}
	var theirs, theirRate float64
	if !b.alone {
		client, err := naiveClient(b.cluster.Config())
		if err != nil {
			return err
		}
		theirs, theirRate, err = b.weigh(ctx, b.models, func(i int) error { return createNaive(ctx, client, i, b.versions) })
		if err != nil {
			return err
		}
	}
	b.versus("one object written", 1/myRate, 1/theirRate, seconds, "")
	b.versus("apiserver: heap a model, to list and route it", mine, theirs, report.Bytes, "")
	b.row(report.Row{What: "apiserver: heap a version, with its spec", Ours: report.Bytes(version)})
	return nil
}

// weigh creates n objects, and returns what each takes of the apiserver's
// heap, and how many were created a second.
func (b *bench) weigh(ctx context.Context, n int, create func(i int) error) (bytes, rate float64, err error) {
	before, err := b.api.heap(ctx)
	if err != nil {
		return 0, 0, err
	}
	took, err := b.together(n, create)
	if err != nil {
		return 0, 0, err
	}
	after, err := b.api.heap(ctx)
	return (after - before) / float64(n), float64(n) / took.Seconds(), err
}
