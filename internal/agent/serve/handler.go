package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/problem"
)

// Limits of one request.
const (
	MaxRows  = 10_000
	MaxBytes = 32 << 20
)

// defaultTimeout is the deadline of a call that brings none.
const defaultTimeout = 30 * time.Second

// Handler answers POST requests with JSON or CSV.
type Handler struct {
	Model       string
	Version     int
	Features    *dataset.Schema
	Predictions *dataset.Schema
	Queue       *Queue
	// Invalid is told of answers that can't be used; may be nil.
	Invalid func(error)
	// TimeoutHeader brings what is left of the deadline, in milliseconds.
	TimeoutHeader string
	// PredictedHeader and InvalidHeader tell, of each answer, how many rows were
	// predicted, and how many of the predictions are invalid, if any; "": untold.
	PredictedHeader, InvalidHeader string

	buffers sync.Pool // of *bytes.Buffer
}

// maxKept is the size beyond which a buffer isn't kept for the next request.
const maxKept = 1 << 20

func (h *Handler) buffer() *bytes.Buffer {
	if b, ok := h.buffers.Get().(*bytes.Buffer); ok {
		b.Reset()
		return b
	}
	return new(bytes.Buffer)
}

func (h *Handler) release(b *bytes.Buffer) {
	if b.Cap() <= maxKept {
		h.buffers.Put(b)
	}
}

// ServeHTTP answers with predictions or with a problem.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := h.buffer()
	defer h.release(answer)
	var t tally
	header := w.Header()
	err := h.answer(r, header, answer, &t)
	h.tell(header, t)
	if err != nil {
		problem.Write(w, err)
		return
	}
	// A CSV has no other place for what made it; the gateway says the same.
	header["Model-Version"] = []string{strconv.Itoa(h.Version)}
	header["Content-Length"] = []string{strconv.Itoa(answer.Len())}
	w.Write(answer.Bytes())
}

// tally counts a call's predictions.
type tally struct{ predicted, invalid int }

func (t *tally) add(o outcome) {
	t.predicted += o.predicted
	t.invalid += o.invalid
}

// tell tells the gateway.
func (h *Handler) tell(header http.Header, t tally) {
	if h.PredictedHeader != "" && t.predicted > 0 {
		header[h.PredictedHeader] = []string{strconv.Itoa(t.predicted)}
	}
	if h.InvalidHeader != "" && t.invalid > 0 {
		header[h.InvalidHeader] = []string{strconv.Itoa(t.invalid)}
	}
}

var (
	typeJSON = []string{"application/json"}
	typeCSV  = []string{"text/csv; charset=utf-8"}
)

// answer writes the whole answer, so that what goes wrong is a problem with a
// status of its own, and its type into header.
func (h *Handler) answer(r *http.Request, header http.Header, answer *bytes.Buffer, t *tally) error {
	if r.Method != http.MethodPost {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "predictions are asked for with POST, not %s", r.Method)
	}
	csv, charset, err := isCSV(r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	ctx, cancel, err := h.deadline(r)
	if err != nil {
		return err
	}
	defer cancel()
	body := h.buffer()
	defer h.release(body)
	if err := read(r, body); err != nil {
		return err
	}
	if csv {
		c, err := readCall(r, charset)
		if err != nil {
			return err
		}
		return h.answerCSV(ctx, c, body.Bytes(), csvAnswer{header, answer, t})
	}
	header["Content-Type"] = typeJSON
	return h.answerJSON(ctx, body.Bytes(), answer, t)
}

// isCSV tells whether a body is CSV, and its charset if that is said.
func isCSV(contentType string) (csv bool, charset string, err error) {
	if contentType == "application/json" || contentType == "" {
		return false, "", nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err == nil {
		switch {
		case media == "application/json":
			return false, "", nil
		case media == "text/csv":
			return true, params["charset"], nil
		}
	}
	return false, "", modelmanager.Errorf(modelmanager.CodeUnsupportedMedia,
		"the content type %q is not supported; send application/json or text/csv", contentType)
}

func (h *Handler) deadline(r *http.Request) (context.Context, context.CancelFunc, error) {
	timeout := defaultTimeout
	if text := r.Header.Get(h.TimeoutHeader); text != "" {
		milliseconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || milliseconds < 0 || milliseconds > int64(24*time.Hour/time.Millisecond) {
			return nil, nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "%s: %q is no number of milliseconds", h.TimeoutHeader, text)
		}
		timeout = time.Duration(milliseconds) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, nil
}

func read(r *http.Request, body *bytes.Buffer) error {
	if r.ContentLength > MaxBytes {
		return tooLarge()
	}
	if r.ContentLength > 0 {
		body.Grow(int(min(r.ContentLength, maxKept)) + bytes.MinRead)
	}
	_, err := body.ReadFrom(http.MaxBytesReader(nil, r.Body, MaxBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return tooLarge()
	case err != nil:
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the request's body broke off: %w", err)
	}
	return nil
}

func tooLarge() error {
	return modelmanager.Errorf(modelmanager.CodeTooLarge,
		"the request has more than %d MiB, the limit of one call: send several calls, or submit a job", MaxBytes>>20)
}

func (h *Handler) answerJSON(ctx context.Context, body []byte, answer *bytes.Buffer, t *tally) error {
	request, err := h.Features.DecodeRequest(body, MaxRows)
	if err != nil {
		return err
	}
	o, err := h.predict(ctx, request.Record, request.OnError == dataset.OnErrorPartial)
	t.add(o)
	if err != nil {
		return atRows(err, request.Accepted)
	}
	return h.writeJSON(answer, request, o)
}

// writeJSON writes the answer to a request.
func (h *Handler) writeJSON(answer *bytes.Buffer, request *dataset.Request, o outcome) error {
	b := append(answer.AvailableBuffer(), `{"model":"`...)
	b = append(b, h.Model...)
	b = append(b, `","version":`...)
	b = strconv.AppendInt(b, int64(h.Version), 10)
	b = append(b, `,"predictions":`...)
	b = h.Predictions.AppendPredictions(b, o.record, request, o.errors)
	if request.IDs != nil {
		b = append(b, `,"ids":[`...)
		for i, id := range request.IDs {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, id...)
		}
		b = append(b, ']')
	}
	if problems := request.Merge(o.errors); len(problems) > 0 {
		encoded, err := json.Marshal(problems)
		if err != nil {
			return fmt.Errorf("writing the errors of an answer: %w", err)
		}
		b = append(append(b, `,"errors":`...), encoded...)
	}
	answer.Write(append(b, '}', '\n'))
	return nil
}

// atRows makes the rows of an error those of the request: so far they are
// those of the accepted rows.
func atRows(err error, accepted []int32) error {
	var e *modelmanager.Error
	if accepted == nil || !errors.As(err, &e) || len(e.Rows) == 0 {
		return err
	}
	moved := *e
	moved.Rows = make([]modelmanager.RowError, len(e.Rows))
	for i, row := range e.Rows {
		if row.Row >= 0 && row.Row < int64(len(accepted)) {
			row.Row = int64(accepted[row.Row])
		}
		moved.Rows[i] = row
	}
	return &moved
}
