package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"modelmanager.dev/bench/report"
	"modelmanager.dev/internal/registry"
)

// cost is what a new replica takes until it knows every model.
type cost struct{ took, client, server, heap float64 }

// compare starts replicas of both kinds in turns.
func (b *bench) compare(ctx context.Context) error {
	costs := map[string][]cost{}
	for range b.repeat {
		for _, kind := range b.kinds() {
			c, err := b.replica(ctx, kind)
			if err != nil {
				return err
			}
			costs[kind] = append(costs[kind], c)
		}
	}
	listed := map[string][]float64{}
	for range b.repeat {
		for _, kind := range b.kinds() {
			list := b.listOnce
			if kind == naive {
				list = func(ctx context.Context) (int, error) { return listNaive(ctx, b.cluster.Config()) }
			}
			start := time.Now()
			n, err := list(ctx)
			if err != nil || n != b.models {
				return fmt.Errorf("%s: %d of %d models were listed: %w", kind, n, b.models, err)
			}
			listed[kind] = append(listed[kind], time.Since(start).Seconds())
		}
	}
	pick := func(kind string, part func(cost) float64) float64 {
		var values []float64
		for _, c := range costs[kind] {
			values = append(values, part(c))
		}
		return median(values)
	}
	for _, measure := range []struct {
		what  string
		part  func(cost) float64
		write func(float64) string
		reach string
	}{
		{"a new replica until it is ready", func(c cost) float64 { return c.took }, seconds, "5×"},
		{"a new replica: its processor time", func(c cost) float64 { return c.client }, seconds, ""},
		{"a new replica: the apiserver's processor time", func(c cost) float64 { return c.server }, seconds, ""},
		{"server: heap a model", func(c cost) float64 { return c.heap / float64(b.models) }, report.Bytes, "5×"},
	} {
		b.versus(measure.what, pick(ours, measure.part), pick(naive, measure.part), measure.write, measure.reach)
	}
	b.versus("list every model from the apiserver", median(listed[ours]), median(listed[naive]), seconds, "5×")
	return nil
}

// kinds are the representations that are measured, in turns.
func (b *bench) kinds() []string {
	if b.alone {
		return []string{ours}
	}
	return []string{ours, naive}
}

// replica starts a replica, waits until it knows every model, and ends it.
func (b *bench) replica(ctx context.Context, kind string) (c cost, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before := heap()
	client, err := processorOf(os.Getpid())
	if err != nil {
		return c, err
	}
	server, err := processorOf(b.cluster.APIServer())
	if err != nil {
		return c, err
	}
	start := time.Now()
	var keep any
	if kind == ours {
		keep, err = b.followOurs(ctx)
	} else {
		keep, err = followNaive(ctx, b.cluster.Config())
	}
	if err != nil {
		return c, err
	}
	c.took = time.Since(start).Seconds()
	clientAfter, err := processorOf(os.Getpid())
	serverAfter, err2 := processorOf(b.cluster.APIServer())
	c.client, c.server = clientAfter-client, serverAfter-server
	c.heap = heap() - before
	runtime.KeepAlive(keep)
	return c, errors.Join(err, err2)
}

func (b *bench) followOurs(ctx context.Context) (*registry.Registry, error) {
	store, err := b.open(ours)
	if err != nil {
		return nil, err
	}
	r := registry.New(store, registry.Options{})
	go func() { _ = r.Run(ctx) }() // ends with ctx
	return r, r.WaitSynced(ctx)
}

func (b *bench) listOnce(ctx context.Context) (int, error) {
	store, err := b.open(ours)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listed := 0
	err = store.Watch(ctx, func(event registry.Event) {
		if event.Synced {
			cancel()
		} else {
			listed++
		}
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return listed, err
}

func heap() float64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// reads times what users do.
func (b *bench) reads(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	store, err := b.open(ours)
	if err != nil {
		return err
	}
	r, err := b.followOurs(ctx)
	if err != nil {
		return err
	}
	names := make([]string, 200)
	for i := range names {
		names[i] = specOf(i * b.models / len(names)).Name
	}
	for _, read := range []struct {
		what string
		do   func(name string) error
	}{
		{"search: part of a word, in the server", func(string) error { _, err := r.List(registry.Query{Text: "owanfi"}); return err }},
		{"list: an owner's models, in the server", func(string) error { _, err := r.List(registry.Query{Owner: "finance-7@example.org"}); return err }},
		{"list: the first page of all, in the server", func(string) error { _, err := r.List(registry.Query{}); return err }},
		{"read one model", func(name string) error { _, err := r.Get(ctx, name); return err }},
		{"read one version, with its spec", func(name string) error { _, err := r.Version(ctx, name, 1); return err }},
		{"list one model's versions", func(name string) error { _, err := store.Versions(ctx, name, 0, 50); return err }},
	} {
		var times []float64
		for _, name := range names {
			start := time.Now()
			if err := read.do(name); err != nil {
				return err
			}
			times = append(times, time.Since(start).Seconds())
		}
		b.row(report.Row{What: read.what + ", median", Ours: seconds(median(times))})
	}
	return nil
}
