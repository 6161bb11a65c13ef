package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// csvInput is how a CSV request is read. Nothing of it is guessed: a caller
// can't be shown the guess before it counts. Files of other dialects are for jobs.
func csvInput() modelmanager.JobInput {
	return modelmanager.JobInput{
		Format:      "csv",
		Compression: "none",
		Delimiter:   ",",
		Encoding:    "utf-8",
		Decimal:     ".",
		HeaderRow:   1,
		Null:        []string{""},
		Dates:       "ISO",
	}
}

// answerCSV answers a CSV, header and rows, with the same rows and their
// predictions as further columns. With ?on_error=partial a last column,
// _error, says why a row has none; ?prefix= goes before predictions' names.
func (h *Handler) answerCSV(ctx context.Context, r *http.Request, body []byte, answer *bytes.Buffer, t *tally) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the query %q can't be read: %w", r.URL.RawQuery, err)
	}
	output := modelmanager.JobOutput{Add: []string{}, Prefix: query.Get("prefix")}
	partial := false
	switch onError := query.Get("on_error"); onError {
	case "", dataset.OnErrorFail:
	case dataset.OnErrorPartial:
		partial, output.Rejected = true, "inline"
	default:
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "on_error is \"fail\" or \"partial\", not %q", onError)
	}
	// The batch keeps parts of the text until it is written.
	input, source := csvInput(), dataset.NewBytesSource(body)
	if input, err = dataset.Sniff(ctx, source, input, h.Features); err != nil {
		return err
	}
	reader, err := dataset.NewReader(ctx, source, input, h.Features, dataset.Whole(), dataset.ReaderOptions{BatchRows: MaxRows})
	if err != nil {
		return err
	}
	defer reader.Close()
	writer, err := dataset.NewWriter(answer, dataset.WriterOptions{
		Input: input, Header: reader.Header(), Features: h.Features, Predictions: h.Predictions,
		Output: output, Model: h.Model, Version: h.Version, WriteHeader: true,
	})
	if err != nil {
		return err
	}
	batch, err := reader.Next()
	switch {
	case errors.Is(err, io.EOF):
		return writer.Close()
	case err != nil:
		return err
	}
	if _, err := reader.Next(); !errors.Is(err, io.EOF) {
		if err != nil {
			return err
		}
		return modelmanager.Errorf(modelmanager.CodeTooLarge,
			"the request has more than %d rows, the limit of one call: send several calls, or submit a job", MaxRows)
	}
	if err := h.predictBatch(ctx, batch, writer, partial, t); err != nil {
		return err
	}
	return writer.Close()
}

func (h *Handler) predictBatch(ctx context.Context, batch *dataset.Batch, writer *dataset.Writer, partial bool, t *tally) error {
	if len(batch.Rejected) > 0 && !partial {
		rejected := make([]modelmanager.RowError, len(batch.Rejected))
		for i, row := range batch.Rejected {
			rejected[i] = row.RowError
		}
		return rowsError(modelmanager.CodeInvalidRows, "there are invalid features in", rejected, batch.Rows)
	}
	o, err := h.predict(ctx, batch.Record, partial)
	t.add(o)
	if err != nil {
		return atFileRows(err, batch)
	}
	return writer.Write(batch, o.record, o.errors)
}

// atFileRows makes the rows of an error those of the file: 1 is the first data row.
func atFileRows(err error, batch *dataset.Batch) error {
	var e *modelmanager.Error
	if !errors.As(err, &e) || len(e.Rows) == 0 {
		return err
	}
	moved := *e
	moved.Rows = make([]modelmanager.RowError, len(e.Rows))
	for i, row := range e.Rows {
		row.Row = batch.FirstRow + int64(batch.Index(int(row.Row)))
		moved.Rows[i] = row
	}
	return &moved
}
