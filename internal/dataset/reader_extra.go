package dataset

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
)

// Extra holds rows as the file has them, every column of it, so that a Writer
// can write them again: byte for byte where the format is the same.
type Extra struct {
	header  *Header
	csv     *csvRows
	json    *textBlock
	columns arrow.RecordBatch // Parquet
	cells   *xlsxRowsBlock
}

// csvRows are CSV records, cut on demand.
type csvRows struct {
	*textBlock
	delim byte
	null  []string // what stands for null; nil: the empty cell
}

// value is one cell, of any format.
type value struct {
	kind valueKind
	text []byte // what JSON would have; of valueText the text itself
}

type valueKind uint8

const (
	valueNull valueKind = iota
	valueText
	valueNumber
	valueBool
	valueJSON // an array or an object
)

func (v value) appendJSON(dst []byte) []byte {
	switch v.kind {
	case valueNull:
		return append(dst, "null"...)
	case valueText:
		return appendString(dst, bytes.ToValidUTF8(v.text, replacement))
	default:
		return append(dst, v.text...)
	}
}

// AppendJSON writes a row as a JSON object: header → cell.
func (e *Extra) AppendJSON(dst []byte, row int) []byte {
	if e.json != nil {
		raw := e.json.row(row)
		if json.Valid(raw) && utf8.Valid(raw) && isObject(raw) {
			return append(dst, bytes.TrimSpace(raw)...)
		}
		return appendRaw(dst, raw)
	}
	values, ok := e.values(nil, row)
	if !ok {
		return appendRaw(dst, e.csv.row(row))
	}
	dst = append(dst, '{')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, e.header.Columns[i])
		dst = append(dst, ':')
		dst = v.appendJSON(dst)
	}
	return append(dst, '}')
}

func isObject(raw []byte) bool {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	return len(raw) > 0 && raw[0] == '{'
}

func appendRaw(dst, raw []byte) []byte {
	dst = append(dst, `{"_row":`...)
	dst = appendString(dst, bytes.ToValidUTF8(raw, replacement))
	return append(dst, '}')
}

// values returns a row's cells, one per column of the header. ok is false if
// the row has no such cells: it is ragged, or no JSON object.
func (e *Extra) values(dst []value, row int) (_ []value, ok bool) {
	switch {
	case e.csv != nil:
		return e.csv.values(dst, row, len(e.header.Columns))
	case e.json != nil:
		return jsonValues(dst, e.json.row(row), e.header.Columns)
	case e.columns != nil:
		return columnValues(dst, e.columns, row), true
	default:
		return e.cells.values(dst, row, len(e.header.Columns)), true
	}
}

func (c *csvRows) values(dst []value, row, width int) ([]value, bool) {
	raw := c.row(row)
	cells, ok := splitRecord(nil, raw, c.delim, c.quotes != nil && c.quotes[row])
	rules := TextRules{Null: c.null}
	for _, cell := range cells {
		text, _ := cell.text(raw, nil)
		v := value{kind: valueText, text: text}
		if !cell.quoted && rules.isNull(text) {
			v = value{}
		}
		dst = append(dst, v)
	}
	return dst, ok && len(cells) == width
}
