package batch

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// Bounds of a dry run.
const (
	dryRunRows    = 10_000
	dryRunSamples = 5
)

// DryRun says what a job would do with its input, without making one: how the
// file would be read, which column would be which feature, and what is wrong
// with the first 10,000 rows.
func (s *Service) DryRun(ctx context.Context, request Request) (modelmanager.JobCheck, error) {
	_, parsed, err := s.version(ctx, request)
	if err != nil {
		return modelmanager.JobCheck{}, err
	}
	if err := check(&request, parsed); err != nil {
		return modelmanager.JobCheck{}, err
	}
	place, err := s.find(ctx, &request.Input)
	if err != nil {
		return modelmanager.JobCheck{}, err
	}
	src, err := s.open(place)
	if err != nil {
		return modelmanager.JobCheck{}, err
	}
	d := &dryRun{src: src, fields: parsed.Features, output: request.Output}
	if d.predictions, err = dataset.Compile(parsed.Predictions); err != nil {
		return modelmanager.JobCheck{}, err
	}
	if err := d.look(ctx, request.Input); err != nil {
		return modelmanager.JobCheck{}, err
	}
	return d.check, nil
}

type dryRun struct {
	src         dataset.Source
	fields      []modelmanager.Field
	predictions *dataset.Schema
	output      modelmanager.JobOutput
	check       modelmanager.JobCheck
}

func (d *dryRun) look(ctx context.Context, asked modelmanager.JobInput) error {
	features, err := dataset.Compile(d.fields)
	if err != nil {
		return err
	}
	input, err := dataset.Sniff(ctx, d.src, asked, features)
	if err != nil {
		return err
	}
	if d.check.Headers, err = d.headers(ctx, input); err != nil {
		return err
	}
	d.check.Mapping = propose(d.fields, d.check.Headers, input.Columns)
	input.Columns = maps.Clone(input.Columns)
	for feature, header := range d.check.Mapping {
		if feature != header {
			if input.Columns == nil {
				input.Columns = make(map[string]string)
			}
			input.Columns[feature] = header
		}
	}
	d.check.Input = input
	if err := dataset.CheckOutput(d.check.Headers, d.predictions, d.output); err != nil {
		d.problem(modelmanager.ColumnProblem{Code: modelmanager.CodeOf(err), Message: err.Error()})
	}
	return d.read(ctx, input)
}

// headers reads the names of the file's columns, whatever the features are.
func (d *dryRun) headers(ctx context.Context, input modelmanager.JobInput) ([]string, error) {
	none, err := dataset.Compile(nil)
	if err != nil {
		return nil, err
	}
	input.Columns = nil
	r, err := dataset.NewReader(ctx, d.src, input, none, dataset.Whole(), dataset.ReaderOptions{BatchRows: 100})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return slices.Clone(r.Header().Columns), nil
}

// read reads the first rows, with the features that have a column.
func (d *dryRun) read(ctx context.Context, input modelmanager.JobInput) error {
	fields := d.fields
	r, err := d.reader(ctx, input, fields)
	var missing *modelmanager.Error
	if errors.As(err, &missing) && missing.Code == modelmanager.CodeMissingColumn {
		for _, m := range missing.Rows {
			d.problem(modelmanager.ColumnProblem{Column: m.Feature, Code: missing.Code, Message: m.Message})
		}
		fields = slices.DeleteFunc(slices.Clone(fields), func(f modelmanager.Field) bool {
			return slices.ContainsFunc(missing.Rows, func(m modelmanager.RowError) bool { return m.Feature == f.Name })
		})
		input.Columns = maps.Clone(input.Columns)
		for _, m := range missing.Rows {
			delete(input.Columns, m.Feature)
		}
		r, err = d.reader(ctx, input, fields)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	found := make(map[string]*modelmanager.ColumnProblem)
	for d.check.Rows < dryRunRows {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			d.check.Complete = true
			break
		}
		if err != nil {
			d.problem(modelmanager.ColumnProblem{Code: modelmanager.CodeOf(err), Message: err.Error()})
			break
		}
		d.check.Rows += int64(batch.Rows)
		for _, rejected := range batch.Rejected {
			d.note(found, rejected)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		d.problem(*found[name])
	}
	return nil
}

func (d *dryRun) reader(ctx context.Context, input modelmanager.JobInput, fields []modelmanager.Field) (*dataset.Reader, error) {
	schema, err := dataset.Compile(fields)
	if err != nil {
		return nil, err
	}
	return dataset.NewReader(ctx, d.src, input, schema, dataset.Whole(), dataset.ReaderOptions{BatchRows: 1000})
}

// note counts a row that would be rejected.
func (d *dryRun) note(found map[string]*modelmanager.ColumnProblem, rejected dataset.Rejected) {
	p := found[rejected.Feature]
	if p == nil {
		p = &modelmanager.ColumnProblem{Column: rejected.Feature, Code: modelmanager.CodeInvalidRows, Message: rejected.Message}
		found[rejected.Feature] = p
	}
	p.Count++
	if len(p.Rows) >= dryRunSamples {
		return
	}
	p.Rows = append(p.Rows, rejected.Row)
	var cells map[string]json.RawMessage
	if json.Unmarshal(rejected.Raw, &cells) != nil {
		return
	}
	header := d.check.Mapping[rejected.Feature]
	cell, ok := cells[header]
	if !ok {
		return
	}
	var text string
	if json.Unmarshal(cell, &text) != nil {
		text = string(cell)
	}
	p.Samples = append(p.Samples, shorten(text))
}

func shorten(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

func (d *dryRun) problem(p modelmanager.ColumnProblem) {
	d.check.Problems = append(d.check.Problems, p)
}
