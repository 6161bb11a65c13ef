package dataset

import (
	"bytes"
	"encoding/json"
	"io"

	"golang.org/x/text/transform"

	modelmanager "modelmanager.dev"
)

// jsonlWriter writes an object per line: the input's, with keys added.
type jsonlWriter struct {
	w       *Writer
	out     io.Writer
	encoder io.Closer
	keys    [][]byte // of the columns, with a comma before and a colon after
	names   [][]byte // the same, as they would stand in an input
	tail    []byte   // the keys that are the same in each row
	newline string
	buf     []byte
	values  []value
}

func newJSONLWriter(out io.Writer, w *Writer) (*jsonlWriter, error) {
	j := &jsonlWriter{w: w, out: out, newline: "\n"}
	if input := w.options.Input; input.Format == formatJSONL {
		encoding, err := lookupEncoding(defaultTo(input.Encoding, encodingUTF8))
		if err != nil {
			return nil, err
		}
		if encoding.codec != nil {
			encoder := transform.NewWriter(out, encoding.codec.NewEncoder())
			j.out, j.encoder = encoder, encoder
		}
		j.newline = w.options.Header.newline
	}
	for _, column := range w.columns {
		name := appendString(nil, column.name)
		j.names = append(j.names, name)
		key := append(append([]byte{','}, name...), ':')
		j.keys = append(j.keys, key)
		if column.prediction < 0 && column.name != errorColumn {
			j.tail = w.added(column.name).appendJSON(append(j.tail, key...))
		}
	}
	return j, nil
}

func (j *jsonlWriter) write(s *scored) error {
	views := j.w.options.Predictions.views(s.predictions)
	for _, p := range s.picks {
		if err := j.inputObject(s, p); err != nil {
			return err
		}
		// Keys follow the input's: the brace goes, and so does the comma of {}.
		j.buf = bytes.TrimRight(j.buf[:len(j.buf)-1], " \t\r\n")
		empty := j.buf[len(j.buf)-1] == '{'
		start := len(j.buf)
		for i, column := range j.w.columns {
			if column.prediction < 0 {
				continue
			}
			j.buf = append(j.buf, j.keys[i]...)
			if p.answer < 0 {
				j.buf = append(j.buf, "null"...)
			} else {
				j.buf = views[column.prediction].append(j.buf, int(p.answer))
			}
		}
		j.buf = append(j.buf, j.tail...)
		if last := len(j.w.columns) - 1; last >= 0 && j.w.columns[last].name == errorColumn {
			j.buf = errorValue(p).appendJSON(append(j.buf, j.keys[last]...))
		}
		if empty && len(j.buf) > start {
			j.buf = append(j.buf[:start], j.buf[start+1:]...)
		}
		j.buf = append(append(j.buf, '}'), j.newline...)
	}
	_, err := j.out.Write(j.buf)
	j.buf = j.buf[:0]
	return err
}

// inputObject writes the input's row as an object.
func (j *jsonlWriter) inputObject(s *scored, p pick) error {
	extra := &s.batch.Extra
	if extra.json == nil {
		values, ok := s.inputValues(j.values[:0], p, j.w.options.Header, true)
		j.values = values
		if !ok {
			j.buf = extra.AppendJSON(j.buf, int(p.row))
			return nil
		}
		j.buf = append(j.buf, '{')
		for i, v := range values {
			if i > 0 {
				j.buf = append(j.buf, ',')
			}
			j.buf = append(appendString(j.buf, j.w.options.Header.Columns[i]), ':')
			j.buf = v.appendJSON(j.buf)
		}
		j.buf = append(j.buf, '}')
		return nil
	}
	start := len(j.buf)
	j.buf = extra.AppendJSON(j.buf, int(p.row))
	return j.collision(j.buf[start:], s.batch.FirstRow+int64(p.row))
}

// collision looks for a key that the output adds: a row far down may have one
// that the first rows, which were checked, have not.
func (j *jsonlWriter) collision(object []byte, row int64) error {
	for i, name := range j.names {
		if !bytes.Contains(object, name) {
			continue
		}
		found := false
		_ = eachKey(object, func(key string, _ json.RawMessage) { found = found || key == j.w.columns[i].name })
		if found {
			return modelmanager.Errorf(modelmanager.CodeInvalidInput,
				"row %d already has a key %s, which the job adds; set output.prefix or output.add, or rename the key", row, name)
		}
	}
	return nil
}

func (j *jsonlWriter) close() error {
	if len(j.buf) > 0 {
		if _, err := j.out.Write(j.buf); err != nil {
			return err
		}
	}
	if j.encoder != nil {
		return j.encoder.Close()
	}
	return nil
}
