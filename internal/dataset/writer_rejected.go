package dataset

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"

	modelmanager "modelmanager.dev"
	"modelmanager.dev/internal/wording"
)

// Columns that a table of rejected rows has after those of the input.
const (
	rejectedRow    = "_row"    // the row's number in the input; 1 is its first data row
	rejectedColumn = "_column" // the feature at fault, if it is one
	rejectedRaw    = "_raw"    // a row that has other cells than the header, as it is
)

// RejectedOptions say what a RejectedWriter writes.
type RejectedOptions struct {
	Format   string                // csv or xlsx
	Input    modelmanager.JobInput // sniffed; a CSV has its delimiter
	Columns  []string              // of the input
	Formulas string                // as in output.formulas
}

// RejectedWriter writes rejected rows as a table for people: the input's
// columns as they were, then where and why. CSV is UTF-8, and says so with a
// byte order mark, since spreadsheets take it for something else otherwise.
type RejectedWriter struct {
	columns []string
	raw     bool // there is a column _raw
	csv     *csvWriter
	book    *xlsxBook
	out     io.Writer
	escape  bool
}

// NewRejectedWriter starts a table on w.
func NewRejectedWriter(w io.Writer, o RejectedOptions) (*RejectedWriter, error) {
	if err := checkFormulas(o.Formulas); err != nil {
		return nil, err
	}
	r := &RejectedWriter{columns: o.Columns, out: w, escape: o.Formulas == formulasEscape}
	names := append(append([]string(nil), o.Columns...), rejectedRow, rejectedColumn, errorColumn)
	if r.raw = o.Input.Format == formatCSV || o.Input.Format == formatJSONL; r.raw {
		names = append(names, rejectedRaw)
	}
	switch o.Format {
	case formatCSV:
		r.csv = &csvWriter{out: w, delim: ',', decimal: '.', newline: "\r\n", escape: r.escape}
		if o.Input.Format == formatCSV {
			delim, err := delimiterOf(o.Input)
			if err != nil {
				return nil, err
			}
			r.csv.delim = delim
		}
		r.csv.buf = append(r.csv.buf, bom...)
	case formatXLSX:
		var err error
		if r.book, err = newXLSXBook(o.Input.Sheet); err != nil {
			return nil, err
		}
	default:
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "rejected rows are written as jsonl, csv or xlsx, not as %q", o.Format)
	}
	header := make([]value, len(names))
	for i, name := range names {
		header[i] = textValue(name)
	}
	return r, r.add(header)
}

func textValue(text string) value {
	if text == "" {
		return value{}
	}
	return value{kind: valueText, text: []byte(text)}
}

// Write writes one row.
func (r *RejectedWriter) Write(row Rejected) error {
	cells, ok := r.cells(row.Raw)
	cells = append(cells, value{kind: valueNumber, text: strconv.AppendInt(nil, row.Row, 10)}, textValue(row.Feature), textValue(row.Message))
	if r.raw {
		whole := value{}
		if !ok {
			whole = value{kind: valueText, text: rawText(row.Raw)}
		}
		cells = append(cells, whole)
	}
	return r.add(cells)
}

// cells are the row's, in the order of the columns; ok is false if it has others.
func (r *RejectedWriter) cells(raw json.RawMessage) (_ []value, ok bool) {
	values, ok := jsonValues(make([]value, 0, len(r.columns)+4), raw, r.columns)
	for len(values) < len(r.columns) {
		values = append(values, value{})
	}
	return values, ok
}

// rawText is the text of a row that has no cells, or the JSON of one with others.
func rawText(raw json.RawMessage) []byte {
	var ragged struct {
		Row *string `json:"_row"`
	}
	if json.Unmarshal(raw, &ragged) == nil && ragged.Row != nil {
		return []byte(*ragged.Row)
	}
	return raw
}

func (r *RejectedWriter) add(values []value) error {
	if r.csv != nil {
		for i, v := range values {
			if i > 0 {
				r.csv.buf = append(r.csv.buf, r.csv.delim)
			}
			r.csv.buf = r.csv.appendCell(r.csv.buf, v)
		}
		r.csv.buf = append(r.csv.buf, r.csv.newline...)
		if len(r.csv.buf) < 64<<10 {
			return nil
		}
		return r.csv.flush()
	}
	cells := make([]any, len(values))
	for i, v := range values {
		cells[i] = r.book.cell(v, false)
		if text, ok := cells[i].(string); ok {
			if r.escape {
				text = escapeFormula(text)
			}
			cells[i] = cut(text)
		}
	}
	return r.book.add(cells)
}

// cut shortens a text that no cell of a sheet can hold: here the reason counts,
// and the JSON Lines have the whole.
func cut(text string) string {
	const most = xlsxCellText / 2 // UTF-16 units are at most two a character
	return wording.Shorten(text, most)
}

// Close completes the table; it doesn't close what NewRejectedWriter was given.
func (r *RejectedWriter) Close() error {
	if r.csv != nil {
		return r.csv.flush()
	}
	return r.book.finish(r.out)
}

// Keys returns the keys of a JSON object in their order; nil if it is none.
func Keys(object []byte) []string {
	var keys []string
	if eachKey(bytes.TrimSpace(object), func(key string, _ json.RawMessage) { keys = append(keys, key) }) != nil {
		return nil
	}
	return keys
}
