// Command realtime measures predictions a second of one scikit-learn model,
// one row a request, beside `mlflow models serve` with the same model. It
// needs wrk in the PATH.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"modelmanager.dev/bench/report"
	"modelmanager.dev/bench/server"
	"modelmanager.dev/bench/wrk"
)

const (
	model       = "tumour-malignancy"
	connections = 32
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("realtime", flag.ContinueOnError)
	mm := flags.String("mm", "bin/mm", "the program to measure")
	models := flags.String("models", "examples/models", "where "+model+" is")
	dir := flags.String("dir", ".cache/bench", "for the data of the server")
	workers := flags.Int("workers", 1, "workers that the model may have, as many as the peer has; 0: as model.yaml says")
	rounds := flags.Int("rounds", 5, "interleaved rounds")
	span := flags.Duration("span", 5*time.Second, "length of a round")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	only := filepath.Join(*dir, "models")
	if err := server.OneModel(*models, only, model); err != nil {
		return err
	}
	if *workers > 0 {
		if err := limit(filepath.Join(only, model, "model.yaml"), *workers); err != nil {
			return err
		}
	}
	s, err := server.Start(ctx, server.Options{MM: *mm, Models: only, Dir: filepath.Join(*dir, "data")})
	if err != nil {
		return err
	}
	defer s.Stop()
	peer, err := startMLflow(ctx, *dir, filepath.Join(only, model, "model.joblib"))
	if err != nil {
		return err
	}
	defer peer.stop()
	row, err := exampleRow(filepath.Join(only, model, "model.yaml"))
	if err != nil {
		return err
	}
	b := &bench{
		ours:   side{url: s.URL + "/v1/models/" + model + "/predict", body: `{"rows":[` + row + `]}`, pid: s.PID()},
		theirs: side{url: peer.url, body: `{"dataframe_records":[` + row + `]}`, pid: peer.cmd.Process.Pid},
	}
	if err := b.check(ctx); err != nil {
		return err
	}
	measured, err := b.compare(ctx, *rounds, *span, *workers)
	if err != nil {
		return err
	}
	return report.Markdown(os.Stdout, measured)
}

// limit bounds the model's workers; each takes all the connections.
func limit(path string, workers int) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text = fmt.Appendf(text, "\nscale: {max: %d, concurrency: %d}\n", workers, connections)
	return os.WriteFile(path, text, 0o644)
}

// exampleRow is the model's first example, as JSON, in the order of features.
func exampleRow(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var spec struct {
		Features []struct{ Name string }
		Examples []struct{ Features map[string]any }
	}
	if err := yaml.Unmarshal(text, &spec); err != nil || len(spec.Examples) == 0 {
		return "", fmt.Errorf("reading the examples of %s: %v", path, err)
	}
	var cells []string
	for _, feature := range spec.Features {
		value, err := json.Marshal(spec.Examples[0].Features[feature.Name])
		if err != nil {
			return "", err
		}
		cells = append(cells, fmt.Sprintf("%q:%s", feature.Name, value))
	}
	return "{" + strings.Join(cells, ",") + "}", nil
}

type bench struct{ ours, theirs side }

// side is one of both, and its figures: requests a second, µs of CPU a
// request, and latencies.
type side struct {
	url, body string
	pid       int
	rates     []float64
	cpu       []float64
	p50, p99  []time.Duration
}

// check sees to it that both answer the same.
func (b *bench) check(ctx context.Context) error {
	var ours struct {
		Predictions []struct{ Probability float64 }
	}
	if err := b.ours.post(ctx, &ours); err != nil {
		return err
	}
	var theirs struct{ Predictions [][]float64 }
	if err := b.theirs.post(ctx, &theirs); err != nil {
		return err
	}
	if len(ours.Predictions) != 1 || len(theirs.Predictions) != 1 || len(theirs.Predictions[0]) != 2 ||
		math.Abs(ours.Predictions[0].Probability-theirs.Predictions[0][1]) > 1e-9 {
		return fmt.Errorf("the answers differ: %v, %v", ours, theirs)
	}
	return nil
}

func (s *side) post(ctx context.Context, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(s.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", s.url, reply.Status, text)
	}
	return json.Unmarshal(text, answer)
}

func (b *bench) compare(ctx context.Context, rounds int, span time.Duration, workers int) (report.Row, error) {
	for round := range rounds + 1 {
		for _, s := range []*side{&b.ours, &b.theirs} {
			if err := s.round(ctx, span, round > 0); err != nil { // the first warms up
				return report.Row{}, err
			}
		}
	}
	a, t := median(b.ours.rates), median(b.theirs.rates)
	which := "one worker, as the peer's"
	if workers == 0 {
		which = "workers as model.yaml has them by default"
	} else if workers > 1 {
		which = fmt.Sprintf("up to %d workers", workers)
	}
	return report.Row{
		What: fmt.Sprintf("real time: predictions a second, scikit-learn model, one row a request, %d connections; %s", connections, which),
		Peer: "mlflow models serve (" + packages[0] + ")", Ours: b.ours.String(), Theirs: b.theirs.String(),
		Ratio: a / t, Reach: "5×", Aim: "20×",
	}, nil
}

func (s *side) round(ctx context.Context, span time.Duration, counts bool) error {
	before, err := server.CPU(s.pid)
	if err != nil {
		return err
	}
	r, err := wrk.Load{URL: s.url, Body: s.body, Connections: connections, Span: span}.Run(ctx)
	if err != nil {
		return err
	}
	after, err := server.CPU(s.pid)
	if err != nil || !counts {
		return err
	}
	s.rates = append(s.rates, float64(r.Requests)/span.Seconds())
	s.cpu = append(s.cpu, float64((after-before).Microseconds())/float64(r.Requests))
	s.p50, s.p99 = append(s.p50, r.P50), append(s.p99, r.P99)
	fmt.Fprintf(os.Stderr, "%s: %.0f/s, CPU %.0f µs a request, p50 %s, p99 %s, %s\n",
		s.url, s.rates[len(s.rates)-1], s.cpu[len(s.cpu)-1], r.P50, r.P99, wrk.Average())
	return nil
}

func (s *side) String() string {
	return fmt.Sprintf("%s (%.0f to %.0f; p50 %s, p99 %s; CPU %.0f µs)", report.Rate(median(s.rates), "predictions"),
		slices.Min(s.rates), slices.Max(s.rates), report.Duration(median(s.p50)), report.Duration(median(s.p99)), median(s.cpu))
}

func median[T float64 | time.Duration](figures []T) T {
	return slices.Sorted(slices.Values(figures))[len(figures)/2]
}
