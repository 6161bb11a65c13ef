// Command gateway measures the gateway beside nginx, and beside calling the
// same upstream directly. It needs nginx and wrk in the PATH.
//
// CPU time of the proxy's process per request is the stable figure on a shared
// machine. Rounds are interleaved, and medians are compared.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"modelmanager.dev/bench/report"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(args) > 0 {
		switch args[0] {
		case "serve-upstream":
			return serveUpstream(ctx, args[1:])
		case "serve-gateway":
			return serveGateway(ctx, args[1:])
		}
	}
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "interleaved rounds")
	span := flags.Duration("span", 4*time.Second, "length of a round")
	profile := flags.String("profile", "", "write the gateway's CPU profile to this file, and measure nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := start(ctx, *profile)
	if err != nil {
		return err
	}
	defer b.stop()
	if *profile != "" {
		_, err := b.load(ctx, b.gateway.address, 16, *span)
		return err
	}
	if err := b.checkAnswers(); err != nil {
		return err
	}
	cpu, err := b.compareCPU(ctx, *rounds, *span)
	if err != nil {
		return err
	}
	throughput, err := b.compareThroughput(ctx, *rounds, *span)
	if err != nil {
		return err
	}
	return report.Markdown(os.Stdout, cpu, throughput)
}

// compareCPU gives microseconds of CPU per request, ours and nginx's.
func (b *bench) compareCPU(ctx context.Context, rounds int, span time.Duration) (report.Row, error) {
	var ours, theirs []float64
	for range rounds {
		for _, side := range []struct {
			process *process
			figures *[]float64
		}{{b.gateway, &ours}, {b.nginx, &theirs}} {
			before, err := side.process.cpu()
			if err != nil {
				return report.Row{}, err
			}
			n, err := b.load(ctx, side.process.address, 16, span)
			if err != nil {
				return report.Row{}, err
			}
			after, err := side.process.cpu()
			if err != nil {
				return report.Row{}, err
			}
			*side.figures = append(*side.figures, float64((after-before).Microseconds())/float64(n))
		}
	}
	a, t := median(ours), median(theirs)
	return report.Row{
		What: "gateway: CPU per request, 771-byte POST, 16 connections; less is better", Peer: "nginx",
		Ours: micros(a), Theirs: micros(t), Ratio: a / t, Reach: "at most 2.0×", Aim: "1.2×",
	}, nil
}

// compareThroughput gives requests per second of a model that takes 2 ms,
// through the gateway and directly.
func (b *bench) compareThroughput(ctx context.Context, rounds int, span time.Duration) (report.Row, error) {
	var ours, theirs []float64
	for range rounds {
		for _, side := range []struct {
			address string
			figures *[]float64
		}{{b.slowGateway.address, &ours}, {b.slow.address, &theirs}} {
			n, err := b.load(ctx, side.address, 32, span)
			if err != nil {
				return report.Row{}, err
			}
			*side.figures = append(*side.figures, float64(n)/span.Seconds())
		}
	}
	a, t := median(ours), median(theirs)
	return report.Row{
		What: "gateway: throughput, model of 2 ms, 32 connections", Peer: "direct calls",
		Ours: report.Rate(a, "requests"), Theirs: report.Rate(t, "requests"), Ratio: a / t, Reach: "0.80×", Aim: "0.88×",
	}, nil
}

func micros(us float64) string { return fmt.Sprintf("%.1f µs", us) }

func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}
