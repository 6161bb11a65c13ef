package worker

import (
	"bytes"
	"encoding/json"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev/internal/dataset"
)

// appendCSVHeader writes the names of the columns.
func appendCSVHeader(dst []byte, schema *dataset.Schema) []byte {
	for i, field := range schema.Fields() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCell(dst, field.Name)
	}
	return append(dst, '\n')
}

// appendCSV writes rows as CSV without a header: null is an empty cell, an
// empty string a quoted one, an array its JSON.
func appendCSV(dst []byte, schema *dataset.Schema, rows arrow.RecordBatch) ([]byte, error) {
	var line []byte
	for row := range int(rows.NumRows()) {
		line = schema.AppendRow(line[:0], rows, row)
		first := true
		err := members(line, '{', func(_, value []byte) error {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			switch value[0] {
			case 'n':
			case '"':
				var text string
				if err := json.Unmarshal(value, &text); err != nil {
					return err
				}
				dst = appendCell(dst, text)
			case '[':
				dst = appendCell(dst, string(value))
			default:
				dst = append(dst, value...)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		dst = append(dst, '\n')
	}
	return dst, nil
}

func appendCell(dst []byte, text string) []byte {
	if text != "" && !bytes.ContainsAny([]byte(text), ",\"\r\n \t;") {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	for i := range len(text) {
		if text[i] == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"')
}
