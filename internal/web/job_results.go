package web

import (
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/web/chart"
)

// Bounds of what a job's page shows of its results.
const (
	resultRows   = 20
	rejectedRows = 20
	resultCharts = 12
)

// resultsView is what a finished job's page shows of its results.
type resultsView struct {
	Gone     bool // the data was deleted
	Thrown   bool // away: the job was cancelled; its file may still be there
	Wrong    *problem.Problem
	Format   string // of the result, for people
	InParts  bool   // it can't be one file
	Columns  []resultColumn
	Rows     [][]resultCell
	Of       string // "20 of 1,500 rows"
	Charts   []template.HTML
	Looked   string // which rows the charts are of
	Rejected []modelmanager.RowError
	More     int64 // rejected rows than are shown
}

type resultColumn struct {
	Name      string
	Predicted bool
}

// results reads what a page shows of a job's results: some rows, whatever the
// number of all.
func (v *visit) results(job modelmanager.Job) *resultsView {
	view := &resultsView{Format: formatWord(outputFormat(job))}
	if job.State == modelmanager.JobCancelled {
		view.Thrown = true
		return view
	}
	view.InParts = dataset.FitsFormat(outputFormat(job), job.Rows.Predicted) != nil
	if job.Rows.Predicted > 0 || job.Output.Rejected == "inline" && job.Rows.Read > 0 {
		sample, err := v.api().SampleJob(v.ctx(), job.ID, resultRows)
		if err != nil {
			p := problem.Of(err)
			view.Gone, view.Wrong = p.Code == modelmanager.CodeNotFound, &p
			return view
		}
		view.describe(sample, job)
	}
	if job.Rows.Rejected > 0 {
		if err := v.someRejected(job, view); err != nil {
			p := problem.Of(err)
			view.Gone, view.Wrong = view.Gone || p.Code == modelmanager.CodeNotFound, &p
		}
	}
	return view
}

func (view *resultsView) describe(sample modelmanager.JobSample, job modelmanager.Job) {
	own := len(sample.Columns)
	for _, distribution := range sample.Predictions {
		if at := slices.Index(sample.Columns, distribution.Name); at >= 0 {
			own = min(own, at)
		}
	}
	for i, name := range sample.Columns {
		view.Columns = append(view.Columns, resultColumn{name, i >= own && !strings.HasPrefix(name, "_")})
	}
	for _, row := range sample.Rows {
		view.Rows = append(view.Rows, view.cells(row))
	}
	if view.Of = "all " + plural(sample.Total, "row"); int64(len(sample.Rows)) < sample.Total {
		view.Of = fmt.Sprintf("the first %d of %s rows", len(sample.Rows), count(sample.Total))
	}
	switch {
	case sample.Looked >= sample.Total:
		view.Looked = "From all " + plural(sample.Total, "row") + "."
	case sample.AllParts == 1 || sample.Parts == 1:
		view.Looked = fmt.Sprintf("From the first %s of %s rows.", count(sample.Looked), count(sample.Total))
	default:
		view.Looked = fmt.Sprintf("From %s of %s rows, which come from %s all over the file.", count(sample.Looked), count(sample.Total), plural(sample.Parts, "place"))
	}
	for _, distribution := range sample.Predictions {
		if len(view.Charts) == resultCharts {
			break
		}
		if html, ok := chartOf(distribution); ok {
			view.Charts = append(view.Charts, html)
		}
	}
}

// resultCell is one cell; of a number with many digits, Whole has them all.
type resultCell struct {
	Text, Whole string
	Predicted   bool
}

func (view *resultsView) cells(row []string) []resultCell {
	cells := make([]resultCell, len(row))
	for i, text := range row {
		cells[i] = resultCell{Text: text, Predicted: i < len(view.Columns) && view.Columns[i].Predicted}
		if value, err := strconv.ParseFloat(text, 64); err == nil && cells[i].Predicted && len(text) > 9 {
			cells[i].Text, cells[i].Whole = strconv.FormatFloat(value, 'g', 6, 64), text
		}
	}
	return cells
}

// chartOf draws a distribution; ok is false if there is nothing to draw.
func chartOf(d modelmanager.Distribution) (_ template.HTML, ok bool) {
	switch {
	case len(d.Bins) > 0:
		bins := make([]chart.Bin, len(d.Bins))
		for i, bin := range d.Bins {
			bins[i] = chart.Bin(bin)
		}
		return chart.Histogram{
			Title:       d.Name,
			Description: fmt.Sprintf("How %s is spread: from %s to %s, %s on average.", d.Name, number(d.Min), number(d.Max), number(d.Mean)),
			Bins:        bins,
		}.HTML(), true
	case len(d.Values) > 0:
		var bars []chart.Bar
		add := func(name string, n int64) {
			bars = append(bars, chart.Bar{Name: name, Value: float64(n), Text: count(n) + " (" + percentText(float64(n)/float64(max(d.Count, 1))) + ")"})
		}
		for _, value := range d.Values {
			add(value.Value, value.Count)
		}
		if d.Others > 0 {
			add("others", d.Others)
		}
		return chart.Bars{Title: d.Name, Description: "How often each value of " + d.Name + " was predicted.", Bars: bars}.HTML(), true
	}
	return "", false
}

// someRejected reads the first rejected rows, and then hangs up.
func (v *visit) someRejected(job modelmanager.Job, view *resultsView) error {
	body, err := v.api().JobRejected(v.ctx(), job.ID)
	if err != nil {
		return err
	}
	defer body.Close()
	rows := json.NewDecoder(body)
	for len(view.Rejected) < rejectedRows {
		var row modelmanager.RowError
		if err := rows.Decode(&row); err != nil {
			break
		}
		view.Rejected = append(view.Rejected, row)
	}
	view.More = job.Rows.Rejected - int64(len(view.Rejected))
	return nil
}

func outputFormat(job modelmanager.Job) string {
	if job.Output.Format != "" {
		return job.Output.Format
	}
	return job.Input.Format
}

func formatWord(format string) string {
	switch format {
	case "csv":
		return "CSV"
	case "xlsx":
		return "Excel"
	case "parquet":
		return "Parquet"
	case "jsonl":
		return "JSON Lines"
	}
	return "file"
}
