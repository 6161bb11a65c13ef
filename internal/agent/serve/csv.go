package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// HeaderReadAs says in the answer how a CSV was read: a JobInput as JSON.
const HeaderReadAs = "Read-As"

// csvCall is what a call says besides its CSV.
type csvCall struct {
	input   modelmanager.JobInput
	prefix  string // before predictions' names
	partial bool
	json    bool // the answer is to be JSON
}

// csvAnswer is where an answer goes.
type csvAnswer struct {
	header http.Header
	body   *bytes.Buffer
	tally  *tally
}

// readCall reads ?on_error=, ?prefix= and what the query says of the file; the
// rest is found out from the file, as for a job.
func readCall(r *http.Request, charset string) (csvCall, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return csvCall{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "the query %q can't be read: %w", r.URL.RawQuery, err)
	}
	accept := r.Header.Get("Accept")
	c := csvCall{
		prefix: query.Get("prefix"),
		json:   strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/csv"),
		input: modelmanager.JobInput{
			Format: "csv", Delimiter: query.Get("delimiter"), Encoding: query.Get("encoding"), Decimal: query.Get("decimal"),
			Null: query["null"], Dates: query.Get("dates"), Timezone: query.Get("timezone"),
		},
	}
	if c.input.Encoding == "" {
		c.input.Encoding = charset
	}
	if text := query.Get("header_row"); text != "" {
		if c.input.HeaderRow, err = strconv.Atoi(text); err != nil || c.input.HeaderRow < 1 {
			return csvCall{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "header_row is the number of a row, from 1, not %q", text)
		}
	}
	switch onError := query.Get("on_error"); onError {
	case "", dataset.OnErrorFail:
	case dataset.OnErrorPartial:
		c.partial = true
	default:
		return csvCall{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "on_error is \"fail\" or \"partial\", not %q", onError)
	}
	return c, nil
}

// answerCSV answers a CSV, header and rows, with the same rows and their
// predictions as further columns. With on_error=partial a last column, _error,
// says why a row has none. A caller who accepts JSON alone gets that instead.
func (h *Handler) answerCSV(ctx context.Context, c csvCall, body []byte, answer csvAnswer) error {
	// The batch keeps parts of the text until it is written.
	source := dataset.NewBytesSource(body)
	input, err := dataset.Sniff(ctx, source, c.input, h.Features)
	if err != nil {
		return err
	}
	answer.header[HeaderReadAs] = []string{readAs(input)}
	reader, err := dataset.NewReader(ctx, source, input, h.Features, dataset.Whole(), dataset.ReaderOptions{BatchRows: MaxRows})
	if err != nil {
		return err
	}
	defer reader.Close()
	output := modelmanager.JobOutput{Add: []string{}, Prefix: c.prefix}
	if c.partial {
		output.Rejected = "inline"
	}
	if !c.json {
		if err := dataset.CheckOutput(reader.Header().Columns, h.Predictions, output); err != nil {
			return err
		}
	}
	batch, err := reader.Next()
	switch {
	case errors.Is(err, io.EOF):
		batch = &dataset.Batch{FirstRow: 1, Record: empty(h.Features.Arrow())}
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
	o, err := h.predictBatch(ctx, batch, c.partial, answer.tally)
	if err != nil {
		return err
	}
	if c.json {
		answer.header["Content-Type"] = typeJSON
		return h.writeJSON(answer.body, requestOf(batch), o)
	}
	answer.header["Content-Type"] = typeCSV
	if input.Encoding != "utf-8" {
		answer.header["Content-Type"] = []string{"text/csv; charset=" + input.Encoding}
	}
	writer, err := dataset.NewWriter(answer.body, dataset.WriterOptions{
		Input: input, Header: reader.Header(), Features: h.Features, Predictions: h.Predictions,
		Output: output, Model: h.Model, Version: h.Version, WriteHeader: true,
	})
	if err != nil {
		return err
	}
	if batch.Rows > 0 {
		if err := writer.Write(batch, o.record, o.errors); err != nil {
			return err
		}
	}
	return writer.Close()
}

func (h *Handler) predictBatch(ctx context.Context, batch *dataset.Batch, partial bool, t *tally) (outcome, error) {
	if len(batch.Rejected) > 0 && !partial {
		rejected := make([]modelmanager.RowError, len(batch.Rejected))
		for i, row := range batch.Rejected {
			rejected[i] = row.RowError
		}
		return outcome{}, rowsError(modelmanager.CodeInvalidRows, "there are invalid features in", rejected, batch.Rows)
	}
	o, err := h.predict(ctx, batch.Record, partial)
	t.add(o)
	return o, atFileRows(err, batch)
}

// requestOf is a batch as the rows of a JSON request, counted from 0.
func requestOf(batch *dataset.Batch) *dataset.Request {
	request := &dataset.Request{Record: batch.Record, Rows: batch.Rows, Accepted: batch.Accepted}
	for _, rejected := range batch.Rejected {
		rejected.Row -= batch.FirstRow
		request.Rejected = append(request.Rejected, rejected.RowError)
	}
	return request
}

// readAs writes an input in the ASCII of a header.
func readAs(input modelmanager.JobInput) string {
	text, err := json.Marshal(input)
	if err != nil {
		return ""
	}
	var ascii []byte
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			ascii = append(ascii, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			ascii = fmt.Appendf(ascii, `\u%04x\u%04x`, high, low)
		default:
			ascii = fmt.Appendf(ascii, `\u%04x`, r)
		}
	}
	return string(ascii)
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
