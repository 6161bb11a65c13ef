// Command push measures how long a change takes from git push to the first
// prediction by its version, stage by stage: on one machine, with a bare
// repository whose hook publishes (docs/pipeline.md), and dependencies that are
// there already.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/bench/report"
	"modelmanager.dev/bench/server"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/spec"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "push benchmark:", err)
		os.Exit(1)
	}
}

const name = "pushed" // of the model

func run(ctx context.Context) error {
	mm := flag.String("mm", "bin/mm", "the program to measure")
	example := flag.String("model", "examples/models/tumour-malignancy", "folder of a Python model")
	dir := flag.String("dir", "", "a folder for the server's data, whose environments are kept; default: a temporary one")
	rounds := flag.Int("rounds", 9, "how often a change is pushed; the median counts")
	flag.Parse()
	temp, err := os.MkdirTemp("", "mm-push-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if *dir == "" {
		*dir = temp
	}
	program, err := filepath.Abs(*mm)
	if err != nil {
		return err
	}
	// The server has the example itself, and with it the environment.
	models := filepath.Join(temp, "models")
	if err := server.OneModel(filepath.Dir(*example), models, filepath.Base(*example)); err != nil {
		return err
	}
	s, err := server.Start(ctx, server.Options{MM: program, Models: models, Dir: filepath.Join(*dir, "push")})
	if err != nil {
		return err
	}
	defer s.Stop()
	r, err := newRepository(ctx, temp, *example, program, s.URL)
	if err != nil {
		return err
	}
	if _, err := r.push(ctx, 1); err != nil { // makes the environment that models are tried in
		return err
	}
	measured := map[string][]time.Duration{}
	for round := range *rounds {
		p, err := r.push(ctx, 2+round)
		if err != nil {
			return err
		}
		for what, took := range p.stages() {
			measured[what] = append(measured[what], took)
		}
	}
	var table []report.Row
	for _, what := range []string{whole, toHook, toPlan, toStart, toExamples, toTraffic, toAnswer} {
		times := slices.Sorted(slices.Values(measured[what]))
		table = append(table, report.Row{What: what, Ours: fmt.Sprintf("%s (%s to %s)",
			report.Duration(times[len(times)/2]), report.Duration(times[0]), report.Duration(times[len(times)-1]))})
	}
	return report.Markdown(os.Stdout, table...)
}

// repository is a bare repository whose hook publishes, and a clone of it.
type repository struct {
	clone string
	api   *client.Client
	row   json.RawMessage
}

func newRepository(ctx context.Context, dir, example, mm, url string) (*repository, error) {
	loaded, err := spec.LoadFolder(example)
	if err != nil {
		return nil, err
	}
	r := &repository{clone: filepath.Join(dir, "clone")}
	if r.row, err = json.Marshal(loaded.Spec.Examples[0].Features); err != nil {
		return nil, err
	}
	if r.api, err = client.New(url); err != nil {
		return nil, err
	}
	bare := filepath.Join(dir, "models.git")
	for _, arguments := range [][]string{
		{"init", "-q", "--bare", "-b", "main", bare}, {"clone", "-q", bare, r.clone},
	} {
		if output, err := exec.CommandContext(ctx, "git", arguments...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("git %s: %w\n%s", arguments[0], err, output)
		}
	}
	hook := fmt.Sprintf("#!/bin/sh\nexport MM_SERVER=%s\necho %s\nwhile read before after ref; do\n  %s publish --since \"$before\" --revision \"$after\"\ndone\n", url, hookBegins, mm)
	if err := os.WriteFile(filepath.Join(bare, "hooks", "post-receive"), []byte(hook), 0o755); err != nil {
		return nil, err
	}
	folder := filepath.Join(r.clone, name)
	if err := os.CopyFS(folder, os.DirFS(example)); err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "model.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	renamed := bytes.Replace(text, []byte("name: "+loaded.Spec.Name+"\n"), []byte("name: "+name+"\n"), 1)
	return r, os.WriteFile(file, renamed, 0o644)
}

// pushed is when what happened.
type pushed struct{ begin, hook, plan, start, examples, traffic, answer time.Time }

const hookBegins = "the hook begins"

// The stages.
const (
	whole      = "from git push to the first prediction by the new version, a scikit-learn model"
	toHook     = "of that: until the repository's hook begins"
	toPlan     = "until it is known what changed, and what will be done"
	toStart    = "until the model is checked out and checked, and its worker starts"
	toExamples = "until the worker has started, and the examples begin"
	toTraffic  = "until the examples are done, the version is published and has its traffic"
	toAnswer   = "until it answers"
)

func (p pushed) stages() map[string]time.Duration {
	return map[string]time.Duration{
		whole: p.answer.Sub(p.begin), toHook: p.hook.Sub(p.begin), toPlan: p.plan.Sub(p.hook), toStart: p.start.Sub(p.plan),
		toExamples: p.examples.Sub(p.start), toTraffic: p.traffic.Sub(p.examples), toAnswer: p.answer.Sub(p.traffic),
	}
}

// push changes the model's code, pushes it, and waits until its version answers.
func (r *repository) push(ctx context.Context, version int) (pushed, error) {
	var p pushed
	code := filepath.Join(r.clone, name, "predict.py")
	file, err := os.OpenFile(code, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return p, err
	}
	_, err = fmt.Fprintf(file, "\n# Version %d.\n", version)
	if closeErr := file.Close(); err != nil || closeErr != nil {
		return p, fmt.Errorf("changing the model: %w", err)
	}
	for _, arguments := range [][]string{
		{"add", "-A"}, {"-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", fmt.Sprintf("version %d", version)},
	} {
		if output, err := exec.CommandContext(ctx, "git", append([]string{"-C", r.clone}, arguments...)...).CombinedOutput(); err != nil {
			return p, fmt.Errorf("git %s: %w\n%s", arguments[0], err, output)
		}
	}
	command := exec.CommandContext(ctx, "git", "-C", r.clone, "push", "-q", "origin", "main")
	stderr, err := command.StderrPipe()
	if err != nil {
		return p, err
	}
	p.begin = time.Now()
	if err := command.Start(); err != nil {
		return p, err
	}
	said, traffic := p.follow(stderr)
	if traffic {
		if err := r.answers(ctx, version); err != nil {
			return p, err
		}
		p.answer = time.Now()
	}
	rest, _ := io.ReadAll(stderr)
	if err := command.Wait(); err != nil || !traffic {
		return p, fmt.Errorf("git push: %v; it said:\n%s%s", err, said, rest)
	}
	return p, nil
}

// follow notes when the hook says what, until the version has its traffic.
func (p *pushed) follow(stderr io.Reader) (said string, traffic bool) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		line := lines.Text()
		said += line + "\n"
		note := func(text string, at *time.Time) {
			if at.IsZero() && strings.Contains(line, text) {
				*at = time.Now()
			}
		}
		note(hookBegins, &p.hook)
		note("PLAN", &p.plan)
		note(name+": starting", &p.start)
		note("running its examples", &p.examples)
		note("of the traffic", &p.traffic)
		if !p.traffic.IsZero() {
			return said, true
		}
	}
	return said, false
}

// answers asks until a version answers.
func (r *repository) answers(ctx context.Context, version int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		answer, err := r.api.Predict(ctx, name, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{r.row}})
		if err != nil {
			return fmt.Errorf("waiting for version %d: %w", version, err)
		}
		if answer.Version == version {
			return nil
		}
	}
}
