// Command coldstart measures the first prediction of an idle Python model, of
// a real server with the example model, beside a fresh Python process of the
// same environment that imports, loads and predicts the same row. Rounds are
// interleaved, and medians are compared.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
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
	flags := flag.NewFlagSet("coldstart", flag.ContinueOnError)
	rounds := flags.Int("rounds", 10, "interleaved rounds")
	example := flags.String("model", "examples/models/tumour-malignancy", "folder of a Python model")
	verbose := flags.Bool("v", false, "print each round, and the server's log")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mm-coldstart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	model, err := copyModel(*example, filepath.Join(dir, "models"))
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	s, err := startServer(ctx, dir, data, *verbose)
	if err != nil {
		return err
	}
	defer s.stop()
	// The first prediction shows what the model imports; the second call of a
	// fresh worker is answered by a fork.
	if err := s.awaitPublished(ctx, model.name); err != nil {
		return err
	}
	if _, err := s.firstPrediction(ctx, model); err != nil {
		return err
	}
	python, err := interpreter(filepath.Join(data, "environments"))
	if err != nil {
		return err
	}
	p := peer{python: python, folder: model.folder, row: model.row}
	if _, err := p.run(ctx); err != nil { // reads its files into memory
		return err
	}
	var ours, theirs []time.Duration
	for i := range *rounds {
		mine, err := s.firstPrediction(ctx, model)
		if err != nil {
			return err
		}
		other, err := p.run(ctx)
		if err != nil {
			return err
		}
		ours, theirs = append(ours, mine), append(theirs, other)
		if *verbose {
			fmt.Fprintf(os.Stderr, "round %d: ours %v, theirs %v\n", i+1, mine, other)
		}
	}
	a, t := median(ours), median(theirs)
	return report.Markdown(os.Stdout, report.Row{
		What: fmt.Sprintf("first prediction of an idle Python model (scikit-learn), median of %d", *rounds),
		Peer: "a fresh process: import, load, predict",
		Ours: report.Duration(a), Theirs: report.Duration(t), Ratio: float64(t) / float64(a),
		Reach: "0.83× (1.2 times as long)", Aim: "20×",
	})
}

func median(figures []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}
