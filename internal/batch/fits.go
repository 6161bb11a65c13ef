package batch

import (
	"context"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
)

// A workbook holds so many rows and no more. A result of more is refused as
// early as their number is known: by submit and the check if the file itself
// says it, otherwise by the plan, before the first shard runs.

// fits refuses an output of so many rows that its format can't hold. What goes
// to a folder is a file of its own for each shard.
func fits(parsed *spec.Spec, output modelmanager.JobOutput, format string, rows int64) error {
	if perShard := parsed.Batch.RowsPerShard; output.URI != "" && perShard > 0 && !parsed.SeesAllRows() {
		rows = min(rows, perShard)
	}
	return dataset.FitsFormat(format, rows)
}

// fitsAtOnce is fits of a request, if its input says how many rows it has. A
// retry reads only some of them.
func (s *Service) fitsAtOnce(ctx context.Context, request Request, parsed *spec.Spec, from source) error {
	if request.Output.Format != "xlsx" || request.RetryOf != "" {
		return nil
	}
	src, err := s.open(from)
	if err != nil {
		return err
	}
	rows, known, err := saidRows(ctx, src)
	if err != nil || !known {
		return err
	}
	return fits(parsed, request.Output, request.Output.Format, rows)
}

// saidRows is how many rows an input says it has, if it does: Parquet, in its
// footer. What can't be read is for the plan to tell.
func saidRows(ctx context.Context, src dataset.Source) (rows int64, known bool, err error) {
	footer, err := dataset.ParquetFooter(ctx, src)
	if err != nil || footer == 0 || footer > maxFooter {
		return 0, false, err
	}
	rows, err = dataset.ParquetRows(ctx, src)
	return rows, err == nil, nil
}

// fits is fits of a job that has been planned.
func (d *drive) fits() error {
	p := d.t.planned()
	rows, known := p.rows()
	if !known {
		return nil
	}
	return fits(d.workload.Spec, d.t.record.Job.Output, outputFormat(d.t.record, p), rows)
}
