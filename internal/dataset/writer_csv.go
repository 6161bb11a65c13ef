package dataset

import (
	"bytes"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/text/transform"

	modelmanager "modelmanager.dev"
)

// csvWriter writes CSV in the dialect of the input, or else commas and UTF-8.
type csvWriter struct {
	w       *Writer
	out     io.Writer
	encoder io.Closer // nil: UTF-8
	delim   byte
	decimal byte
	null    string
	nulls   []string
	newline string
	same    bool   // the input's rows can be copied
	tail    []byte // cells of the columns that are the same in each row
	inline  bool
	escape  bool // texts that would be formulas
	buf     []byte
	values  []value
	cells   []csvCell
}

func newCSVWriter(out io.Writer, w *Writer) (*csvWriter, error) {
	c := &csvWriter{w: w, out: out, delim: ',', decimal: '.', newline: "\n", inline: w.options.Output.Rejected == rejectedInline}
	c.escape = w.options.Output.Formulas == formulasEscape
	input := w.options.Input
	if input.Format == formatCSV {
		delim, err := delimiterOf(input)
		if err != nil {
			return nil, err
		}
		encoding, err := lookupEncoding(defaultTo(input.Encoding, encodingUTF8))
		if err != nil {
			return nil, err
		}
		if encoding.codec != nil {
			encoder := transform.NewWriter(out, encoding.codec.NewEncoder())
			c.out, c.encoder = encoder, encoder
		}
		c.delim, c.same, c.nulls = delim, true, input.Null
		if input.Decimal == "," {
			c.decimal = ','
		}
		if len(input.Null) > 0 {
			c.null = input.Null[0]
		}
		c.newline = w.options.Header.newline
	}
	if w.options.WriteHeader {
		if err := c.header(); err != nil {
			return nil, err
		}
	}
	for _, column := range w.columns {
		if column.prediction < 0 && column.name != errorColumn {
			c.tail = c.appendCell(append(c.tail, c.delim), w.added(column.name))
		}
	}
	return c, nil
}

func (c *csvWriter) header() error {
	header := c.w.options.Header
	if c.same {
		if header.bom {
			c.buf = append(c.buf, bom...)
		}
		c.appendRaw(header.raw, bytes.IndexByte(header.raw, '"') >= 0)
	} else {
		for i, name := range header.Columns {
			if i > 0 {
				c.buf = append(c.buf, c.delim)
			}
			c.buf = c.appendText(c.buf, []byte(name))
		}
	}
	for _, column := range c.w.columns {
		c.buf = append(c.buf, c.delim)
		c.buf = c.appendText(c.buf, []byte(column.name))
	}
	c.buf = append(c.buf, c.newline...)
	return c.flush()
}

