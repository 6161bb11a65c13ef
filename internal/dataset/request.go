package dataset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// What becomes of a request with invalid rows.
const (
	OnErrorFail    = "fail"    // it is refused, naming every one: the default
	OnErrorPartial = "partial" // the others are predicted
)

// maxRowErrors bounds the problems that one answer lists.
const maxRowErrors = 1000

// A Request is a decoded prediction request.
type Request struct {
	Record   arrow.RecordBatch // the accepted rows
	Rows     int               // rows asked for
	Accepted []int32           // which rows Record holds; nil: all of them
	Rejected []modelmanager.RowError
	IDs      []json.RawMessage // one JSON scalar a row; nil: none were sent
	OnError  string            // OnErrorFail or OnErrorPartial
}

// DecodeRequest decodes {"rows": […], "ids"?: […], "on_error"?: …} and checks
// every row, in one pass over the body. maxRows 0 means no limit. Its errors:
//
//   - bad_request: the body is not such an object, or no strict JSON;
//   - too_large: more than maxRows rows;
//   - invalid_rows: with on_error fail, and Rows naming what is wrong.
//
// Nothing in the Request points into body.
func (s *Schema) DecodeRequest(body []byte, maxRows int) (*Request, error) {
	d := requestDecoder{
		builder: s.builder(),
		maxRows: maxRows,
		request: &Request{OnError: OnErrorFail},
	}
	d.scan = scanner{data: body, scratch: d.builder.scan.scratch}
	defer func() {
		d.builder.scan.scratch = d.scan.scratch
		s.putBack(d.builder)
	}()
	if err := d.decode(); err != nil {
		return nil, err
	}
	return d.finish()
}

// Merge turns problems of the record's rows into problems of the request's
// rows, and adds those of rejected rows, in the order of rows.
func (r *Request) Merge(problems []modelmanager.RowError) []modelmanager.RowError {
	merged := slices.Clone(r.Rejected)
	for _, p := range problems {
		if r.Accepted != nil && p.Row >= 0 && p.Row < int64(len(r.Accepted)) {
			p.Row = int64(r.Accepted[p.Row])
		}
		merged = append(merged, p)
	}
	slices.SortStableFunc(merged, func(a, b modelmanager.RowError) int { return int(a.Row - b.Row) })
	return merged
}

type requestDecoder struct {
	scan     scanner
	builder  *Builder
	request  *Request
	maxRows  int
	rejected int // rows
	unlisted int // problems beyond those that are listed
	ids      int // how many ids; −1: none were sent
}

func (d *requestDecoder) decode() error {
	s := &d.scan
	d.ids = -1
	if c := s.next(); c != '{' {
		s.fail(s.pos, "the body is to be an object, {\"rows\": [{…}, …]}; found %s", s.found())
		return d.badJSON()
	}
	s.pos++
	sawRows, sawOnError := false, false
	if s.next() == '}' {
		s.pos++
	} else {
		for more := true; more; {
			start := s.pos
			key, ok := s.text()
			if !ok {
				return d.badJSON()
			}
			var again bool
			var err error
			switch string(key) {
			case "rows":
				again, sawRows = sawRows, true
				if s.token(':') && !again {
					err = d.rows()
				}
			case "ids":
				again = d.ids >= 0
				if s.token(':') && !again {
					err = d.readIDs()
				}
			case "on_error":
				again, sawOnError = sawOnError, true
				if s.token(':') && !again {
					err = d.onError()
				}
			default:
				return d.unknownKey(string(key))
			}
			switch {
			case s.fault != "":
				return d.badJSON()
			case again:
				s.fail(start, "the key is there twice")
				return d.badJSON()
			case err != nil:
				return err
			}
			if more, ok = s.more('}'); !ok {
				return d.badJSON()
			}
		}
	}
	if !s.ended() {
		return d.badJSON()
	}
	if !sawRows {
		return badRequest("the request has no rows: send {\"rows\": [{…}, …]}, one object a row")
	}
	if d.ids >= 0 && d.ids != d.request.Rows {
		return badRequest("there are %d ids for %d rows: send one for each row, or none", d.ids, d.request.Rows)
	}
	return nil
}

// rows reads the array of rows. Faults of syntax are left in the scanner.
func (d *requestDecoder) rows() error {
	s, b := &d.scan, d.builder
	if s.next() != '[' {
		s.fail(s.pos, "rows is an array of objects, [{…}, …]; found %s", s.found())
		return nil
	}
	s.pos++
	if s.next() == ']' {
		s.pos++
		return nil
	}
	for row := 0; ; row++ {
		if d.maxRows > 0 && row >= d.maxRows {
			return modelmanager.Errorf(modelmanager.CodeTooLarge,
				"the request has more than %d rows, the limit of one call: send several calls, or submit a job", d.maxRows)
		}
		if s.next() == '{' {
			if !b.object(s) {
				return nil
			}
		} else {
			b.unreadable("a row is an object, {\"feature\": value, …}; this one begins with " + s.found())
			if !s.skip(2) {
				return nil
			}
		}
		if problems := b.EndRow(RefuseAbsent); problems != nil {
			d.reject(row, problems)
		} else if d.rejected > 0 {
			d.request.Accepted = append(d.request.Accepted, int32(row))
		}
		d.request.Rows = row + 1
		if more, _ := s.more(']'); !more {
			return nil
		}
	}
}

