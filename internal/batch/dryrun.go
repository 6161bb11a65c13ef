package batch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

// Bounds of a dry run.
const (
	dryRunRows    = 10_000
	dryRunCells   = 1_000_000 // of a wide file fewer rows are looked at
	dryRunSamples = 5
	dryRunFirst   = 5 // rows to show
)

// DryRun says what a job would do with its input, without making one: how the
// file would be read, which column would be which feature, and what is wrong
// with the first 10,000 rows, or, of a wide file, the first million cells.
func (s *Service) DryRun(ctx context.Context, request Request) (modelmanager.JobCheck, error) {
	return s.dryRun(ctx, request, false, nil)
}

// checkTold is how often a check of a whole file tells how far it is.
const checkTold = 300 * time.Millisecond

// Check is DryRun of all rows. It tells now and then how far it is, by the
// counts so far alone. CodeTooManyRequests if this server has enough to check.
func (s *Service) Check(ctx context.Context, request Request, progress func(modelmanager.JobCheck)) (modelmanager.JobCheck, error) {
	select {
	case s.checking <- struct{}{}:
		defer func() { <-s.checking }()
	default:
		err := modelmanager.Errorf(modelmanager.CodeTooManyRequests,
			"this server is checking %d whole files, as many as it does at a time; try again in a minute, or run the job: it rejects what doesn't fit", cap(s.checking))
		err.RetryAfter = time.Minute
		return modelmanager.JobCheck{}, err
	}
	return s.dryRun(ctx, request, true, progress)
}

func (s *Service) dryRun(ctx context.Context, request Request, whole bool, progress func(modelmanager.JobCheck)) (modelmanager.JobCheck, error) {
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
	d := &dryRun{src: &countedSource{Source: src}, spec: parsed, fields: parsed.Features, output: request.Output, whole: whole, progress: progress}
	if d.predictions, err = dataset.Compile(parsed.Predictions); err != nil {
		return modelmanager.JobCheck{}, err
	}
	if err := d.look(ctx, request.Input); err != nil {
		return modelmanager.JobCheck{}, err
	}
	return d.check, nil
}

type dryRun struct {
	src         *countedSource
	spec        *spec.Spec
	fields      []modelmanager.Field
	predictions *dataset.Schema
	output      modelmanager.JobOutput
	check       modelmanager.JobCheck

	whole    bool // look at every row
	progress func(modelmanager.JobCheck)
	told     time.Time
}

// countedSource counts the bytes that are read.
type countedSource struct {
	dataset.Source
	read atomic.Int64
}

// ReadAt implements dataset.Source.
func (s *countedSource) ReadAt(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	r, err := s.Source.ReadAt(ctx, offset, length)
	if err != nil {
		return nil, err
	}
	return countedRange{r, &s.read}, nil
}

type countedRange struct {
	io.ReadCloser
	read *atomic.Int64
}

// Read implements io.Reader.
func (r countedRange) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.read.Add(int64(n))
	return n, err
}

// tell tells how far a check is, if it is time to.
func (d *dryRun) tell() {
	if d.progress == nil || time.Since(d.told) < checkTold {
		return
	}
	d.told = time.Now()
	check := modelmanager.JobCheck{Input: d.check.Input, Headers: d.check.Headers, Mapping: d.check.Mapping, Matched: d.check.Matched, Rows: d.check.Rows, Rejected: d.check.Rejected, UnderWay: true}
	if size := d.src.Size(); size > 0 {
		check.Read = min(1, float64(d.src.read.Load())/float64(size))
	}
	d.progress(check)
}

func (d *dryRun) look(ctx context.Context, asked modelmanager.JobInput) error {
	features, err := dataset.Compile(d.fields)
	if err != nil {
		return err
	}
	columns := asked.Columns
	asked.Columns = maps.Clone(columns)
	maps.DeleteFunc(asked.Columns, func(_, header string) bool { return header == "" })
	input, err := dataset.Sniff(ctx, d.src, asked, features)
	if err != nil {
		return err
	}
	if err := d.headers(ctx, input); err != nil {
		return err
	}
	d.check.Mapping, d.check.Matched = propose(d.fields, d.check.Headers, columns)
	input.Columns = maps.Clone(input.Columns)
	for feature, header := range d.check.Mapping {
		if feature != header {
			if input.Columns == nil {
				input.Columns = make(map[string]string)
			}
			input.Columns[feature] = header
		}
	}
	input = d.cellsOf(ctx, input, asked, features)
	d.check.Input = input
	output := d.output
	output.Format = cmp.Or(output.Format, input.Format)
	if err := dataset.CheckOutput(d.check.Headers, d.predictions, output); err != nil {
		d.problem(modelmanager.ColumnProblem{Code: modelmanager.CodeOf(err), Message: err.Error()})
	}
	if err := d.read(ctx, input); err != nil {
		return err
	}
	rows, known := d.check.Rows, d.check.Complete
	if !known {
		if rows, known, err = saidRows(ctx, d.src); err != nil {
			return err
		}
	}
	if known {
		if err := fits(d.spec, output, output.Format, rows); err != nil {
			d.problem(modelmanager.ColumnProblem{Code: modelmanager.CodeOf(err), Message: err.Error()})
		}
	}
	return nil
}

