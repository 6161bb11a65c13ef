// Command batch measures whole jobs, a file in and a file out through the real
// server, beside a pandas script that does the same in the same Python
// environment. Wall times of interleaved runs; the CPU time of all processes
// beside them, which says more on a busy machine.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"modelmanager.dev/bench/report"
	"modelmanager.dev/bench/server"
	"modelmanager.dev/bench/wrk"
)

//go:embed rows.py
var rowsScript string

//go:embed script.py
var peerScript string

//go:embed check.py
var checkScript string

const model = "tumour-malignancy"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("batch", flag.ContinueOnError)
	mm := flags.String("mm", "bin/mm", "the program to measure")
	models := flags.String("models", "examples/models", "where "+model+" is")
	dir := flags.String("dir", ".cache/bench", "for the data of the server, and the files")
	n := flags.Int("rows", 1_000_000, "rows of the files")
	rounds := flags.Int("rounds", 4, "interleaved rounds; the first warms up")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := &bench{dir: *dir, rows: *n, model: filepath.Join(*models, model, "model.joblib")}
	only := filepath.Join(*dir, "models")
	if err := server.OneModel(*models, only, model); err != nil {
		return err
	}
	var err error
	b.server, err = server.Start(ctx, server.Options{MM: *mm, Models: only, Dir: filepath.Join(*dir, "data")})
	if err != nil {
		return err
	}
	defer b.server.Stop()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	rows, err := b.compare(ctx, *rounds)
	if err != nil {
		return err
	}
	return report.Markdown(os.Stdout, rows...)
}

type bench struct {
	server *server.Server
	dir    string
	model  string
	rows   int
}

func (b *bench) input(format string) string {
	return filepath.Join(b.dir, fmt.Sprintf("rows-%d.%s", b.rows, format))
}

// prepare makes the files, unless they are there.
func (b *bench) prepare(ctx context.Context) error {
	for name, text := range map[string]string{"rows.py": rowsScript, "script.py": peerScript, "check.py": checkScript} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if _, err := os.Stat(b.input("csv")); err == nil {
		return nil
	}
	made := filepath.Join(b.dir, "made")
	if _, err := b.python(ctx, "rows.py", fmt.Sprint(b.rows), made); err != nil {
		return err
	}
	for _, format := range []string{"parquet", "csv"} {
		if err := os.Rename(made+"."+format, b.input(format)); err != nil {
			return err
		}
	}
	return nil
}

// python runs a script to its end, and returns the CPU time it took.
func (b *bench) python(ctx context.Context, script string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, b.server.Python, append([]string{filepath.Join(b.dir, script)}, args...)...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", script, err, output)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// times are those of several runs.
type times struct{ wall, cpu []time.Duration }

func (t *times) add(wall, cpu time.Duration) {
	t.wall, t.cpu = append(t.wall, wall), append(t.cpu, cpu)
}

func (t *times) String() string {
	return fmt.Sprintf("%s (%s to %s; CPU %s)", report.Duration(median(t.wall)),
		report.Duration(slices.Min(t.wall)), report.Duration(slices.Max(t.wall)), report.Duration(median(t.cpu)))
}

func median(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }

func (b *bench) compare(ctx context.Context, rounds int) ([]report.Row, error) {
	ours, theirs := map[string]*times{}, map[string]*times{}
	for round := range rounds {
		for _, format := range []string{"csv", "parquet"} {
			if round <= 1 { // the first round starts a zygote, and reads the files into memory
				ours[format], theirs[format] = new(times), new(times)
			}
			mine, other := filepath.Join(b.dir, "ours."+format), filepath.Join(b.dir, "theirs."+format)
			if err := b.job(ctx, ours[format], b.input(format), mine); err != nil {
				return nil, err
			}
			if err := b.script(ctx, theirs[format], b.input(format), other); err != nil {
				return nil, err
			}
			if round == 0 {
				if _, err := b.python(ctx, "check.py", mine, other); err != nil {
					return nil, err
				}
			}
			fmt.Fprintf(os.Stderr, "%s: ours %s, theirs %s, %s\n", format,
				ours[format].last(), theirs[format].last(), wrk.Average())
			for _, path := range []string{mine, other} {
				if err := os.Remove(path); err != nil {
					return nil, err
				}
			}
		}
	}
	row := func(what, peer, format, of, reach, aim string) report.Row {
		return report.Row{
			What: fmt.Sprintf("batch: %s of %d rows × 30 features, logistic model in Python, from file to file; %s",
				what, b.rows, "wall time"),
			Peer: peer, Ours: ours[format].String(), Theirs: theirs[of].String(),
			Ratio: median(theirs[of].wall).Seconds() / median(ours[format].wall).Seconds(), Reach: reach, Aim: aim,
		}
	}
	return []report.Row{
		row("CSV", "a pandas script on the same CSV", "csv", "csv", "2.5×", "5×"),
		row("Parquet", "the pandas script, on CSV", "parquet", "csv", "5×", "10×"),
		row("Parquet", "the pandas script, on the same Parquet", "parquet", "parquet", "5×", "10×"),
	}, nil
}

func (t *times) last() string {
	n := len(t.wall) - 1
	return fmt.Sprintf("%s (CPU %s)", report.Duration(t.wall[n]), report.Duration(t.cpu[n]))
}

// job runs a file through the server, as a user would.
func (b *bench) job(ctx context.Context, t *times, input, output string) error {
	before, err := server.CPU(b.server.PID())
	if err != nil {
		return err
	}
	start := time.Now()
	client, err := b.server.Run(ctx, "jobs", "submit", model, "--input", input, "--output", output)
	wall := time.Since(start)
	if err != nil {
		return err
	}
	after, err := server.CPU(b.server.PID())
	if err != nil {
		return err
	}
	t.add(wall, after-before+client)
	return b.forget(ctx)
}

// forget deletes the data of the newest job.
func (b *bench) forget(ctx context.Context) error {
	reply, err := http.Get(b.server.URL + "/v1/jobs?limit=1")
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	var list struct {
		Jobs []struct{ ID string }
	}
	if err := json.NewDecoder(bufio.NewReader(reply.Body)).Decode(&list); err != nil || len(list.Jobs) != 1 {
		return fmt.Errorf("asking for the newest job: %d jobs, %v", len(list.Jobs), err)
	}
	return b.server.Forget(ctx, list.Jobs[0].ID)
}

// script runs the pandas script.
func (b *bench) script(ctx context.Context, t *times, input, output string) error {
	start := time.Now()
	cpu, err := b.python(ctx, "script.py", b.model, input, output)
	t.add(time.Since(start), cpu)
	return err
}
