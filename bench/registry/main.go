// Command registry measures the registry's list of models against SQLite with
// the same data: memory, substring search and filtered pages.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/bench/report"
	"modelmanager.dev/internal/registry"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "registry benchmark:", err)
		os.Exit(1)
	}
}

// question is one query, asked of both.
type question struct {
	what  string
	query registry.Query
}

var searches = []question{
	{"a customer", registry.Query{Text: "mapleford"}},
	{"part of a word", registry.Query{Text: "unipert"}},
	{"one cohort", registry.Query{Text: "(cohort 417)"}},
	{"two words", registry.Query{Text: "sepsis upper-rowan"}},
	{"a rare pair", registry.Query{Text: "cardiology-17 willowgate"}},
	{"nothing", registry.Query{Text: "xylophone"}},
	{"most models", registry.Query{Text: "probability"}},
}

var pages = []question{
	{"owner", registry.Query{Owner: "finance-7@example.org"}},
	{"label", registry.Query{Labels: map[string]string{"customer": "lake-oakdale"}}},
	{"owner and label", registry.Query{Owner: "finance-7@example.org", Labels: map[string]string{"use": "billing"}}},
	{"label and text", registry.Query{Text: "fraud", Labels: map[string]string{"use": "billing", "team": "pricing"}}},
}

func run(ctx context.Context) error {
	models := flag.Int("models", 150000, "how many models")
	repeat := flag.Int("repeat", 15, "how often each query is asked; the median counts")
	files := flag.Bool("files", false, "also read the models from files: takes 1 GB of disk and a minute")
	flag.Parse()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	before := heap()
	start := time.Now()
	r := registry.New(library{models: *models}, registry.Options{})
	go func() { _ = r.Run(ctx) }() // ends with ctx
	if err := r.WaitSynced(ctx); err != nil {
		return err
	}
	loaded := time.Since(start)
	perModel := float64(heap()-before) / float64(*models)
	peer, err := openPeer(ctx, *models)
	if err != nil {
		return err
	}
	defer peer.close()

	search, err := compare(ctx, r, peer, searches, *repeat)
	if err != nil {
		return err
	}
	page, err := compare(ctx, r, peer, pages, *repeat)
	if err != nil {
		return err
	}
	table := []report.Row{{
		What: fmt.Sprintf("registry: heap a model, %d models", *models), Ours: report.Bytes(perModel), Reach: "≤ 2 KB", Aim: "≤ 600 B",
	}}
	table = append(table, rows("registry: substring search", peer.name, search)...)
	table = append(table, rows("registry: filtered page", peer.name, page)...)
	if *files {
		fromFiles, err := fileRows(ctx, *models)
		if err != nil {
			return err
		}
		table = append(table, fromFiles...)
	}
	fmt.Printf("%d models, made and indexed in %s\n\n", *models, report.Duration(loaded))
	return report.Markdown(os.Stdout, table...)
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

type comparison struct {
	what         string
	ours, theirs time.Duration // medians
}

// compare asks both in turn, checks that they answer alike, and returns the
// medians.
func compare(ctx context.Context, r *registry.Registry, peer *peer, questions []question, repeat int) ([]comparison, error) {
	var result []comparison
	for _, q := range questions {
		var ours, theirs []time.Duration
		for range repeat {
			start := time.Now()
			page, err := r.List(q.query)
			ours = append(ours, time.Since(start))
			if err != nil {
				return nil, err
			}
			start = time.Now()
			names, err := peer.list(ctx, q.query)
			theirs = append(theirs, time.Since(start))
			if err != nil {
				return nil, err
			}
			if !slices.Equal(names, namesOf(page.Models)) {
				return nil, fmt.Errorf("%s: we answer %d models, %s %d others", q.what, len(page.Models), peer.name, len(names))
			}
		}
		result = append(result, comparison{q.what, median(ours), median(theirs)})
	}
	return result, nil
}

func namesOf(models []modelmanager.Model) []string {
	var names []string
	for _, model := range models {
		names = append(names, model.Name)
	}
	return names
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// rows gives one row for each query, and one for all of them together.
func rows(what, peer string, comparisons []comparison) []report.Row {
	var rows []report.Row
	var ours, theirs time.Duration
	for _, c := range append(comparisons, comparison{}) {
		label := what + ", " + c.what
		if c.what == "" {
			c, label = comparison{ours: ours, theirs: theirs}, what+", all of these"
		}
		ours, theirs = ours+c.ours, theirs+c.theirs
		rows = append(rows, report.Row{
			What: label, Peer: peer, Ours: report.Duration(c.ours), Theirs: report.Duration(c.theirs),
			Ratio: float64(c.theirs) / float64(c.ours), Reach: "5×", Aim: "20×",
		})
	}
	return rows
}