func (c *csvWriter) write(s *scored) error {
	appenders := make([]cellAppender, 0, len(c.w.columns))
	for _, column := range c.w.columns {
		if column.prediction >= 0 {
			appenders = append(appenders, c.appender(s.predictions.Column(column.prediction), column.item))
		}
	}
	for _, p := range s.picks {
		if err := c.inputCells(s, p); err != nil {
			return err
		}
		for _, appendTo := range appenders {
			c.buf = append(c.buf, c.delim)
			if p.answer < 0 {
				c.buf = append(c.buf, c.null...)
			} else {
				c.buf = appendTo(c.buf, int(p.answer))
			}
		}
		c.buf = append(c.buf, c.tail...)
		if c.inline {
			c.buf = c.appendCell(append(c.buf, c.delim), errorValue(p))
		}
		c.buf = append(c.buf, c.newline...)
		if len(c.buf) >= 1<<20 {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return c.flush()
}

// inputCells writes the input's row: as it stands, if it is a CSV's and fits
// the header.
func (c *csvWriter) inputCells(s *scored, p pick) error {
	extra := &s.batch.Extra
	if c.same && extra.csv != nil && p.accepted >= 0 {
		c.appendRow(extra.csv, int(p.row))
		return nil
	}
	values, ok := s.inputValues(c.values[:0], p, c.w.options.Header, false)
	c.values = values
	if ok && c.same && extra.csv != nil {
		c.appendRow(extra.csv, int(p.row))
		return nil
	}
	if !ok {
		if err := s.unlisted(p); err != nil {
			return err
		}
	}
	for i := range c.w.options.Header.Columns {
		if i > 0 {
			c.buf = append(c.buf, c.delim)
		}
		if i < len(values) { // a ragged row loses cells here; the file of rejected rows has it whole
			c.buf = c.appendCell(c.buf, values[i])
		}
	}
	return nil
}

// appendRow writes a record of the input as it stands.
func (c *csvWriter) appendRow(rows *csvRows, row int) {
	c.appendRaw(rows.row(row), rows.quotes != nil && rows.quotes[row])
}

func (c *csvWriter) appendRaw(raw []byte, quotes bool) {
	if c.escape {
		c.buf = c.appendEscaped(c.buf, raw, quotes)
		return
	}
	c.buf = append(c.buf, raw...)
}

func (c *csvWriter) flush() error {
	_, err := c.out.Write(c.buf)
	c.buf = c.buf[:0]
	return c.explain(err)
}

func (c *csvWriter) explain(err error) error {
	if err != nil && strings.Contains(err.Error(), "rune not supported") {
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"writing predictions in the input's encoding, %s: a character of theirs doesn't exist in it; send the input as utf-8, or set output.format to jsonl",
			c.w.options.Input.Encoding)
	}
	return err
}

func (c *csvWriter) close() error {
	if c.encoder != nil {
		return c.explain(c.encoder.Close())
	}
	return nil
}

// cellAppender writes one cell of a column.
type cellAppender func(dst []byte, row int) []byte

// appender picks the quickest way to write a column's cells.
func (c *csvWriter) appender(column arrow.Array, item int) cellAppender {
	if item >= 0 {
		return func(dst []byte, row int) []byte { return c.appendCell(dst, itemValue(column, row, item)) }
	}
	if floats, ok := column.(*array.Float64); ok {
		return func(dst []byte, row int) []byte {
			if floats.IsNull(row) {
				return append(dst, c.null...)
			}
			return c.appendNumber(dst, appendFloat(nil, floats.Value(row)))
		}
	}
	return func(dst []byte, row int) []byte { return c.appendCell(dst, arrowValue(column, row)) }
}

func (c *csvWriter) appendCell(dst []byte, v value) []byte {
	switch v.kind {
	case valueNull:
		return append(dst, c.null...)
	case valueNumber:
		return c.appendNumber(dst, v.text)
	default:
		return c.appendText(dst, v.text)
	}
}

func (c *csvWriter) appendNumber(dst, text []byte) []byte {
	if c.decimal == '.' {
		return append(dst, text...)
	}
	start := len(dst)
	dst = append(dst, text...)
	if i := bytes.IndexByte(dst[start:], '.'); i >= 0 {
		dst[start+i] = c.decimal
		if c.decimal == c.delim {
			return append(append(append(dst[:start:start], '"'), dst[start:]...), '"')
		}
	}
	return dst
}

// appendText writes a text, quoted if it would be read as something else bare.
func (c *csvWriter) appendText(dst, text []byte) []byte {
	if c.escape && formula(text) {
		text = append([]byte{'\''}, text...)
	}
	quoted := len(text) == 0
	for _, b := range text {
		if b == c.delim || b == '"' || b == '\n' || b == '\r' {
			quoted = true
			break
		}
	}
	for _, null := range c.nulls {
		quoted = quoted || string(text) == null
	}
	if !quoted {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	for {
		i := bytes.IndexByte(text, '"')
		if i < 0 {
			break
		}
		dst = append(append(dst, text[:i+1]...), '"')
		text = text[i+1:]
	}
	return append(append(dst, text...), '"')
}

// itemValue returns one item of an array's row.
func itemValue(column arrow.Array, row, item int) value {
	list, ok := column.(array.ListLike)
	if !ok || column.IsNull(row) {
		return value{}
	}
	start, end := list.ValueOffsets(row)
	if start+int64(item) >= end {
		return value{}
	}
	return arrowValue(list.ListValues(), int(start)+item)
}
