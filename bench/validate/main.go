// Command validate measures the platform's own share of validating one changed
// model, in repositories of 10, 1,000 and 10,000 models: all of mm validate --since
// but the model's own start. It is to be under a second, and not to grow with the
// models that did not change.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"modelmanager.dev/bench/report"
	"modelmanager.dev/test/program"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "validate benchmark:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	mm := flag.String("mm", "", "the program; default: it is built")
	repeat := flag.Int("repeat", 7, "how often each is measured; the median counts")
	flag.Parse()
	dir, err := os.MkdirTemp("", "validate-benchmark-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &benchmark{dir: dir, program: *mm, repeat: *repeat}
	if b.program == "" {
		if b.program, err = program.Build(ctx, dir); err != nil {
			return err
		}
	}
	if b.program, err = filepath.Abs(b.program); err != nil {
		return err
	}
	var rows []report.Row
	var smallest result
	for _, models := range []int{10, 1000, 10000} {
		again, first, err := b.measure(ctx, models)
		if err != nil {
			return fmt.Errorf("with %d models: %w", models, err)
		}
		if smallest == (result{}) {
			smallest = again
		}
		what := fmt.Sprintf("validate --since, 1 of %d models changed: ", models)
		times := func(ours, least time.Duration) string {
			return report.Times(float64(ours)/float64(least)) + " of that with 10; at most 1.2×"
		}
		rows = append(rows,
			report.Row{What: what + "the platform's share", Ours: report.Duration(again.own), Reach: "< 1 s", Aim: times(again.own, smallest.own)},
			report.Row{What: what + "processor time, the model's included", Ours: report.Duration(again.cpu), Aim: times(again.cpu, smallest.cpu)},
			report.Row{What: what + "the platform's share in a fresh clone", Ours: report.Duration(first.own)},
			report.Row{What: what + "processor time in a fresh clone", Ours: report.Duration(first.cpu)},
		)
	}
	return report.Markdown(os.Stdout, rows...)
}

// result is what validating took: all but the model's own start, and the
// processor time of all, which a busy machine doesn't change.
type result struct{ own, cpu time.Duration }

type benchmark struct {
	dir, program string
	repeat       int
}

// measure returns medians: of a repository that is known already, and of a fresh
// clone, as in a CI job.
func (b *benchmark) measure(ctx context.Context, models int) (again, first result, err error) {
	repository := filepath.Join(b.dir, fmt.Sprint(models))
	if err := makeRepository(ctx, repository, models); err != nil {
		return again, first, err
	}
	var agains, firsts []result
	for i := range b.repeat + 1 {
		took, err := b.validate(ctx, repository)
		if err != nil {
			return again, first, err
		}
		if i > 0 { // the first gets to know it
			agains = append(agains, took)
		}
	}
	for range 3 {
		clone := repository + "-clone"
		if err := git(ctx, b.dir, "clone", "-q", repository, clone); err != nil {
			return again, first, err
		}
		took, err := b.validate(ctx, clone)
		if err != nil {
			return again, first, err
		}
		firsts = append(firsts, took)
		if err := os.RemoveAll(clone); err != nil {
			return again, first, err
		}
	}
	return median(agains), median(firsts), nil
}

// validate runs mm validate once.
func (b *benchmark) validate(ctx context.Context, repository string) (result, error) {
	command := exec.CommandContext(ctx, b.program, "validate", "--since", "before...HEAD", "--format", "json")
	command.Dir = repository
	command.Env = append(os.Environ(), "MM_SERVER=")
	begin := time.Now()
	output, err := command.Output()
	took := time.Since(begin)
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s%s", err, output, exit.Stderr)
		}
		return result{}, err
	}
	var review struct {
		Models []struct {
			Start string `json:"start"`
		} `json:"models"`
	}
	if err := json.Unmarshal(output, &review); err != nil {
		return result{}, err
	}
	if len(review.Models) != 1 {
		return result{}, fmt.Errorf("%d models were validated, not the one that has changed", len(review.Models))
	}
	start, err := time.ParseDuration(review.Models[0].Start)
	return result{own: took - start, cpu: command.ProcessState.UserTime() + command.ProcessState.SystemTime()}, err
}

func median(results []result) result {
	var own, cpu []time.Duration
	for _, r := range results {
		own, cpu = append(own, r.own), append(cpu, r.cpu)
	}
	slices.Sort(own)
	slices.Sort(cpu)
	return result{own[len(own)/2], cpu[len(cpu)/2]}
}
