package batch

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// RejectedTable writes the rejected rows of a finished job as a table, csv or
// xlsx: the input's columns as they were, then the row's number, the feature at
// fault and the reason.
func (s *Service) RejectedTable(ctx context.Context, id, format string, w io.Writer) error {
	m, records, err := s.results(ctx, id)
	if err != nil {
		return err
	}
	if format == "xlsx" && m.Rows.Rejected > dataset.SheetRows {
		return modelmanager.Errorf(modelmanager.CodeTooLarge,
			"%d rows were rejected, and an Excel sheet holds %d below its header; ask for them as csv or jsonl", m.Rows.Rejected, dataset.SheetRows)
	}
	columns, err := s.inputColumns(ctx, m, records)
	if err != nil {
		return err
	}
	table, err := dataset.NewRejectedWriter(w, dataset.RejectedOptions{
		Format: format, Input: m.Input, Columns: columns, Formulas: m.Output.Formulas,
	})
	if err != nil {
		return err
	}
	err = s.eachRejected(ctx, id, records, func(row dataset.Rejected) error { return table.Write(row) })
	if err != nil {
		return err
	}
	return table.Close()
}

// inputColumns are the columns of a job's input. Where it is gone, those of the
// first rejected rows stand in for them.
func (s *Service) inputColumns(ctx context.Context, m *Manifest, records []*shardRecord) ([]string, error) {
	r, err := s.record(ctx, m.ID)
	if err != nil {
		return nil, err
	}
	if s.unchanged(ctx, r.Source) == nil {
		src, err := s.open(r.Source)
		if err != nil {
			return nil, err
		}
		if header, err := dataset.ReadHeader(ctx, src, m.Input); err == nil {
			return header.Columns, nil
		}
	}
	var columns []string
	seen, left := map[string]bool{"_row": true}, 1000
	err = s.eachRejected(ctx, m.ID, records, func(row dataset.Rejected) error {
		for _, key := range dataset.Keys(row.Raw) {
			if !seen[key] {
				seen[key] = true
				columns = append(columns, key)
			}
		}
		if left--; left == 0 {
			return io.EOF
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return slices.Clip(columns), err
}

// eachRejected visits the rejected rows of a finished job, in their order.
func (s *Service) eachRejected(ctx context.Context, id string, records []*shardRecord, visit func(dataset.Rejected) error) error {
	for _, r := range records {
		if err := s.eachRejectedOf(ctx, id, r.Rejected.Key, visit); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) eachRejectedOf(ctx context.Context, id, key string, visit func(dataset.Rejected) error) error {
	file, err := s.config.Bucket.Read(ctx, key, 0, -1)
	if err != nil {
		return deleted(id, err)
	}
	defer file.Close()
	rows := json.NewDecoder(file)
	for {
		var row dataset.Rejected
		err := rows.Decode(&row)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return modelmanager.Errorf(modelmanager.CodeStorage, "reading the rejected rows of job %s: %w", id, err)
		}
		if err := visit(row); err != nil {
			return err
		}
	}
}