// reject notes a row's problems: all, until there are too many; then one a row.
func (d *requestDecoder) reject(row int, problems []Problem) {
	r := d.request
	if d.rejected == 0 {
		r.Accepted = make([]int32, row)
		for i := range r.Accepted {
			r.Accepted[i] = int32(i)
		}
	}
	d.rejected++
	for i, p := range problems {
		if i > 0 && len(r.Rejected) >= maxRowErrors {
			d.unlisted += len(problems) - i
			return
		}
		r.Rejected = append(r.Rejected, modelmanager.RowError{Row: int64(row), Feature: p.Feature, Message: p.Message})
	}
}

func (d *requestDecoder) readIDs() error {
	s := &d.scan
	d.ids = 0
	if s.next() != '[' {
		s.fail(s.pos, "ids is an array with one id for each row; found %s", s.found())
		return nil
	}
	begin := s.pos
	s.pos++
	var ends []int // of each id: where it starts and ends, from begin
	if s.next() == ']' {
		s.pos++
	} else {
		for more := true; more; {
			if c := s.next(); c == '{' || c == '[' {
				s.fail(s.pos, "an id is a string or a number")
				return nil
			}
			start := s.pos
			if !s.skip(1) {
				return nil
			}
			ends = append(ends, start-begin, s.pos-begin)
			if more, _ = s.more(']'); s.fault != "" {
				return nil
			}
		}
	}
	own := bytes.Clone(s.data[begin:s.pos])
	d.ids = len(ends) / 2
	d.request.IDs = make([]json.RawMessage, d.ids)
	for i := range d.ids {
		d.request.IDs[i] = own[ends[2*i]:ends[2*i+1]:ends[2*i+1]]
	}
	return nil
}

func (d *requestDecoder) onError() error {
	s := &d.scan
	if s.next() != '"' {
		s.fail(s.pos, "on_error is \"fail\" or \"partial\"; found %s", s.found())
		return nil
	}
	text, ok := s.text()
	if !ok {
		return nil
	}
	switch string(text) {
	case OnErrorFail:
	case OnErrorPartial:
		d.request.OnError = OnErrorPartial
	default:
		return badRequest("on_error is \"fail\" or \"partial\", not %s", quote(text))
	}
	return nil
}

func (d *requestDecoder) unknownKey(name string) error {
	if _, ok := d.builder.index[name]; ok {
		return badRequest("%q is a feature, and features go into rows: send {\"rows\": [{%q: …}]}", name, name)
	}
	known := []string{"rows", "ids", "on_error"}
	hint := "a request has rows, ids and on_error"
	switch near := nearest(name, known); {
	case near != "":
		hint = "did you mean " + near + "?"
	case name == "instances" || name == "inputs" || name == "data" || name == "dataframe_records" || name == "features":
		hint = "send the rows as {\"rows\": [{…}, …]}"
	}
	return badRequest("a request has no key %s: %s", quote([]byte(name)), hint)
}

// finish makes the answer, or the error that names every invalid row.
func (d *requestDecoder) finish() (*Request, error) {
	r := d.request
	if d.rejected == 0 || r.OnError == OnErrorPartial {
		r.Record = d.builder.Record()
		return r, nil
	}
	rows := r.Rejected
	unlisted := d.unlisted
	if len(rows) > maxRowErrors {
		unlisted += len(rows) - maxRowErrors
		rows = rows[:maxRowErrors]
	}
	detail := fmt.Sprintf("%d of %d rows are invalid: %s", d.rejected, r.Rows, sentence(rows[0]))
	if d.rejected == 1 && r.Rows == 1 {
		detail = "the row is invalid: " + sentence(rows[0])
	}
	switch {
	case unlisted > 0:
		detail += fmt.Sprintf(" (and %d more problems, of which the first %d are listed)", unlisted+len(rows)-1, len(rows))
	case len(rows) > 1:
		detail += fmt.Sprintf(" (and %d more)", len(rows)-1)
	}
	return nil, &modelmanager.Error{Code: modelmanager.CodeInvalidRows, Detail: detail, Rows: rows}
}

// sentence puts a row's problem into words.
func sentence(e modelmanager.RowError) string {
	if e.Feature == "" {
		return fmt.Sprintf("row %d: %s", e.Row, e.Message)
	}
	return fmt.Sprintf("row %d, %s: %s", e.Row, e.Feature, e.Message)
}

func badRequest(format string, args ...any) error {
	return modelmanager.Errorf(modelmanager.CodeBadRequest, format, args...)
}

// badJSON reports the scanner's fault with its place.
func (d *requestDecoder) badJSON() error {
	s := &d.scan
	return badRequest("the request is not valid: %s, at byte %d (%s)", s.fault, s.at, place(s.data, s.at))
}

// place turns an offset into a line and a column, both from 1; the column
// counts characters.
func place(data []byte, at int) string {
	at = min(at, len(data))
	before := string(data[:at])
	line := strings.Count(before, "\n") + 1
	column := len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}