// cellsOf finds out how numbers and dates are written, now that it is known which
// columns have them: those whose names were only like the features' told nothing
// before. If they don't tell either, the file is read as it was.
func (d *dryRun) cellsOf(ctx context.Context, input, asked modelmanager.JobInput, features *dataset.Schema) modelmanager.JobInput {
	if maps.Equal(input.Columns, asked.Columns) {
		return input
	}
	again := input
	again.Decimal, again.Dates = asked.Decimal, asked.Dates
	if found, err := dataset.Sniff(ctx, d.src, again, features); err == nil {
		return found
	}
	return input
}

// headers reads the names of the file's columns, and its first rows, whatever
// the features are.
func (d *dryRun) headers(ctx context.Context, input modelmanager.JobInput) error {
	none, err := dataset.Compile(nil)
	if err != nil {
		return err
	}
	if input.Format == "xlsx" {
		if d.check.Sheets, err = dataset.Sheets(ctx, d.src); err != nil {
			return err
		}
	}
	input.Columns = nil
	r, err := dataset.NewReader(ctx, d.src, input, none, dataset.Whole(), dataset.ReaderOptions{BatchRows: 100})
	if err != nil {
		return err
	}
	defer r.Close()
	d.check.Headers = slices.Clone(r.Header().Columns)
	batch, err := r.Next()
	if err != nil {
		return nil // reading the rows will say so
	}
	for row := range min(batch.Rows, dryRunFirst) {
		cells, _ := batch.Texts(row)
		for i := range cells {
			cells[i] = shorten(cells[i])
		}
		d.check.First = append(d.check.First, cells)
	}
	return nil
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
	d.src.read.Store(0)
	found := make(map[string]*modelmanager.ColumnProblem)
	most := int64(math.MaxInt64)
	if !d.whole {
		most = min(dryRunRows, dryRunCells/int64(max(len(d.check.Headers), 1)))
	}
	for d.check.Rows < most {
		if err := ctx.Err(); err != nil {
			return err
		}
		d.tell()
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
		d.check.Rejected += int64(len(batch.Rejected))
		for _, rejected := range batch.Rejected {
			first := rejected.RowError
			if rejected.First != "" {
				first.Message = rejected.First
			}
			cells := sync.OnceValue(func() map[string]json.RawMessage { return d.cells(rejected.Raw) })
			d.note(found, first, cells)
			for _, further := range rejected.Further {
				d.note(found, further, cells)
			}
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

// cells are those of a rejected row, by header; nil if it has none.
func (d *dryRun) cells(raw json.RawMessage) map[string]json.RawMessage {
	var cells map[string]json.RawMessage
	if json.Unmarshal(raw, &cells) != nil {
		return nil
	}
	return cells
}

// note counts what a row would be rejected for. Its cells are looked at for the
// first few alone.
func (d *dryRun) note(found map[string]*modelmanager.ColumnProblem, e modelmanager.RowError, cells func() map[string]json.RawMessage) {
	p := found[e.Feature]
	if p == nil {
		p = &modelmanager.ColumnProblem{Column: e.Feature, Code: modelmanager.CodeInvalidRows, Message: e.Message}
		found[e.Feature] = p
	}
	p.Count++
	if len(p.Rows) >= dryRunSamples {
		return
	}
	p.Rows = append(p.Rows, e.Row)
	sample := modelmanager.CellProblem{Row: e.Row, Message: e.Message}
	cell, ok := cells()[d.check.Mapping[e.Feature]]
	if !ok {
		cell, ok = cells()["_row"] // the whole of a ragged row
		ok = ok && e.Feature == ""
	}
	if ok {
		var text string
		if json.Unmarshal(cell, &text) != nil {
			text = string(cell)
		}
		sample.Value = shorten(text)
		p.Samples = append(p.Samples, sample.Value)
	}
	p.Cells = append(p.Cells, sample)
}

// shorten is a cell as it is shown.
func shorten(text string) string {
	const most = 80
	return wording.Shorten(strings.ToValidUTF8(text, "?"), most)
}

func (d *dryRun) problem(p modelmanager.ColumnProblem) {
	d.check.Problems = append(d.check.Problems, p)
}
