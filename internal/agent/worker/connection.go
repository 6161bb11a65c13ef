package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// The formats of the protocol, best first.
const (
	formatArrow   = "arrow"
	formatColumns = "columns"
	formatRows    = "rows"
)

var formats = [...]string{formatArrow, formatColumns, formatRows}

// keepArrow bounds the buffer that is kept from one request to the next.
const keepArrow = 16 << 20

// connection speaks the worker protocol (docs/worker-protocol.md) with a process. One call at a
// time.
type connection struct {
	options *Options
	process *process
	pipe    *pipe
	format  string
	id      int64
	buffer  []byte       // of requests' lines, reused
	arrow   bytes.Buffer // of requests' Arrow streams, reused
}

// ready is a worker's first line.
type ready struct {
	Ready    bool     `json:"ready"`
	Protocol int      `json:"protocol"`
	Formats  []string `json:"formats"`
	Error    string   `json:"error"` // instead: why it can't be ready
}

// hello is the agent's first line.
type hello struct {
	Format      string               `json:"format"`
	Features    []modelmanager.Field `json:"features"`
	Predictions []modelmanager.Field `json:"predictions"`
	Params      map[string]any       `json:"params"`
}

// connect waits for the worker to be ready, and agrees with it on a format.
func connect(p *process, o *Options) (*connection, error) {
	c := &connection{options: o, process: p, pipe: newPipe(p, o.AnswerLimit)}
	slow := fmt.Sprintf("%s was not ready within %s (timeouts.start)", o.program(), o.startTimeout())
	c.pipe.until(time.Now().Add(o.startTimeout()))
	line, err := c.pipe.readLine()
	if err != nil {
		return nil, p.failure(err, slow)
	}
	var r ready
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, p.nonsense("its first line is not {\"ready\": true, …} but %q", clip(string(line)))
	}
	if r.Error != "" {
		p.stop(o.Grace)
		return nil, lost(modelmanager.CodeModelError, "%s", clip(r.Error))
	}
	if !r.Ready || r.Protocol != 1 {
		return nil, p.nonsense("it is not ready to speak protocol 1, but says %q", clip(string(line)))
	}
	for _, format := range formats {
		if slices.Contains(r.Formats, format) {
			c.format = format
			break
		}
	}
	if c.format == "" {
		return nil, p.nonsense("it offers the formats %v, none of arrow, columns and rows", r.Formats)
	}
	params := o.Spec.Params
	if params == nil {
		params = map[string]any{}
	}
	greeting, err := json.Marshal(hello{c.format, o.Features.Fields(), o.Predictions.Fields(), params})
	if err != nil {
		return nil, err
	}
	if err := c.pipe.send(append(greeting, '\n'))(); err != nil {
		return nil, p.failure(err, slow)
	}
	return c, nil
}

// call asks for rows. After an error for which Lost is true the process is dead.
func (c *connection) call(rows arrow.RecordBatch) (*Answer, error) {
	c.id++
	request, body, err := c.request(rows)
	if err != nil {
		return nil, err
	}
	timeout := c.options.predictTimeout()
	slow := fmt.Sprintf("the worker took longer than %s for %s (timeouts.predict)", timeout, countRows(rows.NumRows()))
	c.pipe.until(time.Now().Add(timeout))
	sent := c.pipe.send(request, body)
	answer, err := c.answer(int(rows.NumRows()), slow)
	if err != nil && Lost(err) {
		sent()
		return nil, err
	}
	if err := sent(); err != nil {
		return nil, c.process.failure(err, slow)
	}
	return answer, err
}

