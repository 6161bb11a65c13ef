// Command changes measures how long it takes to tell what changed between two
// revisions of a repository, with few and with many models that did not.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modelmanager.dev/bench/report"
	"modelmanager.dev/internal/pipeline"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "changes benchmark:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	few := flag.Int("few", 10, "models in the small repository")
	many := flag.Int("many", 10000, "models in the large one")
	repeat := flag.Int("repeat", 41, "how often each is measured; the median counts")
	flag.Parse()
	dir, err := os.MkdirTemp("", "changes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var table []report.Row
	for _, layout := range []layout{byCustomer, flat} {
		small, err := makeRepository(ctx, filepath.Join(dir, "small-"+layout.name), *few, layout)
		if err != nil {
			return err
		}
		large, err := makeRepository(ctx, filepath.Join(dir, "large-"+layout.name), *many, layout)
		if err != nil {
			return err
		}
		rows, err := compare(ctx, small, large, *repeat)
		if err != nil {
			return err
		}
		for i := range rows {
			rows[i].What = fmt.Sprintf("%s, %s: %d models", rows[i].What, layout.says, *many)
			rows[i].Peer = fmt.Sprintf("%d models", *few)
		}
		table = append(table, rows...)
	}
	return report.Markdown(os.Stdout, table...)
}

// compare measures both repositories in turns.
func compare(ctx context.Context, small, large *repository, repeat int) ([]report.Row, error) {
	var rows []report.Row
	first := map[*repository]time.Duration{}
	for _, r := range []*repository{small, large} {
		begin := time.Now()
		if err := r.changes(ctx, 1); err != nil {
			return nil, err
		}
		first[r] = time.Since(begin)
	}
	var fewer, more []time.Duration
	for i := range repeat {
		for _, r := range []*repository{small, large} {
			if err := r.commit(ctx, i%5, fmt.Sprint(i)); err != nil {
				return nil, err
			}
			begin := time.Now()
			if err := r.changes(ctx, 1); err != nil {
				return nil, err
			}
			if took := time.Since(begin); r == small {
				fewer = append(fewer, took)
			} else {
				more = append(more, took)
			}
		}
	}
	ours, theirs := median(more), median(fewer)
	rows = append(rows, report.Row{
		What: "what changed, one of", Ours: report.Duration(ours), Theirs: report.Duration(theirs),
		Ratio: float64(theirs) / float64(ours), Reach: "at most 1.2× as long",
	}, report.Row{
		What: "the same, first in a new clone", Ours: report.Duration(first[large]), Theirs: report.Duration(first[small]),
		Ratio: float64(first[small]) / float64(first[large]),
	})
	return rows, nil
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// layout is how a repository's folders lie.
type layout struct {
	name, says string
	folder     func(i int) string
	template   string
}

var byCustomer = layout{
	name: "customers", says: "a folder for each customer, 20 models in it",
	folder: func(i int) string { return fmt.Sprintf("models/customer-%03d/model-%02d", i/20, i%20) }, template: "../../../templates/propensity",
}

var flat = layout{
	name: "flat", says: "all in one folder",
	folder: func(i int) string { return fmt.Sprintf("models/model-%05d", i) }, template: "../../templates/propensity",
}

type repository struct {
	dir    string
	layout layout
}

// makeRepository makes a repository of models that extend one template, each of
// four files.
func makeRepository(ctx context.Context, dir string, models int, layout layout) (*repository, error) {
	r := &repository{dir: dir, layout: layout}
	if err := exec.CommandContext(ctx, "git", "init", "-q", "--bare", "-b", "main", dir).Run(); err != nil {
		return nil, fmt.Errorf("making a repository: %w", err)
	}
	var b strings.Builder
	begin(&b, "refs/heads/main", "")
	file(&b, "templates/propensity/model.yaml", "summary: Propensity.\nfeatures:\n  - {name: age, type: integer}\n")
	file(&b, "templates/propensity/predict.py", "def predict(rows):\n    return rows\n")
	for i := range models {
		folder := layout.folder(i)
		file(&b, folder+"/model.yaml", fmt.Sprintf("extends: %s\nname: model-%05d\nlabels: {customer: customer-%03d}\nparams: {threshold: 0.%05d}\nexamples:\n  - features: {age: %d}\n",
			layout.template, i, i/20, i, i%90))
		file(&b, folder+"/README.md", fmt.Sprintf("# Model %d\n\nFor customer %d.\n", i, i/20))
		file(&b, folder+"/coefficients.csv", fmt.Sprintf("age,weight\n1,%d\n", i))
		file(&b, folder+"/notes/"+fmt.Sprint(i)+".txt", "trained\n")
	}
	if err := r.load(ctx, b.String()); err != nil {
		return nil, err
	}
	if output, err := exec.CommandContext(ctx, "git", "-C", dir, "repack", "-adq").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("packing a repository: %w\n%s", err, output)
	}
	return r, r.commit(ctx, 0, "first")
}

func begin(b *strings.Builder, branch, from string) {
	fmt.Fprintf(b, "commit %s\ncommitter Ada <ada@example.org> 1700000000 +0000\ndata 1\nx\n", branch)
	if from != "" {
		fmt.Fprintf(b, "from %s\n", from)
	}
}

func file(b *strings.Builder, path, content string) {
	fmt.Fprintf(b, "M 100644 inline %s\ndata %d\n%s\n", path, len(content), content)
}

func (r *repository) load(ctx context.Context, text string) error {
	command := exec.CommandContext(ctx, "git", "-C", r.dir, "fast-import", "--quiet")
	command.Stdin = strings.NewReader(text)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("writing a commit: %w\n%s", err, output)
	}
	return nil
}

// commit changes one file of one model.
func (r *repository) commit(ctx context.Context, model int, content string) error {
	var b strings.Builder
	begin(&b, "refs/heads/main", "refs/heads/main^0")
	file(&b, r.layout.folder(model)+"/coefficients.csv", content)
	return r.load(ctx, b.String())
}

// changes asks what the last commit changed.
func (r *repository) changes(ctx context.Context, want int) error {
	changes, err := pipeline.Changes(ctx, r.dir, "main~1", "main")
	if err == nil && len(changes) != want {
		err = fmt.Errorf("%d models changed, not %d", len(changes), want)
	}
	return err
}
