package batch

import (
	"cmp"
	"context"
	"errors"
	"io"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
)

// Bounds of a sample.
const (
	sampleRows  = 10_000    // for the distributions
	sampleCells = 1_000_000 // of wide results fewer rows are looked at
	sampleParts = 10        // that they come from
	sampleFirst = 100       // rows to show, at most
)

// Sample looks at a finished job's results: the first rows, and how the
// predictions are spread. What it costs depends neither on the number of rows
// nor on that of parts.
func (s *Service) Sample(ctx context.Context, id string, first int) (modelmanager.JobSample, error) {
	sample := modelmanager.JobSample{Columns: []string{}, Rows: [][]string{}, Predictions: []modelmanager.Distribution{}}
	if err := checkID(id); err != nil {
		return sample, err
	}
	m, err := s.manifest(ctx, id)
	if err != nil {
		return sample, err
	}
	if m == nil {
		job, err := s.Get(ctx, id)
		if err != nil {
			return sample, err
		}
		return sample, modelmanager.Errorf(modelmanager.CodeConflict, "job %s is still %s: wait until it has finished", id, job.State)
	}
	if m.State == modelmanager.JobCancelled {
		return sample, modelmanager.Errorf(modelmanager.CodeCancelled, "job %s was cancelled; it has no output", id)
	}
	version, err := s.config.Versions.Version(ctx, m.Model, m.Version)
	if err != nil {
		return sample, err
	}
	parsed, err := spec.FromCanonical(version.Spec)
	if err != nil {
		return sample, err
	}
	l := &sampler{Service: s, m: m, sample: sample, first: min(max(first, 0), sampleFirst)}
	return l.look(ctx, parsed.Predictions)
}

type sampler struct {
	*Service
	m      *Manifest
	first  int
	schema *dataset.Schema
	sample modelmanager.JobSample
	spread []*spread
}

func (l *sampler) look(ctx context.Context, predictions []modelmanager.Field) (modelmanager.JobSample, error) {
	fields := make([]modelmanager.Field, len(predictions))
	for i, field := range predictions {
		fields[i] = readable(field, l.m.Output.Prefix+field.Name)
	}
	var err error
	if l.schema, err = dataset.Compile(fields); err != nil {
		return l.sample, err
	}
	l.spread = spreadsOf(fields)
	parts := l.m.Parts
	l.sample.Total, l.sample.AllParts = l.m.outputRows(), len(parts)
	chosen := min(len(parts), sampleParts)
	for i := range chosen {
		if err := l.part(ctx, parts[i*len(parts)/chosen], chosen); err != nil {
			return l.sample, err
		}
	}
	for _, one := range l.spread {
		l.sample.Predictions = append(l.sample.Predictions, one.distribution())
	}
	return l.sample, nil
}

// readable is a prediction as it can be read again, whatever became of it: a
// rejected row has none, an escaped text isn't among an enum's.
func readable(field modelmanager.Field, name string) modelmanager.Field {
	plain := modelmanager.Field{Name: name, Type: field.Type, Format: field.Format, Nullable: true, Length: field.Length, MaxItems: field.MaxItems, Labels: field.Labels}
	if field.Items != nil {
		item := readable(*field.Items, "")
		plain.Items = &item
	}
	return plain
}

// part looks at the first rows of a part, which is one of so many.
func (l *sampler) part(ctx context.Context, file shard.File, parts int) error {
	if file.Size == 0 {
		return nil // JSON Lines without a row
	}
	if _, err := l.config.Bucket.Stat(ctx, file.Key); err != nil {
		return deleted(l.m.ID, err)
	}
	src := dataset.NewRangeSource(file.Size, func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		return l.config.Bucket.Read(ctx, file.Key, offset, length)
	})
	input := l.dialect()
	if input.Format == "xlsx" {
		var err error
		if input, err = dataset.Sniff(ctx, src, input, l.schema); err != nil {
			return err
		}
	}
	r, err := dataset.NewReader(ctx, src, input, l.schema, dataset.Whole(), dataset.ReaderOptions{BatchRows: sampleFirst})
	if err != nil {
		return err
	}
	defer r.Close()
	most := min(sampleRows, sampleCells/max(len(r.Header().Columns), 1)) / parts
	if len(l.sample.Columns) == 0 {
		l.sample.Columns = append(l.sample.Columns, r.Header().Columns...)
	}
	l.sample.Parts++
	for looked := 0; looked == 0 || looked < most; {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		looked += batch.Rows
		l.take(batch)
	}
	return nil
}

func (l *sampler) take(batch *dataset.Batch) {
	for row := 0; row < batch.Rows && len(l.sample.Rows) < l.first; row++ {
		cells, _ := batch.Texts(row)
		for i := range cells {
			cells[i] = shorten(cells[i])
		}
		l.sample.Rows = append(l.sample.Rows, cells)
	}
	l.sample.Looked += int64(batch.Rows)
	for i := range l.spread {
		l.spread[i].add(batch.Record)
	}
}

// dialect is how the job's parts are to be read: as they were written.
func (l *sampler) dialect() modelmanager.JobInput {
	input := modelmanager.JobInput{Format: l.m.Output.Format, Compression: cmp.Or(l.m.Output.Compression, "none"), Encoding: "utf-8", HeaderRow: 1}
	if input.Format != "csv" {
		return input
	}
	input.Delimiter, input.Decimal, input.Null = ",", ".", []string{""}
	if was := l.m.Input; was.Format == "csv" {
		input.Delimiter, input.Encoding, input.Decimal = was.Delimiter, was.Encoding, was.Decimal
		if len(was.Null) > 0 {
			input.Null = was.Null
		}
	}
	return input
}
