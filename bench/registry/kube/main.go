// Command kube measures the registry on a real Kubernetes API server: what
// publishing, listing and a new replica cost in the server and in the
// apiserver, beside the obvious representation, one object a model with its
// whole spec as a tree, watched by an informer. It starts an etcd and an
// apiserver of its own (see internal/kubetest) and needs some five minutes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"modelmanager.dev/bench/report"
	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/registry/kube"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "registry benchmark on Kubernetes:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	cluster  *kubetest.Cluster
	api      *apiserver
	models   int
	versions int // of each model
	workers  int
	repeat   int
	alone    bool // the peer isn't measured
	rows     []report.Row
}

const (
	ours  = "ours"
	naive = "naive"
	peer  = "full-size objects, unstructured informer"
)

func run(ctx context.Context) error {
	b := &bench{}
	flag.IntVar(&b.models, "models", 15000, "how many models")
	flag.IntVar(&b.versions, "versions", 3, "how many versions of each")
	flag.IntVar(&b.workers, "workers", 16, "how many publish at once")
	flag.IntVar(&b.repeat, "repeat", 5, "how often everything else is measured; the median counts")
	flag.BoolVar(&b.alone, "alone", false, "leave out the peer, whose objects take most of the time and memory")
	publications := flag.Int("publish", 2000, "how many publications are timed")
	flag.Parse()

	programs, err := kubetest.Programs()
	if err != nil {
		return err
	}
	if b.cluster, err = kubetest.New(programs); err != nil {
		return err
	}
	defer b.cluster.Stop()
	if b.api, err = newAPIServer(b.cluster); err != nil {
		return err
	}
	if err := kube.InstallCRDs(ctx, b.cluster.Config()); err != nil {
		return err
	}
	if !b.alone {
		if err := installNaive(ctx, b.cluster.Config()); err != nil {
			return err
		}
	}
	for _, namespace := range []string{ours, naive, "publish-first", "publish-last"} {
		if err := b.api.namespace(ctx, namespace); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error {
			return b.publish(ctx, "publish-first", "into an empty registry", *publications)
		},
		b.fill,
		func(ctx context.Context) error {
			return b.publish(ctx, "publish-last", fmt.Sprintf("beside %d models with %d versions", b.models, b.models*b.versions), *publications)
		},
		b.compare, b.reads,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	resident, err := memoryOf(b.cluster.APIServer())
	if err != nil {
		return err
	}
	with := "with both representations"
	if b.alone {
		with = "with ours alone"
	}
	fmt.Printf("%d models of %d versions; the apiserver holds %s at the end, %s\n\n", b.models, b.versions, report.Bytes(resident), with)
	return report.Markdown(os.Stdout, b.rows...)
}

func (b *bench) row(row report.Row) { b.rows = append(b.rows, row) }

// versus adds a comparison in which less is better.
func (b *bench) versus(what string, mine, theirs float64, write func(float64) string, reach string) {
	if b.alone {
		b.row(report.Row{What: what, Ours: write(mine)})
		return
	}
	b.row(report.Row{What: what, Peer: peer, Ours: write(mine), Theirs: write(theirs), Ratio: theirs / mine, Reach: reach})
}

func seconds(s float64) string { return report.Duration(time.Duration(s * float64(time.Second))) }

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0 // of the peer, if it is left out
	}
	slices.Sort(values)
	return values[len(values)/2]
}