func (c *connection) request(rows arrow.RecordBatch) (line, body []byte, err error) {
	n := int(rows.NumRows())
	b := append(c.buffer[:0], `{"id":`...)
	b = strconv.AppendInt(b, c.id, 10)
	switch c.format {
	case formatArrow:
		if c.arrow.Reset(); c.arrow.Cap() > keepArrow {
			c.arrow = bytes.Buffer{}
		}
		if err := encodeArrow(&c.arrow, rows); err != nil {
			return nil, nil, fmt.Errorf("encoding %d rows for the worker: %w", n, err)
		}
		body = c.arrow.Bytes()
		b = append(b, `,"bytes":`...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
	case formatColumns:
		b = append(b, `,"n":`...)
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, `,"columns":`...)
		b = c.options.Features.AppendColumns(b, rows)
	default:
		b = append(b, `,"rows":`...)
		b = c.options.Features.AppendRows(b, rows)
	}
	b = append(b, '}', '\n')
	if cap(b) <= 1<<20 {
		c.buffer = b
	}
	return b, body, nil
}

// answer reads the answer to the request just sent. Answers to earlier
// requests, sent twice or late, are passed over.
func (c *connection) answer(n int, slow string) (*Answer, error) {
	for {
		line, err := c.pipe.readLine()
		if err != nil {
			return nil, c.process.failure(err, slow)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		r, err := parseReply(line)
		if err != nil || r.ID == nil {
			return nil, c.process.nonsense("it answered %q", clip(string(line[:min(len(line), 2*maxReason)])))
		}
		var body []byte
		if r.Bytes != nil {
			if *r.Bytes < 0 {
				return nil, c.process.nonsense("it announced %d bytes", *r.Bytes)
			}
			if body, err = c.pipe.readBytes(*r.Bytes); err != nil {
				return nil, c.process.failure(err, slow)
			}
		}
		if *r.ID > 0 && *r.ID < c.id {
			continue
		}
		if *r.ID != c.id {
			return nil, c.process.nonsense("it answered request %d, which was not asked", *r.ID)
		}
		return c.decode(r, body, n)
	}
}

// decode makes an Answer of a reply. What fails here is the answer's content:
// the protocol is in step, and the worker goes on.
func (c *connection) decode(r *reply, body []byte, n int) (*Answer, error) {
	if r.Error != nil {
		return nil, failed(*r.Error, r.Retry)
	}
	refused, err := checkRefusals(r.Errors, n)
	if err != nil {
		return nil, err
	}
	var record arrow.RecordBatch
	switch {
	case c.format == formatArrow && r.Bytes != nil:
		record, err = decodeArrow(body, c.options.AnswerLimit)
	case c.format == formatColumns && len(r.Columns) > 0:
		record, err = c.options.Predictions.DecodeColumns(n, r.Columns)
	case len(r.Predictions) == 0:
		err = errors.New("it holds no predictions")
	default:
		return decodeJSON(c.options.Predictions, r.Predictions, n, refused)
	}
	if err != nil {
		return nil, invalid("the worker's answer can't be used: %w", err)
	}
	if record.NumRows() != int64(n) {
		defer record.Release()
		return nil, wrongCount(record.NumRows(), n)
	}
	return &Answer{Record: record, Errors: refused}, nil
}

// failed is the error of a call that the worker itself says has failed.
func failed(message string, retry bool) error {
	message = clip(message)
	if message == "" {
		message = "the model failed without saying why"
	}
	if retry {
		return &modelmanager.Error{Code: modelmanager.CodeUnavailable, RetryAfter: time.Second,
			Detail: "the model can't answer right now: " + message, Err: &transientError{message}}
	}
	return modelmanager.Errorf(modelmanager.CodeModelError, "the model failed: %s", message)
}

func invalid(format string, args ...any) error {
	return modelmanager.Errorf(modelmanager.CodeInvalidPredictions, format, args...)
}

func wrongCount(got int64, want int) error {
	return invalid("the worker answered %s with %s; predict must return one for each, in the same order",
		countRows(int64(want)), countPredictions(got))
}

func countRows(n int64) string {
	if n == 1 {
		return "1 row"
	}
	return strconv.FormatInt(n, 10) + " rows"
}

func countPredictions(n int64) string {
	if n == 1 {
		return "1 prediction"
	}
	return strconv.FormatInt(n, 10) + " predictions"
}
